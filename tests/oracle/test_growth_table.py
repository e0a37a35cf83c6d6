"""The exponents that benchmarks/growth_table.py fits, on powers that were planted."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("growth_table")


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_a_planted_power_is_found_exactly(made: ModuleType, power: float) -> None:
    sizes = [8, 16, 32, 64]
    found = made.fit_exponent(sizes, [0.3 * size**power for size in sizes])
    assert found.value == pytest.approx(power, abs=1e-9)
    assert found.interval == pytest.approx((power, power), abs=1e-6)
    assert found.last == pytest.approx(power, abs=1e-9)


def test_slope_and_interval_are_those_of_statsmodels(made: ModuleType) -> None:
    sizes = np.array([1e3, 1e4, 1e5, 1e6])
    spent = sizes**1.1 * np.array([1.3, 0.9, 1.0, 1.2])
    found = made.fit_exponent(sizes, spent, level=0.9)
    line = sm.OLS(np.log(spent), sm.add_constant(np.log(sizes))).fit()
    assert found.value == pytest.approx(line.params[1])
    assert found.interval == pytest.approx(line.conf_int(alpha=0.1)[1])
    assert found.last == pytest.approx(1.1 + np.log10(1.2))


def test_the_interval_holds_the_planted_power_nineteen_times_of_twenty(made: ModuleType) -> None:
    rng, sizes = np.random.default_rng(0), np.array([8, 16, 32, 64, 128])
    held = 0
    for _ in range(400):
        spent = sizes**0.8 * np.exp(rng.normal(0, 0.2, len(sizes)))
        low, high = made.fit_exponent(sizes, spent).interval
        held += low <= 0.8 <= high
    assert 0.92 <= held / 400 <= 0.98


def test_two_sizes_give_no_interval_and_what_is_no_power_is_refused(made: ModuleType) -> None:
    assert made.fit_exponent([10, 100], [1, 10]).interval is None
    with pytest.raises(ValueError, match="two or more sizes"):
        made.fit_exponent([10], [1])
    with pytest.raises(ValueError, match="two or more sizes"):
        made.fit_exponent([10, 10], [1, 1])
    with pytest.raises(ValueError, match="above zero"):
        made.fit_exponent([10, 100], [0, 1])


def test_a_series_varies_one_thing_and_takes_medians(made: ModuleType) -> None:
    def point(width: int, batch: int, seconds: list[float], memory: float) -> dict[str, Any]:
        return {
            "width": width, "batch": batch, "length": 4, "parameters": 10 * width,
            "processor_seconds": seconds, "memory_mb": memory,
        }  # fmt: skip

    def judged(count: int, seconds: float) -> dict[str, Any]:
        return {
            "count": count, "processor_seconds": {"record": seconds}, "memory_mb": {"record": 1.0}
        }  # fmt: skip

    points = [point(32, 2, [1, 9, 2], 20), point(64, 2, [4, 4, 4], 40), point(32, 4, [3, 3, 3], 5)]
    counts = [judged(100, 1), judged(100, 3), judged(100, 2), judged(1000, 20)]
    result = {
        "defaults": {"width": 32, "batch": 2, "length": 4},
        "seeds": {"0": {"models": {"sft": points}, "judgements": counts}},
    }
    by_size, by_batch, record = made.series_of(result)  # one length alone is no series
    assert (by_size.sizes, by_size.seconds) == ([320, 640], [2, 4])
    assert (by_batch.sizes, by_batch.memory_mb) == ([2, 4], [20, 5])
    assert (record.sizes, record.seconds) == ([100, 1000], [2, 20])
    assert "| record | judgements, 100 to 1,000 | 2 to 20 | 1.00 | 1.00 | 1 to 1 | - | - |" in (
        made.table(result)
    )


@pytest.mark.slow
def test_a_second_run_measures_only_what_is_missing(tmp_path: Path) -> None:
    files = [str(tmp_path / name) for name in ("out.json", "out.md", "out.svg")]

    def run(most: int) -> dict[str, Any]:
        command = [sys.executable, str(BENCHMARKS / "growth.py"), *files, "--quick"]
        subprocess.run([*command, "--least", "100", "--most", str(most)], check=True)
        found: dict[str, Any] = json.loads(Path(files[0]).read_text("utf-8"))["seeds"]["0"]
        return found

    first, again = run(100), run(300)
    assert [len(points) for points in first["models"].values()] == [4, 4, 4, 4]
    assert again["models"] == first["models"]
    assert again["judgements"][:1] == first["judgements"]
    assert [one["count"] for one in again["judgements"]] == [100, 300]
    assert "| PPO update | batch, 2 to 4 |" in Path(files[1]).read_text("utf-8")
    assert Path(files[2]).read_text("utf-8").startswith("<?xml")
