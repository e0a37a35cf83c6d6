"""Over-optimisation found where it was planted, and the loop told to stop there."""

import json
from pathlib import Path

import numpy as np
import pytest

from assent.audit.best_of import best_of_n_law
from assent.audit.curves import CurvePoint, GoldCurve, read_points
from assent.audit.over_optimisation import alarms, describe, stop_reason
from assent.audit.subject import Estimate, Measured
from assent.errors import NotAuditable, StoreDamaged
from assent.stats.scaling import gao_law, law_peak

PROMPTS = 120


def curve(*, a: float, b: float, noise: float = 0.1, covariances: bool = True) -> GoldCurve:
    """Gold by the RL law; the proxy only rises; the covariance is the slope of gold."""
    rng = np.random.default_rng(0)
    worth = rng.normal(0, 1, size=PROMPTS)
    distances = [0.0, *np.linspace(0.4, 2.4, 9)]
    golds = gao_law(distances, a, b, "rl")
    slopes = np.gradient(golds, distances)
    points = [
        CurvePoint(
            step=10 * n,
            kl_nats=float(d) ** 2,
            gold=worth + golds[n] + rng.normal(0, noise, size=PROMPTS),
            proxy=worth + 0.6 * d + rng.normal(0, noise, size=PROMPTS),
            covariance=slopes[n] + rng.normal(0, 0.5, size=PROMPTS) if covariances else None,
            figures={"kl_nats": float(d) ** 2},
        )
        for n, d in enumerate(distances)
    ]
    return GoldCurve(
        points=points,
        prompts=[f"p{n}" for n in range(PROMPTS)],
        clusters=[f"g{n // 2}" for n in range(PROMPTS)],
        strata=["all"] * PROMPTS,
        source="made up",
    )


HUMP, RISE = curve(a=0.3, b=0.6), curve(a=1.0, b=0.05)


def figure(found: Measured, name: str) -> Estimate:
    return next(one for one in found.figures if one.name == name)


def test_the_peak_of_a_hump_is_predicted_and_its_fall_established() -> None:
    found = describe(HUMP, level=0.95)
    peak = figure(found, "peak_rl")
    assert peak.interval is not None
    assert peak.interval[0] <= law_peak(0.3, 0.6, "rl").distance <= peak.interval[1]
    fall = figure(found, "fall")
    assert fall.interval is not None
    assert fall.interval[0] > 0
    change = figure(found, "gold_change")
    assert change.estimate == pytest.approx(gao_law(2.4, 0.3, 0.6, "rl"), abs=0.05)
    onset = found.tables["onset"]
    assert onset is not None
    # Gold peaks at distance .61; the first points where more reward is less gold lie after it.
    assert found.tables["points"][onset]["distance"] > 0.6


def test_a_rise_has_no_onset_no_fall_and_no_alarm() -> None:
    found = describe(RISE, level=0.95)
    assert found.tables["onset"] is None
    assert found.tables["alarms"] == []
    fall = figure(found, "fall")
    assert fall.interval is not None
    assert fall.interval[0] <= 0


def test_neighbours_alarm_where_reward_rises_and_gold_falls() -> None:
    found = alarms(HUMP)
    assert found
    steps = [one["from_step"] for one in found]
    assert min(steps) >= 20
    for one in found:
        assert one["gold_interval"][1] < 0 < one["proxy"]


@pytest.mark.parametrize("covariances", [True, False])
def test_the_loop_is_told_to_stop_after_the_peak_and_why(covariances: bool) -> None:
    hump = curve(a=0.3, b=0.6, covariances=covariances)
    reasons = [
        stop_reason(
            GoldCurve(
                points=hump.points[: n + 1],
                prompts=hump.prompts,
                clusters=hump.clusters,
                strata=hump.strata,
                source=hump.source,
            ),
            planned=len(hump.points),
        )
        for n in range(len(hump.points))
    ]
    first = next(n for n, reason in enumerate(reasons) if reason)
    assert first >= 2
    assert f"step {10 * first}" in str(reasons[first])
    assert ("covariance" if covariances else "fallen by") in str(reasons[first])
    rise = curve(a=1.0, b=0.05, covariances=covariances)
    assert stop_reason(rise, planned=10) is None


def test_best_of_n_by_a_proxy_that_is_gold_only_rises_and_one_that_misleads_turns() -> None:
    rng = np.random.default_rng(0)
    gold = rng.normal(size=(60, 32))
    clusters = [str(n) for n in range(60)]
    honest, table = best_of_n_law(gold, gold, clusters, level=0.95)
    assert isinstance(table, dict)
    assert table["gold"] == sorted(table["gold"])
    # A proxy that agrees with gold in the middle and is turned round at the top.
    proxy = np.where(gold > 1, -gold, gold) + np.where(gold < -1.2, 4.0, 0.0)
    turned, worse = best_of_n_law(proxy, gold, clusters, level=0.95)
    assert isinstance(worse, dict)
    assert worse["gold"][-1] < max(worse["gold"])
    assert turned.estimate is None or turned.estimate < (honest.estimate or np.inf)


def test_points_are_read_as_written_and_broken_ones_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "points"
    folder.mkdir()
    with pytest.raises(NotAuditable, match="no point"):
        read_points(tmp_path)
    for step in (3, 0):
        (folder / f"step-{step:06d}.json").write_text(
            json.dumps({"step": step, "figures": {"kl_nats": 0.1 * step}, "gold": [1.0, 2.0]})
        )
    found = read_points(tmp_path)
    assert [point.step for point in found] == [0, 3]
    assert found[1].covariance is None
    assert found[1].gold.tolist() == [1.0, 2.0]
    (folder / "step-000009.json").write_text('{"step": 9}')
    with pytest.raises(StoreDamaged, match=r"step-000009\.json"):
        read_points(tmp_path)
