"""Settings of the optimiser, the same for every stage."""

from typing import Annotated, Literal

from pydantic import Field

from assent.config.base import (
    NonNegativeFloat,
    NonNegativeInt,
    OpenFraction,
    PositiveFloat,
    Settings,
)

Schedule = Literal["constant", "linear", "cosine"]
Precision = Literal["float32", "bfloat16"]
"""Of the forward pass; weights, log-probabilities and the value head stay in float32."""


class OptimiserSettings(Settings):
    """AdamW and its learning-rate schedule."""

    lr: PositiveFloat = 1e-3
    """Learning rate after the warm-up."""
    betas: tuple[OpenFraction, OpenFraction] = (0.9, 0.95)
    """Decay of the first and second moment."""
    eps: PositiveFloat = 1e-8
    """Added to the root of the second moment; PPO wants 1e-5."""
    style: Literal["torch", "tf"] = "torch"
    """tf keeps epsilon out of the bias correction, as OpenAI's PPO did; it has no weight decay."""
    weight_decay: NonNegativeFloat = 0.0
    """Decoupled decay of matrices; gains and biases are left alone."""
    max_grad_norm: PositiveFloat = 1.0
    """Gradients are scaled down to this norm."""
    schedule: Schedule = "linear"
    """How the learning rate falls to zero after the warm-up."""
    warmup_steps: NonNegativeInt = 0
    """Steps over which the learning rate rises from zero."""


Device = Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")]
"""Where a model runs: auto takes a GPU when there is one."""
