"""Which examples are in which optimiser step: shuffled anew each epoch, the same by seed."""

from collections.abc import Sequence

from assent.objectives.seeds import permutation

WINDOW = 16
"""Batches among which examples are sorted by length, so that little is padded."""


def epoch_batches(
    lengths: Sequence[int], batch_size: int, epochs: int, *seed: object
) -> list[list[int]]:
    """Batches of example numbers for all epochs; every example once an epoch.

    Examples are shuffled, sorted by length within windows of 16 batches, and the batches of a
    window shuffled again. The last batch of an epoch may be smaller.

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


def endless_batch(count: int, batch_size: int, number: int, *seed: object) -> list[int]:
    """Batch `number` of equal ones: consecutive stretches of shuffled passes over the examples.

    Args:
        count: examples; may be fewer than a batch holds.
        batch_size: examples a batch, always.
        number: 0 is the first batch.
        seed: parts of the seed.
    """
    batch: list[int] = []
    for position in range(number * batch_size, (number + 1) * batch_size):
        epoch, place = divmod(position, count)
        if not batch or place == 0:
            order = permutation(count, *seed, epoch)
        batch.append(order[place])
    return batch
