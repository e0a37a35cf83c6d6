"""The DPO family and KTO against their formulas, their gradients, and where they are least."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from assent.objectives.direct_preference import (
    conservative_dpo_losses,
    dpo_losses,
    hinge_losses,
    ipo_losses,
    kto_baseline,
    kto_losses,
    robust_dpo_losses,
    simpo_losses,
)
from assent.objectives.kl import categorical_kl
from assent.objectives.tilting import tilt

betas = st.floats(0.05, 3.0)
flips = st.floats(0.0, 0.45)
margins_of = st.lists(st.floats(-8, 8), min_size=1, max_size=6)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def by_definition(kind: str, h: float, beta: float, epsilon: float) -> float:
    """Each formula in plain Python floats."""
    won, lost = -math.log(sigmoid(beta * h)), -math.log(sigmoid(-beta * h))
    return {
        "dpo": won,
        "conservative": (1 - epsilon) * won + epsilon * lost,
        "robust": ((1 - epsilon) * won - epsilon * lost) / (1 - 2 * epsilon),
        "ipo": (h - 1 / (2 * beta)) ** 2,
        "hinge": max(0.0, 1 - beta * h),
        "simpo": -math.log(sigmoid(beta * h - epsilon)),
    }[kind]


def computed(kind: str, h: Tensor, beta: float, epsilon: float) -> Tensor:
    losses: dict[str, Callable[[], Tensor]] = {
        "dpo": lambda: dpo_losses(h, beta=beta),
        "conservative": lambda: conservative_dpo_losses(h, beta=beta, label_smoothing=epsilon),
        "robust": lambda: robust_dpo_losses(h, beta=beta, flip_rate=epsilon),
        "ipo": lambda: ipo_losses(h, beta=beta),
        "hinge": lambda: hinge_losses(h, beta=beta),
        "simpo": lambda: simpo_losses(h, beta=beta, target_margin=epsilon),
    }
    return losses[kind]()


KINDS = ["dpo", "conservative", "robust", "ipo", "hinge", "simpo"]


@pytest.mark.parametrize("kind", KINDS)
@given(margins=margins_of, beta=betas, epsilon=flips)
def test_each_loss_is_its_formula(
    kind: str, margins: list[float], beta: float, epsilon: float
) -> None:
    found = computed(kind, torch.tensor(margins, dtype=torch.float64), beta, epsilon)
    expected = [by_definition(kind, h, beta, epsilon) for h in margins]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("kind", KINDS)
@given(h=st.floats(-6, 6), beta=betas, epsilon=flips)
def test_each_gradient_is_the_difference_quotient_of_the_formula(
    kind: str, h: float, beta: float, epsilon: float
) -> None:
    if kind == "hinge" and abs(1 - beta * h) < 1e-3:
        return  # the corner
    at = torch.tensor([h], dtype=torch.float64, requires_grad=True)
    torch.autograd.backward(computed(kind, at, beta, epsilon).sum())
    step = 1e-5
    slope = by_definition(kind, h + step, beta, epsilon)
    slope = (slope - by_definition(kind, h - step, beta, epsilon)) / (2 * step)
    assert at.grad is not None
    assert float(at.grad) == pytest.approx(slope, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("kind", ["conservative", "robust"])
def test_without_noise_the_two_are_dpo(kind: str) -> None:
    h = torch.linspace(-5, 5, 11)
    torch.testing.assert_close(computed(kind, h, 0.3, 0.0), dpo_losses(h, beta=0.3))


def minimised(loss: Callable[[Tensor], Tensor], size: int, lr: float = 0.5) -> Tensor:
    """Where a smooth loss of so many numbers is least, by LBFGS in float64."""
    at = torch.zeros(size, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [at], lr=lr, max_iter=2000, tolerance_grad=1e-13, tolerance_change=1e-16,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = loss(at)
        torch.autograd.backward(value)
        return value

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return at.detach()


@given(beta=st.floats(0.1, 2.0), epsilon=st.floats(0.02, 0.45))
def test_label_smoothing_stops_margins_where_the_stated_noise_is_reached(
    beta: float, epsilon: float
) -> None:
    best = minimised(
        lambda h: conservative_dpo_losses(h, beta=beta, label_smoothing=epsilon).sum(), 1
    )
    assert float(beta * best) == pytest.approx(math.log((1 - epsilon) / epsilon), rel=1e-4)


@given(beta=st.floats(0.1, 2.0))
def test_ipo_wants_a_margin_of_one_over_two_beta(beta: float) -> None:
    best = minimised(lambda h: ipo_losses(h, beta=beta).sum(), 1)
    assert float(best) == pytest.approx(1 / (2 * beta), rel=1e-6)


@given(beta=st.floats(0.1, 2.0), share=st.floats(0.05, 0.95))
def test_ipo_of_pairs_judged_both_ways_is_least_at_their_share_less_a_half_over_beta(
    beta: float, share: float
) -> None:
    best = minimised(
        lambda h: (
            share * ipo_losses(h, beta=beta) + (1 - share) * ipo_losses(-h, beta=beta)
        ).sum(),
        1,
    )
    assert float(best) == pytest.approx((share - 0.5) / beta, rel=1e-5, abs=1e-6)


@given(h=st.floats(-4, 4), beta=betas, epsilon=flips)
def test_robust_dpo_expects_of_flipped_judgements_what_dpo_has_on_clean_ones(
    h: float, beta: float, epsilon: float
) -> None:
    at = torch.tensor([h, -h], dtype=torch.float64)
    kept, flipped = robust_dpo_losses(at, beta=beta, flip_rate=epsilon)
    clean = dpo_losses(at[:1], beta=beta)
    torch.testing.assert_close((1 - epsilon) * kept + epsilon * flipped, clean[0])


def population(logprobs: Tensor, reference: Tensor, rewards: Tensor, beta: float) -> Tensor:
    """DPO's expected loss over all pairs of answers, each judged by Bradley-Terry."""
    ratios = logprobs - reference
    margins = (ratios[:, None] - ratios[None, :]).flatten()
    wins = torch.sigmoid(rewards[:, None] - rewards[None, :]).flatten()
    return (wins * dpo_losses(margins, beta=beta)).mean()


