"""Memory: activations computed again instead of kept, and what to change when it runs out."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from assent.errors import NotAModel, OutOfMemory


def enable_recomputing(model: PreTrainedModel) -> None:
    """Make the model able to compute activations again in the backward pass.

    Raises:
        NotAModel: transformers cannot do it for this architecture.
    """
    if not model.supports_gradient_checkpointing:
        message = (
            f"{type(model).__name__} does not support gradient checkpointing; set "
            "gradient_checkpointing = false"
        )
        raise NotAModel(message)
    # The newer transformers have another name for it and warn of the old one.
    name = "activation_checkpointing_enable"
    enable = getattr(model, name, None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})


@contextmanager
def recomputing(model: nn.Module, *, enabled: bool) -> Iterator[None]:
    """Around a forward pass whose activations are not to be kept.

    transformers does it in training mode only, and there dropout would be on. So the mode is set on
    the blocks themselves and on nothing inside them.
    """
    blocks = (
        [one for one in model.modules() if isinstance(one, GradientCheckpointingLayer)]
        if enabled
        else []
    )
    for block in blocks:
        block.training = True
    try:
        yield
    finally:
        for block in blocks:
            block.training = False


@contextmanager
def memory_advice(stage: str, *, micro_batch: int, device: torch.device) -> Iterator[None]:
    """Around a stage: running out of memory ends with what to change.

    Args:
        stage: the table of settings it reads.
        micro_batch: how many examples a forward pass takes now.
        device: where it runs.

    Raises:
        OutOfMemory: in place of what torch raises; nothing half-written is left behind.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not _is_out_of_memory(error):
            raise
        now = (
            f"set {stage}.micro_batch_size = {micro_batch // 2} (now {micro_batch})"
            if micro_batch > 1
            else f"{stage}.micro_batch_size is 1 already"
        )
        message = (
            f"{stage} ran out of memory on {device}: {now}; then "
            f"{stage}.gradient_checkpointing = true, {stage}.precision = 'bfloat16', or an adapter "
            f"({stage}.lora.rank = 16); the last saved state is intact"
        )
        raise OutOfMemory(message) from error


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)
    # On a CPU torch raises a bare RuntimeError.
    return any(
        sign in text for sign in ("not enough memory", "DefaultCPUAllocator", "out of memory")
    )
