"""What benchmarks/reward_models.py tabulates, beside what a hand says."""

import importlib
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def arm(single: float, mean: float, gold: float | None) -> dict[str, Any]:
    return {
        "single": {"accuracy": single, "gold_at_kl": {"2.0": 0.1}},
        "mean": {"accuracy": mean, "gold_at_kl": {"2.0": gold}},
    }


def test_gains_are_paired_by_seed_and_what_one_lacks_is_left_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    table = importlib.import_module("reward_models").table
    seeds = {
        "0": {"flawed-300": arm(0.5, 0.6, 0.3)},
        "1": {"flawed-300": arm(0.7, 0.8, None)},
    }
    lines = [line for line in table(seeds).splitlines() if line.startswith("| flawed-300")]
    accuracy, gold = lines
    # Means .6 and a gain of .1 on both seeds; Student with one degree of freedom is 12.7 wide.
    assert accuracy.startswith("| flawed-300 | 2 | 0.600 [-0.671, 1.871] | +0.100")
    assert gold == "| flawed-300 | 2 | 0.100 | - |"
