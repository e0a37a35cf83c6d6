"""What a model is made before it learns: an adapter where one is wanted, and no dropout."""

from transformers import PreTrainedModel

from assent.config.lora import LoraSettings
from assent.models.lora import Adapter, add_adapter
from assent.objectives.seeds import derive_seed
from assent.training.memory import enable_recomputing


def prepare(
    model: PreTrainedModel, lora: LoraSettings | None, *, recompute: bool, seed: int, stage: str
) -> Adapter | None:
    """Make a model ready to learn, in place.

    Dropout is off: a gradient then depends on the batch alone, not on how it is split into
    micro-batches or on draws that an interrupted run could not repeat.

    Args:
        model: what is trained.
        lora: of the adapter that is trained instead of its weights; None to train those.
        recompute: whether activations are computed again in the backward pass.
        seed: of the adapter's weights, with the stage.
        stage: whose settings these are.

    Returns:
        The adapter, if there is one.

    Raises:
        NotAModel: activations cannot be computed again for this architecture.
    """
    adapter = add_adapter(model, lora, seed=derive_seed(seed, stage, "adapter")) if lora else None
    if recompute:
        enable_recomputing(model)
    model.train(mode=False)
    return adapter
