"""What benchmarks/peers/gold.py reads off two runs, beside what a hand reads off them."""

import importlib
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PEERS = Path(__file__).resolve().parents[2] / "benchmarks" / "peers"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(PEERS))
    return importlib.import_module("crossings")


def run(*golds: float, kl: float = 0.1, seconds: float = 2.0) -> list[dict[str, Any]]:
    """An update every so many seconds, each going as far in KL."""
    return [
        {"update": at, "processor_seconds": seconds * at, "kl_nats": kl * at, "gold_mean": gold}
        for at, gold in enumerate(golds)
    ]


def test_the_target_is_a_share_of_the_rise_to_the_highest_gold(made: ModuleType) -> None:
    assert made.target_of(run(0.1, 0.0, 0.3, 0.2), 0.9) == pytest.approx(0.28)
    assert made.target_of(run(0.1, 0.0, 0.05), 0.9) is None


def test_a_target_is_crossed_on_the_line_between_two_points(made: ModuleType) -> None:
    found = made.first_crossing(run(0.0, 0.1, 0.3, 0.9), 0.2)
    assert found == pytest.approx((3.0, 1.5, 0.2, 0.15))
    assert made.first_crossing(run(0.0, 0.1), 0.2) is None


def test_a_crossing_too_far_from_the_reference_is_none_until_the_run_comes_back(
    made: ModuleType,
) -> None:
    points = run(0.0, 0.4, 0.4)
    points[1]["kl_nats"], points[2]["kl_nats"] = 1.0, 0.0
    assert made.first_crossing(points, 0.2, 0.4).updates == pytest.approx(1.6)
    assert made.first_crossing(points, 0.2, 0.6).updates == pytest.approx(0.5)
    assert made.first_crossing(points[:2], 0.2, 0.4) is None
    assert made.first_crossing(points[:2], 0.2).updates == pytest.approx(0.5)


def test_gold_that_falls_below_the_target_before_the_run_is_near_is_no_crossing(
    made: ModuleType,
) -> None:
    points = run(0.4, 0.0)
    points[0]["kl_nats"], points[1]["kl_nats"] = 1.0, 0.0
    assert made.first_crossing(points, 0.3, 0.5) is None
    assert made.first_crossing(points, 0.2, 0.5).updates == pytest.approx(0.5)


def test_the_highest_gold_within_a_kl_may_stand_between_two_points(made: ModuleType) -> None:
    assert made.highest_gold(run(0.0, 0.2, 0.6), 0.15) == pytest.approx(0.4)
    assert made.highest_gold(run(0.3, 0.2, 0.6), 0.1) == pytest.approx(0.3)
    assert made.highest_gold(run(0.0, 0.2, 0.1), 9.0) == pytest.approx(0.2)


def test_a_peer_of_half_the_speed_takes_twice_as_long_and_a_lost_one_more_than_it_ran(
    made: ModuleType,
) -> None:
    ours = made.first_crossing(run(0.0, 0.1, 0.2), 0.15)
    same = made.seconds_ratio(ours, run(0.0, 0.1, 0.2, seconds=4.0), slack=1.1)
    assert same == (pytest.approx(2.0), False)
    far = made.seconds_ratio(ours, run(0.0, 0.1, 0.2, kl=0.2), slack=1.1)
    assert far == (pytest.approx(4 / 3), True)
    assert not made.seconds_ratio(ours, run(0.0, 0.1, 0.2, kl=0.2), slack=math.inf).is_bound


def test_ratios_are_averaged_as_logarithms_and_a_bound_leaves_no_interval(
    made: ModuleType,
) -> None:
    both = [made.Ratio(2.0, is_bound=False), made.Ratio(8.0, is_bound=False)]
    found = made.mean_ratio(both)
    assert found["mean"] == pytest.approx(4.0)
    half = 12.706205 * math.log(2)  # Student, one degree of freedom; standard error log 2
    assert found["interval"] == pytest.approx([4 * math.exp(-half), 4 * math.exp(half)], rel=1e-6)
    bounded = made.mean_ratio([*both, made.Ratio(4.0, is_bound=True)])
    assert bounded == {"mean": pytest.approx(4.0), "is_bound": True, "interval": None}
    assert made.mean_ratio(both[:1])["interval"] is None


def test_a_figure_at_a_kl_is_the_one_where_the_run_first_passed_it(made: ModuleType) -> None:
    points = run(0.0, 0.2, 0.1)
    assert made.at_kls(points, [0.05, 0.15, 0.3], "gold_mean") == [
        pytest.approx(0.1), pytest.approx(0.15), None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (-0.02, 0.03, "alike"),
        (-0.2, -0.04, "separate is worse"),
        (0.04, 0.2, "separate is better"),
        (-0.1, 0.01, "not told apart"),
        (-0.1, 0.1, "not told apart"),
    ],
)
def test_a_verdict_is_an_interval_beside_a_margin(
    made: ModuleType, low: float, high: float, said: str
) -> None:
    assert made.verdict(low, high, 0.03) == said
