"""The tables on the page about policy gradients are what the functions give today."""

import importlib.util
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "explanation" / "policy-gradients.md"


def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "group_baselines", ROOT / "benchmarks" / "group_baselines.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_holds_both_tables_as_they_are_computed() -> None:
    page, made = PAGE.read_text(encoding="utf-8"), benchmark()
    for table in (made.length_table(), made.spread_table()):
        assert len(table) > 5
        assert "\n".join(table) in page, "run benchmarks/group_baselines.py and paste its tables"
