"""Parts of a reward model's accuracy, rules that read no content, and what biases amount to."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assent.audit.almanac import content_blind_rules
from assent.audit.estimating import mean_over
from assent.audit.evidence import Judged
from assent.audit.features import GENERIC, LEFT, differences, features_of
from assent.audit.reward_accuracy import Rule, longest
from assent.stats.logistic import LogisticFit, amplified, diverging, fit_logistic
from assent.worlds.almanac import World

PARTS = 5
"""Parts of equal size by margin or by length."""
NO_INTERVAL = (
    "these judgements put no bound on it: the side that it favours, alone or with others, never "
    "lost, so the value is what a ridge of 1 leaves of an infinite one"
)


def blind_rules(world: World | None) -> dict[str, Rule]:
    """Rules that read no content; `LEFT` needs none, since it goes by the side shown."""
    rules: dict[str, Rule] = {"longest": longest, "shortest": lambda p, t: -longest(p, t)}
    if world is not None:
        return {**rules, **content_blind_rules(world)}
    for name in ("sounds certain", "begins by agreeing"):
        rules[name] = GENERIC[name]
    return rules


def blind_right(
    world: World | None, judged: Sequence[Judged], chose_first: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """For each rule, whether it predicts each judgement; half where it cannot tell."""
    found = {}
    for name, rule in blind_rules(world).items():
        gaps = [rule(one.prompt, one.first) - rule(one.prompt, one.second) for one in judged]
        found[name] = hits(np.array(gaps), chose_first)
    sides = [1.0 if one.shown_order == "first_left" else -1.0 for one in judged]
    return {**found, LEFT: hits(np.array(sides), chose_first)}


def hits(margins: NDArray[np.float64], chose_first: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 where the sign of a margin is that of the choice, 0 where not, half for no margin."""
    same = (margins > 0) == (chose_first > 0.5)
    return np.where(margins == 0, 0.5, same.astype(np.float64))


def share_right(
    values: NDArray[np.float64], clusters: Sequence[str], level: float
) -> dict[str, Any]:
    """Accuracy with an interval over prompts, as JSON."""
    found = mean_over("share", [float(one) for one in values], clusters, level)
    return {
        "accuracy": found.estimate,
        "interval": list(found.interval) if found.interval else None,
        "n": found.n,
    }


def by_parts(
    by: NDArray[np.float64], right: NDArray[np.float64], clusters: Sequence[str], level: float
) -> list[dict[str, Any]]:
    """Accuracy in parts of about equal size, equal values together."""
    edges = np.unique(np.quantile(by, np.linspace(0, 1, PARTS + 1)))
    part = np.clip(np.searchsorted(edges, by, side="right") - 1, 0, max(len(edges) - 2, 0))
    return [
        {
            "from": float(by[mine].min()),
            "to": float(by[mine].max()),
            **share_right(right[mine], [clusters[n] for n in mine], level),
        }
        for number in range(max(len(edges) - 1, 1))
        if (mine := [int(one) for one in np.flatnonzero(part == number)])
    ]


def places(labels: Sequence[str]) -> dict[str, list[int]]:
    """For each label, the places it stands at."""
    found: dict[str, list[int]] = {}
    for place, label in enumerate(labels):
        found.setdefault(label, []).append(place)
    return found


def bias_table(
    judged: Sequence[Judged],
    chose_first: NDArray[np.float64],
    chance: NDArray[np.float64],
    world: World | None,
    level: float,
) -> dict[str, Any]:
    """Coefficients of annotators and of the model on the same pairs, and what it amplified."""
    names, table = differences(judged, features_of(world))
    clusters = [one.prompt for one in judged]
    try:
        (people, endless), (model, endless_too) = (
            _fit(table, chosen, clusters) for chosen in (chose_first, chance)
        )
    except ValueError as error:
        return {"problem": str(error), "rows": []}
    rows = []
    for number, name in enumerate(names):
        more = amplified(model, people, number, clusters, level=level)
        known = not (endless[number] or endless_too[number])
        rows.append(
            {
                "feature": name,
                "annotators": _coefficient(people, number, level, known=not endless[number]),
                "model": _coefficient(model, number, level, known=not endless_too[number]),
                "amplified": {
                    "difference": more.difference,
                    "interval": [more.interval.low, more.interval.high] if known else None,
                },
                **({} if known else {"no_interval": NO_INTERVAL}),
            }
        )
    return {
        "unit": "logits a unit of the difference, first response less second",
        "judgements": len(judged),
        "ridge": {"annotators": float(endless.any()), "model": float(endless_too.any())},
        "rows": rows,
    }


def _fit(
    table: NDArray[np.float64], outcomes: NDArray[np.float64], clusters: Sequence[str]
) -> tuple[LogisticFit, NDArray[np.bool_]]:
    """The plain fit, or one with a ridge of 1 where some coefficients are infinite; and which."""
    endless = diverging(table, outcomes)
    return fit_logistic(table, outcomes, clusters, ridge=float(endless.any())), endless


def _coefficient(fit: LogisticFit, number: int, level: float, *, known: bool) -> dict[str, Any]:
    low, high = fit.interval(number, level)
    value = float(fit.coefficients[number])
    return {"value": value, "interval": [low, high] if known else None}
