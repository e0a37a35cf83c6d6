"""`AdamTfStyle` against its update written out in plain Python, and its saved state."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from assent.objectives.adam import AdamTfStyle

GRADIENTS = [0.3, -0.2, 1e-6, 0.0, 2.0]


def parameter() -> Tensor:
    return torch.tensor([1.0, -1.0], dtype=torch.float64, requires_grad=True)


def advance(optimiser: AdamTfStyle, weights: Tensor, gradients: list[float]) -> None:
    for gradient in gradients:
        weights.grad = torch.tensor([gradient, 2 * gradient], dtype=torch.float64)
        optimiser.step()


def test_each_update_is_the_formula_of_the_paper() -> None:
    weights = parameter()
    optimiser = AdamTfStyle([weights], lr=0.1, betas=(0.8, 0.95), eps=1e-3)
    expected = [1.0, -1.0]
    mean, square = [0.0, 0.0], [0.0, 0.0]
    for step, gradient in enumerate(GRADIENTS, start=1):
        advance(optimiser, weights, [gradient])
        rate = 0.1 * math.sqrt(1 - 0.95**step) / (1 - 0.8**step)
        for index, g in enumerate([gradient, 2 * gradient]):
            mean[index] = 0.8 * mean[index] + 0.2 * g
            square[index] = 0.95 * square[index] + 0.05 * g * g
            expected[index] -= rate * mean[index] / (math.sqrt(square[index]) + 1e-3)
        assert weights.tolist() == pytest.approx(expected, rel=1e-12)


def test_it_goes_on_from_a_saved_state_to_the_last_bit() -> None:
    straight = parameter()
    advance(AdamTfStyle([straight], lr=0.1), straight, GRADIENTS)

    weights = parameter()
    first = AdamTfStyle([weights], lr=0.1)
    advance(first, weights, GRADIENTS[:2])
    resumed = weights.detach().clone().requires_grad_()
    second = AdamTfStyle([resumed], lr=0.5)
    second.load_state_dict(first.state_dict())
    advance(second, resumed, GRADIENTS[2:])

    assert torch.equal(resumed, straight)
    assert set(first.state[weights]) == {"step", "exp_avg", "exp_avg_sq"}


def test_groups_keep_their_own_rate_and_parameters_without_gradient_stay() -> None:
    slow, fast, idle = parameter(), parameter(), parameter()
    groups: list[dict[str, Any]] = [{"params": [slow], "lr": 0.01}, {"params": [fast, idle]}]
    optimiser = AdamTfStyle(groups, lr=0.1)
    slow.grad = fast.grad = torch.ones(2, dtype=torch.float64)
    optimiser.step()
    torch.testing.assert_close(10 * (parameter() - slow), parameter() - fast)
    assert torch.equal(idle, parameter())


def test_a_closure_is_evaluated_with_gradients() -> None:
    weights = parameter()
    optimiser = AdamTfStyle([weights], lr=0.1)

    def loss() -> float:
        optimiser.zero_grad()
        total = weights.square().sum()
        torch.autograd.backward(total)
        return total.item()

    assert optimiser.step(loss) == 2.0
    assert weights.tolist() == pytest.approx([0.9, -0.9], abs=1e-4)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [({"lr": -1.0}, "-1.0"), ({"betas": (0.9, 1.0)}, "1.0"), ({"eps": 0.0}, "eps")],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        AdamTfStyle([parameter()], **{"lr": 0.1, **wrong})  # type: ignore[arg-type]
