"""`gae` against its definition, written out as a double sum over plain Python floats (O12)."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from assent.objectives.advantages import gae, shaped_rewards

unit = st.floats(0, 1)
step = st.tuples(st.floats(-5, 5), st.floats(-5, 5))  # (reward, value)


def gae_by_definition(
    steps: list[tuple[float, float]], discount: float, gae_lambda: float
) -> list[float]:
    values = [value for _, value in steps] + [0.0]
    deltas = [r + discount * values[t + 1] - values[t] for t, (r, _) in enumerate(steps)]
    return [
        sum((discount * gae_lambda) ** (k - t) * deltas[k] for k in range(t, len(steps)))
        for t in range(len(steps))
    ]


@given(
    steps=st.lists(step, min_size=1, max_size=8),
    before=st.integers(0, 2),
    after=st.integers(0, 3),
    discount=unit,
    lam=unit,
)
def test_gae_matches_its_definition_whatever_the_padding(
    steps: list[tuple[float, float]], before: int, after: int, discount: float, lam: float
) -> None:
    width = before + len(steps) + after
    rewards, values = torch.full((2, 1, width), torch.nan, dtype=torch.float64)
    mask = torch.zeros(1, width, dtype=torch.bool)
    for t, (reward, value) in enumerate(steps, start=before):
        rewards[0, t], values[0, t], mask[0, t] = reward, value, True

    result = gae(rewards, values, mask, discount=discount, gae_lambda=lam)

    expected = [0.0] * before + gae_by_definition(steps, discount, lam) + [0.0] * after
    advantages = torch.tensor([expected], dtype=torch.float64)
    torch.testing.assert_close(result.advantages, advantages)
    torch.testing.assert_close(result.returns, advantages + values.nan_to_num() * mask)


@given(steps=st.lists(step, min_size=1, max_size=8))
def test_with_no_discounting_the_return_is_the_sum_of_rewards_to_come(
    steps: list[tuple[float, float]],
) -> None:
    rewards, values = torch.tensor(steps, dtype=torch.float64).T.unsqueeze(1)
    result = gae(rewards, values, torch.ones_like(rewards, dtype=torch.bool), gae_lambda=1.0)
    to_come = rewards.flip(1).cumsum(1).flip(1)
    torch.testing.assert_close(result.returns, to_come)


def test_rows_of_a_batch_do_not_touch_each_other() -> None:
    rewards, values = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]]).bool()
    together = gae(rewards, values, mask)
    for row in range(3):
        alone = gae(rewards[row : row + 1], values[row : row + 1], mask[row : row + 1])
        assert torch.equal(together.advantages[row], alone.advantages[0])


def test_a_shaped_reward_is_paid_in_full_on_the_last_real_token() -> None:
    """The advantage without values is all that is still to come: KL prices, then the score."""
    logprobs = torch.tensor([[-1.0, -2.0, -3.0, 9.0], [-0.5, 9.0, 9.0, 9.0]], requires_grad=True)
    reference = torch.tensor([[-1.5, -1.0, -3.0, 9.0], [-1.0, torch.nan, 9.0, 9.0]])
    mask = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]]).bool()

    rewards = shaped_rewards(torch.tensor([2.0, -1.0]), logprobs, reference, mask, kl_coef=0.1)
    expected = torch.tensor([[-0.05, 0.1, 2.0, 0.0], [-1.05, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(rewards, expected)
    assert not rewards.requires_grad

    nothing = torch.zeros_like(rewards)
    to_come = gae(rewards, nothing, mask, discount=1.0, gae_lambda=1.0).advantages
    torch.testing.assert_close(
        to_come, torch.tensor([[2.05, 2.1, 2.0, 0.0], [-1.05, 0.0, 0.0, 0.0]])
    )
