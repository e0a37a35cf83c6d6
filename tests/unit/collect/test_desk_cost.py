"""What fetching and answering cost the database does not grow with what is stored.

Counted are the instructions of SQLite's virtual machine, which nothing else on the machine changes.
"""

from pathlib import Path
from sqlite3 import Connection as DriverConnection
from typing import Any

import pytest
from sqlalchemy import event
from tests.labelling_fixtures import SEED, verdict
from tests.store_fixtures import SETTINGS, fill

from assent.collect import sources
from assent.collect.desk import Desk, Handed
from assent.config.labelling import LabellingSettings
from assent.store import Project, database

TASKS_ASKED = 20
"""Tasks whose cost is counted: one block of the mix, with a repeat and a check item in it."""


class Steps:
    """Counts instructions on every connection made from now on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        make = database._sqlite_engine

        def counted(*given: Any) -> Any:
            engine = make(*given)
            event.listen(engine, "connect", self._watch)
            return engine

        monkeypatch.setattr(database, "_sqlite_engine", counted)

    def _watch(self, connection: DriverConnection, _: object) -> None:
        connection.set_progress_handler(self._step, 10)

    def _step(self) -> int:
        self.count += 10
        return 0


def cost(root: Path, steps: Steps, answered: int, overlap: int) -> float:
    """Instructions a task, once somebody has answered so many, which still want other people."""
    settings = LabellingSettings(overlap=overlap, check_share=0.05, repeat_share=0.05)
    with Project.create(root, SETTINGS) as project:
        fill(project, answered + 2 * TASKS_ASKED)
        sources.comparison_tasks(project.store, settings, seed=SEED)
        for number in range(30):
            sources.add_check_item(
                project.store, prompt=f"{number}?", better="yes", worse="no", why=""
            )
        ada = project.store.people.add("ada", "annotator").annotator_id
        desk = Desk(project.store, settings, seed=SEED)

        def answer(count: int, name: str) -> None:
            for number in range(count):
                handed = desk.claim(ada)
                assert isinstance(handed, Handed)
                desk.answer(ada, handed.lease.id, f"{name}-{number:05}", verdict())

        answer(answered, "before")
        steps.count = 0
        answer(TASKS_ASKED, "counted")
        return steps.count / TASKS_ASKED


@pytest.mark.parametrize("overlap", [1, 2])
def test_the_next_task_and_its_answer_cost_the_same_after_many_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overlap: int
) -> None:
    steps = Steps(monkeypatch)
    few = cost(tmp_path / "few", steps, 40, overlap)
    many = cost(tmp_path / "many", steps, 120, overlap)
    # Eight times as many answers: what walked over them would cost about eight times as much.
    assert many < 1.5 * few, (few, many)
