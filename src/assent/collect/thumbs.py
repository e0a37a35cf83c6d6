"""Single responses marked good or bad, out of everything people said: what KTO learns from.

A thumb is taken as it is; a rating is good above the middle of its scale and bad below it, on the
mean of its axes; the winner of a comparison is good and its loser bad; of a ranking the responses
of the first rank are good and those of the last bad.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from assent.objectives.seeds import is_held_out
from assent.store import JudgedPair, JudgedRanking, StoredRating
from assent.types import MarkedResponse


@dataclass(frozen=True, slots=True)
class Thumbs:
    """Marked responses to learn from, in order."""

    train: list[MarkedResponse]
    undecided: int
    """Ratings in the middle or without a scale, and judgements without a winner: left out."""


def thumbs_of(
    judged: Sequence[JudgedPair],
    rankings: Sequence[JudgedRanking],
    ratings: Sequence[StoredRating],
    held_out_share: float,
) -> Thumbs:
    """Everything that marks a response, without the prompts whose judgements are held out.

    Args:
        judged: comparisons with their verdicts.
        rankings: of two responses or more.
        ratings: thumbs and other ratings of single responses.
        held_out_share: of the prompts, from 0 to 1.

    Source: Ethayarajh et al. 2024 (arXiv 2402.01306), section 4.3, for taking pairs apart.
    """
    train: list[MarkedResponse] = []
    undecided = 0
    said = [
        *((pair.prompt, list(_of_pair(pair))) for pair in judged),
        *((ranking.prompt, list(_of_ranking(ranking))) for ranking in rankings),
        *((rating.prompt, list(_of_rating(rating))) for rating in ratings),
    ]
    for prompt, marked in said:
        if not marked:
            undecided += 1
        elif not is_held_out(prompt, held_out_share):
            train += marked
    return Thumbs(train, undecided)


def _of_pair(pair: JudgedPair) -> Iterator[MarkedResponse]:
    if pair.verdict == "both_bad":
        for response in (pair.first, pair.second):
            yield MarkedResponse(prompt=pair.prompt, response=response, good=False)
    if pair.verdict in ("first", "second"):
        first_won = pair.verdict == "first"
        yield MarkedResponse(prompt=pair.prompt, response=pair.first, good=first_won)
        yield MarkedResponse(prompt=pair.prompt, response=pair.second, good=not first_won)


def _of_ranking(ranking: JudgedRanking) -> Iterator[MarkedResponse]:
    best, worst = min(ranking.ranks), max(ranking.ranks)
    if best == worst:
        return
    for response, rank in zip(ranking.responses, ranking.ranks, strict=True):
        if rank in (best, worst):
            yield MarkedResponse(prompt=ranking.prompt, response=response, good=rank == best)


def _of_rating(rating: StoredRating) -> Iterator[MarkedResponse]:
    if rating.lowest is None or rating.highest is None or not rating.axes:
        return
    mean = sum(rating.axes.values()) / len(rating.axes)
    middle = (rating.lowest + rating.highest) / 2
    if mean != middle:
        yield MarkedResponse(prompt=rating.prompt, response=rating.response, good=mean > middle)
