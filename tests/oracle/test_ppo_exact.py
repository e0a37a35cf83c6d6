"""PPO where everything can be listed: its gradient is the exact one (O9), its end the optimum (O8).

The world: sequences of up to four tokens out of {0, 1, end}. A state is what was written so far.
The policy is a table of logits, one row a state; the value function has one entry a state.
"""

from itertools import product

import pytest
import torch
from torch import Tensor

from assent.objectives.advantages import gae, shaped_rewards
from assent.objectives.kl import categorical_kl
from assent.objectives.logprobs import token_logprobs
from assent.objectives.masks import masked_sum, response_mask_until_eos
from assent.objectives.policy_losses import ppo_policy_loss, value_loss
from assent.objectives.tilting import log_partition, objective, tilt

END = 2
LENGTH = 4
STATES = [prefix for size in range(LENGTH) for prefix in product((0, 1), repeat=size)]
ROW = {prefix: row for row, prefix in enumerate(STATES)}


def all_sequences() -> tuple[Tensor, Tensor, Tensor]:
    """Every sequence once: (tokens, the state before each token, mask)."""
    finished = [(*prefix, END) for prefix in STATES]
    full = list(product((0, 1), repeat=LENGTH))
    tokens = torch.full((len(finished) + len(full), LENGTH), END)
    states = torch.zeros_like(tokens)
    for row, sequence in enumerate(finished + full):
        for position, token in enumerate(sequence):
            tokens[row, position] = token
            states[row, position] = ROW[sequence[:position]]
    return tokens, states, response_mask_until_eos(tokens, END)


TOKENS, STATE, MASK = all_sequences()


def table(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(len(STATES), 3, generator=generator, dtype=torch.float64)


def scores_of_all(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(100 + seed)
    return torch.randn(len(TOKENS), generator=generator, dtype=torch.float64)


def token_table(logits: Tensor) -> Tensor:
    """Log-probability of every token of every sequence."""
    return token_logprobs(logits[STATE], TOKENS, temperature=1.0)


def sequence_table(logits: Tensor) -> Tensor:
    """Log-probability of every sequence."""
    return masked_sum(token_table(logits), MASK, dim=1)


def exact_values(logits: Tensor, rewards: Tensor) -> Tensor:
    """Expected sum of rewards to come in each state, by going through all sequences."""
    chances = sequence_table(logits).exp()
    to_come = (rewards * MASK).flip(1).cumsum(1).flip(1)
    values = torch.zeros(len(STATES), dtype=torch.float64)
    reached = torch.zeros_like(values)
    for row, position in MASK.nonzero().tolist():
        state = int(STATE[row, position])
        reached[state] += chances[row]
        values[state] += chances[row] * to_come[row, position]
    return values / reached


def test_the_listed_sequences_have_all_the_probability() -> None:
    total = sequence_table(table(0)).exp().sum().item()
    assert total == pytest.approx(1.0, abs=1e-12)
    assert len(TOKENS) == 15 + 16


@pytest.mark.parametrize("gae_lambda", [1.0, 0.95, 0.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_o9_at_ratio_one_with_exact_values_ppos_gradient_is_the_exact_policy_gradient(
    seed: int, gae_lambda: float
) -> None:
    """Lambda 1 is the oracle as stated; with exact values every other lambda gives the same."""
    beta, reference, scores = 0.3, table(seed + 50), scores_of_all(seed)
    logits = table(seed).requires_grad_()
    goal = objective(sequence_table(logits), sequence_table(reference), scores, beta)
    (expected,) = torch.autograd.grad(goal, logits)

    logprobs = token_table(logits)
    rewards = shaped_rewards(scores, logprobs, token_table(reference), MASK, kl_coef=beta)
    values = exact_values(logits.detach(), rewards)[STATE]
    advantages = gae(rewards, values, MASK, discount=1.0, gae_lambda=gae_lambda).advantages
    # The expectation over samples: each sequence weighs in with its probability.
    weights = sequence_table(logits).exp().detach().unsqueeze(1)
    loss = ppo_policy_loss(
        logprobs, logprobs, advantages * weights, MASK, clip_range=0.2, normaliser=1.0
    )
    (gradient,) = torch.autograd.grad(loss.loss, logits)

    torch.testing.assert_close(-gradient, expected, rtol=1e-10, atol=1e-12)
    assert expected.abs().max() > 1e-2
    assert loss.clip_fraction == 0
    assert loss.approximate_kl == 0
    assert loss.ratio_max_deviation == 0


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_o8_ppo_from_samples_reaches_the_optimum(seed: int) -> None:
    """At the optimum every sequence has the same return, so the noise of sampling dies out too."""
    beta, reference, scores = 0.5, table(seed + 50), scores_of_all(seed)
    generator = torch.Generator().manual_seed(seed)
    logits = reference.clone().requires_grad_()
    state_values = torch.zeros(len(STATES), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([logits, state_values], lr=0.1)
    best = tilt(sequence_table(reference), scores, beta)

    def distance() -> float:
        return categorical_kl(sequence_table(logits.detach()), best).item()

    start = distance()
    for update in range(300):
        for group in optimiser.param_groups:
            group["lr"] = 0.1 * (1 - update / 300)
        chances = sequence_table(logits.detach()).exp()
        drawn = torch.multinomial(chances, 512, replacement=True, generator=generator)
        states, tokens, mask = STATE[drawn], TOKENS[drawn], MASK[drawn]
        old_logprobs = token_logprobs(logits.detach()[states], tokens, temperature=1.0)
        reference_logprobs = token_logprobs(reference[states], tokens, temperature=1.0)
        old_values = state_values.detach()[states]
        rewards = shaped_rewards(
            scores[drawn], old_logprobs, reference_logprobs, mask, kl_coef=beta
        )
        estimate = gae(rewards, old_values, mask, discount=1.0, gae_lambda=0.95)
        for _ in range(4):
            logprobs = token_logprobs(logits[states], tokens, temperature=1.0)
            policy = ppo_policy_loss(
                logprobs, old_logprobs, estimate.advantages, mask, clip_range=0.2
            )
            value = value_loss(
                state_values[states], old_values, estimate.returns, mask, clip_range=None
            )
            optimiser.zero_grad()
            torch.autograd.backward(policy.loss + value.loss)
            optimiser.step()

    assert start > 0.3
    assert distance() < 1e-3
    root = beta * log_partition(sequence_table(reference), scores, beta).item()
    assert state_values[0].item() == pytest.approx(root, abs=0.02)
