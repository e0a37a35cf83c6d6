"""The page on speed shows how time and memory grow as it was measured."""

import importlib
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_the_growth_table_is_what_the_results_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    made = importlib.import_module("growth_table")
    result = json.loads((ROOT / "benchmarks" / "results" / "growth.json").read_text("utf-8"))
    page = (ROOT / "docs" / "explanation" / "speed.md").read_text("utf-8")
    assert made.table(result).strip() in page
