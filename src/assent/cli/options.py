"""Arguments and options that several commands share."""

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