@given(seed=st.integers(0, 200), beta=st.floats(0.3, 2.0))
def test_o3_the_least_expected_dpo_loss_is_reached_by_the_tilted_reference(
    seed: int, beta: float
) -> None:
    """So beta times the log-ratio is the reward, up to a constant of the prompt."""
    generator = torch.Generator().manual_seed(seed)
    reference = torch.randn(6, generator=generator, dtype=torch.float64).log_softmax(0)
    rewards = torch.randn(6, generator=generator, dtype=torch.float64)
    logits = minimised(
        lambda x: population((reference + x).log_softmax(0), reference, rewards, beta), 6
    )
    policy = (reference + logits).log_softmax(0)
    best = tilt(reference, rewards, beta)
    assert float(categorical_kl(policy, best)) < 1e-8
    implicit = beta * (policy - reference)
    torch.testing.assert_close(
        implicit - implicit.mean(), rewards - rewards.mean(), rtol=0, atol=2e-4
    )


@given(
    logratios=st.lists(st.floats(-8, 8), min_size=1, max_size=6),
    baseline=st.floats(0, 5),
    beta=betas,
    up=st.floats(0.1, 3.0),
    down=st.floats(0.1, 3.0),
)
def test_kto_is_its_formula_for_good_and_for_bad(
    logratios: list[float], baseline: float, beta: float, up: float, down: float
) -> None:
    marks = [place % 2 == 0 for place in range(len(logratios))]
    found = kto_losses(
        torch.tensor(logratios, dtype=torch.float64),
        torch.tensor(marks, dtype=torch.float64),
        torch.tensor(baseline, dtype=torch.float64),
        beta=beta,
        desirable_weight=up,
        undesirable_weight=down,
    )
    expected = [
        up * (1 - sigmoid(beta * (one - baseline)))
        if good
        else down * (1 - sigmoid(beta * (baseline - one)))
        for one, good in zip(logratios, marks, strict=True)
    ]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


@given(logratio=st.floats(-6, 6), baseline=st.floats(0, 3), beta=betas, good=st.booleans())
def test_ktos_gradient_is_the_difference_quotient_and_none_reaches_the_baseline(
    logratio: float, baseline: float, beta: float, good: bool
) -> None:
    at = torch.tensor([logratio], dtype=torch.float64, requires_grad=True)
    base = torch.tensor(baseline, dtype=torch.float64, requires_grad=True)
    mark = torch.tensor([float(good)], dtype=torch.float64)

    def loss(x: Tensor) -> Tensor:
        return kto_losses(x, mark, base, beta=beta, desirable_weight=1.3, undesirable_weight=0.7)

    torch.autograd.backward(loss(at).sum())
    with torch.no_grad():
        slope = (loss(at + 1e-5) - loss(at - 1e-5)) / 2e-5
    assert at.grad is not None
    torch.testing.assert_close(at.grad, slope, rtol=1e-6, atol=1e-8)
    assert base.grad is None


def test_ktos_baseline_is_the_mean_of_foreign_responses_but_never_below_zero() -> None:
    ratios = torch.tensor([1.0, -0.5, 2.5], requires_grad=True)
    found = kto_baseline(ratios)
    assert float(found) == pytest.approx(1.0)
    assert not found.requires_grad
    assert float(kto_baseline(-ratios)) == 0.0


def test_losses_stay_finite_far_from_the_reference() -> None:
    far = torch.tensor([-1e4, 1e4], requires_grad=True)
    for kind in KINDS:
        losses = computed(kind, far, 0.5, 0.1)
        assert bool(torch.isfinite(losses).all()), kind
        (gradient,) = torch.autograd.grad(losses.sum(), far)
        assert bool(torch.isfinite(gradient).all()), kind
    kto = kto_losses(far, torch.tensor([1.0, 0.0]), torch.tensor(0.0), beta=0.5)
    torch.testing.assert_close(kto, torch.ones(2))
