"""The page on flaws and audits declares what the benchmark tests, and says what was measured."""

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

from assent.audit.catalogue import AUDITS
from assent.worlds.almanac.annotators import ONE_FLAW

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "explanation" / "flaws-and-audits.md"
KEPT = ROOT / "docs" / "experiments" / "flaw_audits.json"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def declared() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = script("flaw_audits").DECLARED
    return found


def on_the_page() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    judge = ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|") or len(cells) != 4:
            continue
        if named := re.fullmatch(r"`(only-[a-z]+)`", cells[0]):
            judge = named[1]
        if judge:
            found.setdefault(judge, set()).update(re.findall(r"`([a-z-]+/\w+)`", cells[2]))
    return found


def test_every_planted_flaw_has_its_declared_effects_on_the_page() -> None:
    table = declared()
    assert set(table) == set(ONE_FLAW)
    assert on_the_page() == {judge: set(figures) for judge, figures in table.items()}


def test_declared_figures_are_figures_of_the_audits() -> None:
    figures = {f"{audit.name}/{figure.name}" for audit in AUDITS for figure in audit.figures}
    for effects in declared().values():
        assert set(effects) <= figures


def test_the_table_of_what_came_is_that_of_the_runs_that_are_kept() -> None:
    kept = json.loads(KEPT.read_text(encoding="utf-8"))
    assert not kept["quick"]
    assert kept["declared"] == declared()
    for judges in kept["seeds"].values():
        assert set(judges) <= {*ONE_FLAW, "sober-again"}
    text = PAGE.read_text(encoding="utf-8")
    assert script("flaw_table").as_markdown(kept) in text
    for sentence in script("flaw_table").undeclared(kept):
        assert sentence in text
