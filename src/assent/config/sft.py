"""Settings of supervised fine-tuning."""

from pydantic import Field

from assent.config.base import PositiveInt, Settings
from assent.config.lora import LoraSettings
from assent.config.optimiser import OptimiserSettings, Precision


class SftSettings(Settings):
    """How a policy learns from demonstrations."""

    epochs: PositiveInt = 2
    """Passes over the demonstrations."""
    batch_size: PositiveInt = 64
    """Demonstrations an optimiser step."""
    micro_batch_size: PositiveInt | None = None
    """Demonstrations a forward pass; all at once if left out. It changes memory, not results."""
    max_tokens: PositiveInt = 256
    """Prompt and response; a demonstration whose response does not fit is dropped and counted."""
    precision: Precision = "float32"
    """Of the forward pass; the loss and the weights stay in float32."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass: less memory, a third more time."""
    lora: LoraSettings | None = None
    """Train an adapter instead of all weights; the finished model has it merged in."""
    checkpoint_every: PositiveInt = 50
    """Steps between states that an interrupted run goes on from."""
    optimiser: OptimiserSettings = Field(default=OptimiserSettings(lr=1e-3, warmup_steps=10))
