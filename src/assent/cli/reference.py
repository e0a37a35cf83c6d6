"""Writes the reference pages that come from the code: settings, metrics, commands, errors.

`python -m assent.cli.reference FOLDER`, or `make docs`. A test fails when a page is out of date.
"""

import importlib
import inspect
import os
import pkgutil
import re
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from typer.models import ArgumentInfo, OptionInfo

import assent.config
from assent import errors
from assent.cli.main import app
from assent.config.base import Settings
from assent.config.metrics import METRICS
from assent.config.tables import variants
from assent.formats import FORMATS
from assent.formats.format import Format
from assent.formats.own import NAMES

GENERATED = "<!-- Written by `make docs` from the code; edit the code. -->\n"


def pages() -> dict[str, str]:
    """File name and text of every generated page."""
    return {
        "settings.md": settings_page(),
        "metrics.md": metrics_page(),
        "commands.md": commands_page(),
        "errors.md": errors_page(),
        "formats.md": formats_page(),
    }


def write_pages(folder: Path) -> None:
    """Write every page, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        unfinished = folder / f".{name}.unfinished"
        with unfinished.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(folder / name)


def settings_classes() -> list[type[Settings]]:
    """Every settings class: whole files first, each followed by the tables in it, in order."""
    declared: list[type[Settings]] = []
    for module_info in pkgutil.iter_modules(assent.config.__path__, "assent.config."):
        module = importlib.import_module(module_info.name)
        for value in vars(module).values():
            is_ours = inspect.isclass(value) and issubclass(value, Settings)
            if is_ours and value is not Settings and value.__module__ == module.__name__:
                declared.append(value)
    inside = {below for cls in declared for below in _tables(cls)}
    ordered: dict[type[Settings], None] = {}
    waiting = [cls for cls in declared if cls not in inside]
    while waiting:
        cls = waiting.pop(0)
        if cls not in ordered:
            ordered[cls] = None
            waiting = [*_tables(cls), *waiting]
    return list(ordered)


def _tables(cls: type[Settings]) -> list[type[Settings]]:
    """The classes of the tables in this one, in collections too."""
    found: list[type[Settings]] = []
    for field in cls.model_fields.values():
        for annotation in (field.annotation, *get_args(field.annotation)):
            found += [one for one in variants(annotation) if one not in found]
    return found


def settings_page() -> str:
    """Each settings class with its keys, their types, defaults and meanings."""
    parts = [
        GENERATED,
        "# Settings\n",
        "Defaults < TOML files in order (`-c FILE`) < `--set key.path=value`. Unknown keys are "
        "errors. A table with a `kind` is one of several; without it the default's is meant.\n",
    ]
    for cls in settings_classes():
        rows = [
            (f"`{name}`", _type_text(field), _default_text(field), meaning(name, field))
            for name, field in cls.model_fields.items()
        ]
        parts += [f"## {cls.__name__}\n", f"{inspect.getdoc(cls) or ''}\n"]
        parts.append(_markdown_table(("key", "type", "default", "meaning"), rows))
    return "\n".join(parts)


def meaning(name: str, field: FieldInfo) -> str:
    """The text under a field; for a table without one, what its class says; empty if nothing is."""
    if field.description:
        return _one_line(field.description)
    tables = variants(field.annotation)
    if len(tables) == 1:
        return _one_line(inspect.getdoc(tables[0]))
    return "Which kind of table this is." if name == "kind" else ""


def metrics_page() -> str:
    """The table of metrics."""
    rows = [
        (
            f"`{metric.name}`",
            metric.unit,
            ", ".join(metric.stages),
            f"`{metric.trl_tag}`" if metric.trl_tag else "",
            metric.meaning,
        )
        for metric in METRICS.values()
    ]
    return "\n".join(
        [
            GENERATED,
            "# Metrics\n",
            'Every stage writes `metrics.jsonl`, one object a step: `{"step": 3, "loss/value": '
            "0.25}`; `null` stands for a value that is not finite. TensorBoard and Weights & "
            "Biases get TRL's tag where there is one. Units: `share` is from 0 to 1, `reward` is "
            "in units of the normalised reward model, `1` is a bare number.\n",
            _markdown_table(("name", "unit", "stages", "TRL's tag", "meaning"), rows),
        ]
    )


def commands_page() -> str:
    """Each command with its arguments and options."""
    parts = [
        GENERATED,
        "# Commands\n",
        "Exit status: 0 success; 2 something to mend, with one line that says what (with `--json` "
        'an object `{"error": {"name", "message"}}`); 130 Ctrl-C, with a line that says how '
        "to go on; 1 a bug, with its traceback.\n",
    ]
    for name, callback in commands(app):
        parameters = list(_parameters(callback))
        words = [name, *(one.spelling for one in parameters if one.is_positional)]
        parts += [f"## {' '.join(words)}\n", f"{_one_line(inspect.getdoc(callback))}\n"]
        rows = [(f"`{one.spelling}`", one.meaning, one.default) for one in parameters]
        if rows:
            parts.append(_markdown_table(("", "meaning", "default"), rows))
    return "\n".join(parts)


def commands(
    group: typer.Typer, name: str = "assent"
) -> Iterator[tuple[str, Callable[..., object]]]:
    """Every command's full name and function, in the order of the help."""
    for command in group.registered_commands:
        if command.callback is not None:
            yield f"{name} {command.name or command.callback.__name__}", command.callback
    for below in group.registered_groups:
        if below.typer_instance is not None:
            yield from commands(below.typer_instance, f"{name} {below.name}")


