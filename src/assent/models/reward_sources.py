"""Opens the reward that settings name: a model, a Python function, a server, or a sum of them."""

import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from assent.config.rewards import CallableReward, HttpReward, RewardSource, SumReward
from assent.errors import ConfigError, RewardError
from assent.models.reward_ensembles import load_reward
from assent.models.reward_http import RewardServer
from assent.models.reward_sums import SummedReward
from assent.models.step_rewards import StepReward
from assent.types import RewardFunction


def open_reward(
    source: RewardSource, own: str | Path | None = None, device: torch.device | None = None
) -> RewardFunction:
    """The reward of a setting.

    Args:
        source: `ppo.reward`.
        own: the round's reward model, for a model without a path.
        device: where a model runs.

    Raises:
        ConfigError: no model is named and the round has none; or the function does not import.
        NotAModel, TokenizerUnfit: the model cannot be used.
    """
    if isinstance(source, SumReward):
        parts = source.parts.items()
        return SummedReward(
            {name: (part.weight, open_reward(part.source, own, device)) for name, part in parts}
        )
    if isinstance(source, HttpReward):
        return RewardServer(source)
    if isinstance(source, CallableReward):
        return ImportedReward(source.function)
    folder = source.path or own
    if folder is None:
        message = "ppo.reward.path: name a reward model; this run has none of its own"
        raise ConfigError(message)
    reward = load_reward(
        folder,
        device,
        reading=source.reading,
        batch_size=source.batch_size,
        how=source.aggregate,
        coef=source.uncertainty_coef,
    )
    return StepReward(reward, source.steps) if source.steps else reward


class ImportedReward:
    """A reward function by its import path, `module:function`."""

    def __init__(self, path: str) -> None:
        """Import it, from the current folder too.

        Raises:
            ConfigError: there is no such module or function, or its import fails; says why.
        """
        self.path = self.__name__ = path
        module_name, _, name = path.partition(":")
        function = getattr(_module(module_name, path), name, None)
        if not callable(function):
            message = f"reward function {path!r}: {module_name} has no function {name}"
            raise ConfigError(message)
        self._function: Callable[[Sequence[str], Sequence[str]], Sequence[float]] = function

    def __call__(self, prompts: Sequence[str], responses: Sequence[str]) -> Sequence[float]:
        """Its rewards, as it returns them.

        Raises:
            RewardError: the function raised; says what.
        """
        try:
            return self._function(prompts, responses)
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            message = f"the reward {self.path} raised {type(error).__name__}: {reason}"
            raise RewardError(message) from error


def _module(name: str, path: str) -> Any:  # noqa: ANN401 - a module of the user's
    here = str(Path.cwd())
    is_known = here in sys.path or "" in sys.path
    if not is_known:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        message = (
            f"reward function {path!r}: {name} does not import from {here} "
            f"({type(error).__name__}: {reason})"
        )
        raise ConfigError(message) from error
    finally:
        if not is_known and here in sys.path:
            sys.path.remove(here)
