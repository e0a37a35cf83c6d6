"""Our side of the comparison at equal gold: PPO as the product runs it, a lap an update.

Runs in Assent's environment; `gold.py` starts it.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from laps import Laps, TimeUp

from assent.config.ppo import PpoSettings, SeparateValue
from assent.models.loading import load_causal_lm
from assent.objectives.seeds import derive_seed
from assent.rounds.material import train_prompts
from assent.rounds.stages import prompt_mix, reward_function
from assent.rounds.workspace import open_workspace
from assent.training.ppo import train_ppo
from assent.training.run_folder import RunFolder
from assent.types import SilentProgress

RUN = "round-1-ppo"
"""As the loop names it, so that the draws are those of the product."""


class _Laps:
    """A progress bar of which every step is a lap."""

    def __init__(self, laps: Laps, policy: torch.nn.Module) -> None:
        self._laps, self._policy = laps, policy

    @contextmanager
    def task(self, name: str, total: int, done: int = 0) -> Iterator["_Laps"]:
        """The run begins."""
        del name, total, done
        self._laps.start(self._policy)
        yield self

    def advance(self, steps: int = 1, note: str = "") -> None:
        """An update is done."""
        del steps, note
        self._laps.lap(self._policy)


def settings_of(given: PpoSettings, arm: str, peer: Mapping[str, Any] | None) -> PpoSettings:
    """The project's own; with a value model; or those of the peer, but for precision."""
    changed: dict[str, Any] = {}
    if arm == "separate":
        changed["value_model"] = SeparateValue()
    if peer is not None:
        steps = peer["epochs"] * peer["minibatches"]
        changed = {
            "updates": peer["updates"], "rollouts_per_update": peer["batch"],
            "epochs": peer["epochs"], "minibatches": peer["minibatches"],
            "kl": {"kind": "fixed", "coef": peer["kl_coef"]}, "gae_lambda": peer["lam"],
            "optimiser": {
                "lr": peer["lr"], "eps": peer["eps"], "betas": (0.9, peer["beta2"]),
                "schedule": "constant", "warmup_steps": peer["warmup"] * steps,
            },
        }  # fmt: skip
    return PpoSettings.model_validate({**given.model_dump(), **changed})


def main() -> None:
    """Train once."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("project", type=Path)
    asked.add_argument("out", type=Path)
    asked.add_argument("--arm", choices=["ours", "separate", "matched"], required=True)
    asked.add_argument("--peer", type=json.loads, help="settings of TRL, as JSON; for `matched`")
    asked.add_argument("--most-updates", type=int, required=True)
    for name in ("threads", "dense", "stride"):
        asked.add_argument(f"--{name}", type=int, required=True)
    given = asked.parse_args()
    torch.set_num_threads(given.threads)
    with (
        open_workspace(given.project, SilentProgress(), alone=False) as workspace,
        tempfile.TemporaryDirectory() as folder,
        suppress(TimeUp),
    ):
        start, reward = workspace.version_of("sft"), workspace.version_of("round-1-reward")
        assert start is not None, "gold.py has made it"
        assert reward is not None, "gold.py has made it"
        settings = settings_of(workspace.settings.ppo, given.arm, given.peer)
        prompts = train_prompts(workspace)
        policy = workspace.model(start)
        laps = Laps(
            given.out, dense=given.dense, stride=given.stride, most_updates=given.most_updates
        )
        train_ppo(
            policy,
            load_causal_lm(workspace.path(start), workspace.device),
            workspace.tokenizer(start),
            [prompt.text for prompt in prompts],
            reward_function(workspace, reward, settings.reward),
            settings,
            RunFolder(Path(folder) / "run"),
            seed=derive_seed(workspace.seed, RUN),
            mix=prompt_mix(workspace, [prompt.kind for prompt in prompts], RUN),
            progress=_Laps(laps, policy),
        )


if __name__ == "__main__":
    main()
