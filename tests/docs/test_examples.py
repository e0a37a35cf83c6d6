"""The examples and the programs in the how-to pages run as printed, and do what they say."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.own_project import save_base

ROOT = Path(__file__).parents[2]


def run(program: list[str], folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, *program],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / "howto" / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_the_teaching_loop_learns_what_it_is_paid_for(tmp_path: Path) -> None:
    lines = run([str(ROOT / "examples" / "minimal_ppo.py")], tmp_path).splitlines()
    rewards = [float(re.search(r"reward +(-?[\d.]+)", line)[1]) for line in lines]  # type: ignore[index]
    kls = [float(re.search(r"KL +(-?[\d.]+)", line)[1]) for line in lines]  # type: ignore[index]
    assert abs(rewards[0]) < 0.3
    assert rewards[-1] > 0.5
    assert kls[0] == 0
    assert kls[-1] > 0.5


def test_ten_lines_are_ten_lines_and_train_a_policy(tmp_path: Path) -> None:
    (program,) = blocks("ten-lines.md", "python")
    lines = [line for line in program.splitlines() if line.strip()]
    assert len(lines) <= 10
    base = save_base(tmp_path / "model", "gpt2")
    assert '"path/to/a/causal-lm"' in program
    small = program.replace("path/to/a/causal-lm", str(base)).replace("updates=20", "updates=1")
    (tmp_path / "program.py").write_text(small)
    run(["program.py"], tmp_path)
    assert (tmp_path / "run" / "model" / "config.json").is_file()


@pytest.mark.parametrize("page", ["bring-your-model.md", "take-your-checkpoint.md", "ten-lines.md"])
def test_commands_in_the_pages_exist(page: str) -> None:
    from assent.cli.main import app
    from assent.cli.reference import commands

    known = {name for name, _ in commands(app)}
    for block in blocks(page, "console"):
        for line in block.splitlines():
            words = line.removeprefix("$ ").split()
            if words[:1] != ["assent"]:
                continue
            name = " ".join(words[:3]) if " ".join(words[:3]) in known else " ".join(words[:2])
            assert name in known, line
