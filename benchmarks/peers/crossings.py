"""When a training run first had a gold reward at a KL, and what two runs' times say of each other.

A run is its points in order, each with seconds so far, gold and KL; between two points everything
lies on the line. Pure functions, tested in tests/oracle/test_gold_crossings.py.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from assent.stats.intervals import mean_interval

Point = Mapping[str, Any]


class Crossing(NamedTuple):
    """A moment of a run."""

    seconds: float
    """Of processor time."""
    updates: float
    level: float
    """Of gold or whatever was asked for, as it is then."""
    kl_nats: float


class Ratio(NamedTuple):
    """How many times as long the peer took; more than `value` where it never got there."""

    value: float
    is_bound: bool


def target_of(points: Sequence[Point], share: float, name: str = "gold_mean") -> float | None:
    """Gold at a share of the rise from the first point to the highest; None if it never rose."""
    found = [float(one[name]) for one in points]
    rise = max(found) - found[0]
    return found[0] + share * rise if rise > 0 else None


def first_crossing(
    points: Sequence[Point], level: float, most_kl: float = math.inf, name: str = "gold_mean"
) -> Crossing | None:
    """The first moment with at least this gold at no more than this KL; None if there is none."""
    for before, after in pairwise(points):
        risen = _at_least(before[name], after[name], level)
        near = _at_least(-before["kl_nats"], -after["kl_nats"], -most_kl)
        if risen is None or near is None:
            continue
        share = max(risen[0], near[0])
        if share <= min(risen[1], near[1]):
            return Crossing(
                *(
                    _between(before[one], after[one], share)
                    for one in ("processor_seconds", "update", name, "kl_nats")
                )
            )
    return None


def highest_gold(points: Sequence[Point], most_kl: float) -> float:
    """The most gold that a run had at no more than this KL, the first point among them."""
    found = [float(points[0]["gold_mean"])]
    for before, after in pairwise(points):
        near = _at_least(-before["kl_nats"], -after["kl_nats"], -most_kl)
        if near is not None:
            found += [_between(before["gold_mean"], after["gold_mean"], end) for end in near]
    return max(found)


def _between(before: float, after: float, share: float) -> float:
    return float(before + share * (after - before))


def _at_least(before: float, after: float, level: float) -> tuple[float, float] | None:
    """The part of the line from `before` (0) to `after` (1) that is no lower than a level."""
    if before >= level and after >= level:
        return 0.0, 1.0
    if before < level and after < level:
        return None
    share = (level - before) / (after - before)
    return (share, 1.0) if after >= level else (0.0, share)


def seconds_ratio(
    ours: Crossing, peer: Sequence[Point], *, slack: float, name: str = "gold_mean"
) -> Ratio:
    """How many times our seconds the peer took to our gold at `slack` times our KL, or a bound."""
    found = first_crossing(peer, ours.level, slack * ours.kl_nats, name)
    if found is not None:
        return Ratio(found.seconds / ours.seconds, is_bound=False)
    return Ratio(float(peer[-1]["processor_seconds"]) / ours.seconds, is_bound=True)


def mean_ratio(ratios: Sequence[Ratio]) -> dict[str, Any]:
    """The geometric mean with Student's 95 % interval of the logarithms.

    Where a ratio is a bound the mean is one too, and has no interval.
    """
    logs = [math.log(one.value) for one in ratios]
    is_bound = any(one.is_bound for one in ratios)
    found: dict[str, Any] = {
        "mean": math.exp(sum(logs) / len(logs)), "is_bound": is_bound, "interval": None,
    }  # fmt: skip
    if len(logs) > 1 and not is_bound:
        found["interval"] = [math.exp(end) for end in mean_interval(logs)]
    return found


def at_kls(points: Sequence[Point], kls: Sequence[float], name: str) -> list[float | None]:
    """A figure where training first passed each KL; None where it never did."""
    return [_where_passed(points, kl, name) for kl in kls]


def _where_passed(points: Sequence[Point], kl: float, name: str) -> float | None:
    for before, after in pairwise(points):
        low, high = float(before["kl_nats"]), float(after["kl_nats"])
        if low <= kl <= high:
            share = (kl - low) / (high - low) if high > low else 0.0
            return _between(before[name], after[name], share)
    return None


def verdict(low: float, high: float, margin: float) -> str:
    """What an interval of (separate - shared) says at a margin that was declared before."""
    if high < -margin:
        return "separate is worse"
    if low > margin:
        return "separate is better"
    if -margin <= low and high <= margin:
        return "alike"
    return "not told apart"
