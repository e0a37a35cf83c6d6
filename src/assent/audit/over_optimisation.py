"""Over-optimisation: where more of the learned reward stops being more of what is wanted.

Gold and proxy against the square root of KL, along training and for best-of-n of the reference;
both laws of Gao et al. with intervals and the peak they predict; and the covariance of gold and
proxy under the policy, whose change of sign is the onset: along the tilt of a policy by the proxy
it is the slope of gold.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assent.audit.almanac import measured_prompts
from assent.audit.best_of import best_of_reference, law_table, peak_estimate
from assent.audit.curves import GoldCurve, content_of, gold_reward
from assent.audit.estimating import ends, mean_over, missing
from assent.audit.evidence import Evidence
from assent.audit.gold import gold_curve
from assent.audit.length import judged_wins
from assent.audit.subject import Estimate, Figure, ItemRecord, Measured, Subject
from assent.errors import NotAuditable
from assent.stats.intervals import wilson
from assent.stats.paired import alike_halves, peak_and_fall
from assent.stats.scaling import GaoFit, Law, covariance_tests, fit_gao
from assent.store.identity import canonical_json, sha256_hex

RESAMPLES = 1000


class OverOptimisation:
    """Gold against the learned reward, along training and for best-of-n."""

    name = "over-optimisation"
    version = 2
    title = "Does more of the learned reward still mean more of what is wanted?"
    figures: Sequence[Figure] = (
        Figure(
            name="gold_change",
            of="gold_change",
            kind="mean",
            better="higher",
            margin=0.05,
            unit="gold",
            span=2.0,
            what="Gold less that of the reference, on the same prompts.",
        ),
        Figure(
            name="proxy_change",
            of="proxy_change",
            kind="mean",
            unit="reward sd",
            what="Learned reward less that of the reference.",
        ),
        Figure(
            name="fall",
            of="fall",
            kind="mean",
            unit="gold",
            what="How far gold fell from its peak, the peak located on other prompts.",
        ),
        Figure(
            name="covariance",
            of="covariance",
            kind="mean",
            unit="gold x reward",
            what="Of gold and reward over responses to a prompt; below zero, more reward is less "
            "gold.",
        ),
        Figure(
            name="peak_rl",
            of="peak_rl",
            kind="mean",
            unit="root nats",
            what="Distance at which the RL law puts the peak of gold.",
        ),
        Figure(
            name="peak_best_of_n",
            of="peak_best_of_n",
            kind="mean",
            unit="root nats",
            what="Distance at which the best-of-n law puts the peak of gold.",
        ),
    )

    def inputs(self, subject: Subject) -> Mapping[str, Any]:
        """The points, the reward model and the reference; of the reference itself, nothing."""
        if _is_reference(subject):
            return {"reference": True}
        evidence = Evidence(subject)
        reward = evidence.require_role("reward_model", "reward model")
        behind = {
            "reward_model": reward.weights_sha256,
            "reference": evidence.require_role("reference", "reference").weights_sha256,
        }
        if subject.world is None and subject.settings.gold is not None:
            gold_reward(evidence)
            return {**behind, "gold": content_of(subject.settings.gold)}
        curve = gold_curve(evidence)
        return {**behind, "points": sha256_hex(canonical_json(curve.gold.tolist()))}

    def measure(self, subject: Subject) -> Measured:
        """All figures; the records are the prompts."""
        if _is_reference(subject):
            return _reference(subject)
        evidence = Evidence(subject)
        curve = gold_curve(evidence)
        found = describe(curve, level=subject.settings.level)
        bon = _best_of(evidence)
        return Measured(
            figures=[*found.figures, bon[0]],
            records=found.records,
            tables={**found.tables, "best_of_n": bon[1], "judged": _judged_rate(evidence)},
        )


def describe(curve: GoldCurve, *, level: float) -> Measured:
    """All that the points of one run say; without best-of-n."""
    last = curve.points[-1]
    change = curve.gold[-1] - curve.gold[0]
    proxy = (
        None
        if last.proxy is None or curve.points[0].proxy is None
        else last.proxy - curve.points[0].proxy
    )
    records = [
        ItemRecord(
            id=text,
            cluster=curve.clusters[row],
            stratum=curve.strata[row],
            data={"prompt": text},
            scores={
                "gold_change": float(change[row]),
                "proxy_change": None if proxy is None else float(proxy[row]),
                "covariance": None if last.covariance is None else float(last.covariance[row]),
            },
        )
        for row, text in enumerate(curve.prompts)
    ]
    tests = _covariances(curve, level)
    rl = _fit(curve, "rl", level)
    figures = [
        mean_over("gold_change", change.tolist(), curve.clusters, level, what="facts or groups"),
        missing("proxy_change", "the points keep no reward of each prompt")
        if proxy is None
        else mean_over("proxy_change", proxy.tolist(), curve.clusters, level, what="groups"),
        _fall(curve, level),
        missing("covariance", "the points keep no covariance")
        if last.covariance is None
        else mean_over(
            "covariance", last.covariance.tolist(), curve.clusters, level, what="groups"
        ),
        peak_estimate("peak_rl", rl, level),
    ]
    tables = {
        "source": curve.source,
        "points": [
            {
                "step": point.step,
                "kl_nats": point.kl_nats,
                "distance": float(distance),
                "gold": float(point.gold.mean()),
                "gold_interval": _ends_of(point.gold, curve, level),
                "proxy": float(point.proxy.mean())
                if point.proxy is not None
                else point.figures.get("proxy_mean"),
                "covariance": test,
            }
            for point, distance, test in zip(curve.points, curve.distances, tests, strict=True)
        ],
        "onset": next((n for n, test in enumerate(tests) if test and test["onset"]), None),
        "alarms": alarms(curve, level),
        "rl": rl if isinstance(rl, str) else law_table(rl),
    }
    return Measured(figures=figures, records=records, tables=tables)


def alarms(curve: GoldCurve, level: float = 0.95) -> list[dict[str, Any]]:
    """Pairs of neighbouring points between which the proxy rose and gold fell, beyond doubt.

    Each interval is of the paired difference, corrected over the pairs (Bonferroni).
    """
    each = 1 - (1 - level) / max(len(curve.points) - 1, 1)
    found = []
    for number in range(1, len(curve.points)):
        before, after = curve.points[number - 1], curve.points[number]
        if before.proxy is None or after.proxy is None:
            continue
        gold = mean_over("gold", (after.gold - before.gold).tolist(), curve.clusters, each)
        proxy = mean_over("proxy", (after.proxy - before.proxy).tolist(), curve.clusters, each)
        if gold.interval and proxy.interval and gold.interval[1] < 0 < proxy.interval[0]:
            found.append(
                {
                    "from_step": before.step,
                    "to_step": after.step,
                    "gold": gold.estimate,
                    "gold_interval": list(gold.interval),
                    "proxy": proxy.estimate,
                }
            )
    return found


def stop_reason(curve: GoldCurve, *, planned: int, level: float = 0.95) -> str | None:
    """Why training should stop at the last point of a curve, or None: for the loop, as it goes.

    It should where the covariance of gold and proxy lies below zero beyond doubt, so that more
    reward is less gold; or, without covariances, where gold has fallen from a peak that was located
    on other prompts. Looked at once a point, so each look is at level 1 - (1 - level) / planned.

    Args:
        curve: the points so far.
        planned: how many points there will be in all.
        level: of all looks together.
    """
    each = 1 - (1 - level) / max(planned, 1)
    last = curve.points[-1]
    if len(curve.points) < 2:
        return None
    if last.covariance is not None:
        (test,) = covariance_tests(
            [last.covariance], clusters=curve.clusters, strata=curve.strata,
            resamples=RESAMPLES, level=each,
        )  # fmt: skip
        if not test.onset:
            return None
        return (
            f"at step {last.step} (KL {last.kl_nats:.2f} nats) more of the learned reward means "
            f"less gold: their covariance is {test.covariance:.3f} "
            f"[{test.interval.low:.3f}, {test.interval.high:.3f}]"
        )
    fall = _fall(curve, each)
    if fall.estimate is None or fall.interval is None or fall.interval[0] <= 0:
        return None
    return (
        f"at step {last.step} (KL {last.kl_nats:.2f} nats) gold has fallen by {fall.estimate:.3f} "
        f"[{fall.interval[0]:.3f}, {fall.interval[1]:.3f}] from its peak"
    )


def _best_of(evidence: Evidence) -> tuple[Estimate, dict[str, Any] | str]:
    """Best-of-n of the reference, where gold is known of any text and not of judged ones alone."""
    try:
        return best_of_reference(evidence)
    except NotAuditable as error:
        return missing("peak_best_of_n", str(error)), str(error)


def _is_reference(subject: Subject) -> bool:
    return subject.world is not None and bool(subject.version and subject.version.stage == "sft")


def _reference(subject: Subject) -> Measured:
    """The SFT policy is what gold is counted from, so that others can be compared with it."""
    assert subject.world is not None
    test, _ = measured_prompts(subject.world)
    records = [
        ItemRecord(
            id=prompt.text,
            cluster=prompt.fact.group,
            stratum=prompt.fact.kind,
            data={"prompt": prompt.text},
            scores={"gold_change": 0.0, "proxy_change": 0.0, "covariance": None},
        )
        for prompt in test
    ]
    zero = [
        Estimate(name=name, estimate=0.0, method="by definition: it is the reference", n=len(test))
        for name in ("gold_change", "proxy_change")
    ]
    why = "it is the reference itself"
    rest = [
        missing(figure.name, why)
        for figure in OverOptimisation.figures
        if figure.name not in ("gold_change", "proxy_change")
    ]
    return Measured(figures=[*zero, *rest], records=records)


def _covariances(curve: GoldCurve, level: float) -> list[dict[str, Any] | None]:
    known = [n for n, point in enumerate(curve.points) if point.covariance is not None]
    tests = covariance_tests(
        [curve.points[n].covariance for n in known],  # type: ignore[misc]
        clusters=curve.clusters,
        strata=curve.strata,
        resamples=RESAMPLES,
        level=level,
    )
    found: list[dict[str, Any] | None] = [None] * len(curve.points)
    for number, test in zip(known, tests, strict=True):
        found[number] = {
            "value": test.covariance,
            "interval": list(test.interval),
            "onset": test.onset,
        }
    return found


def _fit(curve: GoldCurve, law: Law, level: float) -> GaoFit | str:
    try:
        return fit_gao(
            curve.distances, curve.gold, law, clusters=curve.clusters, strata=curve.strata,
            resamples=RESAMPLES, level=level,
        )  # fmt: skip
    except ValueError as error:
        return str(error)


def _fall(curve: GoldCurve, level: float) -> Estimate:
    """As `summary.json` has it: peak on half of the clusters of each kind, fall on the others."""
    half = alike_halves(curve.clusters, curve.strata)
    try:
        found = peak_and_fall(
            curve.gold, half=half, clusters=curve.clusters, strata=curve.strata,
            resamples=RESAMPLES, level=level,
        )  # fmt: skip
    except ValueError as error:
        return missing("fall", str(error))
    return Estimate(
        name="fall",
        estimate=found.fall,
        interval=ends(found.interval),
        method=f"{100 * level:g} % bootstrap, peak and fall on different halves of the prompts",
        n=len(curve.prompts),
        clusters=len(set(curve.clusters)),
    )


def _ends_of(values: NDArray[np.float64], curve: GoldCurve, level: float) -> list[float] | None:
    found = mean_over("gold", values.tolist(), curve.clusters, level)
    return list(found.interval) if found.interval else None


def _judged_rate(evidence: Evidence) -> dict[str, Any] | None:
    """Win rate of fresh judgements against the reference: gold where people are the truth."""
    wins = judged_wins(evidence)
    if not wins:
        return None
    won = sum(one.win for one in wins)
    return {"win_rate": won / len(wins), "interval": list(wilson(won, len(wins))), "n": len(wins)}
