"""Turns what pydantic found into lines a user can act on: where, which key, and what to do."""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from assent.config.base import Settings
from assent.config.tables import (
    discriminator_of,
    element_class,
    settings_class,
    tags_of,
    variants,
)

Key = tuple[str | int, ...]
"""Where a value stands: table names, and positions in arrays."""

_LONGEST_VALUE = 60


def dotted(key: Key) -> str:
    """The key as `--set` takes it: `ppo.kl.coef`; positions in arrays are `[0]`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key)
    return text.removeprefix(".")


class Place(NamedTuple):
    """Where a value stands among the settings."""

    key: Key
    around: type[Settings] | None
    """The class of the table that holds the value; None inside free-form tables and arrays."""
    held_by: FieldInfo | None
    """The field that holds that table; None at the top."""


def locate(cls: type[Settings], table: object, loc: Sequence[str | int]) -> Place:
    """What a pydantic location means.

    Pydantic's locations also name the variant of a union that it tried; a key does not.
    """
    key: list[str | int] = []
    around: type[Settings] | None = cls
    below: type[Settings] | None = cls
    held_by: FieldInfo | None = None
    field: FieldInfo | None = None
    variant: object = None
    for position, part in enumerate(loc):
        if variant is not None and part == variant:
            variant = None
        elif isinstance(table, Mapping):
            if part not in table and (below is None or position < len(loc) - 1):
                continue  # the name of a type that a plain union tried
            key.append(part)
            around, held_by, table = below, field, table.get(part)
            if around is None:  # a table whose keys are the user's own
                below, field = element_class(field), None
                continue
            field = around.model_fields.get(str(part))
            below, variant = _below(field, table)
        elif isinstance(table, list) and isinstance(part, int):
            key.append(part)
            around, below, field, table = None, element_class(field), None, table[part]
    return Place(tuple(key), around, held_by)


def _below(field: FieldInfo | None, value: object) -> tuple[type[Settings] | None, object]:
    """The class that reads the table under a field, and the tag pydantic will name in between."""
    if field is None or not isinstance(value, Mapping):
        return None, None
    tag = discriminator_of(field)
    return settings_class(field, value), value.get(tag) if tag else None


def describe(
    cls: type[Settings],
    table: Mapping[str, Any],
    error: ValidationError,
    origins: Mapping[Key, str],
    *,
    skip_missing: bool = False,
) -> list[str]:
    """One line for each key that is wrong.

    Args:
        cls: the settings that were asked for.
        table: the merged table that pydantic refused.
        error: what it said.
        origins: the file or `--set` that each key came from.
        skip_missing: leave out keys that nothing sets, because a file could not be read.
    """
    lines: dict[Key, list[str]] = {}
    for detail in error.errors():
        if skip_missing and detail["type"] in ("missing", "union_tag_not_found"):
            continue
        place = locate(cls, table, detail["loc"])
        key = place.key
        if detail["type"].startswith("union_tag"):
            key = (*key, detail["ctx"]["discriminator"].strip("'"))
        lines.setdefault(key, []).append(_what(cls, place, detail))
    return [
        f"{_origin(key, origins)}{_shown(table, key)}: {' or '.join(dict.fromkeys(whats))}"
        for key, whats in lines.items()
    ]


def _what(cls: type[Settings], place: Place, detail: ErrorDetails) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown(cls, place)
    if kind == "missing":
        return "is required, and nothing sets it"
    if kind == "union_tag_not_found":
        return "is required: it says which kind of table this is"
    if kind == "union_tag_invalid":
        return f"should be one of {context['expected_tags']}"
    if kind == "value_error":
        return str(context["error"])
    return detail["msg"].removeprefix("Input ")


def _unknown(root: type[Settings], place: Place) -> str:
    """What to write instead of an unknown key."""
    around, name = place.around, str(place.key[-1])
    if around is None:
        return "unknown key"
    if name in around.renamed:
        return f"is now called {around.renamed[name]}"
    if place.held_by and (tag := discriminator_of(place.held_by)):
        owners = [one for one in variants(place.held_by.annotation) if name in one.model_fields]
        if owners:
            kinds = " or ".join(repr(kind) for one in owners for kind in tags_of(one, tag))
            here = " or ".join(repr(kind) for kind in tags_of(around, tag))
            return f"belongs to {tag} = {kinds}, and this table has {tag} = {here}"
    near = difflib.get_close_matches(name, around.model_fields, n=1)
    if near:
        return f"unknown key; did you mean {near[0]}?"
    elsewhere = [known for known in all_keys(root) if known.rpartition(".")[2] == name]
    table = dotted(place.key[:-1])
    nearer = [known for known in elsewhere if table and known.startswith(f"{table}.")]
    elsewhere = nearer or elsewhere
    if elsewhere:
        return f"unknown key here; did you mean {' or '.join(elsewhere)}?"
    return f"unknown key; there are {', '.join(around.model_fields)}"


def all_keys(cls: type[Settings], path: str = "") -> Iterator[str]:
    """Every dotted key that files and `--set` may use, over all variants, each once."""
    seen: set[str] = set()
    for name, field in cls.model_fields.items():
        here = f"{path}{name}"
        below = (key for one in variants(field.annotation) for key in all_keys(one, f"{here}."))
        for key in (here, *below):
            if key not in seen:
                seen.add(key)
                yield key


def _origin(key: Key, origins: Mapping[Key, str]) -> str:
    """`FILE: ` or `--set: ` for what gave the key; for a table, everything that gave its keys."""
    for end in range(len(key), 0, -1) if key else (0,):
        names = [name for known, name in origins.items() if known[:end] == key[:end]]
        if names:
            return f"{' and '.join(dict.fromkeys(names))}: "
    return ""


def _shown(table: object, key: Key) -> str:
    """`key = value`, the value shortened; the key alone for a table or a key that is not there."""
    for part in key:
        try:
            table = table[part]  # type: ignore[index]
        except (KeyError, IndexError, TypeError):
            return dotted(key)
    if isinstance(table, Mapping):
        return dotted(key) or "settings"
    # A password in an address is refused; it is no reason to write it down.
    value = re.sub(r"//[^/\s@'\"]*@", "//***@", repr(table))
    if len(value) > _LONGEST_VALUE:
        value = f"{value[: _LONGEST_VALUE - 1]}…"
    return f"{dotted(key)} = {value}"
