"""The page that compares the methods shows what was measured, and its references exist."""

import importlib
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "explanation" / "methods-compared.md"
RESULTS = ROOT / "benchmarks" / "results"


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return PAGE.read_text(encoding="utf-8")


def test_the_methods_table_is_what_the_results_say(page: str) -> None:
    made = importlib.import_module("methods_table")
    result = json.loads((RESULTS / "methods.json").read_text(encoding="utf-8"))
    assert len(result["seeds"]) >= 4
    assert made.table(result).partition("Published shapes:")[0].strip() in page


@pytest.mark.parametrize(
    ("module", "file"), [("iterated", "iterated.json"), ("reward_models", "reward_models.json")]
)
def test_the_other_tables_are_what_their_results_say(page: str, module: str, file: str) -> None:
    made = importlib.import_module(module)
    result = json.loads((RESULTS / file).read_text(encoding="utf-8"))
    assert len(result["seeds"]) >= 4
    assert made.table(result["seeds"]).strip() in page
