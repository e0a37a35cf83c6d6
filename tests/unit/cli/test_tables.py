"""The table that `assent demo` prints: complete, plain in a pipe, and at most 80 columns wide."""

import io
from typing import Any

import pytest
from rich.console import Console
from tests.unit.report.summaries import a_summary

from assent.cli.tables import print_loop_table, thinned
from assent.errors import DataError
from assent.report.findings import curves
from assent.report.summary import parse_summary


def printed(summary: dict[str, Any]) -> str:
    stream = io.StringIO()
    print_loop_table(summary, Console(file=stream, width=80, highlight=False))
    return stream.getvalue()


def rows_of(text: str) -> list[list[str]]:
    return [words for line in text.splitlines() if (words := line.split()) and words[0].isdigit()]


def test_start_peak_end_and_promoted_of_every_round_are_marked() -> None:
    rows = rows_of(printed(a_summary()))
    marked = [(row[0], row[1], " ".join(row[7:])) for row in rows if len(row) > 7]
    assert marked == [
        ("1", "0", "start"),
        ("1", "48", "peak"),
        ("1", "144", "end"),
        ("2", "0", "start"),
        ("2", "48", "peak, promoted"),
        ("2", "144", "end"),
    ]
    assert len(rows) == 10
    assert rows[2] == ["1", "48", "0.73", "0.94", "0.108", "±", "0.033", "peak"]


def test_the_reward_models_and_the_promotion_follow() -> None:
    words = " ".join(printed(a_summary()).split())
    assert words.startswith("In round 2 the learned reward rose from 0.00 to 1.55")
    assert "most confident (0.602). Round 2:" in words
    assert words.endswith("without look-ups 0.031.")


def test_it_is_plain_and_fits_eighty_columns() -> None:
    text = printed(a_summary(rounds=3))
    assert "\x1b" not in text
    assert max(len(line) for line in text.splitlines()) <= 80


def test_without_gold_there_is_no_such_column() -> None:
    summary = a_summary()
    for point in summary["trajectory"]:
        point["gold_mean"] = point["gold_ci"] = None
    text = printed(summary)
    assert "±" not in text
    assert "peak" not in text
    assert rows_of(text)[-1] == ["2", "144", "4.20", "1.55", "end"]


def test_markup_in_names_is_printed_as_it_is() -> None:
    summary = a_summary()
    summary["rounds"][0]["reward_model"]["baselines"] = {"[red]loud[/red]": {"accuracy": 0.5}}
    assert "[red]loud[/red]" in printed(summary)


def test_a_loop_without_points_prints_no_table() -> None:
    bare = {"schema_version": 1, "seed": 0, "rounds": [], "trajectory": []}
    assert rows_of(printed(bare)) == []


def test_a_malformed_summary_names_the_key() -> None:
    with pytest.raises(DataError, match=r"summary: trajectory: field required"):
        printed({"schema_version": 1, "seed": 0, "rounds": []})


def test_points_between_are_spread_evenly() -> None:
    (curve,) = curves(parse_summary(a_summary(rounds=1), "summary"))
    assert [point.step for point in thinned(curve, {48, 144}, 6)] == [0, 24, 48, 72, 96, 144]
    assert [point.step for point in thinned(curve, {48, 144}, 2)] == [0, 48, 144]
    assert len(thinned(curve, set(), 99)) == 13
