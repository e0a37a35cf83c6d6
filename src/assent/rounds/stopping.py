"""When a round, or the loop, should end because more of the learned reward has become less gold."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from assent.audit.curves import CurvePoint, GoldCurve
from assent.audit.over_optimisation import stop_reason
from assent.rounds.trajectory import Point
from assent.stats.paired import alike_halves, peak_and_fall

RESAMPLES = 2000


class Measured(NamedTuple):
    """A prompt that gold is measured on."""

    text: str
    group: str
    """What it is about; prompts of one group are not independent."""
    kind: str


def reason_to_stop(
    points: Sequence[Point], prompts: Sequence[Measured], source: str, *, planned: int
) -> str | None:
    """Why training should end at the last of the points, if it should; see `stop_reason`.

    Args:
        points: of this run so far, each with gold of every prompt.
        prompts: what they were measured on, in order.
        source: where gold comes from, in words.
        planned: how many points there will be.
    """
    curve = GoldCurve(
        points=[
            CurvePoint(
                step=one.step,
                kl_nats=float(one.figures["kl_nats"]),
                gold=np.array(one.gold),
                proxy=np.array(one.proxy),
                covariance=np.array(one.covariance) if one.covariance else None,
                figures=one.figures,
            )
            for one in points
        ],
        prompts=[prompt.text for prompt in prompts],
        clusters=[prompt.group for prompt in prompts],
        strata=[prompt.kind for prompt in prompts],
        source=source,
    )
    return stop_reason(curve, planned=planned)


def fall_of(
    points: Sequence[Point], prompts: Sequence[Measured], last_round: int, *, things: str = "facts"
) -> dict[str, Any]:
    """How far gold falls from peak to end; peak and fall on different halves of the groups.

    Args:
        points: of all rounds, each with gold of every prompt.
        prompts: what they were measured on, in order.
        last_round: its number, for the reader.
        things: what the groups are, in words.
    """
    clusters = [prompt.group for prompt in prompts]
    strata = [prompt.kind for prompt in prompts]
    found = peak_and_fall(
        np.array([point.gold for point in points]),
        half=alike_halves(clusters, strata),
        clusters=clusters,
        strata=strata,
        resamples=RESAMPLES,
        seed=0,
    )
    return {
        "gold_fall": found.fall,
        "ci": [found.interval.low, found.interval.high],
        "peaks": list(found.peaks),
        "n": len(prompts),
        "round": last_round,
        "method": (
            f"peak located on half of the {things}, fall to the last point measured on the other "
            f"half, both ways round and averaged; 95 % bootstrap over {things} within each kind"
        ),
    }