@dataclass(frozen=True, slots=True)
class Parameter:
    """An argument or an option as a user spells it."""

    spelling: str
    is_positional: bool
    meaning: str
    default: str


def _parameters(callback: Callable[..., object]) -> Iterator[Parameter]:
    for name, parameter in inspect.signature(callback).parameters.items():
        annotation, info = get_args(parameter.annotation)
        is_required = parameter.default is inspect.Parameter.empty
        default = "required" if is_required else _given(parameter.default)
        if isinstance(info, ArgumentInfo):
            spelling = info.metavar or name.upper()
        elif annotation is bool:
            spelling = ", ".join(_switches(name, info))
        else:
            spelling = f"{', '.join(_switches(name, info))} {info.metavar or _kind(annotation)}"
        yield Parameter(spelling, isinstance(info, ArgumentInfo), info.help or "", default)


def _switches(name: str, info: OptionInfo) -> Sequence[str]:
    # Inside Annotated, typer keeps the first spelling where the default would be.
    given = (info.default, *(info.param_decls or ()))
    spellings = [one for one in given if isinstance(one, str) and one.startswith("-")]
    return spellings or [f"--{name.replace('_', '-')}"]


def _kind(annotation: object) -> str:
    """`N` for a number, `TEXT` for the rest."""
    return "N" if annotation is int or int in get_args(annotation) else "TEXT"


def _given(default: object) -> str:
    return "" if default is None or default is False else f"`{default}`"


def errors_page() -> str:
    """The tree of errors, and what each means."""
    rows = [
        (
            f"`{error.__name__}`",
            ", ".join(f"`{parent.__name__}`" for parent in error.__bases__),
            str(error.status),
            _one_line(error.__doc__),
        )
        for error in error_tree()
    ]
    return "\n".join(
        [
            GENERATED,
            "# Errors\n",
            "Every error that Assent raises on purpose; the HTTP status is the one an API reports "
            "it with. On the command line each is one line and exit status 2.\n",
            _markdown_table(("error", "is a", "HTTP", "meaning"), rows),
        ]
    )


