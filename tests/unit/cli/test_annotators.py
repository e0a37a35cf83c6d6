"""`assent annotators` and what `assent serve` refuses, as people type them."""

import json
import re
import socket
from pathlib import Path

import pytest
from tests.serve_process import SETTINGS

from assent.cli.main import app, run
from assent.store import Project


@pytest.fixture
def root(tmp_path: Path) -> Path:
    with Project.create(tmp_path / "project", SETTINGS):
        return tmp_path / "project"


def said(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    with pytest.raises(SystemExit) as ended:
        run(app, arguments)
    printed = capsys.readouterr()
    assert ended.value.code == status, printed
    return printed.out + printed.err


def test_a_person_is_added_listed_disabled_and_erased(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    added = said(capsys, "annotators", "add", str(root), "Ada", "--role", "reviewer")
    assert re.search(r"http://127\.0\.0\.1:8420/invite/[\w-]{43}\n", added)
    assert "while `assent serve" in added
    listed = said(capsys, "annotators", "list", str(root))
    assert re.search(r"Ada\s+reviewer\s+invited\s+0", listed)
    said(capsys, "annotators", "add", str(root), "Owner", "--role", "owner")
    assert "cannot come in" in said(capsys, "annotators", "disable", str(root), "ada")
    refused = said(capsys, "annotators", "invite", str(root), "Ada", status=2)
    assert "Ada is disabled; enable them first" in refused
    assert "may come in again" in said(capsys, "annotators", "enable", str(root), "Ada")
    erased = said(capsys, "annotators", "erase", str(root), "Ada", "--yes")
    assert "stay as those of person-" in erased
    rows = json.loads(said(capsys, "annotators", "list", str(root), "--json"))["annotators"]
    assert [(row["state"], row["role"]) for row in rows] == [
        ("erased", "reviewer"),
        ("invited", "owner"),
    ]
    assert "nobody is called 'Ada'" in said(
        capsys, "annotators", "disable", str(root), "Ada", status=2
    )


def test_a_link_is_for_the_address_that_people_reach(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    added = said(
        capsys, "annotators", "add", str(root), "Bo", "--url", "https://lab.example/", "--json"
    )
    assert json.loads(added)["link"].startswith("https://lab.example/invite/")


def test_a_name_with_escapes_cannot_draw_on_the_terminal(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = said(capsys, "annotators", "add", str(root), "a\x1b]8;;http://evil\x07", status=2)
    assert "U+001B" in refused
    assert "\x1b]" not in refused
    said(capsys, "annotators", "add", str(root), "[red]x[/red]")
    assert "[red]x[/red]" in said(capsys, "annotators", "list", str(root))


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1"])  # noqa: S104 - refused, not listened on
def test_an_address_that_others_reach_is_refused_with_what_it_needs(
    root: Path, host: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ASSENT_SECRET", raising=False)
    refused = said(capsys, "serve", str(root), "--host", host, status=2)
    assert "can be reached by others: set ASSENT_SECRET" in refused
    assert "--tls-cert FILE --tls-key FILE" in refused
    assert refused.count("\n") == 1


def test_a_port_that_is_taken_is_one_line(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        refused = said(capsys, "serve", str(root), "--port", port, status=2)
    assert (
        refused == f"port {port} is taken; choose another with --port, or --port 0 for a free one\n"
    )


def test_what_is_no_project_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "is not a project" in said(capsys, "serve", str(tmp_path), status=2)
    assert "is not a project" in said(capsys, "annotators", "list", str(tmp_path), status=2)
