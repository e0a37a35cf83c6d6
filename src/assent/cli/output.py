"""What commands write: results on stdout for people or programs, everything else on stderr."""

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer


def print_json(result: Mapping[str, Any] | Sequence[Any]) -> None:
    """One JSON document on stdout."""
    typer.echo(json.dumps(result, indent=2, ensure_ascii=False, default=_plain))


def print_error(name: str, message: str, *, as_json: bool) -> None:
    """A red line on stderr, or `{"error": {"name", "message"}}` on stdout for a program."""
    if as_json:
        print_json({"error": {"name": name, "message": message}})
    else:
        typer.secho(message, fg=typer.colors.RED, err=True)


class LogLines(logging.Handler):
    """Log messages as plain lines on stderr, above a progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        colour = typer.colors.YELLOW if record.levelno >= logging.WARNING else None
        # sys.stderr is looked up now: rich puts its own there while a bar is shown.
        typer.secho(self.format(record), fg=colour, file=sys.stderr)


def _plain(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    message = f"{type(value).__name__} does not belong in a result"
    raise TypeError(message)
