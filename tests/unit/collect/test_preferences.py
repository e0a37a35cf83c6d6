"""Judgements become winners and losers, and a prompt stays on its side of the split."""

import pytest

from assent.collect.preferences import split_preferences
from assent.store import JudgedPair
from assent.types import Verdict


def judged(number: int, verdict: Verdict, prompt: str | None = None) -> JudgedPair:
    return JudgedPair(
        event_id=f"event {number}",
        seq=number,
        comparison_id=f"comparison {number}",
        annotator_id="ada",
        prompt_id=prompt or f"id {number}",
        prompt=prompt or f"question {number}",
        first=f"first {number}",
        second=f"second {number}",
        shown_order="second_left",
        verdict=verdict,
        strength=None,
        round=1,
    )


def test_the_winner_is_chosen_whichever_side_it_was_stored_on() -> None:
    split = split_preferences([judged(1, "first"), judged(2, "second")], 0.0)
    assert [(pair.chosen, pair.rejected) for pair in split.train] == [
        ("first 1", "second 1"),
        ("second 2", "first 2"),
    ]


def test_judgements_without_a_winner_are_counted_and_in_neither_part() -> None:
    pairs = [judged(n, v) for n, v in enumerate(("tie", "first", "both_bad", "cannot_judge"))]  # type: ignore[arg-type]
    split = split_preferences(pairs, 0.5)
    assert split.undecided == 3
    assert [pair.prompt for pair in split.train + split.held_out] == ["question 1"]


def test_a_prompt_stays_on_its_side_when_judgements_are_added() -> None:
    few = split_preferences([judged(n, "first") for n in range(40)], 0.3)
    more = split_preferences([judged(n, "second") for n in reversed(range(400))], 0.3)
    assert {pair.prompt for pair in few.train} <= {pair.prompt for pair in more.train}
    assert {pair.prompt for pair in few.held_out} <= {pair.prompt for pair in more.held_out}


def test_all_comparisons_of_a_prompt_are_on_one_side() -> None:
    pairs = [judged(n, "first", f"question {n % 20}") for n in range(200)]
    split = split_preferences(pairs, 0.4)
    train, held_out = ({p.prompt for p in part} for part in (split.train, split.held_out))
    assert train
    assert held_out
    assert not train & held_out


@pytest.mark.parametrize("share", [0.0, 0.15, 0.5, 1.0])
def test_about_the_share_asked_for_is_held_out(share: float) -> None:
    split = split_preferences([judged(n, "first") for n in range(2000)], share)
    assert len(split.held_out) / 2000 == pytest.approx(share, abs=0.03)


def test_a_larger_share_holds_out_what_a_smaller_one_did() -> None:
    pairs = [judged(n, "first") for n in range(200)]
    small, large = (
        {pair.prompt for pair in split_preferences(pairs, share).held_out} for share in (0.1, 0.3)
    )
    assert small < large
