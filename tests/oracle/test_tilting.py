"""The optimum under a KL penalty: token by token, all at once, and against everything else."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from assent.objectives.kl import categorical_kl
from assent.objectives.tilting import (
    effective_number,
    log_partition,
    objective,
    sequence_logprobs,
    soft_values,
    tilt,
)


def random_logprobs(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(*shape, generator=generator, dtype=torch.float64)
    return torch.log_softmax(logits, dim=-1)


def random_rewards(size: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(1_000_000 + seed)
    return torch.randn(size, generator=generator, dtype=torch.float64)


seeds = st.integers(0, 10_000)
betas = st.floats(0.05, 5.0)


@given(seed=seeds, beta=betas)
def test_o1_the_soft_value_recursion_over_81_sequences_is_the_global_tilt(
    seed: int, beta: float
) -> None:
    steps = [random_logprobs(3**depth, 3, seed=seed + depth) for depth in range(4)]
    rewards = random_rewards(81, seed)

    by_token = soft_values(steps, rewards, beta)
    whole = sequence_logprobs(steps)
    at_once = tilt(whole, rewards, beta)

    recursive = sequence_logprobs(by_token.policy_logprobs)
    torch.testing.assert_close(recursive.exp(), at_once.exp(), rtol=0, atol=1e-14)
    best = beta * log_partition(whole, rewards, beta)
    torch.testing.assert_close(by_token.values[0][0], best, rtol=1e-13, atol=1e-13)
    reached = objective(at_once, whole, rewards, beta)
    torch.testing.assert_close(reached, best, rtol=1e-12, atol=1e-12)


def test_a_sequence_is_the_product_of_its_steps_in_the_order_of_the_leaves() -> None:
    steps = [random_logprobs(3**depth, 3, seed=depth) for depth in range(4)]
    path = [2, 0, 1, 1]
    node, expected = 0, 0.0
    for depth, token in enumerate(path):
        expected += steps[depth][node, token].item()
        node = 3 * node + token
    assert math.isclose(sequence_logprobs(steps)[node].item(), expected, rel_tol=1e-14)


@given(seed=seeds, beta=betas)
def test_o2_what_a_policy_lacks_of_the_best_objective_is_beta_times_its_kl_to_the_optimum(
    seed: int, beta: float
) -> None:
    reference, policy = random_logprobs(2, 12, seed=seed)
    rewards = random_rewards(12, seed)
    lack = beta * log_partition(reference, rewards, beta) - objective(
        policy, reference, rewards, beta
    )
    distance = beta * categorical_kl(policy, tilt(reference, rewards, beta))
    torch.testing.assert_close(lack, distance, rtol=1e-10, atol=1e-12)


@given(seed=seeds, beta=betas)
def test_the_tilt_is_what_its_formula_says(seed: int, beta: float) -> None:
    reference, rewards = random_logprobs(6, seed=seed), random_rewards(6, seed)
    weights = [
        math.exp(logprob) * math.exp(reward / beta)
        for logprob, reward in zip(reference.tolist(), rewards.tolist(), strict=True)
    ]
    expected = torch.tensor([weight / sum(weights) for weight in weights], dtype=torch.float64)
    torch.testing.assert_close(tilt(reference, rewards, beta).exp(), expected)


@given(seed=seeds, strength=st.floats(0.1, 3.0))
def test_gold_changes_along_the_tilt_by_its_covariance_with_the_proxy(
    seed: int, strength: float
) -> None:
    """So over-optimisation begins exactly where that covariance changes sign."""
    reference = random_logprobs(9, seed=seed)
    proxy, gold = random_rewards(9, seed), random_rewards(9, seed + 1)

    def gold_mean(at: float) -> float:
        return float((tilt(reference, proxy, 1 / at).exp() * gold).sum())

    slope = (gold_mean(strength + 1e-5) - gold_mean(strength - 1e-5)) / 2e-5
    chances = tilt(reference, proxy, 1 / strength).exp()
    centred = proxy - (chances * proxy).sum()
    covariance = float((chances * centred * gold).sum())
    assert math.isclose(slope, covariance, rel_tol=1e-5, abs_tol=1e-8)


def test_an_excluded_answer_stays_excluded_and_disturbs_nothing() -> None:
    reference = torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64).log()
    rewards = torch.tensor([0.0, 1.0, 100.0], dtype=torch.float64)
    best = tilt(reference, rewards, 1.0)
    expected = torch.tensor([1 / (1 + math.e), math.e / (1 + math.e), 0.0], dtype=torch.float64)
    torch.testing.assert_close(best.exp(), expected)
    reached = objective(best, reference, rewards, 1.0).item()
    assert math.isclose(reached, math.log((1 + math.e) / 2), rel_tol=1e-12)


def test_float32_inputs_are_computed_in_float64() -> None:
    best = tilt(torch.zeros(4).log_softmax(-1), torch.arange(4.0), 0.5)
    assert best.dtype == torch.float64
    assert math.isclose(best.exp().sum().item(), 1.0, abs_tol=1e-15)


def test_the_effective_number_of_k_equal_answers_is_k() -> None:
    logprobs = torch.tensor([[0.25] * 4, [0.5, 0.5, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]]).log()
    torch.testing.assert_close(
        effective_number(logprobs), torch.tensor([4.0, 2.0, 1.0], dtype=torch.float64)
    )
