"""`assent doctor`: what is installed, what works, what to do about the rest."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from assent.cli.options import AsJson
from assent.cli.output import print_json

MARKS = {"ok": "ok", "optional": "--", "bad": "!!"}
COLOURS = {"ok": typer.colors.GREEN, "optional": None, "bad": typer.colors.RED}


def doctor(
    project: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DIR]", help="A project folder to look at too.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what is installed and what works; ends with status 2 when something must be mended."""
    from assent.cli.checks import all_checks

    checks = []
    for check in all_checks(project):
        checks.append(check)
        if not as_json:
            typer.secho(f"{MARKS[check.state]}  ", fg=COLOURS[check.state], nl=False)
            typer.echo(f"{check.name:<14} {check.found}")
            if check.remedy:
                typer.echo(f"{'':<18} {check.remedy}")
    if as_json:
        print_json([asdict(check) for check in checks])
    if any(check.state == "bad" for check in checks):
        raise typer.Exit(2)
