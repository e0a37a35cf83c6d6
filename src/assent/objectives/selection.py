"""Which of many to take: prompts by a mix of their kinds."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch

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
