"""Our side of the comparison at equal gold: PPO as the product runs it, a lap an update.

Runs in Assent's environment; `gold.py` starts it.
"""

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from laps import Laps

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


def settings_of(given: PpoSettings, value: str, updates: int | None) -> PpoSettings:
    """The project's own, but for the value model and, in a quick run, the number of updates."""
    changed: dict[str, object] = {}
    if value == "separate":
        changed["value_model"] = SeparateValue()
    if updates is not None:
        changed["updates"] = updates
    return PpoSettings.model_validate({**given.model_dump(), **changed})


def main() -> None:
    """Train once."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("project", type=Path)
    asked.add_argument("out", type=Path)
    asked.add_argument("--value", choices=["shared", "separate"], required=True)
    asked.add_argument("--updates", type=int, help="those of the settings if left out")
    for name in ("threads", "dense", "stride"):
        asked.add_argument(f"--{name}", type=int, required=True)
    given = asked.parse_args()
    torch.set_num_threads(given.threads)
    with (
        open_workspace(given.project, SilentProgress(), alone=False) as workspace,
        tempfile.TemporaryDirectory() as folder,
    ):
        start, reward = workspace.version_of("sft"), workspace.version_of("round-1-reward")
        assert start is not None, "gold.py has made it"
        assert reward is not None, "gold.py has made it"
        settings = settings_of(workspace.settings.ppo, given.value, given.updates)
        prompts = train_prompts(workspace)
        policy = workspace.model(start)
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
            progress=_Laps(Laps(given.out, dense=given.dense, stride=given.stride), policy),
        )


if __name__ == "__main__":
    main()
