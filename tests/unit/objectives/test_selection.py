"""Prompts drawn by kind follow the mix at every length, and none waits for ever."""

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from assent.objectives.selection import draw_by_kind, keep_best

KINDS = ["user"] * 7 + ["few_shot"] * 2 + ["plain"] * 11
MIX = {"user": 0.6, "few_shot": 0.3, "plain": 0.1}


@pytest.mark.parametrize("length", [10, 64, 1000, 20_000])
def test_every_stretch_of_draws_has_the_mix(length: int) -> None:
    for start in (0, 37, 5000):
        drawn = Counter(KINDS[at] for at in draw_by_kind(KINDS, MIX, start, length, 1))
        for kind, share in MIX.items():
            assert drawn[kind] == pytest.approx(share * length, abs=4)


@given(
    shares=st.dictionaries(st.sampled_from("abcd"), st.floats(0.01, 5), min_size=1),
    start=st.integers(0, 300),
    parts=st.lists(st.integers(0, 40), max_size=4),
)
def test_draws_in_parts_are_the_draws_at_once(
    shares: dict[str, float], start: int, parts: list[int]
) -> None:
    kinds = ["a", "b", "c", "d", "a", "b", "a"]
    whole = draw_by_kind(kinds, shares, start, sum(parts), "seed")
    joined, at = [], start
    for part in parts:
        joined += draw_by_kind(kinds, shares, at, part, "seed")
        at += part
    assert joined == whole


def test_all_items_of_a_kind_are_drawn_before_any_again() -> None:
    drawn = [at for at in draw_by_kind(KINDS, MIX, 0, 500, 3) if KINDS[at] == "user"]
    for start in range(0, len(drawn) - 7, 7):
        assert sorted(drawn[start : start + 7]) == list(range(7))


def test_another_seed_is_another_order() -> None:
    one, other = (draw_by_kind(KINDS, MIX, 0, 200, seed) for seed in (1, 2))
    assert one != other
    assert [KINDS[at] for at in one] == [KINDS[at] for at in other]


def test_a_kind_without_a_share_is_never_drawn() -> None:
    drawn = draw_by_kind(KINDS, {"user": 1.0, "plain": 0.0}, 0, 100, 1)
    assert {KINDS[at] for at in drawn} == {"user"}


@pytest.mark.parametrize(
    ("mix", "said"),
    [({"user": 1.0, "web": 1.0}, "no web item"), ({"user": 0.0}, "no kind has a share")],
)
def test_a_mix_that_cannot_be_drawn_is_refused(mix: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        draw_by_kind(KINDS, mix, 0, 1, 1)


scores_of_prompts = st.integers(2, 6).flatmap(
    lambda drawn: st.lists(
        st.lists(st.integers(-2, 2).map(float), min_size=drawn, max_size=drawn),
        min_size=1,
        max_size=5,
    )
)


@given(scores=scores_of_prompts, data=st.data())
def test_the_best_of_each_prompt_are_what_sorting_by_score_and_then_by_draw_gives(
    scores: list[list[float]], data: st.DataObject
) -> None:
    keep = data.draw(st.integers(1, len(scores[0])))
    best = keep_best(torch.tensor(scores), keep)
    for row, kept, undecided in zip(
        scores, best.kept.tolist(), best.undecided.tolist(), strict=True
    ):
        order = sorted(range(len(row)), key=lambda place: (-row[place], place))
        assert {place for place, is_kept in enumerate(kept) if is_kept} == {*order[:keep]}
        assert undecided == (len(set(row)) == 1)


@given(scores=scores_of_prompts, data=st.data())
def test_the_best_of_a_batch_may_come_from_any_prompt(
    scores: list[list[float]], data: st.DataObject
) -> None:
    keep = data.draw(st.integers(1, len(scores[0])))
    kept = keep_best(torch.tensor(scores), keep, within=False).kept.flatten().tolist()
    flat = [score for row in scores for score in row]
    order = sorted(range(len(flat)), key=lambda place: (-flat[place], place))
    assert {place for place, is_kept in enumerate(kept) if is_kept} == {
        *order[: keep * len(scores)]
    }


@pytest.mark.parametrize("keep", [0, 4])
def test_no_responses_or_more_than_there_are_cannot_be_kept(keep: int) -> None:
    with pytest.raises(ValueError, match=f"{keep} of 3 responses cannot be kept"):
        keep_best(torch.zeros(2, 3), keep)
