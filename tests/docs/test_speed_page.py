"""The page on speed shows what was measured beside TRL."""

import importlib
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("results", ["peers.json", "peers_avx2.json"])
def test_the_table_beside_trl_is_what_the_results_say(
    results: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "peers"))
    made = importlib.import_module("run")
    result = json.loads((ROOT / "benchmarks" / "results" / results).read_text("utf-8"))
    page = (ROOT / "docs" / "explanation" / "speed.md").read_text("utf-8")
    assert made.table(result["rows"]).strip() in page
    assert all(
        difference < made.TOLERANCE
        for size in result["equal_work"].values()
        for difference in size.values()
    )
