"""`kill -9` anywhere in the loop: it goes on to the same weights, judgements and figures."""

import os
import random
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from tests.faults import loop_process
from tests.toy_loop import make_toy, outcome

import assent
from assent.store import Project, check_project

PROGRAM = Path(loop_process.__file__)


def start(root: Path, kill_at: int = 0) -> subprocess.Popen[str]:
    source = str(Path(assent.__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), str(root), str(kill_at)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1"},
    )


def finish(root: Path) -> int:
    """Run to the end; how many touches of the disk it took."""
    said, complaint = (process := start(root)).communicate()
    assert process.returncode == 0, complaint
    return int(said)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A project whose loop nobody stopped, and the touches of the disk it took."""
    root = make_toy(tmp_path_factory.mktemp("loop") / "undisturbed")
    return root, finish(root)


def die(root: Path, kill_at: int) -> bool:
    """Run until touch `kill_at`; whether it came before the end."""
    process = start(root, kill_at)
    _, complaint = process.communicate()
    assert process.returncode in (0, -signal.SIGKILL), complaint
    return process.returncode != 0


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
        process = start(root)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=chance.uniform(2, 8))
        process.kill()
        process.communicate()
    finish(root)
    require_same(root, expected)
