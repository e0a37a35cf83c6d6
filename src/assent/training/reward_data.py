"""What a reward model learns from: judgements, rankings and ratings as the elements of a batch.

An element is one prompt with what one annotator said of its responses. Which of them an objective
can learn from, and why the others are left out, is decided here; so is what nobody can learn from.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Final, NamedTuple

from assent.config.reward import RewardSettings
from assent.errors import DataError
from assent.types import PreferencePair, RatedResponse, RewardExample

logger = logging.getLogger(__name__)

FEWEST = 2


class Element(NamedTuple):
    """One prompt's responses and what was said of them."""

    prompt: str
    responses: tuple[str, ...]
    ranks: tuple[int, ...] = ()
    """In the order of the responses, 0 is best; of a pair the winner comes first."""
    strength: int | None = None
    ratings: tuple[float, ...] = ()
    """By axis; NaN where there is none."""
    probability: float | None = None
    """How likely the winner of a pair is the better one; certain where nothing is said."""

    @property
    def decided(self) -> bool:
        """Whether any two responses differ in rank."""
        return len(set(self.ranks)) > 1


class Material(NamedTuple):
    """What there is to learn from, for one objective."""

    elements: list[Element]
    noun: str
    """What one element is, in the plural."""
    axes: tuple[str, ...] = ()


def material_of(examples: Sequence[RewardExample], settings: RewardSettings) -> Material:
    """The elements of an objective.

    Args:
        examples: of any kinds; an objective takes those it can learn from, and counts the others.
        settings: the objective and its axes.

    Raises:
        DataError: a ranking misses members; or there is nothing an objective could learn from, such
            as ties alone. Says what to collect or which objective to take.
    """
    if settings.objective == "ratings":
        return _rated(examples, settings.axes)
    rankings = [_ranking(number, one) for number, one in enumerate(examples) if _is_ranked(one)]
    elements, left_out = _MAKERS[settings.objective](rankings)
    noun = _NOUNS[settings.objective]
    if left_out:
        logger.warning("%d %s", left_out, _LEFT_OUT[settings.objective])
    if rankings and not any(one.decided for one in rankings):
        message = (
            f"none of {len(rankings)} judgements prefers one response to another: ties alone do "
            "not say what is better; collect judgements that prefer a side"
        )
        raise DataError(message)
    if rankings and not elements:
        message = (
            f"none of {len(rankings)} rankings has a single best response; set reward.objective = "
            "'rankings' to learn from all of their pairs"
        )
        raise DataError(message)
    return Material(elements, noun)


def axis_weights(
    examples: Sequence[RewardExample], axes: Mapping[str, float] | None
) -> dict[str, float]:
    """What each axis weighs in the reward: as the settings say, or all alike.

    Raises:
        DataError: there are no ratings, or none on an axis that is named.
    """
    rated = [one for one in examples if isinstance(one, RatedResponse)]
    if not rated:
        message = (
            "there are no ratings to learn from; import some, or set reward.objective = "
            "'bradley_terry' to learn from comparisons"
        )
        raise DataError(message)
    known = sorted({name for one in rated for name in one.axes})
    if axes is None:
        return {name: 1 / len(known) for name in known}
    for name in axes:
        if name not in known:
            message = (
                f"reward.axes: none of {len(rated)} ratings is on {name!r}; there are "
                f"{', '.join(known)}"
            )
            raise DataError(message)
    return dict(axes)


def _rated(examples: Sequence[RewardExample], axes: Mapping[str, float] | None) -> Material:
    names = tuple(axis_weights(examples, axes))
    elements = []
    for one in examples:
        if isinstance(one, RatedResponse):
            given = tuple(float(one.axes.get(name, math.nan)) for name in names)
            if not all(map(math.isnan, given)):
                elements.append(Element(one.prompt, (one.response,), (), None, given))
    return Material(elements, "ratings", names)


def _is_ranked(one: RewardExample) -> bool:
    return not isinstance(one, RatedResponse)


def _ranking(number: int, one: RewardExample) -> Element:
    """A judgement or ranking, its responses best first.

    Raises:
        DataError: it has fewer than two responses, or not a rank for each.
    """
    assert not isinstance(one, RatedResponse)
    if isinstance(one, PreferencePair):
        pair = (one.chosen, one.rejected)
        return Element(one.prompt, pair, (0, 1), one.strength, probability=one.probability)
    if len(one.responses) != len(one.ranks):
        message = (
            f"ranking {number} has {len(one.responses)} responses and {len(one.ranks)} ranks; rank "
            "every response or leave it out of the set"
        )
        raise DataError(message)
    if len(one.responses) < FEWEST:
        message = f"ranking {number} has {len(one.responses)} response; it takes two to compare"
        raise DataError(message)
    if len(one.responses) == FEWEST and one.ranks[0] <= one.ranks[1]:
        return Element(
            one.prompt, one.responses, one.ranks, one.strength, probability=one.probability
        )
    order = sorted(range(len(one.ranks)), key=one.ranks.__getitem__)
    responses = tuple(one.responses[place] for place in order)
    ranks = tuple(one.ranks[place] for place in order)
    return Element(one.prompt, responses, ranks, one.strength, probability=one.probability)


_Made = tuple[list[Element], int]


def _pairs(rankings: Sequence[Element]) -> list[Element]:
    """Every pair of every ranking, the better one first."""
    return [
        Element(one.prompt, (one.responses[i], one.responses[j]), (one.ranks[i], one.ranks[j]),
                *((one.strength, (), one.probability) if len(one.responses) == FEWEST else ()))
        for one in rankings
        for i, j in combinations(range(len(one.responses)), 2)
    ]  # fmt: skip


def _decided_pairs(rankings: Sequence[Element]) -> _Made:
    pairs = _pairs(rankings)
    decided = [pair for pair in pairs if pair.decided]
    return decided, len(pairs) - len(decided)


def _all_pairs(rankings: Sequence[Element]) -> _Made:
    return _pairs(rankings), 0


def _decided(rankings: Sequence[Element]) -> _Made:
    decided = [one for one in rankings if one.decided]
    return decided, len(rankings) - len(decided)


def _with_a_best(rankings: Sequence[Element]) -> _Made:
    picked = [
        one._replace(ranks=(0, *(1 for _ in one.ranks[1:])))
        for one in rankings
        if one.ranks.count(one.ranks[0]) == 1
    ]
    return picked, len(rankings) - len(picked)


_MAKERS: Final[Mapping[str, Callable[[Sequence[Element]], _Made]]] = {
    "bradley_terry": _decided_pairs,
    "rankings": _decided,
    "plackett_luce": _decided,
    "pick_best": _with_a_best,
    "davidson": _all_pairs,
    "ordinal": _all_pairs,
}
_NOUNS: Final = {
    "bradley_terry": "judged pairs",
    "rankings": "rankings",
    "plackett_luce": "rankings",
    "pick_best": "rankings",
    "davidson": "judged pairs",
    "ordinal": "judged pairs",
}
_LEFT_OUT: Final = {
    "bradley_terry": "tied pairs were left out; reward.objective = 'davidson' learns from them",
    "rankings": "rankings in which all are tied were left out",
    "plackett_luce": "rankings in which all are tied were left out",
    "pick_best": "rankings without a single best response were left out",
}
