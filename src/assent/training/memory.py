"""Memory: what is kept from step to step or computed again, and what to change when it runs out."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from assent.errors import NotAModel, OutOfMemory

_TRIM_THRESHOLD: Final = -1
_TOP_PAD: Final = -2
_MMAP_THRESHOLD: Final = -3
_KEPT: Final = {_MMAP_THRESHOLD: 2**30, _TRIM_THRESHOLD: 2**30, _TOP_PAD: 2**26}
_USUAL: Final = {_MMAP_THRESHOLD: 2**25, _TRIM_THRESHOLD: 2**26, _TOP_PAD: 2**17}
"""Where glibc's own thresholds settle after some large blocks."""


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
def keeping_freed_memory() -> Iterator[None]:
    """Within it the C library keeps large blocks that are freed; afterwards it gives them back.

    As it comes, glibc returns every large block to the system and asks for it again at the next
    step, and the system fills each page with zeros first: 5 to 20 % of a training step where it was
    measured. Where the C library is another, nothing is changed.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if not hasattr(library, "mallopt") or not hasattr(library, "malloc_trim"):
        yield
        return
    assert library is not None
    for option, size in _KEPT.items():
        library.mallopt(option, size)
    try:
        yield
    finally:
        for option, size in _USUAL.items():
            library.mallopt(option, size)
        library.malloc_trim(0)


@contextmanager
def memory_advice(stage: str, *, micro_batch: int, device: torch.device) -> Iterator[None]:
    """Around a stage: memory freed at a step serves the next; running out ends with what to change.

    Args:
        stage: the table of settings it reads.
        micro_batch: how many examples a forward pass takes now.
        device: where it runs.

    Raises:
        OutOfMemory: in place of what torch raises; nothing half-written is left behind.
    """
    try:
        with keeping_freed_memory():
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
