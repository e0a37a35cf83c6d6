"""`assent reward serve`: a reward model behind an API."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from assent.errors import DataError

app = typer.Typer(no_args_is_help=True, help="Reward models.")

TOKEN_VARIABLE = "ASSENT_REWARD_TOKEN"  # noqa: S105 - the name of a variable


@app.callback()
def group() -> None:
    """Reward models."""


@app.command()
def serve(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="A reward model folder, or a project: its newest reward model."
        ),
    ],
    host: Annotated[str, typer.Option(metavar="HOST", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8100,
    device: Annotated[
        str, typer.Option(metavar="NAME", help="auto, cpu, cuda or cuda:N.")
    ] = "auto",
) -> None:
    """Score texts over HTTP: POST /rewards {"prompts", "responses"} is answered {"rewards"}.

    With ASSENT_REWARD_TOKEN set, requests must bring it as a bearer token; without it the server
    listens on the loopback only.
    """
    from assent.models.loading import choose_device
    from assent.models.reward_ensembles import load_reward
    from assent.serving.rewards import open_listener, serve_rewards

    token = os.environ.get(TOKEN_VARIABLE, "").strip() or None
    # Listening first: an address that cannot be had is said before a model is loaded.
    with open_listener(host, port, token=token) as listener, suppress(KeyboardInterrupt):
        model = _reward_folder(folder)
        reward = load_reward(model, choose_device(device))
        typer.echo(f"rewards of {model} at http://{host}:{port}/rewards")
        serve_rewards(reward, listener, token=token)


def _reward_folder(folder: Path) -> Path:
    if not (folder / "assent.toml").is_file():
        return folder
    from assent.store import Project

    with Project.open(folder) as project:
        made = [one for one in project.store.model_versions() if one.stage == "reward"]
    if not made:
        message = f"{folder} has no reward model yet; make one with: assent train reward {folder}"
        raise DataError(message)
    return folder / made[-1].path
