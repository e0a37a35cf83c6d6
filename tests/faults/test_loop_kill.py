"""`kill -9` anywhere in the loop: it goes on to the same weights, judgements and figures."""

import random
import time
from pathlib import Path

import pytest
from tests.faults.children import Child, counting, in_child
from tests.toy_loop import make_toy, outcome

from assent.rounds.loop import run_loop
from assent.store import Project, check_project
from assent.types import SilentProgress


def run(root: Path, kill_at: int = 0) -> int:
    """Run the loop, or die on the way; how many touches of the disk it took."""
    touches = counting(root, kill_at)
    run_loop(root, rounds=None, progress=SilentProgress())
    return touches()


def finish(root: Path) -> int:
    """Run to the end; how many touches of the disk it took."""
    died, said = in_child(lambda: run(root))
    assert not died
    return int(said)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A project whose loop nobody stopped, and the touches of the disk it took."""
    root = make_toy(tmp_path_factory.mktemp("loop") / "undisturbed")
    return root, finish(root)


def die(root: Path, kill_at: int) -> bool:
    """Run until touch `kill_at`; whether it came before the end."""
    return in_child(lambda: run(root, kill_at)).died


def require_same(root: Path, undisturbed: Path) -> None:
    found, expected = outcome(root), outcome(undisturbed)
    for part, value in expected.items():
        assert found[part] == value, part
    with Project.open(root) as project:
        assert check_project(project) == []


def test_four_kills_between_any_two_writes_change_nothing(
    undisturbed: tuple[Path, int], tmp_path: Path
) -> None:
    expected, touches = undisturbed
    root = make_toy(tmp_path / "killed")
    chance = random.Random(20)
    # Each process gets about a fifth further, so the kills fall into different stages.
    kills = [die(root, chance.randint(1, 2 * touches // 5)) for _ in range(4)]
    assert all(kills)
    finish(root)
    require_same(root, expected)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_many_kills_at_any_write_change_nothing(
    undisturbed: tuple[Path, int], tmp_path: Path, seed: int
) -> None:
    expected, touches = undisturbed
    root = make_toy(tmp_path / "killed")
    chance = random.Random(seed)
    kills = sum(die(root, chance.randint(1, touches // 5)) for _ in range(12))
    assert kills >= 4
    finish(root)
    require_same(root, expected)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_kills_at_any_moment_change_nothing(
    undisturbed: tuple[Path, int], tmp_path: Path, seed: int
) -> None:
    expected, _ = undisturbed
    root = make_toy(tmp_path / "killed")
    chance = random.Random(seed)
    for _ in range(6):
        child = Child.start(lambda: run(root))
        time.sleep(chance.uniform(0, 6))
        child.kill()
        child.end()
    finish(root)
    require_same(root, expected)
