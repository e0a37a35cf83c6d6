"""Every draw depends on the seed and its name, never on what ran before."""

import hashlib

import pytest
import torch

from assent.objectives.seeds import derive_seed, generator, permutation


def test_a_seed_depends_on_every_part_and_on_their_order() -> None:
    parts = [(0,), (1,), (0, "ppo"), (0, "ppo", 1), (0, "ppo", 2), (0, "sft", 1), ("ppo", 0)]
    seeds = [derive_seed(*each) for each in parts]
    assert len(set(seeds)) == len(parts)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert [derive_seed(*each) for each in parts] == seeds


def test_a_seed_is_the_same_in_every_process() -> None:
    """Python's own hash differs from process to process; the first 63 bits of SHA-256 do not."""
    assert derive_seed(3, "ppo", 7) == int(hashlib.sha256(b"3/ppo/7").hexdigest()[:16], 16) // 2
    assert derive_seed(3, "ppo", 7) == 5727795371189362380


def test_a_generator_draws_the_same_whatever_ran_before() -> None:
    first = torch.rand(4, generator=generator(1, "a"))
    torch.rand(100)
    assert torch.equal(torch.rand(4, generator=generator(1, "a")), first)
    assert not torch.equal(torch.rand(4, generator=generator(1, "b")), first)


@pytest.mark.parametrize("count", [0, 1, 50])
def test_a_permutation_holds_each_number_once(count: int) -> None:
    order = permutation(count, 5, "epoch", 0)
    assert sorted(order) == list(range(count))
    assert permutation(count, 5, "epoch", 0) == order
    if count > 1:
        assert permutation(count, 5, "epoch", 1) != order
