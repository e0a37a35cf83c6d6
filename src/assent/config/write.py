"""Writes settings as TOML that loads into an equal object, with each field's text as a comment."""

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from assent.config.base import Settings

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_COMMENT_WIDTH = 98


def dump_toml(settings: Settings, *, comments: bool = True) -> str:
    """The settings as TOML, defaults included; a value of None is left out, as it is the default.

    Args:
        settings: any settings object.
        comments: put the text that documents a field above it.
    """
    return "\n".join(_table(settings, settings.model_dump(mode="json"), (), comments)) + "\n"


def _table(
    owner: object, values: Mapping[str, Any], path: tuple[str, ...], comments: bool
) -> Iterator[str]:
    """Lines of one table: values first, because whatever follows a subtable belongs to it."""
    given = {name: value for name, value in values.items() if value is not None}
    tables = {name: value for name, value in given.items() if isinstance(value, dict)}
    for name, value in given.items():
        if name not in tables:
            yield from _comment(owner, name) if comments else ()
            yield f"{_key(name)} = {_value(value)}"
    for name, value in tables.items():
        here = (*path, name)
        yield ""
        yield from _comment(owner, name) if comments else ()
        yield f"[{'.'.join(_key(part) for part in here)}]"
        below = owner.get(name) if isinstance(owner, Mapping) else getattr(owner, name, None)
        yield from _table(below, value, here, comments)


def _comment(owner: object, name: str) -> Iterator[str]:
    field = type(owner).model_fields.get(name) if isinstance(owner, Settings) else None
    if field is not None and field.description:
        text = " ".join(field.description.split())
        yield from (f"# {line}" for line in textwrap.wrap(text, _COMMENT_WIDTH))


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else _string(name)


def _string(text: str) -> str:
    # A JSON string is a TOML basic string but for DEL, which TOML wants escaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list):
        return f"[{', '.join(_value(item) for item in value)}]"
    if isinstance(value, dict):
        pairs = [f"{_key(k)} = {_value(v)}" for k, v in value.items() if v is not None]
        return f"{{{', '.join(pairs)}}}"
    return _string(str(value))
