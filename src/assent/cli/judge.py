"""`assent judge`: have a model judge pairs of responses by a constitution."""

from typing import Annotated

import typer

from assent.cli.interrupts import interruptible
from assent.cli.options import AsJson, ConfigFiles, Overrides, ProjectFolder
from assent.cli.output import print_json


def judge(
    project: ProjectFolder,
    comparisons: Annotated[
        int | None,
        typer.Option(min=1, help="Pairs to judge, if not constitutional.comparisons."),
    ] = None,
    config: ConfigFiles = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Draw pairs from the newest policy and have a model judge them by the constitution.

    They are stored as a model's, apart from people's: set reward.judges to learn from them.
    """
    from assent.cli.progress import TerminalProgress
    from assent.rounds.model_judging import judge_newest

    with interruptible("every answer is kept", f"assent judge {project}"):
        found = judge_newest(
            project,
            comparisons,
            files=tuple(config or ()),
            overrides=tuple(overrides or ()),
            progress=TerminalProgress(),
        )
    if as_json:
        print_json(found)
        return
    for name, value in found.items():
        typer.echo(f"{name}: {value}")
