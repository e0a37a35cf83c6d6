"""Tensors as the arguments that compiled passes take."""

import ctypes

import torch
from torch import Tensor

from assent.models.packing import Block


def block_rows(block: Block, before: Tensor | None) -> tuple[object, ...]:
    """A block as the library wants it: `before` has to outlive the call."""
    assert before is None or before.is_contiguous()
    back = 0 if before is None else before.shape[1]
    numbers = size(block.start), size(block.rows), size(block.width)
    return *numbers, at(before), size(back)


def half(matrix: Tensor) -> int:
    """1 for bfloat16, 0 for float32."""
    return int(matrix.dtype == torch.bfloat16)


def at(matrix: Tensor | None) -> ctypes.c_void_p:
    """Where a tensor begins, which has to outlive the call; nowhere for None."""
    return ctypes.c_void_p(None if matrix is None else matrix.data_ptr())


def size(count: int) -> ctypes.c_int64:
    """A count or a number of a slot."""
    return ctypes.c_int64(count)


def threads() -> int:
    """How many may share the work."""
    return torch.get_num_threads()
