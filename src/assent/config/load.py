"""Reads settings: defaults < TOML files in order < `--set key.path=value`, every problem at once.

Values are checked strictly (a string is not a number, `true` is not 1) but as JSON would be, so a
path may be given as a string and a tuple as an array. The lower layer of a table with variants is
dropped when a higher layer names another variant, because its keys belong to the old one.
"""

import hashlib
import json
import logging
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from assent.config.base import Settings
from assent.config.problems import Key, describe, dotted, locate
from assent.config.tables import default_of, discriminator_of, settings_class, variant_default
from assent.errors import ConfigError

logger = logging.getLogger(__name__)

AnySettings = TypeVar("AnySettings", bound=Settings)
Table = dict[str, Any]

_POSITION = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


def load_settings(
    cls: type[AnySettings],
    files: Sequence[Path] = (),
    overrides: Sequence[str] = (),
    base: Mapping[str, Any] | None = None,
    *,
    base_name: str = "the project's settings",
) -> AnySettings:
    """Settings of `cls` from its defaults, `base`, TOML files and overrides; later ones win.

    Args:
        cls: which settings.
        files: TOML files, each laid over the ones before it.
        overrides: `key.path=value`; the value is read as TOML and, failing that, as a string.
            An empty value puts the default back.
        base: a table under the files, for a stage whose settings are a part of the project's.
        base_name: what messages call `base`.

    Raises:
        ConfigError: lists every problem with its key and the file or `--set` it came from.
    """
    problems: list[str] = []
    merged: Table = {}
    origins: dict[Key, str] = {}
    layers: list[tuple[str, Table]] = [(base_name, dict(base))] if base else []
    for file in files:
        try:
            layers.append((str(file), read_toml(file)))
        except ConfigError as error:
            problems.append(str(error))
    is_incomplete = bool(problems)  # a key that seems to be missing may be in the unread file
    for name, layer in layers:
        _lay_over(cls, merged, layer, name, origins)
    assigned, dropped, raw = _parse_overrides(overrides, problems)
    for dropped_key in dropped:
        _drop(merged, dropped_key)
        _forget(origins, dropped_key)
    _lay_over(cls, merged, assigned, "--set", origins)
    for key, kind in sorted(_complete(cls, merged), key=lambda item: dotted(item[0])):
        logger.info("%s is not given: using the default, %r", dotted(key), kind)

    settings = _validate(cls, merged, raw)
    if isinstance(settings, ValidationError):
        problems += describe(cls, merged, settings, origins, skip_missing=is_incomplete)
    if problems or isinstance(settings, ValidationError):
        raise ConfigError(_one_message(problems))
    return settings


def read_toml(file: Path) -> Table:
    """The table in a TOML file.

    Raises:
        ConfigError: the file cannot be read, is not UTF-8, or is not TOML (names line and column).
    """
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        message = f"{file}: not a UTF-8 text file (byte {error.start})"
        raise ConfigError(message) from None
    except OSError as error:
        message = f"{file}: cannot be read: {error.strerror}"
        raise ConfigError(message) from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        reason = str(error)
        position = _POSITION.search(reason)
        line, column = position.groups() if position else (None, None)
        if line is None:
            line, column = str(text.count("\n") + 1), str(len(text) - text.rfind("\n"))
        reason = _POSITION.sub("", reason)
        message = f"{file}, line {line}, column {column}: not TOML: {reason}"
        raise ConfigError(message) from None


def settings_hash(settings: Settings) -> str:
    """SHA-256 (64 hex digits) of every value, defaults included, independent of field order."""
    # Through JSON once: a float whose default is written `1` is 1.0 there, as in a reloaded file.
    reloaded = type(settings).model_validate_json(settings.model_dump_json())
    values = reloaded.model_dump(mode="json")
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _parse_overrides(
    overrides: Sequence[str], problems: list[str]
) -> tuple[Table, list[tuple[str, ...]], dict[Key, str]]:
    """What `--set` assigns, the keys it puts back to their defaults, and each value as typed."""
    assigned: Table = {}
    dropped: list[tuple[str, ...]] = []
    raw: dict[Key, str] = {}
    for override in overrides:
        name, equals, text = override.partition("=")
        key = tuple(part.strip() for part in name.split("."))
        if not equals or not all(key):
            problems.append(f"--set {override}: must be KEY=VALUE, as in --set ppo.epochs=2")
            continue
        _drop(assigned, key)
        raw = {known: value for known, value in raw.items() if known[: len(key)] != key}
        if not text.strip():
            dropped.append(key)
            continue
        raw[key] = text
        table = assigned
        for part in key[:-1]:
            if not isinstance(table.get(part), dict):
                table[part] = {}
            table = table[part]
        table[key[-1]] = _toml_value(text)
    return assigned, dropped, raw


