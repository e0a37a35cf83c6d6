"""`assent init`: a project around your own model and prompts."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from assent.cli.options import AsJson
from assent.cli.output import print_json


def init(
    project: Annotated[
        Path, typer.Argument(metavar="DIR", help="A new or empty folder.", show_default=False)
    ],
    model: Annotated[
        str, typer.Option(metavar="PATH_OR_ID", help="A Hugging Face causal LM: folder or hub id.")
    ],
    prompts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Prompts: one a line (.txt), or a file `data import` reads."
        ),
    ] = None,
    size: Annotated[str, typer.Option(help="How long the runs are: tiny, small or gpu.")] = "tiny",
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same run.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Make a project around a model you have; it is copied, and its prompts are imported."""
    from assent.rounds.starting import init_project

    made = init_project(project, model=model, prompts=prompts, size=size, seed=seed)
    if as_json:
        print_json(asdict(made))
        return
    typer.echo(
        f"base model: {made.parameters:,} parameters, {made.model} "
        f"(weights {made.weights_sha256[:12]})"
    )
    typer.echo(f"chat: {made.chat}")
    typer.echo(f"pad token: {made.pad_token}")
    counts = ", ".join(f"{count} {split}" for split, count in made.prompts.items())
    typer.echo(f"prompts: {counts or f'none yet; add some: assent data import {project} FILE'}")
    for reason, count in made.dropped.items():
        typer.echo(f"left out: {count}, {reason}")
    if made.too_long:
        typer.echo(
            f"too long to be asked: {made.too_long}; the model reads {made.positions} tokens, "
            "prompt and response"
        )
    typer.echo(f"settings: {project / 'assent.toml'}")
    typer.echo(f"next: assent loop run {project}")
