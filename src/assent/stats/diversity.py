"""Diversity: how different responses are from one another, as words and as whole texts.

Texts come as lists of tokens (words, or a tokenizer's ids). All measures but the entropies depend
on how many texts there are and how long: compare only sets of the same size, and mind length.
"""

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import digamma

Tokens = Sequence[Hashable]

BLEU_ORDER = 4


class EntropyEstimate(NamedTuple):
    """Entropy of a distribution from samples of it, in nats."""

    plug_in: float
    """Of the observed shares: too low on average."""
    miller_madow: float
    """The plug-in with its first-order bias taken off."""
    grassberger: float
    """Grassberger's estimate, of smaller bias still while outcomes are few."""
    bias_nats: float
    """First-order bias of the plug-in at this sample size, -(outcomes seen - 1) / (2 samples)."""
    samples: int

    @property
    def effective_number(self) -> float:
        """How many equally likely outcomes would be as uncertain: exp of Grassberger's estimate."""
        return math.exp(max(self.grassberger, 0.0))


def distinct_n(texts: Iterable[Tokens], n: int) -> float:
    """Distinct n-grams over all n-grams of a set of texts, in (0, 1]; falls with length.

    Raises:
        ValueError: n is below 1, or no text has an n-gram.

    Source: Li et al. 2016, "A diversity-promoting objective function".
    """
    seen = Counter(gram for text in texts for gram in _grams(text, n))
    if not seen:
        message = f"no text is {n} tokens long, so there is no {n}-gram to count"
        raise ValueError(message)
    return len(seen) / sum(seen.values())


def expectation_adjusted_distinct(texts: Iterable[Tokens], vocabulary: int) -> float:
    r"""Distinct tokens over how many are expected of that many uniform draws; length cancels.

    .. math:: \mathrm{EAD} = \frac{N}{V \, (1 - ((V - 1) / V)^C)}

    N distinct tokens among C in all.

    Args:
        texts: of any length.
        vocabulary: V, how many different tokens there could be; the same in everything compared.

    Raises:
        ValueError: no token at all, or more distinct ones than the vocabulary holds.

    Source: Liu et al. 2022, "Rethinking and refining the distinct metric", eq. 4.
    """
    seen = Counter(token for text in texts for token in text)
    total = sum(seen.values())
    if not total:
        message = "the texts hold no token"
        raise ValueError(message)
    if len(seen) > vocabulary:
        message = f"{len(seen)} distinct tokens in a vocabulary of {vocabulary}"
        raise ValueError(message)
    # log1p and expm1: ((V - 1) / V)^C loses its digits when V is large.
    log_missed = -math.inf if vocabulary == 1 else total * math.log1p(-1 / vocabulary)
    return len(seen) / (vocabulary * -math.expm1(log_missed))


def self_bleu(texts: Sequence[Tokens]) -> float:
    r"""Mean BLEU of each text against all the others: 1 when all are the same; lower is diverse.

    BLEU-4 with the brevity penalty; a precision of zero matches counts as half a match (so that
    short texts do not give zero whatever they share), and orders longer than the text are left out.

    Raises:
        ValueError: fewer than two texts.

    Source: Zhu et al. 2018, "Texygen"; BLEU: Papineni et al. 2002; half a match: Lin & Och 2004.
    """
    if len(texts) < 2:
        message = f"self-BLEU compares at least 2 texts, not {len(texts)}"
        raise ValueError(message)
    counts = [[Counter(_grams(text, n)) for n in range(1, BLEU_ORDER + 1)] for text in texts]
    scores = []
    for number, text in enumerate(texts):
        others = [one for other, one in enumerate(counts) if other != number]
        lengths = [len(one) for other, one in enumerate(texts) if other != number]
        scores.append(_bleu(len(text), counts[number], others, lengths))
    return float(np.mean(scores))


def repetition(text: Tokens, n: int = 4) -> float:
    """Share of a text's n-grams that occurred earlier in it, in [0, 1); 0 for a shorter text.

    Source: Welleck et al. 2020, "Neural text generation with unlikelihood training", seq-rep-n.
    """
    grams = _grams(text, n)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def overlap(first: Tokens, second: Tokens) -> float:
    """Jaccard overlap of the two sets of tokens, in [0, 1]; two empty texts are the same."""
    one, other = set(first), set(second)
    return len(one & other) / len(one | other) if one | other else 1.0


def entropy(counts: ArrayLike) -> EntropyEstimate:
    r"""Entropy of the distribution that gave these counts, with the plug-in's bias corrected.

    .. math:: \hat H = -\sum_i \tfrac{n_i}{N} \log \tfrac{n_i}{N}, \quad
              \hat H_{MM} = \hat H + \frac{S - 1}{2N}, \quad
              \hat H_G = \log N - \tfrac{1}{N} \sum_i n_i G(n_i)

    .. math:: G(n) = \psi(n) + \tfrac{(-1)^n}{2}
              \left[\psi(\tfrac{n + 1}{2}) - \psi(\tfrac n2)\right]

    S outcomes seen in N samples. When nearly every sample is new, no estimate is good: all of them
    are then bounded by about log N.

    Args:
        counts: how often each outcome came, whole numbers; zeros are ignored.

    Raises:
        ValueError: a count is negative or not whole, or none is above zero.

    Source: Miller 1955; Grassberger 2003, "Entropy estimates from insufficient samplings", eq. 27.
    """
    table = np.asarray(counts, dtype=np.float64).ravel()
    if (table < 0).any() or (table != np.round(table)).any() or not table.any():
        message = "counts are whole numbers, none negative and one above zero"
        raise ValueError(message)
    seen = table[table > 0]
    total = float(seen.sum())
    shares = seen / total
    plug_in = float(-(shares * np.log(shares)).sum())
    correction = (len(seen) - 1) / (2 * total)
    signs = np.where(seen % 2 == 0, 1.0, -1.0)
    terms = digamma(seen) + signs / 2 * (digamma((seen + 1) / 2) - digamma(seen / 2))
    return EntropyEstimate(
        plug_in=plug_in,
        miller_madow=plug_in + correction,
        grassberger=float(math.log(total) - (seen * terms).sum() / total),
        bias_nats=-correction,
        samples=int(total),
    )


def words(text: str) -> list[str]:
    """A text as lower-case words: runs of letters and digits; punctuation is left out."""
    return "".join(one if one.isalnum() else " " for one in text.lower()).split()


def _grams(text: Tokens, n: int) -> list[tuple[Hashable, ...]]:
    if n < 1:
        message = f"an n-gram has at least 1 token, not {n}"
        raise ValueError(message)
    return [tuple(text[start : start + n]) for start in range(len(text) - n + 1)]


def _bleu(
    length: int,
    mine: Sequence[Counter[tuple[Hashable, ...]]],
    others: Sequence[Sequence[Counter[tuple[Hashable, ...]]]],
    lengths: Sequence[int],
) -> float:
    """BLEU of one text against the others, from their n-gram counts."""
    if length == 0:
        return float(0 in lengths)
    logs = []
    for order in range(min(BLEU_ORDER, length)):
        possible = length - order
        matched = sum(
            min(count, max(other[order][gram] for other in others))
            for gram, count in mine[order].items()
        )
        logs.append(math.log((matched or 0.5) / possible))
    # The reference length is the nearest one, the shorter of two equally near.
    nearest = min(lengths, key=lambda one: (abs(one - length), one))
    brevity = 0.0 if length >= nearest else 1 - nearest / length
    return math.exp(brevity + sum(logs) / len(logs))
