"""`kill -9` anywhere in an audit: it goes on, asks nothing twice that was kept, and finds the same.

A child of this process runs the audit and kills itself just before its n-th touch of the disk.
"""

import random
import shutil
from pathlib import Path

import pytest
from tests.faults import children
from tests.faults.children import counting
from tests.unit.audit.test_runner import Arithmetic, Calculator, sums

from assent.audit import runner
from assent.audit.results import ITEMS_FILE
from assent.audit.runner import run_audit
from assent.audit.subject import Subject
from assent.store import Project, check_project

ITEMS = 18
CHUNK = 4


def audited(root: Path) -> str:
    """Run the audit to its end; where the result is kept, which ends in the hash of what it is."""
    with Project.open(root) as project:
        model = Calculator(wrong=["1+1 =", "5+5 ="])
        subject = Subject(name="toy", model=model, project=project)
        return str(run_audit(Arithmetic(sums(ITEMS), spoilt=["3"]), subject).path)


def in_child(root: Path, kill_at: int) -> tuple[bool, int]:
    """Run the audit in a child that dies at a touch (0: never); did it, and its touches."""

    def run() -> int:
        touches = counting(root, kill_at)
        audited(root)
        return touches()

    died, said = children.in_child(run)
    return died, int(said or 0)


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project without audits, to be copied."""
    monkeypatch.setattr(runner, "CHUNK", CHUNK)
    root = tmp_path / "fresh"
    Project.create(root, "schema_version = 1\n").close()
    return root


def die_and_go_on(fresh: Path, root: Path, kill_at: int, expected: str) -> None:
    shutil.copytree(fresh, root)
    died, _ = in_child(root, kill_at)
    assert died, kill_at
    assert audited(root) == expected, kill_at
    with Project.open(root) as project:
        assert check_project(project) == [], kill_at
        [run] = [one for one in project.store.runs() if one.stage == "audit"]
        assert run.status == "done", kill_at
        assert not (root / "runs" / run.id / ITEMS_FILE).exists(), kill_at
    shutil.rmtree(root)


def whole(fresh: Path, root: Path) -> tuple[str, int]:
    """Where an undisturbed audit keeps its result, and how often it touches the disk."""
    shutil.copytree(fresh, root)
    died, touches = in_child(root, 0)
    assert not died
    return audited(root), touches


def test_an_audit_killed_at_any_of_ten_writes_goes_on_to_the_same_result(
    fresh: Path, tmp_path: Path
) -> None:
    expected, touches = whole(fresh, tmp_path / "whole")
    assert touches > 10
    for kill_at in random.Random(touches).sample(range(1, touches + 1), 10):
        die_and_go_on(fresh, tmp_path / "killed", kill_at, expected)


@pytest.mark.slow
def test_an_audit_killed_at_every_write_goes_on_to_the_same_result(
    fresh: Path, tmp_path: Path
) -> None:
    expected, touches = whole(fresh, tmp_path / "whole")
    for kill_at in range(1, touches + 1):
        die_and_go_on(fresh, tmp_path / "killed", kill_at, expected)


def test_what_was_kept_before_the_kill_is_not_asked_again(fresh: Path) -> None:
    died = False
    for kill_at in range(1, 100):  # until some chunks are kept and some are not
        died, _ = in_child(fresh, kill_at)
        kept = list(fresh.glob(f"runs/*/{ITEMS_FILE}"))
        if kept and len(kept[0].read_text().splitlines()) >= 2 * CHUNK:
            break
    assert died
    with Project.open(fresh) as project:
        model = Calculator()
        subject = Subject(name="toy", model=model, project=project)
        run_audit(Arithmetic(sums(ITEMS), spoilt=["3"]), subject)
    assert 0 < len(model.prompts) <= ITEMS - 2 * CHUNK
