"""Leases under clocks that jump, and draws that are shares, balanced, and the same again."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.labelling_fixtures import Hand

from assent.collect import picking
from assent.collect.leasing import LeaseClock
from assent.collect.look_up import almanac_page
from assent.store import Lease
from assent.worlds.almanac import World

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
TERM = 1800.0


def lease(expires_at: datetime) -> Lease:
    return Lease(
        id="one",
        task_id="task",
        annotator_id="ada",
        ordinal=1,
        shown=(),
        guidelines_version=0,
        state="live",
        counts=False,
        reason=None,
        event_id=None,
        claimed_at=NOW,
        expires_at=expires_at,
    )


@pytest.mark.parametrize("jump", [timedelta(0), timedelta(days=3650), timedelta(days=-3650)])
def test_a_lease_runs_by_the_monotonic_clock_wherever_the_wall_clock_jumps(jump: timedelta) -> None:
    hand = Hand()
    clock = LeaseClock(TERM, hand)
    clock.start("one")
    given_out = lease(NOW + timedelta(seconds=TERM))
    hand.move(600)
    assert clock.seconds_left(given_out, NOW + jump) == pytest.approx(1200)
    hand.move(1300)
    assert clock.seconds_left(given_out, NOW + jump) == 0


@pytest.mark.parametrize(
    ("jump", "left"),
    [(timedelta(minutes=10), 1200), (timedelta(hours=-1), 1800), (timedelta(days=365), 0)],
)
def test_a_lease_of_an_earlier_process_never_outlives_a_whole_term(
    jump: timedelta, left: float
) -> None:
    hand = Hand()
    clock = LeaseClock(TERM, hand)
    found = lease(NOW + timedelta(seconds=TERM))
    assert clock.seconds_left(found, NOW + jump) == pytest.approx(left)
    hand.move(TERM)
    assert clock.seconds_left(found, NOW - timedelta(days=9)) == 0


@given(seed=st.integers(0, 2**63 - 1), name=st.text(min_size=1, max_size=8))
def test_each_block_of_eight_has_each_side_first_four_times(seed: int, name: str) -> None:
    for block in range(3):
        ordinals = range(8 * block + 1, 8 * block + 9)
        left = [picking.shown_order(seed, name, ordinal, ["x", "y"])[0] for ordinal in ordinals]
        assert Counter(left) == {"x": 4, "y": 4}


@given(seed=st.integers(0, 2**31), count=st.integers(3, 9), ordinal=st.integers(1, 10**6))
def test_more_than_two_are_all_shown_in_an_order_that_is_drawn_again(
    seed: int, count: int, ordinal: int
) -> None:
    names = [str(number) for number in range(count)]
    shown = picking.shown_order(seed, "ada", ordinal, names)
    assert sorted(shown) == names
    assert picking.shown_order(seed, "ada", ordinal, names) == shown


@pytest.mark.parametrize(("check", "repeat"), [(0.0, 0.0), (0.05, 0.05), (0.13, 0.3), (1.0, 0.5)])
def test_turns_come_in_the_shares_asked_for(check: float, repeat: float) -> None:
    turns = Counter(picking.turn(1, "ada", one, check, repeat) for one in range(1, 20_001))
    assert turns["check"] / 20_000 == pytest.approx(check, abs=0.005)
    assert turns["repeat"] / 20_000 == pytest.approx(min(repeat, 1 - check), abs=0.005)


def test_when_a_check_item_comes_differs_between_people() -> None:
    def when(name: str) -> list[int]:
        return [one for one in range(1, 200) if picking.turn(1, name, one, 0.05, 0.0) == "check"]

    assert when("ada") != when("bo")
    gaps = {late - early for early, late in zip(when("ada"), when("ada")[1:], strict=False)}
    assert len(gaps) > 3  # not every twentieth: nobody can count them out


def test_the_almanac_answers_for_its_own_prompts_and_says_what_nobody_knows() -> None:
    page = almanac_page(0)
    for prompt in World(0).prompts("train"):
        said = page(prompt.text)
        assert said is not None
        known = prompt.fact.kind != "unknowable"
        assert (prompt.fact.value in said) == known
    assert page("What is the capital of France?") is None
