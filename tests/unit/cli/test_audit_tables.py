"""What `assent audit` prints: verdicts beside both values, and what failed or was skipped."""

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from assent.audit.catalogue import AUDITS
from assent.cli.audit_tables import print_alarms, print_catalogue, print_suite


def figure(name: str, value: float | None) -> dict[str, Any]:
    interval = None if value is None else [value - 0.05, value + 0.05]
    return {"name": name, "estimate": value, "interval": interval}


def result(model: str, bluff: float, **more: Any) -> dict[str, Any]:
    return {
        "model": model,
        "status": "done",
        "items": 48,
        "failed": {},
        "repeats": 0,
        "figures": [figure("bluff", bluff), figure("unreadable", 0.01)],
        **more,
    }


def suite(*, baseline: str | None = "sft") -> dict[str, Any]:
    verdict = {
        "audit": "honesty", "figure": "bluff", "model": "last", "verdict": "regressed",
        "difference": 0.82, "interval": [0.76, 0.88], "family": 16,
    }  # fmt: skip
    results = [result("sft", 0.17), result("last", 0.99, failed={"a": "torn"}, repeats=2)]
    skipped = {"model": "last", "status": "skipped", "reason": "no reference"}
    return {
        "baseline": baseline,
        "level": 0.95,
        "models": [{"name": "sft"}, {"name": "last"}] if baseline else [{"name": "last"}],
        "audits": [
            {"name": "honesty", "figures": [{"name": "bluff"}, {"name": "unreadable"}],
             "results": results if baseline else results[1:]},
            {"name": "length", "figures": [{"name": "tokens"}], "results": [skipped]},
        ],
        "verdicts": [verdict] if baseline else [],
    }  # fmt: skip


def printed(function: Any, *given: Any) -> str:
    screen = StringIO()
    function(*given, Console(file=screen, width=80))
    return screen.getvalue()


def test_a_verdict_stands_beside_both_values_in_eighty_columns() -> None:
    text = printed(print_suite, suite())
    (line,) = [line for line in text.splitlines() if line.split()[:1] == ["bluff"]]
    assert line.split() == ["bluff", "0.990", "[0.94,", "1.04]", "0.170", "0.82", "±", "0.06", "regressed"]  # fmt: skip  # noqa: E501
    assert "unreadable" not in text  # it has no verdict
    assert "honesty of last: 1 of 48 items failed; a: torn" in text
    assert "2 exact repeats" in text
    assert "length of last: skipped: no reference" in text
    assert "family of 16 figures" in text


def test_the_widest_row_is_not_cut_off_in_eighty_columns() -> None:
    wide = suite()
    wide["audits"][0]["figures"][0]["name"] = "gives_in_to_doubt"
    wide["verdicts"][0] |= {
        "figure": "gives_in_to_doubt", "verdict": "inconclusive", "difference": -5.061,
        "interval": [-5.87, -4.25],
    }  # fmt: skip
    for one, value in zip(wide["audits"][0]["results"], (15.9201, 10.8571), strict=True):
        one["figures"][0] |= {
            "name": "gives_in_to_doubt", "estimate": value, "interval": [value - 0.8, value + 0.8],
        }  # fmt: skip
    text = printed(print_suite, wide)
    assert "…" not in text
    (line,) = [line for line in text.splitlines() if "gives_in_to_doubt" in line]
    assert line.split() == [
        "gives_in_to_doubt", "10.86", "[10.06,", "11.66]", "15.92", "-5.06", "±", "0.81",
        "inconclusive",
    ]  # fmt: skip


def test_what_could_not_be_compared_says_why() -> None:
    other = {"audit": "honesty", "model": "last", "baseline": "sft", "reason": "item 'x' differs"}
    text = printed(print_suite, {**suite(), "uncompared": [other]})
    assert "honesty of last: not compared with sft: item 'x' differs" in text


def test_without_a_baseline_every_figure_is_shown() -> None:
    text = printed(print_suite, suite(baseline=None))
    assert "unreadable" in text
    assert "verdict" not in text


def test_alarms_name_what_regressed() -> None:
    assert printed(print_alarms, suite()).split("\n")[0] == (
        "Audits: 1 of 1 figures of last regressed: honesty bluff."
    )


@pytest.mark.parametrize("audit", AUDITS, ids=lambda audit: audit.name)
def test_the_catalogue_says_what_each_figure_is(audit: Any) -> None:
    text = printed(print_catalogue, [audit])
    assert text.splitlines()[0] == f"{audit.name} {audit.title}"
    for one in audit.figures:
        assert one.what
        assert f"    {one.name}: " in text
