"""Judgements as training data: pairs with a winner, and which of them are held out."""

from collections.abc import Sequence
from dataclasses import dataclass

from assent.objectives.seeds import is_held_out
from assent.store import JudgedPair
from assent.types import PreferencePair


@dataclass(frozen=True, slots=True)
class PreferenceSplit:
    """Judged pairs of a snapshot, parted by prompt."""

    train: list[PreferencePair]
    held_out: list[PreferencePair]
    undecided: int
    """Ties and other judgements without a winner, which a pairwise model cannot learn from."""


def split_preferences(judged: Sequence[JudgedPair], held_out_share: float) -> PreferenceSplit:
    """Winners and losers, with a share of the prompts held out.

    A prompt falls on one side by a hash of its text, so it stays there when judgements are added.
    """
    train: list[PreferencePair] = []
    held_out: list[PreferencePair] = []
    undecided = 0
    for pair in judged:
        if pair.verdict not in ("first", "second"):
            undecided += 1
            continue
        won = pair.verdict == "first"
        preference = PreferencePair(
            prompt=pair.prompt,
            chosen=pair.first if won else pair.second,
            rejected=pair.second if won else pair.first,
        )
        (held_out if is_held_out(pair.prompt, held_out_share) else train).append(preference)
    return PreferenceSplit(train, held_out, undecided)
