"""Frozen settings, one module a stage; their loader; the metrics and the sinks they go to."""

from assent.config.base import Settings
from assent.config.load import load_settings, settings_hash
from assent.config.write import dump_toml

__all__ = ["Settings", "dump_toml", "load_settings", "settings_hash"]
