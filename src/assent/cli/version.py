"""`assent version`."""

import typer

from assent import __version__
from assent.cli.options import AsJson
from assent.cli.output import print_json


def version(as_json: AsJson = False) -> None:
    """Print the version of Assent."""
    if as_json:
        print_json({"version": __version__})
    else:
        typer.echo(__version__)
