"""Prompts drawn by kind follow the mix at every length, and none waits for ever."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assent.objectives.selection import draw_by_kind

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
