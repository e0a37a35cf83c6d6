"""The doctor: it looks, it says what to do, and it needs nothing that may be missing."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from assent.cli.checks import (
    EXTRAS,
    all_checks,
    core_package,
    disk,
    optional_extra,
    sqlite,
    torch_checks,
)
from assent.cli.main import main
from assent.models import bfloat16

ROOT = Path(__file__).parents[3]


def doctor(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[Any, str]:
    with pytest.raises(SystemExit) as stopped:
        main(["doctor", *arguments])
    return stopped.value.code, capsys.readouterr().out


def test_here_everything_that_is_needed_works(capsys: pytest.CaptureFixture[str]) -> None:
    code, out = doctor(capsys)
    assert code == 0
    assert "torch" in out
    assert "write-ahead log works" in out


def test_a_program_gets_the_same_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    _, out = doctor(capsys, "--json")
    checks = json.loads(out)
    names = [check["name"] for check in checks]
    assert names[:2] == ["python", "torch"]
    assert {check["state"] for check in checks} <= {"ok", "optional"}


def test_a_folder_that_is_no_project_is_told_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = doctor(capsys, str(tmp_path))
    assert code == 2
    assert "!!  project" in out
    assert str(tmp_path) in out


def test_without_torch_it_still_works_and_says_how_to_get_it() -> None:
    program = (
        "import sys\n"
        "from importlib.abc import MetaPathFinder\n"
        "import importlib.util\n"
        "real = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda n, *a: None if n == 'torch' else real(n, *a)\n"
        "sys.modules['torch'] = None\n"
        "from assent.cli.main import main\n"
        "main(['doctor'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    assert done.returncode == 2, done.stderr
    assert "!!  torch          not installed" in done.stdout
    assert "pip install torch" in done.stdout
    assert "write-ahead log works" in done.stdout


def test_a_missing_package_says_how_to_get_it() -> None:
    check = core_package("no-such-package-here")
    assert check.state == "bad"
    assert "no-such-package-here" in check.remedy


def test_a_missing_extra_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXTRAS, "spare", ("no-such-package-here[x]", "nothing much"))
    check = optional_extra("spare")
    assert (check.state, check.remedy) == ("optional", "pip install 'no-such-package-here[x]'")


def test_the_doctor_knows_every_extra_of_the_package() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = declared["optional-dependencies"].keys() - {"dev"}
    assert EXTRAS.keys() == extras


@pytest.mark.parametrize(
    ("speed", "state", "found"),
    [
        (1.9, "ok", "1.9 times as fast as in float32"),
        (0.12, "optional", "0.12 times as fast as in float32"),
        (0.0, "optional", "not on this CPU"),
    ],
)
def test_bfloat16_that_is_slow_is_told(
    speed: float, state: str, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(bfloat16, "speed_on_cpu", lambda: speed)
    [check] = [one for one in torch_checks() if one.name == "bfloat16"]
    assert check.state == state
    assert found in check.found
    assert bool(check.remedy) == (state == "optional")


def test_too_little_room_is_bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type(shutil.disk_usage(tmp_path))(100, 99, 2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert disk(tmp_path).state == "bad"


def test_a_folder_where_no_database_can_be_written_is_bad(tmp_path: Path) -> None:
    check = sqlite(tmp_path / "gone")
    assert check.state == "bad"
    assert "no database can be written" in check.found


def test_the_checks_leave_nothing_behind(tmp_path: Path) -> None:
    for _ in all_checks(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []
