"""Texts that are nearly the same, and test texts that training texts give away.

Texts are compared as lower-case words, so punctuation and case make no difference.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from math import ceil
from typing import NamedTuple

from assent.stats.diversity import words

SHINGLE = 3
"""Words of a run that near duplicates share."""
NEAR = 0.8
"""Jaccard overlap of runs from which two texts count as near duplicates."""
GIVEN_AWAY = 13
"""Words of a run that gives a test text away; a shorter text must be there whole."""

Shingles = frozenset[tuple[str, ...]]


class NearDuplicate(NamedTuple):
    """Two texts, by their numbers, and how far they overlap."""

    first: int
    second: int
    overlap: float


def near_duplicates(texts: Sequence[str], near: float = NEAR) -> list[NearDuplicate]:
    r"""All pairs of texts whose runs of three words overlap by `near` or more, most alike first.

    .. math:: J = |A \cap B| / |A \cup B|

    Exact: two such texts must share one of their few rarest runs, and only those that do are
    compared. Texts that read the same have overlap 1.

    Args:
        texts: usually distinct.
        near: in (0, 1].

    Source: Bayardo, Ma & Srikant 2007, "Scaling up all pairs similarity search" (prefix filter).
    """
    runs = [_shingles(text) for text in texts]
    often = Counter(run for one in runs for run in one)
    seen: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    found = []
    for number, one in enumerate(runs):
        ranked = sorted(one, key=lambda run: (often[run], run))
        rarest = ranked[: len(ranked) - ceil(near * len(ranked)) + 1]
        candidates = {other for run in rarest for other in seen[run]}
        for other in candidates:
            shared = len(one & runs[other])
            overlap = shared / (len(one) + len(runs[other]) - shared)
            if overlap >= near:
                found.append(NearDuplicate(other, number, overlap))
        for run in rarest:
            seen[run].append(number)
    return sorted(found, key=lambda pair: (-pair.overlap, pair.first, pair.second))


def given_away(test: Sequence[str], training: Iterable[str], length: int = GIVEN_AWAY) -> list[int]:
    """Numbers of the test texts that share a run of `length` words with a training text.

    A test text shorter than that counts where a training text holds all of it.

    Source: Brown et al. 2020, "Language models are few-shot learners", appendix C (13-grams).
    """
    asked = [words(text) for text in test]
    lengths = sorted({min(length, len(one)) for one in asked if one})
    known: dict[int, set[tuple[str, ...]]] = {size: set() for size in lengths}
    for text in training:
        read = words(text)
        for size in lengths:
            known[size].update(_runs(read, size))
    return [
        number
        for number, one in enumerate(asked)
        if one and any(run in known[min(length, len(one))] for run in _runs(one, length))
    ]


def _shingles(text: str) -> Shingles:
    read = words(text)
    return frozenset(_runs(read, SHINGLE)) or frozenset({tuple(read)})


def _runs(read: Sequence[str], size: int) -> list[tuple[str, ...]]:
    """All runs of `size` words; of a shorter text, the whole."""
    if not read:
        return []
    size = min(size, len(read))
    return [tuple(read[start : start + size]) for start in range(len(read) - size + 1)]
