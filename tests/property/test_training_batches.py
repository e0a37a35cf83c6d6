"""Who is in which step, for any sizes: everybody once a pass, the same for the same seed."""

from collections import Counter
from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from assent.training.batches import WINDOW, endless_batch, epoch_batches

LENGTHS = st.lists(st.integers(0, 40), min_size=1, max_size=80)


@given(LENGTHS, st.integers(1, 9), st.integers(1, 3), st.integers())
def test_every_example_is_in_each_epoch_once(
    lengths: list[int], size: int, epochs: int, seed: int
) -> None:
    batches = epoch_batches(lengths, size, epochs, seed)
    assert all(1 <= len(batch) <= size for batch in batches)
    in_an_epoch = -(-len(lengths) // size)
    assert len(batches) == epochs * in_an_epoch
    for epoch in range(epochs):
        part = batches[epoch * in_an_epoch : (epoch + 1) * in_an_epoch]
        assert sorted(chain.from_iterable(part)) == list(range(len(lengths)))
        assert sum(len(batch) < size for batch in part) <= 1
    assert epoch_batches(lengths, size, epochs, seed) == batches
    # What is done is not asked again: a longer run begins as the shorter one.
    assert epoch_batches(lengths, size, epochs + 1, seed)[: len(batches)] == batches


@given(st.integers(0, 1000))
def test_lengths_meet_their_like_and_short_ones_do_not_come_first(seed: int) -> None:
    lengths = [number % 50 for number in range(4 * WINDOW)]
    batches = epoch_batches(lengths, 4, 1, seed)
    spreads = [max(lengths[n] for n in batch) - min(lengths[n] for n in batch) for batch in batches]
    assert sum(spreads) / len(spreads) < 10
    assert [lengths[batch[0]] for batch in batches] != sorted(lengths[b[0]] for b in batches)


@given(st.integers(1, 30), st.integers(1, 12), st.integers(1, 8), st.integers())
def test_endless_batches_go_through_everybody_before_anybody_comes_again(
    count: int, size: int, batches: int, seed: int
) -> None:
    drawn = [endless_batch(count, size, number, seed) for number in range(batches)]
    assert {len(batch) for batch in drawn} == {size}
    order = list(chain.from_iterable(drawn))
    for start in range(0, len(order) - count + 1, count):
        assert sorted(order[start : start + count]) == list(range(count))
    seen = Counter(order)
    assert max(seen.values()) - min(seen[n] for n in range(count)) <= 1


def test_passes_and_seeds_differ() -> None:
    one = endless_batch(50, 50, 0, 0)
    assert one != endless_batch(50, 50, 1, 0)
    assert one != endless_batch(50, 50, 0, 1)
    first, second = (epoch_batches([1] * 50, 50, 2, 0)[epoch] for epoch in range(2))
    assert first != second
