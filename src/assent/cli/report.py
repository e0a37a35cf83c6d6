"""`assent report`: write the report of a project again, or say what differs from another."""

from pathlib import Path
from typing import Annotated

import typer

from assent.cli.options import AsJson, ProjectFolder
from assent.cli.output import print_json

Other = Annotated[
    Path | None,
    typer.Option("--diff", metavar="OTHER", help="Say what differs from this project's report."),
]


def report(project: ProjectFolder, diff: Other = None, as_json: AsJson = False) -> None:
    """Write the pages (curves, verdicts, samples), report.json, report.md and the two cards."""
    from assent.report import difference, difference_markdown, read_document, write_report

    page = write_report(project)
    if diff is None:
        if as_json:
            print_json({"report": page})
        else:
            typer.echo(page)
        return
    write_report(diff)
    found = difference(read_document(project), read_document(diff))
    if as_json:
        print_json(found)
    else:
        typer.echo(difference_markdown(found, (project.name, diff.name)), nl=False)
