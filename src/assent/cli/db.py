"""`assent db`: check, copy and migrate a project's database."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from assent.cli.options import AsJson, ProjectFolder
from assent.cli.output import print_json

app = typer.Typer(no_args_is_help=True, help="Check, copy or migrate a project's database.")


@app.command()
def check(project: ProjectFolder, as_json: AsJson = False) -> None:
    """Find every changed, missing or doubled event, broken reference and damaged artifact."""
    from assent.cli.progress import TerminalProgress
    from assent.errors import StoreDamaged
    from assent.store import Project, check_project

    with Project.open(project) as opened:
        findings = check_project(opened, TerminalProgress())
        counts = {} if findings else opened.store.counts()
    if as_json:
        print_json({"findings": [asdict(finding) for finding in findings], "records": counts})
        raise typer.Exit(2 if findings else 0)
    for finding in findings:
        typer.echo(f"{finding.table} {finding.record}: {finding.problem}")
    if findings:
        message = f"{project}: {len(findings)} found damaged; restore what they name from a backup"
        raise StoreDamaged(message)
    typer.echo(f"{project}: {sum(counts.values())} records, nothing lost or changed")


@app.command()
def backup(
    project: ProjectFolder,
    destination: Annotated[
        Path, typer.Argument(metavar="OUT", help="A new or empty folder.", show_default=False)
    ],
    as_json: AsJson = False,
) -> None:
    """Copy the whole project, consistent even while others write to it."""
    from assent.store import Project, backup_project

    with Project.open(project) as opened:
        copy = backup_project(opened, destination)
    if as_json:
        print_json({"backup": copy})
    else:
        typer.echo(copy)


@app.command()
def upgrade(project: ProjectFolder, as_json: AsJson = False) -> None:
    """Bring the database to this version's schema, after a backup."""
    from assent.store import upgrade as upgrade_project

    done = upgrade_project(project)
    if as_json:
        print_json(asdict(done))
    elif done.backup is None:
        typer.echo(f"{project}: up to date, revision {done.to_revision}")
    else:
        typer.echo(
            f"{project}: revision {done.from_revision} is now {done.to_revision}; "
            f"the state before is in {done.backup}"
        )
