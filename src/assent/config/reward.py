"""Settings of the reward model."""

from pydantic import Field

from assent.config.base import Fraction, NonNegativeFloat, PositiveInt, Settings
from assent.config.lora import LoraSettings
from assent.config.optimiser import OptimiserSettings, Precision


class RewardSettings(Settings):
    """How a reward model learns from judgements."""

    start: str | None = Field(default=None, min_length=1)
    """Where to begin: the reference if left out, `base` for the model that SFT began from, or a
    folder or hub id of an encoder or a causal LM."""
    epochs: PositiveInt = 3
    """Passes over the comparisons; large models overfit after one (InstructGPT, section 3.5)."""
    batch_size: PositiveInt = 32
    """Comparisons an optimiser step."""
    micro_batch_size: PositiveInt | None = None
    """Comparisons a forward pass; the whole batch if left out. It changes memory, not results."""
    max_tokens: PositiveInt = 256
    """Prompt and response; a comparison that does not fit is dropped and counted."""
    centre_coef: NonNegativeFloat = 0.0
    """Weight of mean((r_chosen + r_rejected)^2), which keeps scores near zero."""
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
