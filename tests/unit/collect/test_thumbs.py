"""What marks a response good or bad."""

from assent.collect.thumbs import thumbs_of
from assent.objectives.seeds import is_held_out
from assent.store import JudgedPair, JudgedRanking, StoredRating
from assent.types import MarkedResponse, Verdict

PROMPT = next(text for text in map(str, range(100)) if not is_held_out(text, 0.15))
HELD_OUT = next(text for text in map(str, range(100)) if is_held_out(text, 0.15))


def pair(verdict: Verdict, prompt: str = PROMPT) -> JudgedPair:
    return JudgedPair(
        event_id="e", seq=1, comparison_id="c", annotator_id="a", prompt_id="p", prompt=prompt,
        first="one", second="two", shown_order="first_left", verdict=verdict, strength=None,
        round=1, margin=None, confidence=None, flags=(), note=None, context={},
    )  # fmt: skip


def ranking(*ranks: int) -> JudgedRanking:
    responses = tuple(f"r{place}" for place in range(len(ranks)))
    return JudgedRanking(
        event_id="e", seq=1, response_set_id="s", annotator_id="a", prompt_id="p", prompt=PROMPT,
        response_ids=responses, responses=responses, ranks=ranks, flags=(), note=None, context={},
        round=1,
    )  # fmt: skip


def rating(lowest: float | None = 0.0, highest: float | None = 1.0, **axes: float) -> StoredRating:
    return StoredRating(
        event_id="e", seq=1, annotator_id="a", prompt_id="p", prompt=PROMPT, response_id="r",
        response="said", axes=axes, lowest=lowest, highest=highest, flags=(), note=None, context={},
    )  # fmt: skip


def marked(response: str, good: bool) -> MarkedResponse:
    return MarkedResponse(prompt=PROMPT, response=response, good=good)


def test_the_winner_of_a_comparison_is_good_and_the_loser_bad() -> None:
    found = thumbs_of([pair("second"), pair("first")], [], [], 0.15)
    assert found.train == [
        marked("one", good=False), marked("two", good=True),
        marked("one", good=True), marked("two", good=False),
    ]  # fmt: skip
    assert found.undecided == 0


def test_two_bad_ones_are_bad_and_a_tie_marks_neither() -> None:
    found = thumbs_of([pair("both_bad"), pair("tie"), pair("cannot_judge")], [], [], 0.15)
    assert found.train == [marked("one", good=False), marked("two", good=False)]
    assert found.undecided == 2


def test_of_a_ranking_the_ends_are_marked_ties_among_them_included() -> None:
    found = thumbs_of([], [ranking(1, 0, 2, 0), ranking(0, 0)], [], 0.15)
    assert found.train == [
        marked("r1", good=True), marked("r2", good=False), marked("r3", good=True),
    ]  # fmt: skip
    assert found.undecided == 1


def test_thumbs_are_taken_as_they_are_and_ratings_by_the_middle_of_their_scale() -> None:
    ratings = [
        rating(good=1.0), rating(good=0.0), rating(1, 5, clear=5, right=4), rating(1, 5, clear=2),
        rating(1, 5, clear=3), rating(None, None, clear=5),
    ]  # fmt: skip
    found = thumbs_of([], [], ratings, 0.15)
    assert [one.good for one in found.train] == [True, False, True, False]
    assert found.undecided == 2, "one in the middle, and one of unknown scale"


def test_prompts_that_measure_are_not_learned_from() -> None:
    assert thumbs_of([pair("first", HELD_OUT)], [], [], 0.15).train == []
    assert len(thumbs_of([pair("first", HELD_OUT)], [], [], 0.0).train) == 2
