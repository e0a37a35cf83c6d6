"""What benchmarks/methods.py says of its measurements, beside what a hand says."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from assent.objectives.kl import categorical_kl
from assent.objectives.tilting import best_of_n, tilt

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
CHANCES = torch.tensor([[0.5, 0.3, 0.2], [0.7, 0.2, 0.1]], dtype=torch.float64)
REWARDS = torch.tensor([[0.0, 1.0, 2.0], [1.0, -1.0, 0.5]], dtype=torch.float64)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("methods_table")


def figures(logprobs: torch.Tensor) -> dict[str, float]:
    return {
        "kl_nats": float(categorical_kl(logprobs, CHANCES.log()).mean()),
        "proxy": float((logprobs.exp() * REWARDS).sum(1).mean()),
        "gold": 0.0,
    }


def references() -> dict[str, Any]:
    return {
        "tilt": [figures(tilt(CHANCES.log(), REWARDS, 0.05 * 1.1**step)) for step in range(80)],
        "best_of_n": [
            {"n": n, "kl_bound_nats": 9.0, **figures(best_of_n(CHANCES.log(), REWARDS, n))}
            for n in (1, 2, 4, 8)
        ],
    }


def result(*golds: list[float]) -> dict[str, Any]:
    """One arm of as many seeds, at KL 0, 1, 2 …"""
    arms = [
        {
            "learns_from": "reward",
            "samples": 8,
            "seconds": 1.0,
            "text_nats": 2.1,
            "points": [
                {"kl_nats": float(at), "gold_mean": gold, "proxy_mean": 0.5 * at,
                 "kl_to_optimum_nats": None}
                for at, gold in enumerate(each)
            ],
        }
        for each in golds
    ]  # fmt: skip
    shared = {"text_nats": 2.0}
    refs = references()
    refs["optimum"] = {"beta": 0.15, **figures(tilt(CHANCES.log(), REWARDS, 0.15))}
    return {
        "terms": {"annotator": "flawed", "quick": False},
        "seeds": {
            str(n): {"arms": {"ppo": arm}, "shared": shared, "references": refs}
            for n, arm in enumerate(arms)
        },
    }


def test_no_distribution_has_more_proxy_than_the_frontier_at_its_kl(made: ModuleType) -> None:
    found = references()
    start = made.frontier(found, 0.0)
    assert start == pytest.approx(float((CHANCES * REWARDS).sum(1).mean()))
    for seed in range(50):
        noise = torch.randn(CHANCES.shape, generator=torch.Generator().manual_seed(seed))
        one = figures(torch.log_softmax(CHANCES.log() + noise.double(), dim=1))
        assert one["proxy"] <= made.frontier(found, one["kl_nats"]) + 1e-3
    for one in found["best_of_n"]:
        assert one["proxy"] <= made.frontier(found, one["kl_nats"]) + 1e-3


def test_gold_at_a_kl_is_on_the_line_and_nothing_where_training_never_got(made: ModuleType) -> None:
    points = result([0.0, 0.4, 0.2])["seeds"]["0"]["arms"]["ppo"]["points"]
    assert made.gold_at(points, 0.5) == pytest.approx(0.2)
    assert made.gold_at(points, 1.5) == pytest.approx(0.3)
    assert made.gold_at(points, 4.0) is None


def test_a_cell_is_empty_unless_every_seed_has_the_figure(made: ModuleType) -> None:
    assert made.cell([1.0, None], ".2f") == "-"
    assert made.cell([1.0], ".2f") == "1.00"
    # Student's t of one degree of freedom: 12.706 standard errors, here of .5.
    assert made.cell([1.0, 2.0], ".2f") == "1.50 [-4.85, 7.85]"


def test_the_table_shows_every_seed_and_says_when_it_was_quick(
    made: ModuleType, tmp_path: Path
) -> None:
    found = result([0.0, 0.4, 0.2], [0.1, 0.3, 0.3])
    text = made.table(found)
    assert "| ppo | 0.200 / 1.00 / 2.00 | 0.300 / 1.00 / 2.00 |" in text
    assert "ppo by 0.200, 0.000 (by seed)" in text
    assert "quick" not in text
    found["terms"]["quick"] = True
    assert "**A quick run of a few updates" in made.table(found)
    made.draw(found, tmp_path / "plot.svg")
    made.draw(found, tmp_path / "plot.png")
    assert (tmp_path / "plot.svg").read_text(encoding="utf-8").count("<svg") == 1
