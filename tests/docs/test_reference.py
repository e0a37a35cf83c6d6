"""The reference is current and complete, and the documents point at things that exist."""

import re
import subprocess
from pathlib import Path

import pytest

from assent import errors
from assent.cli.main import app
from assent.cli.reference import (
    commands,
    error_tree,
    meaning,
    pages,
    settings_classes,
    write_pages,
)
from assent.config.load import load_settings, settings_hash
from assent.config.metrics import METRICS
from assent.config.write import dump_toml

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"


def documents() -> list[Path]:
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "*.md"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return [ROOT / name for name in listed.stdout.split("\0") if name]


@pytest.mark.parametrize("name", sorted(pages()))
def test_a_generated_page_is_current(name: str) -> None:
    assert (REFERENCE / name).read_text() == pages()[name], "out of date: run `make docs`"


def test_make_docs_writes_those_pages(tmp_path: Path) -> None:
    write_pages(tmp_path / "reference")
    written = {file.name: file.read_text() for file in (tmp_path / "reference").iterdir()}
    assert written == pages()


def test_every_metric_error_and_command_is_in_the_reference() -> None:
    metrics, tree, lines = (
        (REFERENCE / name).read_text() for name in ("metrics.md", "errors.md", "commands.md")
    )
    assert [name for name in METRICS if f"| `{name}` |" not in metrics] == []
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    assert classes
    assert [one.__name__ for one in classes if f"| `{one.__name__}` |" not in tree] == []
    names = [name for name, _ in commands(app)]
    assert {"assent demo", "assent loop run", "assent train ppo", "assent doctor"} <= set(names)
    assert [name for name in names if f"## {name}" not in lines] == []


def test_every_setting_is_in_the_reference_and_says_what_it_means() -> None:
    text = (REFERENCE / "settings.md").read_text()
    fields = [
        (f"{cls.__name__}.{name}", name, field)
        for cls in settings_classes()
        for name, field in cls.model_fields.items()
    ]
    assert [where for where, name, _ in fields if f"| `{name}` |" not in text] == []
    silent = [where for where, name, field in fields if not meaning(name, field)]
    assert silent == [], "put a line of text under these fields"


def test_the_defaults_of_every_setting_are_valid_and_survive_a_file() -> None:
    for cls in settings_classes():
        if any(field.is_required() for field in cls.model_fields.values()):
            continue
        defaults = cls()
        assert settings_hash(defaults) == settings_hash(load_settings(cls))
        assert dump_toml(load_settings(cls)) == dump_toml(defaults)


def test_the_tree_in_the_docstring_of_errors_is_the_tree() -> None:
    """Each class with its parent, by indentation; both orders are that of the source."""
    drawn: dict[str, str] = {}
    stack: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.fullmatch(r"( {4,})([A-Z]\w+)(?: {2,}.*)?", line)
        if found is None:
            continue
        indent, name = len(found[1]), found[2]
        while stack and stack[-1][0] >= indent:
            stack.pop()
        drawn[name] = stack[-1][1] if stack else "Exception"
        stack.append((indent, name))
    assert drawn == {one.__name__: one.__bases__[0].__name__ for one in error_tree()}


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_inside_the_repository_resolve(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)", document.read_text())
    inside = [target for target in targets if not re.match(r"[a-z]+:", target)]
    assert [target for target in inside if not (document.parent / target).exists()] == []


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_commands_that_a_document_names_exist(document: Path) -> None:
    text = document.read_text()
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)
    assert set(named) - set(targets) == set()

    known = [name.split() for name, _ in commands(app)]
    for line in re.findall(r"^(?:\$ )?(assent [a-z][^\n`]*)", text, re.MULTILINE):
        words = line.split()
        assert any(words[: len(name)] == name for name in known), line


def test_the_readme_is_short_and_its_two_commands_do_the_set_up() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 120
    assert re.search(r"^(\$ )?make demo\b", text, re.MULTILINE)
    assert re.search(r"^(\$ )?make test\b", text, re.MULTILINE)
