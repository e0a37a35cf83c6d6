"""The layer contract holds, and it would notice if it did not."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    program = "from importlinter.cli import lint_imports_command as run; run()"
    return subprocess.run(
        [sys.executable, "-c", program, "--no-cache", "--config", str(root / "pyproject.toml")],
        capture_output=True,
        text=True,
        check=False,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root / "src")},
    )


def test_packages_import_downwards_only() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("config/base.py", "import assent.cli.version\n", "Layers"),
        ("elsewhere/__init__.py", "", "Layers"),
        ("objectives/kl.py", "import pathlib\n", "objectives and stats are pure"),
        ("cli/version.py", "import sqlalchemy\n", "Only store speaks SQL"),
        ("stats/paired.py", "import sqlite3\n", "Only store speaks SQL"),
    ],
)
def test_a_broken_contract_is_noticed(
    tmp_path: Path, module: str, line: str, contract: str
) -> None:
    """The same package with one wrong import, or one package that no layer names."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "src" / "assent", tmp_path / "src" / "assent")
    file = tmp_path / "src" / "assent" / module
    file.parent.mkdir(exist_ok=True)
    with file.open("a") as source:
        source.write(line)

    done = lint_imports(tmp_path)

    assert done.returncode == 1, done.stdout + done.stderr
    broken = [line for line in done.stdout.splitlines() if " BROKEN" in line]
    assert any(line.startswith(contract) for line in broken), broken
