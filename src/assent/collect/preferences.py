"""Judgements as training data: pairs with a winner, and which of them are held out.

A ranking gives every pair of its responses that are not tied. A Bradley-Terry model has no place
for ties, so pairs leave them out and count them; `training_examples` keeps them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from assent.objectives.seeds import is_held_out
from assent.store import JudgedPair, JudgedRanking, StoredRating
from assent.types import PreferencePair, RankedResponses, RatedResponse, RewardExample, Verdict


@dataclass(frozen=True, slots=True)
class PreferenceSplit:
    """Judged pairs of a snapshot, parted by prompt."""

    train: list[PreferencePair]
    held_out: list[PreferencePair]
    undecided: int
    """Ties and other judgements without a winner, which a pairwise model cannot learn from."""
    ties: int = 0
    """Ties among them, and tied pairs of rankings."""


def split_preferences(
    judged: Sequence[JudgedPair],
    held_out_share: float,
    rankings: Sequence[JudgedRanking] = (),
) -> PreferenceSplit:
    """Winners and losers, with a share of the prompts held out.

    A prompt falls on one side by a hash of its text, so it stays there when judgements are added,
    and all pairs of a ranking are on the same side.

    Args:
        judged: comparisons with their verdicts.
        held_out_share: of the prompts, from 0 to 1.
        rankings: K responses give up to K(K-1)/2 pairs.

    Source: Ouyang et al. 2022, section 3.5, for the pairs of a ranking.
    """
    train: list[PreferencePair] = []
    held_out: list[PreferencePair] = []
    undecided = ties = 0
    for pair in judged:
        if pair.verdict not in ("first", "second"):
            undecided += 1
            ties += pair.verdict == "tie"
            continue
        won = pair.verdict == "first"
        preference = PreferencePair(
            prompt=pair.prompt,
            chosen=pair.first if won else pair.second,
            rejected=pair.second if won else pair.first,
            strength=pair.strength,
        )
        (held_out if is_held_out(pair.prompt, held_out_share) else train).append(preference)
    for ranking in rankings:
        side = held_out if is_held_out(ranking.prompt, held_out_share) else train
        decided = list(pairs_of(ranking))
        side += decided
        tied = len(ranking.ranks) * (len(ranking.ranks) - 1) // 2 - len(decided)
        undecided += tied
        ties += tied
    return PreferenceSplit(train, held_out, undecided, ties)


def training_examples(
    judged: Sequence[JudgedPair],
    rankings: Sequence[JudgedRanking],
    ratings: Sequence[StoredRating],
    held_out_share: float,
) -> list[RewardExample]:
    """All that was said of prompts that are not held out, ties and strengths included.

    Judgements that both are bad, or that nobody could tell, order nothing and are left out.
    """
    said: list[RewardExample] = [
        RankedResponses(
            prompt=pair.prompt,
            responses=(pair.first, pair.second),
            ranks=_RANKS[pair.verdict],
            strength=pair.strength,
            # Confidences of others are on scales of their own.
            probability=pair.confidence if "judge" in pair.context else None,
        )
        for pair in judged
        if pair.verdict in _RANKS
    ]
    said += [
        RankedResponses(prompt=one.prompt, responses=one.responses, ranks=one.ranks)
        for one in rankings
    ]
    said += [
        RatedResponse(prompt=one.prompt, response=one.response, axes=one.axes) for one in ratings
    ]
    return [one for one in said if not is_held_out(one.prompt, held_out_share)]


_RANKS: Mapping[Verdict, tuple[int, int]] = {"first": (0, 1), "second": (1, 0), "tie": (0, 0)}


def pairs_of(ranking: JudgedRanking) -> Iterator[PreferencePair]:
    """Every pair of a ranking's responses that has a winner, in the order of the set."""
    ranked = zip(ranking.responses, ranking.ranks, strict=True)
    for (one, rank), (other, other_rank) in combinations(ranked, 2):
        if rank != other_rank:
            chosen, rejected = (one, other) if rank < other_rank else (other, one)
            yield PreferencePair(prompt=ranking.prompt, chosen=chosen, rejected=rejected)
