"""Arguments and options that several commands share."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

ProjectFolder = Annotated[
    Path, typer.Argument(metavar="DIR", help="The project folder.", show_default=False)
]
ConfigFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--config", "-c", metavar="FILE", help="TOML file over the project's; later files win."
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="KEY=VALUE", help="Override one key; wins over files."),
]
Plan = Annotated[
    bool,
    typer.Option("--plan", help="Print schedule and memory before anything starts, and stop."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def with_settings(words: Sequence[str], config: Sequence[Path], overrides: Sequence[str]) -> str:
    """A command with the settings that it was given, as it would be typed again."""
    given = [word for file in config for word in ("-c", str(file))]
    given += [word for override in overrides for word in ("--set", override)]
    return shlex.join([*words, *given])
