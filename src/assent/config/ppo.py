"""Settings of the PPO stage, and of how responses are sampled."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from assent.config.base import (
    Fraction,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Settings,
)
from assent.config.lora import LoraSettings
from assent.config.optimiser import OptimiserSettings, Precision
from assent.config.rewards import ModelReward, RewardSource


class SamplingSettings(Settings):
    """How responses are drawn: from the whole distribution, as it is the one that is scored."""

    temperature: PositiveFloat = 1.0
    """Divides the logits, in sampling and in every recomputed log-probability."""
    max_new_tokens: PositiveInt = 40
    """Longest response, end token included."""


class FixedKl(Settings):
    """A constant KL penalty (Stiennon et al. 2020)."""

    kind: Literal["fixed"] = "fixed"
    coef: NonNegativeFloat = 0.15
    """Reward units lost per nat of KL from the reference."""


class AdaptiveKl(Settings):
    """A penalty steered towards a target KL (Ziegler et al. 2019, section 2.2)."""

    kind: Literal["adaptive"] = "adaptive"
    initial_coef: PositiveFloat = 0.15
    """Reward units lost per nat of KL in the first update."""
    target_nats: PositiveFloat = 6.0
    """Wanted KL per response, in nats."""
    horizon_episodes: PositiveInt = 10_000
    """Episodes in which the coefficient can grow or shrink by a fifth; longer is slower."""


class MissingEos(Settings):
    """What a response costs that was cut off at the length limit."""

    mode: Literal["replace", "subtract"] = "replace"
    """replace: the score becomes -penalty (OpenAI). subtract: the penalty is taken off (TRL)."""
    penalty: NonNegativeFloat = 1.0
    """In normalised reward units; must be worse than what ordinary responses get."""


class SharedValue(Settings):
    """Values are read off the policy's trunk by one linear layer, which begins at zero."""

    kind: Literal["shared"] = "shared"
    lr_times: PositiveFloat = 10.0
    """Learning rate of that layer, in those of the policy, on its schedule. At 1 it lags behind the
    rewards, and what it misses pulls at the trunk that the policy stands on."""


class SeparateValue(Settings):
    """Values come from a model of their own, with its own place in the optimiser."""

    kind: Literal["separate"] = "separate"
    start: Literal["reward_model", "reference"] = "reward_model"
    """Whose weights it begins with: the reward model's, head and all (InstructGPT), or the
    reference's, with a head that begins at zero."""
    lr: PositiveFloat = 1e-3
    """Its learning rate, on the policy's schedule."""


class PretrainingMixSettings(Settings):
    """Text that the policy goes on learning at every step (PPO-ptx; Ouyang et al. 2022)."""

    coef: PositiveFloat = 1.0
    """Weight of the loss on it, in nats a token, beside the policy loss."""
    batch_size: PositiveInt = 16
    """Texts an optimiser step."""
    max_tokens: PositiveInt = 256
    """Longest text; a longer one is cut into stretches."""
    texts: str | None = Field(default=None, min_length=1)
    """File of texts, one a line or in a column `text`, relative to the project; the embedded
    world's corpus if left out."""


class PpoSettings(Settings):
    """How one PPO stage runs."""

    updates: PositiveInt = 60
    """Batches of rollouts, each sampled from the newest policy."""
    rollouts_per_update: PositiveInt = 128
    """Responses sampled for each update."""
    epochs: PositiveInt = 2
    """Passes over each batch of rollouts."""
    minibatches: PositiveInt = 2
    """Optimiser steps an epoch."""
    micro_batch_size: PositiveInt | None = None
    """Rollouts a forward pass; a whole minibatch if left out. It changes memory, not results."""
    clip_range: PositiveFloat = 0.2
    """A token's probability ratio gains nothing beyond 1 +- this."""
    value_clip_range: PositiveFloat = 0.2
    """Furthest that a value may usefully move from what it was at sampling, in reward units."""
    value_coef: NonNegativeFloat = 0.1
    """Weight of the value loss beside that of the policy: how much it shapes a shared trunk."""
    discount: Fraction = 1.0
    """Worth of reward one token later (gamma); 1 as responses are short and end."""
    gae_lambda: Fraction = 1.0
    """1 trusts sampled rewards alone; lower trusts the value head more, for less variance."""
    reward_clip: PositiveFloat = 10.0
    """Normalised scores are clipped to this range: a safety net, counted in the metrics."""
    precision: Precision = "float32"
    """Of a forward pass of the policy or of a reward model; what is computed from them
    (log-probabilities, values, rewards) and the weights stay in float32."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass: less memory, a third more time."""
    lora: LoraSettings | None = None
    """Train an adapter; the reference is then the same model with the adapter switched off."""
    value_model: Annotated[SharedValue | SeparateValue, Field(discriminator="kind")] = SharedValue()
    """What predicts the reward to come."""
    pretraining: PretrainingMixSettings | None = None
    """Learn pretraining text beside, so that it is not forgotten."""
    reward: RewardSource = ModelReward()
    """What scores responses."""
    sampling: SamplingSettings = SamplingSettings()
    missing_eos: MissingEos = MissingEos()
    kl: Annotated[FixedKl | AdaptiveKl, Field(discriminator="kind")] = FixedKl()
    """What KL from the reference costs: a fixed coefficient, or one steered to a target."""
    optimiser: OptimiserSettings = Field(
        default=OptimiserSettings(lr=7e-4, eps=1e-5, betas=(0.9, 0.95), warmup_steps=60)
    )

    @model_validator(mode="after")
    def _rollouts_divide_evenly(self) -> Self:
        if self.rollouts_per_update % self.minibatches:
            message = (
                f"rollouts_per_update ({self.rollouts_per_update}) must be a multiple of "
                f"minibatches ({self.minibatches})"
            )
            raise ValueError(message)
        return self
