"""KL estimators against the KL itself (O6), and the adaptive controller's fixed point (O13)."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from torch import Tensor

from assent.objectives.kl import (
    AdaptiveKlController,
    FixedKlController,
    KlController,
    adaptive_kl_coef,
    categorical_kl,
    exact_kl,
    k1,
    k2,
    k3,
)
from assent.objectives.tilting import tilt


def two_distributions(seed: int, size: int = 7) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, size, generator=generator, dtype=torch.float64)
    policy, reference = torch.log_softmax(logits, dim=-1)
    return policy, reference


@given(seed=st.integers(0, 10_000))
def test_o6_k1_and_k3_are_unbiased_and_k2_has_the_second_moment(seed: int) -> None:
    policy, reference = two_distributions(seed)
    chances = policy.exp()
    kl = sum(
        math.exp(p) * (p - q) for p, q in zip(policy.tolist(), reference.tolist(), strict=True)
    )

    assert math.isclose(categorical_kl(policy, reference).item(), kl, rel_tol=1e-12)
    assert math.isclose((chances * k1(policy, reference)).sum().item(), kl, rel_tol=1e-12)
    assert math.isclose((chances * k3(policy, reference)).sum().item(), kl, rel_tol=1e-9)
    second = sum(
        math.exp(p) * (p - q) ** 2 / 2
        for p, q in zip(policy.tolist(), reference.tolist(), strict=True)
    )
    assert math.isclose((chances * k2(policy, reference)).sum().item(), second, rel_tol=1e-12)


@given(seed=st.integers(0, 10_000))
def test_o6_as_a_loss_k2_descends_the_kl_k3_the_reverse_kl_and_k1_nothing(seed: int) -> None:
    start, reference = two_distributions(seed)

    def gradient(loss_of: Callable[[Tensor], Tensor]) -> Tensor:
        logits = start.clone().requires_grad_()
        (result,) = torch.autograd.grad(loss_of(torch.log_softmax(logits, dim=-1)), logits)
        return result

    def sampled(estimator: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        return gradient(lambda policy: (start.exp() * estimator(policy, reference)).sum())

    forward = gradient(lambda policy: categorical_kl(policy, reference))
    reverse = gradient(lambda policy: categorical_kl(reference, policy))
    torch.testing.assert_close(sampled(k2), forward)
    torch.testing.assert_close(sampled(k3), reverse)
    torch.testing.assert_close(sampled(k1), torch.zeros_like(start), rtol=0, atol=1e-12)


@given(seed=st.integers(0, 10_000), temperature=st.floats(0.3, 3.0))
def test_exact_kl_is_the_sum_over_the_vocabulary_at_the_sampling_temperature(
    seed: int, temperature: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    policy, reference = torch.randn(2, 2, 3, 5, generator=generator, dtype=torch.float64)
    mask = torch.tensor([[True, True, False], [True, False, False]])
    policy[~mask] = torch.nan

    result = exact_kl(policy, reference, mask, temperature=temperature)

    assert bool((result[~mask] == 0).all())
    for row, column in mask.nonzero().tolist():
        p = [math.exp(x / temperature) for x in policy[row, column].tolist()]
        q = [math.exp(x / temperature) for x in reference[row, column].tolist()]
        expected = sum(
            a / sum(p) * math.log((a / sum(p)) / (b / sum(q))) for a, b in zip(p, q, strict=True)
        )
        assert math.isclose(result[row, column].item(), expected, rel_tol=1e-9, abs_tol=1e-12)


def test_kl_is_infinite_only_where_the_reference_alone_excludes_an_outcome() -> None:
    half = torch.tensor([0.5, 0.5, 0.0]).log()
    all_three = torch.tensor([0.5, 0.25, 0.25]).log()
    assert math.isclose(categorical_kl(half, all_three).item(), 0.5 * math.log(2), rel_tol=1e-6)
    assert categorical_kl(all_three, half).item() == math.inf


def test_k3_does_not_overflow_where_the_reference_prefers_a_token_by_far() -> None:
    far = torch.tensor([-1000.0], requires_grad=True)
    value = k3(far, torch.tensor([0.0]))
    assert math.isclose(value.item(), math.expm1(20.0) - 1000.0, rel_tol=1e-6)
    (gradient,) = torch.autograd.grad(value.sum(), far)
    assert math.isfinite(gradient.item())


@pytest.mark.parametrize(
    ("mean", "deviations"),
    [
        (0.1, {"k1": (0.0, 20.0), "k2": (0.002, 1.42), "k3": (0.0, 1.42)}),
        (1.0, {"k1": (0.0, 2.0), "k2": (0.25, 1.73), "k3": (0.0, 1.70)}),
    ],
)
def test_the_estimators_have_the_published_bias_and_spread_on_two_gaussians(
    mean: float, deviations: dict[str, tuple[float, float]]
) -> None:
    """Schulman 2020: bias and standard deviation over the true KL, for N(0,1) against N(mean,1)."""
    x = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    weights = torch.exp(-x.square() / 2)
    weights = weights / weights.sum()
    policy, reference = -x.square() / 2, -(x - mean).square() / 2
    kl = mean**2 / 2
    for name, estimator in {"k1": k1, "k2": k2, "k3": k3}.items():
        values = estimator(policy, reference)
        average = (weights * values).sum()
        spread = (weights * (values - average).square()).sum().sqrt()
        bias, deviation = deviations[name]
        assert math.isclose((average.item() - kl) / kl, bias, abs_tol=6e-4), name
        assert math.isclose(spread.item() / kl, deviation, abs_tol=6e-3), name


@pytest.mark.parametrize(
    ("kl_nats", "multiplier"), [(0.0, 0.98976), (60.0, 1.01024), (6.0, 1.0), (6.6, 1.00512)]
)
def test_the_controller_multiplies_by_the_published_figures_at_a_batch_of_512(
    kl_nats: float, multiplier: float
) -> None:
    coef = adaptive_kl_coef(0.15, kl_nats, target_nats=6.0, episodes=512, horizon_episodes=10_000)
    assert math.isclose(coef / 0.15, multiplier, rel_tol=1e-12)


@pytest.mark.parametrize("start", [0.02, 0.3, 4.0])
def test_o13_the_adaptive_controller_comes_to_rest_where_the_optimum_has_the_target_kl(
    start: float,
) -> None:
    """Each batch the policy is the exact optimum for the coefficient, so KL is a function of it."""
    reference, rewards = two_distributions(5, size=20)

    def kl_at(coef: float) -> float:
        return float(categorical_kl(tilt(reference, rewards, coef), reference))

    target = 0.4
    at_rest = float(brentq(lambda coef: kl_at(coef) - target, 1e-2, 1e2, xtol=1e-14))

    controller = AdaptiveKlController(coef=start, target_nats=target, horizon_episodes=1_000)
    for _ in range(600):
        controller = controller.after(kl_at(controller.coef), episodes=64)

    assert math.isclose(controller.coef, at_rest, rel_tol=1e-9)
    assert math.isclose(kl_at(controller.coef), target, rel_tol=1e-9)


def test_a_fixed_controller_never_moves() -> None:
    controller: KlController = FixedKlController(coef=0.05)
    for kl_nats in (0.0, 3.0, 1e6):
        controller = controller.after(kl_nats, episodes=512)
    assert controller.coef == 0.05
