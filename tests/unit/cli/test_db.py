"""`assent db` and the doctor on a real project folder."""

import json
from pathlib import Path
from typing import Any

import pytest

from assent.cli.main import main
from assent.store import Project
from assent.types import Prompt


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    with Project.create(root, "schema_version = 1\n") as opened:
        opened.store.add_prompts([Prompt(text="Where is Tarn?"), Prompt(text="Who is Ode?")])
    return root


def assent(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[Any, str, str]:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    shown = capsys.readouterr()
    return stopped.value.code, shown.out, shown.err


def test_a_whole_project_passes(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = assent(capsys, "db", "check", project)
    assert code == 0
    assert out.endswith("nothing lost or changed\n")

    code, out, _ = assent(capsys, "db", "check", project, "--json")
    assert code == 0
    assert json.loads(out)["findings"] == []
    assert json.loads(out)["records"]["prompts"] == 2


def test_damage_is_named_and_status_2(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    database = project / "assent.db"
    content = database.read_bytes()
    assert b"Where is Tarn?" in content
    database.write_bytes(content.replace(b"Where is Tarn?", b"Where is Barn?"))

    code, out, err = assent(capsys, "db", "check", project)
    assert code == 2
    assert out.startswith("prompts ")
    assert "restore what they name from a backup" in err

    code, out, _ = assent(capsys, "db", "check", project, "--json")
    assert code == 2
    assert json.loads(out)["findings"][0]["table"] == "prompts"


def test_a_backup_is_a_project_that_passes_too(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy"
    assert assent(capsys, "db", "backup", project, copy)[:2] == (0, f"{copy}\n")
    code, out, _ = assent(capsys, "db", "check", copy, "--json")
    assert (code, json.loads(out)["records"]["prompts"]) == (0, 2)

    code, _, err = assent(capsys, "db", "backup", project, copy)
    assert code == 2
    assert str(copy) in err


def test_upgrading_what_is_new_does_nothing(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = assent(capsys, "db", "upgrade", project)
    assert code == 0
    assert "up to date" in out
    code, out, _ = assent(capsys, "db", "upgrade", project, "--json")
    assert (code, json.loads(out)["backup"]) == (0, None)


def test_a_folder_that_is_no_project_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = assent(capsys, "db", "check", tmp_path)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert str(tmp_path) in err

    code, out, err = assent(capsys, "db", "check", tmp_path, "--json")
    assert (code, err) == (2, "")
    assert json.loads(out)["error"]["name"] == "NotAProject"


def test_the_doctor_counts_the_records_of_a_project(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = assent(capsys, "doctor", project)
    assert code == 0
    assert "2 prompts" in out
