"""`kill -9` in a project where people judge: the same pairs, judgements, weights and figures."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from tests.faults.test_loop_kill import die, finish
from tests.own_project import judge, make_own
from tests.toy_loop import outcome

from assent.store import Project, check_project


def whole(root: Path, kills: int, chance: random.Random) -> int:
    """Pause, judge, and go on to the end, killed on the way; how many kills there were."""
    killed = sum(die(root, chance.randint(1, 40)) for _ in range(kills))
    finish(root)
    judge(root, 24)
    killed += sum(die(root, chance.randint(1, 60)) for _ in range(kills))
    finish(root)
    return killed


def found_in(root: Path) -> Any:
    """The outcome, with the project's own path taken out of what it says."""
    with Project.open(root) as project:
        assert check_project(project) == []
        asked = [
            [one.id, one.purpose, one.first, one.second] for one in project.store.comparisons()
        ]
    return json.loads(json.dumps([outcome(root), asked]).replace(str(root), "PROJECT"))


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "kills"), [(1, 1), (2, 4)])
def test_kills_before_and_after_the_pause_change_nothing(
    tmp_path: Path, seed: int, kills: int
) -> None:
    roots = [tmp_path / name for name in ("undisturbed", "killed")]
    for root in roots:
        make_own(root)
    whole(roots[0], 0, random.Random(seed))
    assert whole(roots[1], kills, random.Random(seed)) >= kills
    assert found_in(roots[1]) == found_in(roots[0])
