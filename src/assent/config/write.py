"""Writes settings as TOML that loads into an equal object, with each field's text as a comment."""

import json
import re
import textwrap
import tomllib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from assent.config.base import Settings
from assent.errors import ConfigError

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_COMMENT_WIDTH = 98


def dump_toml(settings: Settings, *, comments: bool = True, leave_out: Collection[str] = ()) -> str:
    """The settings as TOML, defaults included; a value of None is left out, as it is the default.

    Args:
        settings: any settings object.
        comments: put the text that documents a field above it.
        leave_out: names at the top that are not written and so keep their defaults.
    """
    values = settings.model_dump(mode="json", exclude=set(leave_out))
    return "\n".join(_table(settings, values, (), comments)) + "\n"


def with_value(text: str, table: str, key: str, value: str) -> str:
    """A settings file's text with one key of a top-level table set, every other line as it was.

    Args:
        text: TOML.
        table: for example `loop`; added at the end where there is none.
        key: a bare key of that table.
        value: the value as TOML spells it.

    Raises:
        ConfigError: the text spells the table in a way that a line edit cannot follow.
    """
    line = f"{key} = {value}"
    lines = text.splitlines()
    header = next((n for n, one in enumerate(lines) if _opens(one, table)), None)
    if header is None:
        lines += ["", f"[{table}]", line]
    else:
        end = next(
            (n for n in range(header + 1, len(lines)) if lines[n].lstrip().startswith("[")),
            len(lines),
        )
        old = [n for n in range(header + 1, end) if re.match(rf"\s*{key}\s*=", lines[n])]
        if old:
            lines[old[0]] = line
        else:
            lines.insert(header + 1, line)
    edited = "\n".join(lines) + "\n"
    wanted = tomllib.loads(f"value = {value}")["value"]
    try:
        stored = tomllib.loads(edited).get(table, {}).get(key)
    except tomllib.TOMLDecodeError:
        stored = None
    if stored != wanted:
        message = f"assent.toml: write it into a [{table}] table yourself: {line}"
        raise ConfigError(message)
    return edited


def _opens(line: str, table: str) -> bool:
    return re.match(rf"\s*\[\s*{re.escape(table)}\s*\]", line) is not None


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
