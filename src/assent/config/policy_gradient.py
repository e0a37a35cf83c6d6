"""Settings of the policy gradients without a value head: the stages rloo and grpo."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from assent.config.base import PositiveFloat, PositiveInt, Settings
from assent.config.lora import LoraSettings
from assent.config.optimiser import OptimiserSettings, Precision
from assent.config.ppo import AdaptiveKl, FixedKl, MissingEos, PpoSettings, SamplingSettings
from assent.config.rewards import ModelReward, RewardSource

Advantage = Literal["rloo", "grpo", "dr_grpo", "reinforce"]
Aggregation = Literal["token", "sequence", "constant"]


class KlInReward(Settings):
    """KL is paid out of the reward, before responses are compared."""

    kind: Literal["reward"] = "reward"
    level: Literal["sequence", "token"] = "sequence"
    """sequence: each token pays for the KL of the whole response; token: for that from it on."""


class KlInLoss(Settings):
    """KL is a term of the loss beside the policy's, in the same mean over tokens."""

    kind: Literal["loss"] = "loss"
    estimator: Literal["k2", "k3"] = "k3"
    """k3 is GRPO's; k2 has the gradient of KL(policy || reference)."""
    level: Literal["sequence", "token"] = "token"
    """Whether log-ratios of tokens are estimated on or that of the whole response."""


class PolicyGradientSettings(Settings):
    """A policy gradient without a value head; as it comes, RLOO (Ahmadian et al. 2024)."""

    stage: ClassVar[str] = "rloo"
    """Whose settings these are: a part of every seed, and named in errors."""

    updates: PositiveInt = 60
    """Batches of rollouts, each sampled from the newest policy."""
    prompts_per_update: PositiveInt = 64
    """Prompts asked for each update."""
    samples_per_prompt: PositiveInt = 4
    """Responses to each prompt (k): they are one another's baseline."""
    advantage: Advantage = "rloo"
    """A response against the mean of the others to its prompt (rloo), the mean in units of its
    group's spread (grpo), the mean alone (dr_grpo), or what earlier batches got (reinforce)."""
    aggregation: Aggregation | None = None
    """Over what token losses are averaged: the tokens of the batch (token), each response and then
    all (sequence), or always the longest response allowed (constant). Left out, sequence with grpo
    and constant with the others, as in their papers."""
    baseline_decay: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """How much of the baseline of reinforce is kept at each update."""
    epochs: PositiveInt = 1
    """Passes over each batch of rollouts."""
    minibatches: PositiveInt = 1
    """Optimiser steps an epoch."""
    micro_batch_size: PositiveInt | None = None
    """Rollouts a forward pass; a whole minibatch if left out. It changes memory, not results."""
    clip_range: PositiveFloat = 0.2
    """A token's probability ratio gains nothing beyond 1 +- this; the first step never does."""
    reward_clip: PositiveFloat = 10.0
    """Normalised scores are clipped to this range: a safety net, counted in the metrics."""
    precision: Precision = "float32"
    """Of a forward pass of the policy or of a reward model; what is computed from them
    (log-probabilities, rewards) and the weights stay in float32."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass: less memory, a third more time."""
    lora: LoraSettings | None = None
    """Train an adapter; the reference is then the same model with the adapter switched off."""
    reward: RewardSource = ModelReward()
    """What scores responses."""
    sampling: SamplingSettings = SamplingSettings()
    missing_eos: MissingEos = MissingEos()
    kl: Annotated[FixedKl | AdaptiveKl, Field(discriminator="kind")] = FixedKl()
    """What KL from the reference costs: a fixed coefficient, or one steered to a target."""
    kl_penalty: Annotated[KlInReward | KlInLoss, Field(discriminator="kind")] = KlInReward()
    """Where KL is paid."""
    optimiser: OptimiserSettings = Field(
        default=OptimiserSettings(lr=1e-3, eps=1e-5, betas=(0.9, 0.95))
    )

    @property
    def rollouts_per_update(self) -> int:
        """Responses sampled for each update."""
        return self.prompts_per_update * self.samples_per_prompt

    @property
    def averaged_over(self) -> Aggregation:
        """The aggregation, also where it is left out."""
        return self.aggregation or ("sequence" if self.advantage == "grpo" else "constant")

    @property
    def kl_coef(self) -> float | None:
        """The price of KL in what is aimed at; None where it is steered or the aim is another.

        Paid in the reward, the optimum of E[reward] - coef * KL is a fixed point whatever divides
        the advantages: there all responses to a prompt are worth the same. As a term of the loss
        only k2 of whole responses, beside advantages in reward units, has that fixed point.
        """
        if not isinstance(self.kl, FixedKl):
            return None
        if isinstance(self.kl_penalty, KlInReward):
            exact = self.kl_penalty.level == "sequence" or self.averaged_over != "sequence"
        else:
            exact = (
                self.kl_penalty.estimator == "k2"
                and self.kl_penalty.level == "sequence"
                and self.advantage in ("rloo", "reinforce")
                and self.averaged_over != "sequence"
            )
        return self.kl.coef if exact else None

    @model_validator(mode="after")
    def _groups_and_minibatches_fit(self) -> Self:
        if self.samples_per_prompt < 2 and self.advantage != "reinforce":
            message = (
                f"samples_per_prompt is {self.samples_per_prompt}: with advantage = "
                f"{self.advantage!r} a response is compared with others to its prompt; take 2 or "
                "more, or advantage = 'reinforce'"
            )
            raise ValueError(message)
        if self.rollouts_per_update % self.minibatches:
            message = (
                f"prompts_per_update ({self.prompts_per_update}) x samples_per_prompt "
                f"({self.samples_per_prompt}) must be a multiple of minibatches "
                f"({self.minibatches})"
            )
            raise ValueError(message)
        return self


class GrpoSettings(PolicyGradientSettings):
    """The same as GRPO has it (Shao et al. 2024), KL as a term of the loss."""

    stage: ClassVar[str] = "grpo"

    prompts_per_update: PositiveInt = 32
    """Prompts asked for each update."""
    samples_per_prompt: PositiveInt = 8
    """Responses to each prompt (k): they are one another's baseline."""
    advantage: Advantage = "grpo"
    """A response against the mean of the others to its prompt (rloo), the mean in units of its
    group's spread (grpo), the mean alone (dr_grpo), or what earlier batches got (reinforce)."""
    kl: Annotated[FixedKl | AdaptiveKl, Field(discriminator="kind")] = FixedKl(coef=0.3)
    """What KL from the reference costs, beside advantages in units of a group's spread: a fixed
    coefficient, or one steered to a target."""
    kl_penalty: Annotated[KlInReward | KlInLoss, Field(discriminator="kind")] = KlInLoss()
    """Where KL is paid."""
    optimiser: OptimiserSettings = Field(
        default=OptimiserSettings(lr=5e-4, eps=1e-5, betas=(0.9, 0.95), warmup_steps=10)
    )


RlSettings = PpoSettings | PolicyGradientSettings
"""Of the stages that sample, score and take policy-gradient steps."""
