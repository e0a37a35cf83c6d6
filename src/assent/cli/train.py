"""`assent train`: run one stage of a project by itself, or say beforehand what it will take."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from assent.cli.interrupts import interruptible
from assent.cli.options import (
    AsJson,
    ConfigFiles,
    Overrides,
    Plan,
    ProjectFolder,
    with_settings,
)
from assent.cli.output import print_json
from assent.config.stages import TRAINING

app = typer.Typer(no_args_is_help=True, help="Run one training stage.")

Resume = Annotated[
    bool, typer.Option("--resume", help="Go on from the last checkpoint of the last run.")
]


def _command(stage: str, text: str) -> Callable[..., None]:
    def run(
        project: ProjectFolder,
        config: ConfigFiles = None,
        overrides: Overrides = None,
        resume: Resume = False,
        plan: Plan = False,
        as_json: AsJson = False,
    ) -> None:
        if plan:
            _plan(stage, project, config or [], overrides or [], as_json=as_json)
        else:
            _train(stage, project, config or [], overrides or [], resume=resume, as_json=as_json)

    run.__doc__ = text
    return run


for _stage, _text in TRAINING.items():
    app.command(_stage)(_command(_stage, _text))


def _train(
    stage: str,
    project: Path,
    config: list[Path],
    overrides: list[str],
    *,
    resume: bool,
    as_json: bool,
) -> None:
    from assent.cli.progress import TerminalProgress
    from assent.rounds.single import run_stage

    again = resume_command(stage, project, config, overrides)
    with interruptible("the last checkpoint is kept", again):
        result = run_stage(
            project,
            stage,
            config=config,
            overrides=overrides,
            resume=resume,
            progress=TerminalProgress(),
        )
    if as_json:
        print_json(result)
        return
    for name, value in result.items():
        typer.echo(f"{name}: {value}")


def _plan(
    stage: str, project: Path, config: list[Path], overrides: list[str], *, as_json: bool
) -> None:
    from assent.cli.tables import print_plan
    from assent.rounds.planning import plan_stage

    found = plan_stage(project, stage, config=config, overrides=overrides)
    if as_json:
        print_json({"stages": [found.as_dict()]})
    else:
        print_plan([found])


def resume_command(stage: str, project: Path, config: list[Path], overrides: list[str]) -> str:
    """The command that goes on with a run, its settings among it: they must be the same."""
    words = ["assent", "train", stage, str(project)]
    return f"{with_settings(words, config, overrides)} --resume"
