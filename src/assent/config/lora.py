"""Settings of low-rank adapters."""

from pydantic import Field

from assent.config.base import PositiveFloat, PositiveInt, Settings


class LoraSettings(Settings):
    """A low-rank adapter is trained instead of the weights (LoRA; Hu et al. 2021).

    Each adapted matrix W becomes W + (alpha / rank) B A, and only A and B learn. There is no
    dropout: it is off in every stage.
    """

    rank: PositiveInt = 16
    """Columns of B and rows of A; more can learn more and takes more memory."""
    alpha: PositiveFloat = 32.0
    """What the adapter adds is scaled by alpha / rank."""
    target_modules: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Ends of the names of the adapted layers; every linear layer but the output if left out,
    the experts of a mixture among them."""
