"""`kill -9` while judgements are recorded: what was acknowledged is there, once, and whole."""

import json
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.store_fixtures import SETTINGS, fill, start_python

from assent.store import Project, check_project

PAIRS = 2000
BATCHES = (1, 1, 1, 40, 1, 200)

RECORDER = """
import json, pathlib, sys
from assent.store import NewJudgement, Project
root, start = pathlib.Path(sys.argv[1]), int(sys.argv[2])
with Project.open(root) as project:
    comparisons = project.store.comparisons()
    annotators = [one.id for one in project.store.annotators()]
    tasks = [(one.id, name) for name in annotators for one in comparisons]
    number = start
    sizes = json.loads(sys.argv[3])
    while number < len(tasks):
        size = sizes[number % len(sizes)]
        new = [
            NewJudgement(
                comparison_id=comparison,
                annotator_id=annotator,
                verdict='first',
                idempotency_key=f'batch of {number}, {position}',
            )
            for position, (comparison, annotator) in enumerate(tasks[number : number + size])
        ]
        recorded = project.store.record_judgements(new)
        print(json.dumps([number, size, [one.event_id for one in recorded]]), flush=True)
        number += len(new)
"""


def test_every_acknowledged_judgement_is_there_once_after_twenty_kills(
    sqlite_project: Project,
) -> None:
    fill(sqlite_project, pairs=PAIRS)
    survive(sqlite_project, kills=20)


def test_the_same_holds_on_postgresql(tmp_path: Path, new_postgresql: Callable[[], str]) -> None:
    url = new_postgresql()
    with Project.create(tmp_path / "project", SETTINGS, database_url=url) as project:
        fill(project, pairs=PAIRS)
        survive(project, kills=4)


def survive(project: Project, kills: int) -> None:
    chance = random.Random(1)
    acknowledged: list[str] = []
    batches: dict[int, int] = {}
    start = 0
    for _ in range(kills):
        for number, size, events in record_until_killed(
            project.root, start, chance.uniform(0, 0.15)
        ):
            acknowledged += [event for event in events if event not in set(acknowledged[-300:])]
            batches[number] = size
        # Sent again from the last acknowledged batch: its answer may have been lost.
        start = max(batches, default=0)
        stored = [event.id for event in project.store.events()]
        assert stored[: len(acknowledged)] == acknowledged
        # At most one batch was committed and not acknowledged, and it is whole; the very last, on a
        # machine that comes so far, is what is left of the tasks.
        lost = len(stored) - len(acknowledged)
        assert lost in {0, *BATCHES} or (len(stored) == 2 * PAIRS and lost < max(BATCHES))
        assert check_project(project) == []
    assert len(acknowledged) > kills


def record_until_killed(root: Path, start: int, seconds: float) -> list[tuple[int, int, list[str]]]:
    process = start_python(RECORDER, str(root), str(start), json.dumps(BATCHES))
    assert process.stdout is not None
    said = process.stdout.readline()
    try:
        rest, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        rest, _ = process.communicate()
    whole = (said + rest).decode().split("\n")[:-1]
    return [tuple(json.loads(line)) for line in whole]
