"""Settings of the pretraining stage, which makes the embedded world's base model."""

from typing import Self

from pydantic import Field, model_validator

from assent.config.base import PositiveFloat, PositiveInt, Settings
from assent.config.optimiser import OptimiserSettings, Precision


class ModelShape(Settings):
    """The shape of a Llama-type model made from nothing."""

    hidden_size: PositiveInt = 96
    """Width of the residual stream; a multiple of `heads`."""
    intermediate_size: PositiveInt = 256
    """Width of the feed-forward layers."""
    layers: PositiveInt = 2
    """Transformer blocks."""
    heads: PositiveInt = 8
    """Attention heads of each block."""
    max_positions: PositiveInt = 256
    """The longest text, in tokens."""
    initial_std: PositiveFloat = 0.1
    """Standard deviation of the first weights; well below 1 / sqrt(hidden_size) a model idles."""

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.hidden_size % self.heads:
            message = f"hidden_size ({self.hidden_size}) must be a multiple of heads ({self.heads})"
            raise ValueError(message)
        return self


class PretrainSettings(Settings):
    """How a base model learns the world's mixed corpus."""

    shape: ModelShape = ModelShape()
    steps: PositiveInt = 2200
    """Optimiser steps; documents are repeated as needed."""
    batch_size: PositiveInt = 16
    """Documents an optimiser step."""
    precision: Precision = "float32"
    """Of the forward pass; the loss and the weights stay in float32."""
    checkpoint_every: PositiveInt = 200
    """Steps between states that an interrupted run goes on from."""
    optimiser: OptimiserSettings = Field(
        default=OptimiserSettings(lr=2e-3, warmup_steps=50, weight_decay=0.01)
    )
