"""Settings of best-of-n fine-tuning and of RAFT: draw many, keep the best, learn those."""

from typing import Literal, Self

from pydantic import Field, model_validator

from assent.config.base import NonNegativeFloat, PositiveInt, Settings
from assent.config.lora import LoraSettings
from assent.config.optimiser import OptimiserSettings, Precision
from assent.config.ppo import MissingEos, SamplingSettings
from assent.config.rewards import ModelReward, RewardSource


class BestOfNSettings(Settings):
    """Best-of-n, distilled once: n responses a prompt, the best learned (rejection sampling)."""

    prompts: PositiveInt = 1024
    """Prompts that are asked; of fewer, each is asked several times."""
    n: PositiveInt = 16
    """Responses drawn to each prompt."""
    keep: PositiveInt = 1
    """How many of the n are learned: 1 is best-of-n, more the top share keep / n."""
    ranked: Literal["prompt", "batch"] = "prompt"
    """prompt: the best of each prompt's n. batch: as many, the best of all, whatever they answer;
    prompts whose responses all score low then teach nothing."""
    sampling_batch: PositiveInt = 64
    """Prompts whose n responses are drawn at once; an interrupted run loses at most that many."""
    epochs: PositiveInt = 2
    """Passes over the responses that were kept."""
    batch_size: PositiveInt = 64
    """Responses an optimiser step."""
    micro_batch_size: PositiveInt | None = None
    """Responses a forward pass; all at once if left out. It changes memory, not results."""
    precision: Precision = "float32"
    """Of the forward pass; the loss and the weights stay in float32."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass: less memory, a third more time."""
    lora: LoraSettings | None = None
    """Train an adapter instead of all weights; the finished model has it merged in."""
    checkpoint_every: PositiveInt = 50
    """Steps between states that an interrupted run goes on from."""
    reward: RewardSource = ModelReward()
    """What scores responses."""
    sampling: SamplingSettings = SamplingSettings()
    missing_eos: MissingEos = MissingEos()
    optimiser: OptimiserSettings = Field(default=OptimiserSettings(lr=1e-3))

    @property
    def steps(self) -> int:
        """Optimiser steps on the responses of one batch of prompts."""
        return self.epochs * -(-self.prompts * self.keep // self.batch_size)

    @model_validator(mode="after")
    def _something_is_left_out(self) -> Self:
        if self.keep >= self.n:
            message = (
                f"keep ({self.keep}) must be less than n ({self.n}): with every response kept "
                "the reward chooses nothing"
            )
            raise ValueError(message)
        return self


class RaftSettings(BestOfNSettings):
    """RAFT: draw from the newest policy, keep the best, learn them, and again."""

    iterations: PositiveInt = 12
    """How often it draws and learns."""
    prompts: PositiveInt = 256
    """Prompts that are asked in each iteration."""
    n: PositiveInt = 8
    """Responses drawn to each prompt."""
    epochs: PositiveInt = 1
    """Passes over the responses of an iteration that were kept."""
    kl_coef: NonNegativeFloat = 0.0
    """Reward lost per nat of a response's log-ratio to the reference, before ranking."""
