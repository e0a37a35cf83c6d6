"""Settings of the reward model."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from assent.config.base import (
    FiniteFloat,
    Fraction,
    NonNegativeFloat,
    OpenFraction,
    PositiveFloat,
    PositiveInt,
    Settings,
)
from assent.config.lora import LoraSettings
from assent.config.optimiser import OptimiserSettings, Precision
from assent.types import Aggregate

Objective = Literal[
    "bradley_terry",
    "rankings",
    "plackett_luce",
    "pick_best",
    "davidson",
    "ordinal",
    "ratings",
]
Margins = tuple[NonNegativeFloat, NonNegativeFloat, NonNegativeFloat, NonNegativeFloat]


class EarlyStopping(Settings):
    """Training ends when prompts that it does not learn from are judged no better."""

    share: OpenFraction = 0.15
    """Of the training prompts, kept for this; none of them is among the reported held-out ones."""
    every: PositiveInt = 10
    """Steps between two looks."""
    patience: PositiveInt = 3
    """Looks without a new best after which training ends; the best weights are kept."""


class EnsembleSettings(Settings):
    """Several reward models that differ in their order of training and in their last layers.

    They lessen what one model errs by chance; what all were taught wrong, they keep.
    """

    members: Annotated[int, Field(ge=2)] = 4
    """How many; Coste et al. 2023 have 3 to 5."""
    bootstrap: bool = False
    """Each member learns from a resample, with replacement, of what there is."""
    aggregate: Aggregate | Literal["average_weights"] = "mean"
    """How they become one: their mean reward, the least (worst case), the mean less the variance or
    the standard deviation over the members, or one model with the mean of their weights (WARM)."""
    uncertainty_coef: NonNegativeFloat = 0.5
    """How much of the variance or the standard deviation is taken off."""


class RewardSettings(Settings):
    """How a reward model learns from judgements."""

    objective: Objective = "bradley_terry"
    """What it learns from: pairs with a winner (bradley_terry), all pairs of a prompt's ranking in
    one element (rankings), the whole order (plackett_luce), the best of each ranking (pick_best),
    pairs with ties (davidson), with ties and strengths (ordinal), or ratings by axis (ratings)."""
    start: str | None = Field(default=None, min_length=1)
    """Where to begin: the reference if left out, `base` for the model that SFT began from, or a
    folder or hub id of an encoder or a causal LM."""
    suffix: str = ""
    """Text between a response and its end token when the model is read, such as a question whether
    it is right: a model that can weigh a response there scores it better. For causal LMs only."""
    epochs: PositiveInt = 3
    """Passes over the comparisons; large models overfit after one (InstructGPT, section 3.5)."""
    batch_size: PositiveInt = 32
    """Comparisons, rankings or ratings an optimiser step."""
    micro_batch_size: PositiveInt | None = None
    """Comparisons a forward pass; the whole batch if left out. It changes memory, not results."""
    max_tokens: PositiveInt = 256
    """Prompt and response; a comparison that does not fit is dropped and counted."""
    margins: Margins | None = None
    """How far ahead the winner of a judgement of strength 1, 2, 3 and 4 should be, in reward units
    (bradley_terry only); 0 everywhere if left out. Llama 2 has (0, 0.33, 0.67, 1)."""
    axes: dict[Annotated[str, Field(min_length=1)], FiniteFloat] | None = Field(
        default=None, min_length=1
    )
    """Axes of the ratings that are learned, one output each, and what each weighs in the reward,
    per standard deviation of its ratings; every axis there is, at equal weights, if left out."""
    likelihood_lr: PositiveFloat = 0.01
    """Learning rate of what davidson and ordinal learn beside the model: how often pairs tie, and
    how far apart the strengths lie."""
    centre_coef: NonNegativeFloat = 0.0
    """Weight of mean((r_chosen + r_rejected)^2), which keeps scores near zero."""
    early_stopping: EarlyStopping | None = None
    """End before the last epoch when held-out training prompts say so; off if left out."""
    ensemble: EnsembleSettings | None = None
    """Several reward models in place of one; one if left out."""
    judges: Literal["people", "model", "both"] = "people"
    """Whose judgements it learns from: people's (or the embedded world's), those of a model that
    judges by a constitution (`assent judge`), or both. The loop asks the model if it is named."""
    held_out_share: Fraction = 0.15
    """Share of the prompts whose comparisons are kept for measuring accuracy."""
    normalise_samples: PositiveInt = 512
    """Samples of the reference on which scores get mean 0 and standard deviation 1."""
    precision: Precision = "float32"
    """Of the forward pass; the loss and the weights stay in float32."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass: less memory, a third more time."""
    lora: LoraSettings | None = None
    """Train an adapter instead of all weights; the finished model has it merged in."""
    checkpoint_every: PositiveInt = 50
    """Steps between states that an interrupted run goes on from."""
    optimiser: OptimiserSettings = Field(
        default=OptimiserSettings(lr=1e-3, warmup_steps=10, weight_decay=0.01)
    )

    @model_validator(mode="after")
    def _objective_reads_what_is_set(self) -> Self:
        if self.margins is not None and self.objective != "bradley_terry":
            message = f"margins are for objective bradley_terry, not {self.objective}"
            raise ValueError(message)
        if self.axes is not None and self.objective != "ratings":
            message = f"axes are for objective ratings, not {self.objective}"
            raise ValueError(message)
        return self
