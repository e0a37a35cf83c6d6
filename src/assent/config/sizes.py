"""One dial: the sizes a project comes in, each a settings file shipped with the package."""

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from assent.config.load import load_settings
from assent.config.project import ProjectSettings
from assent.errors import ConfigError

SIZES = ("tiny", "small", "gpu")


def size_settings(size: str, given: Mapping[str, Any]) -> ProjectSettings:
    """Settings of a size in the embedded world, with some of them given.

    Raises:
        ConfigError: no such size; or what is given does not fit.
    """
    return _settings("sizes", size, _merged({"world": {}}, given))


def own_settings(size: str, given: Mapping[str, Any]) -> ProjectSettings:
    """Settings of a size for a model and prompts of one's own, with some of them given.

    Raises:
        ConfigError: no such size; or what is given does not fit.
    """
    return _settings("own", size, given)


def _settings(folder: str, size: str, given: Mapping[str, Any]) -> ProjectSettings:
    if size not in SIZES:
        message = f"no size is called {size!r}; choose from {', '.join(SIZES)}"
        raise ConfigError(message)
    text = (files("assent.config") / folder / f"{size}.toml").read_text(encoding="utf-8")
    table = _merged(tomllib.loads(text), given)
    return load_settings(ProjectSettings, base=table, base_name=f"size {size}")


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = (
            _merged(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
        )
    return merged
