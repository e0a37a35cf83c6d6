"""Judgements become winners and losers, and a prompt stays on its side of the split."""

from dataclasses import replace

import pytest

from assent.collect.preferences import pairs_of, split_preferences, training_examples
from assent.objectives.seeds import is_held_out
from assent.store import JudgedPair, JudgedRanking, StoredRating
from assent.types import RankedResponses, RatedResponse, Verdict


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


def ranked(*ranks: int, prompt: str = "question") -> JudgedRanking:
    return JudgedRanking(
        event_id="event",
        seq=1,
        response_set_id="set",
        annotator_id="ada",
        prompt_id="prompt",
        prompt=prompt,
        response_ids=tuple(f"id {n}" for n in range(len(ranks))),
        responses=tuple(f"response {n}" for n in range(len(ranks))),
        ranks=ranks,
        flags=(),
        note=None,
        context={},
        round=1,
    )


def test_a_ranking_gives_every_pair_that_has_a_winner() -> None:
    pairs = pairs_of(ranked(2, 0, 1, 1))
    assert {(pair.chosen, pair.rejected) for pair in pairs} == {
        ("response 1", "response 0"),
        ("response 2", "response 0"),
        ("response 3", "response 0"),
        ("response 1", "response 2"),
        ("response 1", "response 3"),
    }


def test_ties_of_judgements_and_of_rankings_are_counted_and_left_out() -> None:
    split = split_preferences(
        [judged(1, "tie"), judged(2, "both_bad"), judged(3, "first")], 0.0, [ranked(0, 0, 0, 1)]
    )
    assert (split.ties, split.undecided) == (1 + 3, 2 + 3)
    assert len(split.train) == 1 + 3


def test_all_pairs_of_a_prompt_are_on_one_side_whether_ranked_or_compared() -> None:
    pairs = [judged(n, "first", f"question {n % 20}") for n in range(100)]
    rankings = [ranked(0, 1, 2, prompt=f"question {n}") for n in range(20)]
    split = split_preferences(pairs, 0.4, rankings)
    train, held_out = ({p.prompt for p in part} for part in (split.train, split.held_out))
    assert train | held_out == {f"question {n}" for n in range(20)}
    assert not train & held_out


def test_how_clearly_it_won_stays_with_the_pair() -> None:
    split = split_preferences([replace(judged(1, "second"), strength=4)], 0.0)
    assert split.train[0].strength == 4


def rating(prompt: str) -> StoredRating:
    return StoredRating(
        event_id="event",
        seq=1,
        annotator_id="ada",
        prompt_id=prompt,
        prompt=prompt,
        response_id="id",
        response="said",
        axes={"kind": 2.0},
        lowest=None,
        highest=None,
        flags=(),
        note=None,
        context={},
    )


def test_a_reward_model_is_shown_ties_strengths_rankings_and_ratings() -> None:
    said = training_examples(
        [
            replace(judged(1, "second"), strength=3),
            judged(2, "tie"),
            judged(3, "both_bad"),
            judged(4, "cannot_judge"),
        ],
        [ranked(1, 0, 1)],
        [rating("question")],
        0.0,
    )
    assert said == [
        RankedResponses(
            prompt="question 1", responses=("first 1", "second 1"), ranks=(1, 0), strength=3
        ),
        RankedResponses(prompt="question 2", responses=("first 2", "second 2"), ranks=(0, 0)),
        RankedResponses(
            prompt="question",
            responses=("response 0", "response 1", "response 2"),
            ranks=(1, 0, 1),
        ),
        RatedResponse(prompt="question", response="said", axes={"kind": 2.0}),
    ]


def test_nothing_said_of_a_held_out_prompt_is_shown() -> None:
    names = [f"question {n}" for n in range(60)]
    said = training_examples(
        [judged(n, "first", name) for n, name in enumerate(names)],
        [ranked(0, 1, prompt=name) for name in names],
        [rating(name) for name in names],
        0.4,
    )
    kept = {name for name in names if not is_held_out(name, 0.4)}
    assert 0 < len(kept) < len(names)
    assert {one.prompt for one in said} == kept
    assert len(said) == 3 * len(kept)
