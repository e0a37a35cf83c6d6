"""Which of many to take: prompts by a mix of their kinds, responses by their reward."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from assent.objectives.seeds import permutation

_GOLDEN = (math.sqrt(5) - 1) / 2


def draw_by_kind(
    kinds: Sequence[str], mix: Mapping[str, float], start: int, count: int, *seed: object
) -> list[int]:
    r"""Places of the items that are drawn as number `start` to `start + count - 1`.

    Draw n is of the kind whose interval of the cumulated mix holds :math:`n \varphi \bmod 1`, with
    :math:`\varphi` the golden ratio's fraction: every stretch of draws has the mix to within a few.
    Within a kind the items are gone through in a shuffled order, all of them before any again.

    Args:
        kinds: of each item.
        mix: the share of each kind, not negative; scaled to a sum of 1.
        start: draws made before; the same call gives the same places whatever was drawn before.
        count: draws wanted.
        seed: parts that name this sequence of draws.

    Raises:
        ValueError: a kind has a share and no item, or no kind has a share.

    Source: van der Corput and Kronecker sequences; Niederreiter 1992, chapter 3.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for place, kind in enumerate(kinds):
        members[kind].append(place)
    shares = {kind: share for kind, share in sorted(mix.items()) if share > 0}
    empty = [kind for kind in shares if kind not in members]
    if empty or not shares:
        what = f"there is no {empty[0]} item to draw" if empty else "no kind has a share"
        raise ValueError(what)
    names = list(shares)
    edges = torch.tensor([shares[name] for name in names], dtype=torch.float64).cumsum(0)
    where = torch.arange(start + count, dtype=torch.float64).mul(_GOLDEN).frac() * edges[-1]
    chosen = torch.searchsorted(edges, where, right=True).clamp(max=len(names) - 1)
    before = torch.bincount(chosen[:start], minlength=len(names)).tolist()
    orders: dict[tuple[str, int], list[int]] = {}
    places = []
    for at in chosen[start:].tolist():
        name, mine = names[at], members[names[at]]
        lap, place = divmod(before[at], len(mine))
        if (name, lap) not in orders:
            orders[name, lap] = permutation(len(mine), *seed, name, lap)
        places.append(mine[orders[name, lap][place]])
        before[at] += 1
    return places


class Best(NamedTuple):
    """Which responses of a batch are kept."""

    kept: Bool[Tensor, "prompts n"]
    undecided: Bool[Tensor, " prompts"]
    """Prompts whose responses all score the same: what is kept of them is chance."""


def keep_best(scores: Float[Tensor, "prompts n"], keep: int, *, within: bool = True) -> Best:
    """The best responses: of each prompt, or as many of the whole batch.

    Of equal scores the response that was drawn first is kept. Draws are independent, so that is a
    fair choice: what is kept is distributed as the best of n with ties broken by lot.

    Args:
        scores: of n responses to each prompt, in the order they were drawn.
        keep: how many of each prompt, in [1, n]; times the prompts, how many of the batch.
        within: rank the responses of each prompt among themselves.

    Raises:
        ValueError: keep is not in [1, n].

    Source: Dong et al. 2023, "RAFT: Reward ranked fine-tuning", algorithm 1 (within a prompt);
    Touvron et al. 2023, "Llama 2", section 3.2.3 (rejection sampling).
    """
    prompts, drawn = scores.shape
    if not 1 <= keep <= drawn:
        message = f"{keep} of {drawn} responses cannot be kept"
        raise ValueError(message)
    ranked = scores if within else scores.reshape(1, -1)
    best = ranked.sort(dim=1, descending=True, stable=True).indices
    most = keep if within else keep * prompts
    kept = torch.zeros_like(ranked, dtype=torch.bool).scatter_(1, best[:, :most], value=True)
    return Best(kept.reshape(prompts, drawn), (scores == scores[:, :1]).all(dim=1))
