"""The page on flaws and audits declares what the benchmark tests, and nothing else."""

import importlib.util
import re
from pathlib import Path

from assent.audit.catalogue import AUDITS
from assent.worlds.almanac.annotators import ONE_FLAW

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "explanation" / "flaws-and-audits.md"


def declared() -> dict[str, dict[str, str]]:
    spec = importlib.util.spec_from_file_location(
        "flaw_audits", ROOT / "benchmarks" / "flaw_audits.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: dict[str, dict[str, str]] = module.DECLARED
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
