"""Figures others have published, reproduced to the digits they print."""

import math

import pytest
import torch

from assent.objectives.adam import AdamTfStyle
from assent.objectives.masks import masked_whiten
from assent.objectives.tilting import best_of_n_kl

REWARDS = torch.tensor([[1.2, 1.3, 1.4], [1.5, 1.6, 1.7], [1.8, 1.9, 2.0]], dtype=torch.float64)
# Huang et al. 2023, "The N implementation details of RLHF with PPO": TensorFlow's and PyTorch's.
BIASED = [[0.0508, 0.4381, 0.8254], [1.2127, 1.6, 1.9873], [2.3746, 2.7619, 3.1492]]
UNBIASED = [[0.1394, 0.5046, 0.8697], [1.2349, 1.6, 1.9651], [2.3303, 2.6954, 3.0606]]


@pytest.mark.parametrize(("unbiased", "expected"), [(False, BIASED), (True, UNBIASED)])
def test_whitened_rewards_that_keep_their_mean(unbiased: bool, expected: list[list[float]]) -> None:
    mask = torch.ones_like(REWARDS, dtype=torch.bool)
    whitened = masked_whiten(REWARDS, mask, shift_mean=False, unbiased=unbiased)
    table = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(whitened, table, rtol=0, atol=5.1e-5)

    shifted = masked_whiten(REWARDS, mask, unbiased=unbiased)
    torch.testing.assert_close(shifted, table - 1.6, rtol=0, atol=5.1e-5)


@pytest.mark.parametrize(
    ("n", "kl_nats"),
    [
        (1, 0.0),
        (4, 0.636),
        (8, 1.204),
        (16, 1.835),
        (32, 2.497),
        (64, 3.175),
        (128, 3.860),
        (256, 4.549),
        (1_000, 5.909),
        (60_000, 10.002),
    ],
)
def test_kl_of_the_best_of_n(n: int, kl_nats: float) -> None:
    assert best_of_n_kl(n) == pytest.approx(kl_nats, abs=5.1e-4)


def test_kl_of_the_best_of_n_is_that_of_its_density() -> None:
    """The best of n has density n u^(n-1) in the quantile u of the score; integrate its log."""
    u = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    for n in (2, 5, 16):
        density = n * u.pow(n - 1)
        assert (density * density.log()).mean().item() == pytest.approx(best_of_n_kl(n), abs=1e-6)


@pytest.mark.parametrize(
    ("step", "epsilon"), [(1, 3.16e-7), (10, 9.98e-7), (100, 3.09e-6), (1_000, 7.95e-6)]
)
def test_pytorchs_adam_has_a_smaller_epsilon_at_first_and_ours_has_not(
    step: int, epsilon: float
) -> None:
    """Both written as `update = rate * mean / (sqrt(square) + epsilon)` and solved for epsilon."""
    beta1, beta2, lr, gradient = 0.9, 0.999, 1.0, 1e-6

    def epsilon_in_use(kind: type[torch.optim.Adam] | type[AdamTfStyle]) -> float:
        parameter = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        optimiser = kind([parameter], lr=lr, betas=(beta1, beta2), eps=1e-5)
        parameter.grad = torch.full_like(parameter, gradient)
        before = 0.0
        for _ in range(step):
            before = parameter.item()
            optimiser.step()
        moved = before - parameter.item()
        rate = lr * math.sqrt(1 - beta2**step) / (1 - beta1**step)
        mean, square = gradient * (1 - beta1**step), gradient**2 * (1 - beta2**step)
        return rate * mean / moved - math.sqrt(square)

    assert epsilon_in_use(torch.optim.Adam) == pytest.approx(epsilon, rel=2e-3)
    assert epsilon_in_use(AdamTfStyle) == pytest.approx(1e-5, rel=1e-6)
