"""Soft labels: the cross-entropy by its definition, and where it comes to rest."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from assent.objectives.preference_losses import bradley_terry_loss

score = st.floats(-3, 3)


@given(
    pairs=st.lists(
        st.tuples(score, score, st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=5
    )
)
def test_the_loss_of_soft_labels_is_the_cross_entropy(
    pairs: list[tuple[float, float, float, float]],
) -> None:
    chosen, rejected, likely, margins = (
        torch.tensor(column, dtype=torch.float64) for column in zip(*pairs, strict=True)
    )
    expected = 0.0
    for one, other, q, margin in pairs:
        p = 1 / (1 + math.exp(-(one - other - margin)))
        expected -= q * math.log(p) + (1 - q) * math.log(1 - p)
    found = bradley_terry_loss(chosen, rejected, margin=margins, probability=likely)
    assert found.loss.item() == pytest.approx(expected / len(pairs), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("probability", [0.5, 0.7, 0.95])
def test_the_loss_comes_to_rest_where_the_model_gives_the_label(probability: float) -> None:
    ahead = torch.tensor([math.log(probability / (1 - probability))], dtype=torch.float64)
    ahead.requires_grad_()
    likely = torch.tensor([probability], dtype=torch.float64)
    bradley_terry_loss(ahead, torch.zeros_like(ahead), probability=likely).loss.backward()  # type: ignore[no-untyped-call]
    assert ahead.grad is not None
    assert ahead.grad.item() == pytest.approx(0, abs=1e-12)


def test_a_certain_label_is_none_and_the_gradient_is_that_of_finite_differences() -> None:
    generator = torch.Generator().manual_seed(1)
    chosen, rejected = torch.randn(2, 4, generator=generator, dtype=torch.float64)
    ones = torch.ones(4, dtype=torch.float64)
    plain = bradley_terry_loss(chosen, rejected).loss
    assert bradley_terry_loss(chosen, rejected, probability=ones).loss == plain
    likely = torch.rand(4, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda one, other: bradley_terry_loss(one, other, probability=likely).loss,
        (chosen.requires_grad_(), rejected.requires_grad_()),
    )