def formats_page() -> str:
    """Every file format: its columns, what it is read into, and what it can carry."""
    summary = [
        (
            f"[`{one.name}`](#{one.name})",
            one.title,
            ", ".join(NAMES[record] for record in one.gives),
            ", ".join(NAMES[record] for record in one.takes) or "read only",
        )
        for one in FORMATS.values()
    ]
    sections = [line for one in FORMATS.values() for line in _format_section(one)]
    return "\n".join(
        [
            GENERATED,
            "# File formats\n",
            "`assent data inspect FILE` tells which of these a file is in; of several that fit "
            "equally, the one that stands first here. Files are JSON lines, a JSON array or CSV, "
            "each also gzipped; with the extra `[hub]` also parquet and `save_to_disk` folders.\n",
            _markdown_table(("format", "what it is", "read into", "written from"), summary),
            *sections,
        ]
    )


def _format_section(one: Format) -> list[str]:
    carried = sorted(one.carries)
    places = f"Beside the texts it has a place for: {', '.join(carried)}.\n" if carried else ""
    return [
        f"\n## {one.name}\n",
        f"{one.title}. {places if one.takes else ''}".rstrip() + "\n",
        _markdown_table(
            ("column", "meaning"), [(f"`{name}`", text) for name, text in one.columns.items()]
        ),
    ]


def error_tree(
    root: type[errors.AssentError] = errors.AssentError,
) -> Iterator[type[errors.AssentError]]:
    """Each error of `errors.py`, parents first."""
    yield root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from error_tree(child)


def _type_text(field: FieldInfo) -> str:
    return f"{_annotation_text(field.annotation)}{_limits(field.metadata)}"


def _limits(rules: Sequence[object]) -> str:
    """` (> 0, <= 1)`, or nothing."""
    signs = {"gt": "> {}", "ge": ">= {}", "lt": "< {}", "le": "<= {}"}
    limits = [
        text.format(limit)
        for rule in rules
        for name, text in signs.items()
        if (limit := getattr(rule, name, None)) is not None
    ]
    return f" ({', '.join(limits)})" if limits else ""


def _annotation_text(annotation: Any) -> str:  # noqa: ANN401 - any type expression
    origin, members = get_origin(annotation), get_args(annotation)
    below = variants(annotation)
    if below:
        links = [f"[{one.__name__}](#{one.__name__.lower()})" for one in below]
        return " or ".join(links)
    if origin is Literal:
        return " or ".join(f"`{_toml(value)}`" for value in members)
    if origin is Annotated:
        rules = [part for one in members[1:] for part in getattr(one, "metadata", [one])]
        return f"{_annotation_text(members[0])}{_limits(rules)}"
    if origin in (Union, types.UnionType):
        return " or ".join(_annotation_text(one) for one in members if one is not type(None))
    return _collection_text(annotation) or _name_text(annotation)


def _collection_text(annotation: object) -> str:
    """`array of ...` or `table of ...`; empty for anything else."""
    origin, members = get_origin(annotation), get_args(annotation)
    if origin in (list, tuple, set, frozenset):
        inside = dict.fromkeys(_annotation_text(one) for one in members if one is not Ellipsis)
        return f"array of {', '.join(inside)}"
    if origin is dict:
        return f"table of {_annotation_text(members[1])}"
    return ""


def _name_text(annotation: object) -> str:
    names = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
    name = getattr(annotation, "__name__", str(annotation))
    return names.get(name, name.lower())


def _default_text(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    if default is PydanticUndefined:
        return "required"
    if default is None:
        return "none"
    if isinstance(default, Settings):
        names = [name for name in type(default).model_fields if name in default.model_fields_set]
        given = ", ".join(f"{name}={getattr(default, name)!r}" for name in names)
        return f"`{type(default).__name__}({given})`"
    return f"`{_toml(default)}`"


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    return repr(value) if isinstance(value, int | float) else f'"{value}"'


def _one_line(text: str | None) -> str:
    return re.sub(r"\s+", " ", text or "").strip()


def _markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = [head, ["---"] * len(head), *rows]
    lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in cells]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    write_pages(Path(sys.argv[1]))
