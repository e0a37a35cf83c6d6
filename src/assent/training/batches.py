"""Which examples are in which optimiser step: shuffled anew each epoch, the same for the same seed."""

from collections.abc import Sequence

from assent.objectives.seeds import permutation

WINDOW = 16
"""Batches among which examples are sorted by length, so that little is padded."""


def epoch_batches(
    lengths: Sequence[int], batch_size: int, epochs: int, *seed: object
) -> list[list[int]]:
    """Batches of example numbers for all epochs; every example once an epoch.

    Examples are shuffled, sorted by length within windows of 16 batches, and the batches of a window
    shuffled again. The last batch of an epoch may be smaller.

    Args:
        lengths: of each example, in tokens.
        batch_size: examples a batch.
        epochs: passes.
        seed: parts of the seed.
    """
    batches: list[list[int]] = []
    for epoch in range(epochs):
        order = permutation(len(lengths), *seed, "examples", epoch)
        for start in range(0, len(order), WINDOW * batch_size):
            window = sorted(order[start : start + WINDOW * batch_size], key=lengths.__getitem__)
            parts = [window[at : at + batch_size] for at in range(0, len(window), batch_size)]
            shuffled = permutation(len(parts), *seed, "batches", epoch, start)
            batches += [parts[number] for number in shuffled]
    return batches
