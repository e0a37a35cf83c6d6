"""What the sentences claim: a fall only where its interval says so."""

from typing import Any

import pytest
from tests.unit.report.summaries import a_summary

from assent.report.findings import (
    baseline_sentences,
    curves,
    duration,
    fall_sentence,
    headline,
    interval,
    marks,
    number,
    promotion_sentence,
)
from assent.report.summary import Summary, parse_summary


def parsed(document: dict[str, Any]) -> Summary:
    return parse_summary(document, "summary")


def with_fall(fall: float, ci: tuple[float, float]) -> Summary:
    summary = a_summary(rounds=1)
    summary["fall"] |= {"gold_fall": fall, "ci": ci}
    return parsed(summary)


def shaped(golds: list[float], fall: dict[str, Any] | None) -> str:
    summary = a_summary(rounds=1)
    summary["trajectory"] = [
        {"round": 1, "step": i, "kl_nats": i, "proxy_mean": i, "gold_mean": gold}
        for i, gold in enumerate(golds)
    ]
    summary["fall"] = fall
    return headline(parsed(summary))


def test_an_established_fall_is_stated() -> None:
    summary = with_fall(0.148, (0.101, 0.196))
    assert headline(summary) == (
        "The learned reward rose from 0.00 to 1.55 while gold peaked at 0.11 (KL 0.73 nats) and "
        "fell to -0.06."
    )
    assert fall_sentence(summary).startswith("Gold fell by 0.148 [0.101, 0.196] in round 1.")


def test_an_interval_that_includes_zero_establishes_no_fall() -> None:
    summary = with_fall(0.012, (-0.006, 0.03))
    assert headline(summary) == (
        "The learned reward rose from 0.00 to 1.55 while gold went from -0.07 to -0.06; no fall "
        "from its peak is established (0.012 [-0.006, 0.030]: the interval includes zero)."
    )
    assert "No fall of gold is established in round 1" in fall_sentence(summary)


def test_an_interval_that_touches_zero_establishes_no_fall() -> None:
    assert "no fall from its peak is established" in headline(with_fall(0.012, (0.0, 0.03)))


def test_a_gold_that_ends_above_its_peak_elsewhere_is_no_fall() -> None:
    words = headline(with_fall(-0.05, (-0.08, -0.02)))
    assert "no fall" in words
    assert "gold ends higher than where the other prompts put its peak" in words


@pytest.mark.parametrize(
    ("golds", "expected"),
    [
        ([0.3, 0.2, 0.1], "gold fell from its highest, 0.30 at the start, to 0.10."),
        ([0.1, 0.3, 0.2], "gold peaked at 0.30 (KL 1.00 nats) and fell to 0.20."),
    ],
)
def test_where_gold_was_highest_is_said(golds: list[float], expected: str) -> None:
    assert shaped(golds, {"gold_fall": 0.1, "ci": [0.05, 0.2]}).endswith(expected)


def test_gold_that_only_rises_is_said_to_rise() -> None:
    none = {"gold_fall": 0.0, "ci": [0.0, 0.0]}
    assert shaped([0.1, 0.2, 0.3], none).endswith("gold rose from 0.10 to 0.30, its highest point.")
    assert shaped([0.2, 0.2, 0.2], none).endswith(
        "gold went from 0.20 to 0.20; no fall from its peak is established "
        "(0.000 [0.000, 0.000]: the interval includes zero)."
    )


def test_a_fall_that_was_not_measured_is_not_claimed() -> None:
    words = shaped([0.1, 0.3, 0.2], None)
    assert words.endswith("from 0.10 to 0.20; whether it fell from its peak was not measured.")


def test_marks_of_one_point_stand_together() -> None:
    summary = parsed(a_summary())
    first, second = curves(summary)
    assert marks(summary, first) == {48: ["peak"], 144: ["end"]}
    assert marks(summary, second) == {48: ["peak", "promoted"], 144: ["end"]}


@pytest.mark.parametrize(
    ("accuracy", "ci", "expected"),
    [
        (0.689, [0.661, 0.716], "lies with its whole interval above the best baseline"),
        (0.61, [0.58, 0.64], "lies above the best baseline, most confident (0.602), but its"),
        (0.602, [0.57, 0.63], "is no better than the best baseline, most confident (0.602)"),
    ],
)
def test_a_reward_model_is_held_against_its_best_baseline(
    accuracy: float, ci: list[float], expected: str
) -> None:
    summary = a_summary(rounds=1)
    summary["rounds"][0]["reward_model"] |= {"accuracy": accuracy, "ci": ci}
    (sentence,) = baseline_sentences(parsed(summary))
    assert expected in sentence


def test_a_promotion_states_its_cost_and_what_gold_says() -> None:
    assert promotion_sentence(parsed(a_summary())) == (
        "Promoted by 400 held-out comparisons and 212 look-ups: round 2, step 48, gold 0.128 "
        "[0.093, 0.158]; the last checkpoint -0.043, the choice without look-ups 0.031."
    )


def test_figures_are_rounded_without_a_negative_zero() -> None:
    assert number(-0.0004, 3) == "0.000" == number(-0.0, 3)
    assert number(-0.0006, 3) == "-0.001"
    assert interval((-0.001, 0.25)) == " [0.00, 0.25]"
    assert interval(None) == ""
    assert [duration(s) for s in (9.4, 233.2, 3720)] == ["9 s", "3 min 53 s", "1 h 02 min"]
