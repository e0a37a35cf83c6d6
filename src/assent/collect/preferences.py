"""Judgements as training data: pairs with a winner, and which of them are held out.

A ranking gives every pair of its responses that are not tied. A Bradley-Terry reward model has no
place for ties, so they are counted and left out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from assent.objectives.seeds import is_held_out
from assent.store import JudgedPair, JudgedRanking
from assent.types import PreferencePair


@dataclass(frozen=True, slots=True)
class PreferenceSplit:
    """Judged pairs of a snapshot, parted by prompt."""

    train: list[PreferencePair]
    held_out: list[PreferencePair]
    undecided: int
    """Ties and other judgements without a winner, which a pairwise model cannot learn from."""
    ties: int = 0
    """Ties among them, and tied pairs of rankings: left out until there is a model of ties."""


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


def pairs_of(ranking: JudgedRanking) -> Iterator[PreferencePair]:
    """Every pair of a ranking's responses that has a winner, in the order of the set."""
    ranked = zip(ranking.responses, ranking.ranks, strict=True)
    for (one, rank), (other, other_rank) in combinations(ranked, 2):
        if rank != other_rank:
            chosen, rejected = (one, other) if rank < other_rank else (other, one)
            yield PreferencePair(prompt=ranking.prompt, chosen=chosen, rejected=rejected)
