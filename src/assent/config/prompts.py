"""Settings of what PPO asks: the mix of prompt kinds."""

import math
from typing import Self

from pydantic import model_validator

from assent.config.base import Fraction, Settings
from assent.types import PromptKind


class PromptMixSettings(Settings):
    """The share of each kind of prompt among those that are asked; they add up to 1.

    A kind that is not named is not asked; with none named all are plain.
    """

    plain: Fraction = 0.0
    """A task as somebody made it up."""
    few_shot: Fraction = 0.0
    """A task with examples of it done."""
    user: Fraction = 0.0
    """What a user of the model asked."""

    @model_validator(mode="before")
    @classmethod
    def _nothing_said_is_plain(cls, said: object) -> object:
        return {"plain": 1.0} if said == {} else said

    @model_validator(mode="after")
    def _shares_add_up(self) -> Self:
        total = sum(self.shares.values())
        if not math.isclose(total, 1.0, abs_tol=1e-6):
            said = ", ".join(f"{kind} {share:g}" for kind, share in self.shares.items())
            message = f"the shares add up to {total:g} ({said}); they must add up to 1"
            raise ValueError(message)
        return self

    @property
    def shares(self) -> dict[PromptKind, float]:
        """Kind to share."""
        return {"plain": self.plain, "few_shot": self.few_shot, "user": self.user}


class PromptSettings(Settings):
    """Which of the project's prompts PPO asks."""

    mix: PromptMixSettings | None = None
    """How often each kind is asked; each prompt equally often, whatever its kind, if left out."""
