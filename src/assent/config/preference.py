"""Settings of the methods that learn from judgements directly: the DPO family and KTO."""

from typing import Annotated, Literal

from pydantic import Field

from assent.config.base import NonNegativeFloat, PositiveFloat, PositiveInt, Settings
from assent.config.lora import LoraSettings
from assent.config.optimiser import OptimiserSettings, Precision
from assent.config.ppo import SamplingSettings
from assent.config.rewards import ModelReward, RewardSource

FlipRate = Annotated[float, Field(ge=0, lt=0.5)]
"""A share of judgements that are the wrong way round."""


class DpoLoss(Settings):
    """DPO (Rafailov et al. 2023); with label smoothing it is cDPO (Mitchell 2023)."""

    kind: Literal["dpo"] = "dpo"
    beta: PositiveFloat = 0.1
    """What a nat of KL from the reference costs, in log-odds of being preferred."""
    label_smoothing: FlipRate = 0.0
    """Share of judgements taken to be the wrong way round: margins stop growing, as in cDPO."""


class RobustDpoLoss(Settings):
    """Robust DPO (Chowdhury et al. 2024): unbiased where judgements flip at a known rate."""

    kind: Literal["robust"] = "robust"
    beta: PositiveFloat = 0.1
    """As DPO's."""
    flip_rate: FlipRate = 0.1
    """Share of judgements that are the wrong way round."""


class IpoLoss(Settings):
    """IPO (Azar et al. 2023): pulls margins to 1 / (2 beta) instead of letting them grow."""

    kind: Literal["ipo"] = "ipo"
    beta: PositiveFloat = 0.1
    """tau of the paper; the wanted margin is 1 / (2 beta) nats."""
    per_token: bool = True
    """Margins of mean log-ratios a token, as the authors ran it and TRL does; else of sums."""


class HingeLoss(Settings):
    """Hinge (SLiC-HF, Zhao et al. 2023): a pair that is ahead by 1 / beta teaches nothing more."""

    kind: Literal["hinge"] = "hinge"
    beta: PositiveFloat = 0.1
    """As DPO's."""


class SimPoLoss(Settings):
    """SimPO (Meng et al. 2024): no reference; mean log-probabilities a token, and a margin."""

    kind: Literal["simpo"] = "simpo"
    beta: PositiveFloat = 2.0
    """Scale of the mean log-probability of a token; larger than DPO's, which sums."""
    target_margin: NonNegativeFloat = 1.0
    """gamma: how far ahead the chosen response should be, in the units of beta times nats."""


PreferenceLoss = Annotated[
    DpoLoss | RobustDpoLoss | IpoLoss | HingeLoss | SimPoLoss, Field(discriminator="kind")
]


class JudgedPairs(Settings):
    """The judged pairs of the project: each the winner and the loser of a comparison."""

    kind: Literal["judged"] = "judged"


class BestWorstPairs(Settings):
    """Pairs that a reward makes: of n responses of the newest policy, the best and the worst.

    The judgements then count through the reward model alone (Dong et al. 2024).
    """

    kind: Literal["best_worst"] = "best_worst"
    prompts: PositiveInt = 1024
    """Prompts that are asked; of fewer, each is asked several times."""
    samples: Annotated[int, Field(ge=2)] = 8
    """Responses drawn to each prompt."""
    reward: RewardSource = ModelReward()
    """What scores responses."""


class DpoSettings(Settings):
    """How a policy learns from pairs of a chosen and a rejected response."""

    epochs: PositiveInt = 1
    """Passes over the pairs."""
    batch_size: PositiveInt = 64
    """Pairs an optimiser step."""
    micro_batch_size: PositiveInt | None = None
    """Pairs a forward pass; the whole batch if left out. It changes memory, not results."""
    max_tokens: PositiveInt = 256
    """Prompt and response; a pair of which one side does not fit is dropped and counted."""
    nll_coef: NonNegativeFloat = 0.0
    """Weight of the language loss on chosen responses, in nats a token (RPO; Pang et al. 2024): it
    keeps their probability from falling along with the rejected ones'."""
    precision: Precision = "float32"
    """Of the forward pass; log-probabilities, the loss and the weights stay in float32."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass: less memory, a third more time."""
    lora: LoraSettings | None = None
    """Train an adapter; the reference is then the same model with the adapter switched off."""
    checkpoint_every: PositiveInt = 50
    """Steps between states that an interrupted run goes on from."""
    loss: PreferenceLoss = DpoLoss()
    """What is minimised."""
    pairs: Annotated[JudgedPairs | BestWorstPairs, Field(discriminator="kind")] = JudgedPairs()
    """Where the pairs come from."""
    sampling: SamplingSettings = SamplingSettings()
    optimiser: OptimiserSettings = Field(default=OptimiserSettings(lr=3e-4, warmup_steps=10))

    @property
    def reward(self) -> RewardSource | None:
        """What makes pairs, where a reward does."""
        return self.pairs.reward if isinstance(self.pairs, BestWorstPairs) else None


class KtoSettings(Settings):
    """How a policy learns from single responses marked good or bad (KTO)."""

    epochs: PositiveInt = 1
    """Passes over the responses."""
    batch_size: PositiveInt = 64
    """Responses an optimiser step; the baseline is estimated on a batch, so not too few."""
    micro_batch_size: PositiveInt | None = None
    """Responses a forward pass; the whole batch if left out. It changes memory, not results."""
    max_tokens: PositiveInt = 256
    """Prompt and response; a response that does not fit is dropped and counted."""
    beta: PositiveFloat = 0.1
    """How fast gains and losses saturate, a nat of log-ratio."""
    desirable_weight: PositiveFloat = 1.0
    """Weight of the responses marked good."""
    undesirable_weight: PositiveFloat | None = None
    """Weight of those marked bad; if left out, what gives both kinds the same weight in all."""
    precision: Precision = "float32"
    """Of the forward pass; log-probabilities, the loss and the weights stay in float32."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass: less memory, a third more time."""
    lora: LoraSettings | None = None
    """Train an adapter; the reference is then the same model with the adapter switched off."""
    checkpoint_every: PositiveInt = 50
    """Steps between states that an interrupted run goes on from."""
    sampling: SamplingSettings = SamplingSettings()
    optimiser: OptimiserSettings = Field(default=OptimiserSettings(lr=3e-4, warmup_steps=10))
