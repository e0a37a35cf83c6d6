"""Learning-rate schedules: what to multiply the rate by at each update.

`step` counts the updates already made, so the first update is at step 0 and the last of `total` at
step `total - 1`. With a warm-up of w updates the multiplier climbs 1/(w+1), 2/(w+1), … and is 1 at
step w: no update is wasted at rate zero. Results lie in [0, 1].
"""

import math


def constant(step: int, total: int, warmup: int = 0) -> float:
    """1 after the warm-up."""
    del total
    return _warmed(step, warmup)


def linear_decay(step: int, total: int, warmup: int = 0) -> float:
    """1 at the end of the warm-up, falling in a line to 0 at step `total`.

    Source: Ziegler et al. 2019; Huang et al. 2023, "The N implementation details of RLHF with PPO".
    """
    return min(_warmed(step, warmup), 1.0 - _progress(step, total, warmup))


def cosine(step: int, total: int, warmup: int = 0) -> float:
    """1 at the end of the warm-up, falling along half a cosine to 0 at step `total`.

    Source: Loshchilov & Hutter 2017, "SGDR", eq. 5, without restarts.
    """
    decayed = 0.5 * (1.0 + math.cos(math.pi * _progress(step, total, warmup)))
    return min(_warmed(step, warmup), decayed)


def _warmed(step: int, warmup: int) -> float:
    return min(1.0, (step + 1) / (warmup + 1))


def _progress(step: int, total: int, warmup: int) -> float:
    """Share of the decay that lies behind, in [0, 1]; 0 through the warm-up."""
    if total <= warmup:
        message = f"the warm-up ({warmup} updates) must be shorter than the run ({total})"
        raise ValueError(message)
    return min(max((step - warmup) / (total - warmup), 0.0), 1.0)
