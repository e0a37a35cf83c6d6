"""`assent report`: write the HTML report of a project again."""

import typer

from assent.cli.options import AsJson, ProjectFolder
from assent.cli.output import print_json


def report(project: ProjectFolder, as_json: AsJson = False) -> None:
    """Write one self-contained page: curves, behaviours, answers side by side, lineage."""
    from assent.report import write_report

    page = write_report(project)
    if as_json:
        print_json({"report": page})
    else:
        typer.echo(page)
