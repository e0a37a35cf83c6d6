"""Early stopping: looks at prompts a reward model does not learn from, keeps the best weights."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from assent.config.reward import EarlyStopping
from assent.training.reward_data import Element


def is_looked_at(prompt: str, share: float) -> bool:
    """Whether a training prompt is kept for early stopping; by a hash of the text.

    It is another hash than that of the held-out prompts, which are no training prompts.
    """
    digest = hashlib.sha256(b"early stopping\0" + prompt.encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < share


def parted(
    elements: Sequence[Element], fitting: Sequence[int], settings: EarlyStopping | None
) -> tuple[list[int], list[int]]:
    """Numbers of the elements to learn from, and of those to look at; none without settings."""
    if settings is None:
        return list(fitting), []
    looked = [n for n in fitting if is_looked_at(elements[n].prompt, settings.share)]
    seen = set(looked)
    return [n for n in fitting if n not in seen], looked


class Best(nn.Module):
    """The weights at which the looked-at prompts were judged best, so far.

    They are parameters, so that they are saved and restored with the rest of a run's state.
    """

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self._trained = [
            parameter
            for module in modules.values()
            for parameter in module.parameters()
            if parameter.requires_grad
        ]
        self.weights = nn.ParameterList(
            [nn.Parameter(parameter.detach().clone()) for parameter in self._trained]
        )
        self.loss, self.looks_since, self.step = math.inf, 0, 0

    def look(self, loss: float, step: int) -> bool:
        """Take in the loss at a step; whether it is the best so far."""
        if loss < self.loss:
            self.loss, self.looks_since, self.step = loss, 0, step
            with torch.no_grad():
                for kept, now in zip(self.weights, self._trained, strict=True):
                    kept.copy_(now)
            return True
        self.looks_since += 1
        return False

    def put_back(self) -> None:
        """Give the model its best weights."""
        with torch.no_grad():
            for kept, now in zip(self.weights, self._trained, strict=True):
                now.copy_(kept)

    def counters(self) -> dict[str, Any]:
        """What a resumed run needs beside the weights; an infinity is no JSON."""
        loss = None if math.isinf(self.loss) else self.loss
        return {"best_loss": loss, "looks_since": self.looks_since, "best_step": self.step}

    def restore(self, state: Mapping[str, Any]) -> None:
        """What `counters` gave."""
        loss = state.get("best_loss")
        self.loss = math.inf if loss is None else float(loss)
        self.looks_since = int(state.get("looks_since", 0))
        self.step = int(state.get("best_step", 0))
