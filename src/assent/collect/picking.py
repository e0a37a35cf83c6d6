"""What a person is given next and in which order it is shown: pure draws from a stored seed.

Every draw depends on the project's seed, the person and the how-manieth task it is, so the same
history gives the same next task, and nobody who answers can tell what comes.
"""

import random
from collections.abc import Sequence
from typing import Literal, TypeVar

T = TypeVar("T")
Turn = Literal["open", "check", "repeat"]

MIX_BLOCK = 20
"""Check items and repeats are spread evenly over blocks of so many tasks, at random within each."""
ORDER_BLOCK = 8
"""In each block of so many tasks the first-stored response is on the left half of the time."""


def turn(seed: int, annotator_id: str, ordinal: int, check: float, repeat: float) -> Turn:
    """What kind of turn a person's task number `ordinal` is.

    Args:
        seed: of the project.
        annotator_id: the person.
        ordinal: the how-manieth task this is for them, from 1.
        check: share of check items, in [0, 1].
        repeat: share of repeats, in [0, 1]; check items go first where both do not fit.
    """
    block, place = divmod(ordinal - 1, MIX_BLOCK)
    rng = random.Random(f"{seed}/mix/{annotator_id}/{block}")
    places = rng.sample(range(MIX_BLOCK), MIX_BLOCK)
    checks = _about(check * MIX_BLOCK, rng)
    repeats = _about(repeat * MIX_BLOCK, rng)
    if place in places[:checks]:
        return "check"
    return "repeat" if place in places[checks : checks + repeats] else "open"


def shown_order(
    seed: int, annotator_id: str, ordinal: int, responses: Sequence[str]
) -> tuple[str, ...]:
    """The responses in the order shown, left first.

    Two responses are balanced within each block of a person's tasks; more are shuffled.
    """
    if len(responses) == 2:
        block, place = divmod(ordinal - 1, ORDER_BLOCK)
        rng = random.Random(f"{seed}/sides/{annotator_id}/{block}")
        swapped = rng.sample([False, True] * (ORDER_BLOCK // 2), ORDER_BLOCK)[place]
        return tuple(reversed(responses)) if swapped else tuple(responses)
    rng = random.Random(f"{seed}/order/{annotator_id}/{ordinal}")
    return tuple(rng.sample(list(responses), len(responses)))


def one_of(count: int, seed: int, annotator_id: str, ordinal: int) -> int:
    """A place among `count`, for picking one of several repeats or check items."""
    return random.Random(f"{seed}/pick/{annotator_id}/{ordinal}").randrange(count)


def repeat_index(annotator_id: str, task: str) -> int:
    """What tells a pair that one person is shown again from the pair itself: 31 bits."""
    return random.Random(f"repeat/{annotator_id}/{task}").getrandbits(31)


def chosen(share: float, *parts: object) -> bool:
    """Whether something falls into a share of all such things; the same parts, the same answer."""
    return random.Random("/".join(str(part) for part in parts)).random() < share


def shuffled(things: Sequence[T], *parts: object) -> list[T]:
    """The things in an order drawn from the parts."""
    return random.Random("/".join(str(part) for part in parts)).sample(things, len(things))


def _about(expected: float, rng: random.Random) -> int:
    """A whole number that is `expected` on average."""
    whole = int(expected)
    return whole + (rng.random() < expected - whole)
