"""The loop learns, and over-optimises as it should: four seeds, every point printed."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

SEEDS = (0, 1, 2, 3)
SCRIPT = Path(__file__).parents[2] / "benchmarks" / "over_optimisation.py"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("over-optimisation"),
    pytest.mark.timeout(4 * 3600),  # four arms over four seeds: about two hours of one core
]

Arms = dict[str, dict[str, Any]]


def _benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("over_optimisation", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


BENCHMARK = _benchmark()


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[Arms]:
    found = [
        dict(
            BENCHMARK.run_arms(seed, list(BENCHMARK.ARMS), tmp_path_factory.mktemp(f"seed-{seed}"))
        )
        for seed in SEEDS
    ]
    print(BENCHMARK.describe(found))  # noqa: T201
    for seed, arms in zip(SEEDS, found, strict=True):
        for arm, summary in arms.items():
            for name in ("kl_nats", "proxy_mean", "gold_mean", "kl_to_optimum_nats"):
                shown = " ".join(f"{point[name]:.3f}" for point in summary["trajectory"])
                print(f"seed {seed} {arm} {name}: {shown}")  # noqa: T201
    return found


def test_ppo_lowers_the_kl_to_its_optimum_by_nine_tenths_and_ends_near_it(
    seeds: list[Arms],
) -> None:
    for start, end in BENCHMARK.distances(seeds, "optimum"):
        assert end <= 0.1 * start
        assert end < 0.3


def test_with_flawed_judges_gold_falls_from_its_peak(seeds: list[Arms]) -> None:
    assert np.mean(BENCHMARK.falls(seeds, "flawed")) > 0.05


def test_with_unbiased_judges_and_many_judgements_gold_does_not_fall(seeds: list[Arms]) -> None:
    assert np.mean(BENCHMARK.falls(seeds, "unbiased")) < 0.02


def test_with_unbiased_judges_and_few_judgements_the_fall_is_reported(seeds: list[Arms]) -> None:
    found = BENCHMARK.falls(seeds, "scarce")
    assert len(found) == len(SEEDS)
    assert np.isfinite(found).all()
