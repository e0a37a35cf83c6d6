"""`assent audit`: list the audits, and run them on a project's models."""

from typing import Annotated

import typer

from assent.cli.interrupts import interruptible
from assent.cli.options import AsJson, ConfigFiles, Overrides, ProjectFolder
from assent.cli.output import print_json

app = typer.Typer(no_args_is_help=True, help="Measure where approval and quality part.")


@app.command("list")
def list_audits(as_json: AsJson = False) -> None:
    """List the audits: what each asks, and the figures it reports."""
    from assent.audit.catalogue import AUDITS
    from assent.cli.audit_tables import print_catalogue

    if as_json:
        print_json(
            [
                {
                    "name": audit.name,
                    "title": audit.title,
                    "version": audit.version,
                    "figures": {figure.name: figure.what for figure in audit.figures},
                }
                for audit in AUDITS
            ]
        )
        return
    print_catalogue(AUDITS)


@app.command("run")
def run(
    project: ProjectFolder,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Audits to run; all if none is named."),
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="REF",
            help="Model to audit, by name in the store or folder; several make a trend.",
        ),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(metavar="REF", help="What to compare with, if not the SFT policy."),
    ] = None,
    config: ConfigFiles = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Audit the newest policy (or the models named) and compare it with the baseline."""
    from assent.cli.audit_tables import print_suite
    from assent.cli.progress import TerminalProgress
    from assent.rounds.audits import run_audits

    with interruptible("every finished chunk of items is kept", f"assent audit run {project} ..."):
        found = run_audits(
            project,
            names=names or [],
            models=models or [],
            baseline=baseline,
            config=config or [],
            overrides=overrides or [],
            progress=TerminalProgress(),
        )
    if as_json:
        print_json(found)
        return
    print_suite(found)
    typer.echo(f"all figures: {project / 'audits' / 'latest.json'}")