def _toml_value(text: str) -> object:
    try:
        table = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    # A newline in the text could smuggle in a second key: then the text is simply a string.
    return table["value"] if table.keys() == {"value"} else text


def _lay_over(
    cls: type[Settings] | None,
    under: Table,
    over: Mapping[str, Any],
    name: str,
    origins: dict[Key, str],
    path: Key = (),
) -> None:
    """Merge `over` into `under` in place; tables merge, everything else is replaced."""
    for key, value in over.items():
        here = (*path, key)
        if not isinstance(value, Mapping):
            under[key] = value
            _forget(origins, here)
            origins[here] = name
            continue
        field = cls.model_fields.get(key) if cls else None
        current = under.get(key)
        if not isinstance(current, dict) or _names_another_variant(field, current, value):
            under[key] = current = {}
            _forget(origins, here)
        if not value:
            origins[here] = name
        nested = settings_class(field, {**current, **value}) if field else None
        _lay_over(nested, current, value, name, origins, here)


def _names_another_variant(
    field: FieldInfo | None, current: Table, value: Mapping[str, Any]
) -> bool:
    tag = discriminator_of(field) if field else None
    if field is None or tag is None or tag not in value:
        return False
    return bool(value[tag] != current.get(tag, variant_default(field)))


def _drop(table: Table, key: Sequence[str]) -> None:
    for part in key[:-1]:
        below = table.get(part)
        if not isinstance(below, dict):
            return
        table = below
    table.pop(key[-1], None)


def _forget(origins: dict[Key, str], key: Key) -> None:
    for known in [known for known in origins if known[: len(key)] == key]:
        del origins[known]


def _complete(
    cls: type[Settings], table: Table, default: Settings | None = None, path: Key = ()
) -> list[tuple[Key, object]]:
    """Fill in what a default object says and a partly given table leaves out.

    Pydantic would take the class defaults there: `kl = AdaptiveKl(target_nats=3)` must stay 3 when
    a file sets `kl.horizon_episodes` alone. Returns the variants it chose, for the log.
    """
    chosen: list[tuple[Key, object]] = []
    for key in table.keys() & cls.model_fields.keys():
        field, value = cls.model_fields[key], table[key]
        if not isinstance(value, dict):
            continue
        below = getattr(default, key) if default else default_of(field)
        tag = discriminator_of(field)
        if tag is not None and tag not in value and (kind := getattr(below, tag, None)) is not None:
            value[tag] = kind
            chosen.append(((*path, key, tag), kind))
        nested = settings_class(field, value)
        if nested is not None:
            same = below if type(below) is nested else None
            chosen += _complete(nested, value, same, (*path, key))
    if default is not None:
        values = default.model_dump(mode="json", include=default.model_fields_set - table.keys())
        table.update({key: value for key, value in values.items() if value is not None})
    return chosen


def _validate(
    cls: type[AnySettings], merged: Table, raw: Mapping[Key, str]
) -> AnySettings | ValidationError:
    try:
        return _validate_json(cls, merged)
    except ValidationError as error:
        first = error
    # `--set name=5` means the text 5 where the key holds text, whatever TOML makes of it.
    not_text = [detail["loc"] for detail in first.errors() if detail["type"] == "string_type"]
    keys = {locate(cls, merged, loc).key for loc in not_text} & raw.keys()
    if not keys:
        return first
    for key in keys:
        table = merged
        for part in key[:-1]:
            table = table[str(part)]
        table[str(key[-1])] = raw[key]
    try:
        return _validate_json(cls, merged)
    except ValidationError as error:
        return error


def _validate_json(cls: type[AnySettings], merged: Table) -> AnySettings:
    # TOML dates become text, which is how pydantic reads them from JSON.
    return cls.model_validate_json(json.dumps(merged, default=str), strict=True)


def _one_message(problems: Sequence[str]) -> str:
    if len(problems) == 1:
        return problems[0]
    return "\n  ".join([f"{len(problems)} problems in the settings:", *problems])
