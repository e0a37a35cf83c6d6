"""`assent train`: run one stage of a project by itself."""

from pathlib import Path
from typing import Annotated

import typer

from assent.cli.interrupts import interruptible
from assent.cli.options import AsJson, ConfigFiles, Overrides, ProjectFolder
from assent.cli.output import print_json

app = typer.Typer(no_args_is_help=True, help="Run one training stage.")

Resume = Annotated[
    bool, typer.Option("--resume", help="Go on from the last checkpoint of the last run.")
]


@app.command()
def sft(
    project: ProjectFolder,
    config: ConfigFiles = None,
    overrides: Overrides = None,
    resume: Resume = False,
    as_json: AsJson = False,
) -> None:
    """Train the policy on demonstrations."""
    _train("sft", project, config, overrides, resume=resume, as_json=as_json)


@app.command()
def reward(
    project: ProjectFolder,
    config: ConfigFiles = None,
    overrides: Overrides = None,
    resume: Resume = False,
    as_json: AsJson = False,
) -> None:
    """Train a reward model on a snapshot of all judgements so far."""
    _train("reward", project, config, overrides, resume=resume, as_json=as_json)


@app.command()
def ppo(
    project: ProjectFolder,
    config: ConfigFiles = None,
    overrides: Overrides = None,
    resume: Resume = False,
    as_json: AsJson = False,
) -> None:
    """Optimise the policy against the reward model, held near the reference by a KL penalty."""
    _train("ppo", project, config, overrides, resume=resume, as_json=as_json)


def _train(
    stage: str,
    project: Path,
    config: list[Path] | None,
    overrides: list[str] | None,
    *,
    resume: bool,
    as_json: bool,
) -> None:
    from assent.cli.progress import TerminalProgress
    from assent.rounds.stages import run_stage

    with interruptible("the last checkpoint is kept", f"assent train {stage} {project} --resume"):
        result = run_stage(
            project,
            stage,
            config=config or [],
            overrides=overrides or [],
            resume=resume,
            progress=TerminalProgress(),
        )
    if as_json:
        print_json(result)
        return
    for name, value in result.items():
        typer.echo(f"{name}: {value}")
