"""Whether bfloat16 is worth anything on this CPU: not every processor multiplies it."""

import logging
import time
from functools import cache
from typing import Final

import torch

from assent.config.optimiser import Precision

_log = logging.getLogger(__name__)

TRIALS: Final = 3
ROWS, WIDE = 256, 512
WORTH_A_WORD: Final = 0.8
"""Of the speed of float32, below which a run in bfloat16 is told."""


@cache
def speed_on_cpu() -> float:
    """Seconds of a product in float32 over those in bfloat16, by a trial of a tenth of a second.

    Near 2 where the processor has products of bfloat16, and .1 where torch does without; 0 if it
    has no such product at all.
    """
    try:
        return _seconds(torch.float32) / _seconds(torch.bfloat16)
    except RuntimeError:  # how torch says that a kernel is missing
        return 0.0


def faster_on_cpu() -> Precision:
    """In which of the two a CPU multiplies faster."""
    return "bfloat16" if speed_on_cpu() > 1 else "float32"


@cache
def tell_if_slow() -> None:
    """Once, where float32 is faster; the results are right all the same."""
    speed = speed_on_cpu()
    if speed < WORTH_A_WORD:
        _log.warning(
            "this processor multiplies bfloat16 at %.2g times the speed of float32: "
            "precision = 'float32' is faster here",
            speed,
        )


def _seconds(dtype: torch.dtype) -> float:
    states, weights = torch.ones(ROWS, WIDE, dtype=dtype), torch.ones(WIDE, WIDE, dtype=dtype)
    taken = []
    for _ in range(TRIALS):
        before = time.perf_counter()
        states @ weights.t()
        taken.append(time.perf_counter() - before)
    return min(taken)
