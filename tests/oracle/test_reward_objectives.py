"""The reward model's objectives: formulas in plain Python, finite differences, other libraries."""

import itertools
import math
from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.miscmodels.ordinal_model import OrderedModel
from torch import Tensor

from assent.objectives.aggregation import aggregate, disagreement
from assent.objectives.judgement_losses import (
    davidson_loss,
    ordinal_loss,
    ratings_loss,
    thresholds,
)
from assent.objectives.preference_losses import bradley_terry_loss
from assent.objectives.ranking_losses import (
    all_pairs_loss,
    centring,
    pair_figures,
    pick_best_loss,
    plackett_luce_loss,
)
from assent.worlds.almanac import ANNOTATORS, SimulatedAnnotator, World
from assent.worlds.almanac.grammar import answers

number = st.floats(-3, 3)
ranking = st.lists(st.tuples(number, st.integers(0, 3)), min_size=2, max_size=5)


def padded(rankings: Sequence[Sequence[tuple[float, int]]]) -> tuple[Tensor, Tensor, Tensor]:
    """Scores, ranks and mask, with junk where there is no response."""
    width = max(map(len, rankings)) + 1
    scores = torch.full((len(rankings), width), 9.0, dtype=torch.float64)
    ranks = torch.zeros(len(rankings), width, dtype=torch.long)
    mask = torch.zeros(len(rankings), width, dtype=torch.bool)
    for row, said in enumerate(rankings):
        for place, (score, rank) in enumerate(said):
            scores[row, place], ranks[row, place], mask[row, place] = score, rank, True
    return scores, ranks, mask


def sigma(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@given(rankings=st.lists(ranking, min_size=1, max_size=4))
def test_all_pairs_of_a_ranking_are_bradley_terry_pairs_of_equal_weight(
    rankings: list[list[tuple[float, int]]],
) -> None:
    loss = won = ahead = 0.0
    decided = 0
    for said in rankings:
        pairs = [(a, b) for (a, i), (b, j) in itertools.permutations(said, 2) if i < j]
        decided += bool(pairs)
        loss += sum(-math.log(sigma(a - b)) for a, b in pairs) / max(len(pairs), 1)
        won += sum((a > b) + 0.5 * (a == b) for a, b in pairs) / max(len(pairs), 1)
        ahead += sum(a - b for a, b in pairs) / max(len(pairs), 1)
    given_ = padded(rankings)
    assert all_pairs_loss(*given_).item() == pytest.approx(loss / len(rankings), abs=1e-12)
    figures = pair_figures(*given_)
    assert figures.accuracy.item() == pytest.approx(won / max(decided, 1), abs=1e-12)
    assert figures.margin_mean.item() == pytest.approx(ahead / max(decided, 1), abs=1e-9)
    gap = figures.chosen_mean - figures.rejected_mean
    assert gap.item() == pytest.approx(figures.margin_mean.item(), abs=1e-9)


@given(rankings=st.lists(ranking, min_size=1, max_size=4))
def test_plackett_luce_is_its_formula(rankings: list[list[tuple[float, int]]]) -> None:
    loss = 0.0
    for said in rankings:
        for score, rank in said:
            below = sum(math.exp(other) for other, place in said if place > rank)
            loss += -math.log(math.exp(score) / (math.exp(score) + below))
    found = plackett_luce_loss(*padded(rankings)).item()
    assert found == pytest.approx(loss / len(rankings), abs=1e-12)


@given(scores=st.lists(number, min_size=2, max_size=4))
def test_the_orders_of_a_plackett_luce_model_have_probabilities_that_add_up_to_one(
    scores: list[float],
) -> None:
    total = sum(
        math.exp(-plackett_luce_loss(*padded([list(zip(scores, order, strict=True))])).item())
        for order in itertools.permutations(range(len(scores)))
    )
    assert total == pytest.approx(1)
    # The first of the order is the pick of the best; of two that is Bradley and Terry's model.
    best = sum(
        math.exp(-plackett_luce_loss(*padded([list(zip(scores, order, strict=True))])).item())
        for order in itertools.permutations(range(len(scores)))
        if order[0] == 0
    )
    picked = padded([[(score, int(place > 0)) for place, score in enumerate(scores)]])
    assert math.exp(-pick_best_loss(*picked).item()) == pytest.approx(best)
    if len(scores) == 2:
        pair = torch.tensor(scores, dtype=torch.float64)
        expected = bradley_terry_loss(pair[:1], pair[1:]).loss
        for loss in (plackett_luce_loss, pick_best_loss, all_pairs_loss):
            torch.testing.assert_close(loss(*picked), expected)


def test_the_pick_needs_one_best() -> None:
    for ranks in ([0, 0, 1], [1, 2, 2]):
        with pytest.raises(ValueError, match="exactly one response of rank 0"):
            pick_best_loss(*padded([[(0.0, rank) for rank in ranks]]))


@given(
    pairs=st.lists(st.tuples(number, st.booleans()), min_size=1, max_size=6),
    log_weight=st.floats(-3, 2),
)
def test_davidsons_model_is_its_formula(pairs: list[tuple[float, bool]], log_weight: float) -> None:
    weight, loss = math.exp(log_weight), 0.0
    for ahead, tied in pairs:
        strength = math.exp(ahead)
        whole = strength + 1 + weight * math.sqrt(strength)
        loss -= math.log((weight * math.sqrt(strength) if tied else strength) / whole)
    found = davidson_loss(
        torch.tensor([ahead for ahead, _ in pairs], dtype=torch.float64),
        torch.tensor([tied for _, tied in pairs]),
        torch.tensor(log_weight, dtype=torch.float64),
    )
    assert found.item() == pytest.approx(loss / len(pairs), rel=1e-9)


@given(ahead=number, theta=st.floats(1.01, 6))
def test_with_ties_and_one_strength_the_ordinal_model_is_rao_and_kuppers(
    ahead: float, theta: float
) -> None:
    one, other = math.exp(ahead), 1.0
    wins, loses = one / (one + theta * other), other / (other + theta * one)
    bounds = torch.tensor([math.log(theta)], dtype=torch.float64)

    def chance(d: float, level: int) -> float:
        gap = torch.tensor([d], dtype=torch.float64)
        return math.exp(-ordinal_loss(gap, torch.tensor([level]), bounds).item())

    assert chance(ahead, 1) == pytest.approx(wins)
    assert chance(-ahead, 1) == pytest.approx(loses)
    assert chance(ahead, 0) == pytest.approx(1 - wins - loses)
    assert chance(ahead, 0) == pytest.approx(chance(-ahead, 0))


@pytest.mark.parametrize("has_ties", [True, False])
def test_the_ordinal_likelihood_is_that_of_statsmodels(has_ties: bool) -> None:
    """`OrderedModel` over all levels from the loser's greatest to the winner's."""
    rng = np.random.default_rng(3)
    bounds = thresholds(
        torch.tensor([-1.2, -0.4, 0.1], dtype=torch.float64), has_ties=has_ties
    ).numpy()
    edges = np.concatenate([-bounds[::-1], bounds if has_ties else bounds[1:]])
    places = np.searchsorted(edges, rng.logistic(size=400) + (ahead := rng.normal(size=400)))
    model = OrderedModel(places, ahead[:, None], distr="logit")
    # statsmodels takes the first edge and the logarithms of the steps to the next ones.
    params = np.concatenate([[1.0, edges[0]], np.log(np.diff(edges))])
    middle = 3 if has_ties else 2.5
    levels = np.abs(places - middle) + (0 if has_ties else 0.5)
    signs = np.where(places >= middle, 1.0, -1.0)
    ours = ordinal_loss(
        torch.tensor(signs * ahead), torch.tensor(levels.astype(int)), torch.tensor(bounds),
        normaliser=1.0,
    )  # fmt: skip
    assert -ours.item() == pytest.approx(model.loglike(params), rel=1e-9)


@given(ahead=number, steps=st.lists(st.floats(-2, 1), min_size=1, max_size=4))
def test_a_strength_that_was_not_said_is_any_of_them(ahead: float, steps: list[float]) -> None:
    bounds = thresholds(torch.tensor(steps, dtype=torch.float64), has_ties=True)
    gap = torch.tensor([ahead], dtype=torch.float64)

    def chance(level: int, sign: int = 1) -> float:
        return math.exp(-ordinal_loss(sign * gap, torch.tensor([level]), bounds).item())

    levels = range(1, len(steps) + 1)
    assert chance(-1) == pytest.approx(sum(map(chance, levels)))
    everything = chance(0) + sum(chance(level, sign) for level in levels for sign in (1, -1))
    assert everything == pytest.approx(1)


def test_levels_beyond_the_thresholds_are_refused() -> None:
    bounds = torch.tensor([0.1, 0.5])
    for level in (-2, 3):
        with pytest.raises(ValueError, match="from -1 to 2"):
            ordinal_loss(torch.zeros(1), torch.tensor([level]), bounds)


def test_ratings_count_by_response_whatever_was_left_out() -> None:
    nan = float("nan")
    targets = torch.tensor([[1.0, nan, -1.0], [0.5, 0.0, nan], [nan, 2.0, nan]])
    predicted = torch.tensor([[0.5, 7.0, 0.0], [0.5, 1.0, 7.0], [7.0, 1.5, 7.0]])
    predicted.requires_grad_()
    loss = ratings_loss(predicted, targets, ~targets.isnan())
    assert loss.item() == pytest.approx(((0.25 + 1) / 2 + (0 + 1) / 2 + 0.25) / 3)
    loss.backward()  # type: ignore[no-untyped-call]
    assert predicted.grad is not None
    assert bool((predicted.grad[targets.isnan()] == 0).all()), "not rated, no gradient, no NaN"


@pytest.mark.parametrize("seed", range(3))
def test_gradients_agree_with_finite_differences(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(3, 4, generator=generator, dtype=torch.float64).requires_grad_()
    extra = torch.randn(3, generator=generator, dtype=torch.float64).requires_grad_()
    ahead = torch.randn(6, generator=generator, dtype=torch.float64).requires_grad_()
    mask = torch.tensor([[True] * 4, [True, True, True, False], [True, True, False, False]])
    ranks = torch.tensor([[0, 1, 1, 2], [2, 0, 1, 0], [1, 0, 0, 0]])
    tied = torch.tensor([True, False, False, True, False, False])
    levels = torch.tensor([0, 1, 2, 3, -1, 2])
    checks: list[tuple[Callable[..., Tensor], tuple[Tensor, ...]]] = [
        (lambda x: all_pairs_loss(x, ranks, mask), (scores,)),
        (lambda x: plackett_luce_loss(x, ranks, mask), (scores,)),
        (lambda x: pick_best_loss(x, ranks, mask), (scores,)),
        (lambda x: centring(x, mask), (scores,)),
        (lambda x, y: davidson_loss(x, tied, y[0]), (ahead, extra)),
        (lambda x, y: ordinal_loss(x, levels, thresholds(y, has_ties=True)), (ahead, extra)),
        (lambda x: ratings_loss(x, torch.ones_like(x), mask), (scores,)),
    ]
    for function, inputs in checks:
        assert torch.autograd.gradcheck(function, inputs)


@settings(max_examples=20)
@given(ahead=st.sampled_from([-1e4, -50.0, 0.0, 50.0, 1e4]), level=st.integers(-1, 2))
def test_scores_far_apart_give_finite_losses_and_gradients(ahead: float, level: int) -> None:
    gap = torch.tensor([ahead], requires_grad=True)
    steps = torch.tensor([-3.0, 0.5], requires_grad=True)
    loss = ordinal_loss(gap, torch.tensor([level]), thresholds(steps, has_ties=True))
    loss = loss + davidson_loss(gap, torch.tensor([level == 0]), steps[0])
    gradients = torch.autograd.grad(loss, (gap, steps))
    assert bool(torch.isfinite(loss))
    assert all(bool(torch.isfinite(one).all()) for one in gradients)


def fitted(loss: Callable[[Tensor], Tensor], items: int) -> list[float]:
    """The strengths that a loss is least at, mean zero."""
    strengths = torch.zeros(items, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [strengths], max_iter=200, tolerance_grad=1e-12, tolerance_change=1e-16,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure() -> float:
        optimiser.zero_grad()
        value = loss(strengths)
        value.backward()  # type: ignore[no-untyped-call]
        return float(value.detach())

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    found = strengths.detach()
    return (found - found.mean()).tolist()


def test_the_maxima_are_those_choix_finds() -> None:
    """choix 0.4.1, alpha=0, tol=1e-14, less the mean: opt_pairwise, opt_rankings and opt_top1."""
    wins = [(0, 1), (0, 2), (1, 2), (2, 0), (1, 0), (0, 3), (3, 2), (2, 3), (1, 3), (3, 1),
            (0, 1), (2, 1)]  # fmt: skip
    orders = [(0, 1, 2, 3), (1, 0, 3, 2), (2, 0, 1, 3), (0, 3, 1, 2), (3, 2, 1, 0), (1, 2, 0, 3)]
    picks = [(0, (1, 2, 3)), (1, (0, 2)), (2, (0, 1, 3)), (0, (2, 3)), (3, (0, 1, 2)),
             (1, (3, 0, 2)), (2, (3,))]  # fmt: skip

    def pairs(x: Tensor) -> Tensor:
        rows = [x[list(pair)] for pair in wins]
        ranks = torch.tensor([[0, 1]] * len(wins))
        return all_pairs_loss(torch.stack(rows), ranks, torch.ones_like(ranks, dtype=torch.bool))

    def rankings(x: Tensor) -> Tensor:
        rows = torch.stack([x[list(order)] for order in orders])
        ranks = torch.arange(4).expand(len(orders), 4)
        return plackett_luce_loss(rows, ranks, torch.ones_like(ranks, dtype=torch.bool))

    def best(x: Tensor) -> Tensor:
        total = x.new_zeros(())
        for winner, others in picks:
            row = x[[winner, *others]][None]
            ranks = torch.tensor([[0, *([1] * len(others))]])
            total = total + pick_best_loss(row, ranks, torch.ones_like(ranks, dtype=torch.bool))
        return total

    for loss, published in (
        (pairs, CHOIX_PAIRS),
        (rankings, CHOIX_ORDERS),
        (best, CHOIX_PICKS),
    ):
        assert fitted(loss, 4) == pytest.approx(published, abs=1e-5)


CHOIX_PAIRS = [0.547214087, -0.171148468, -0.002198632, -0.373866987]
CHOIX_ORDERS = [0.366095688, 0.449748839, -0.208829890, -0.607014638]
CHOIX_PICKS = [0.266463798, 0.543872137, -0.118765173, -0.691570762]


def test_o10_bradley_terry_on_all_pairs_recovers_the_utility_up_to_a_constant_a_prompt() -> None:
    """Each pair at the probability that the annotator prefers it with, lapses left out."""
    world = World(0)
    judge = SimulatedAnnotator(world, ANNOTATORS["flawed"])
    prompts = world.prompts("train")[::31][:3]
    for prompt in prompts:
        texts = answers(prompt.fact.attribute)[::9]
        utility = torch.tensor([judge.utility_of(prompt, text) for text in texts]).double()
        sides = torch.tensor(list(combinations(range(len(texts)), 2)))
        first = torch.sigmoid(utility[sides[:, 0]] - utility[sides[:, 1]])

        def surprise(x: Tensor, sides: Tensor = sides, first: Tensor = first) -> Tensor:
            one, other = x[sides[:, 0]], x[sides[:, 1]]
            ahead = bradley_terry_loss(one, other, weights=first, normaliser=1.0).loss
            return ahead + bradley_terry_loss(other, one, weights=1 - first, normaliser=1.0).loss

        expected = utility - utility.mean()
        assert expected.std() > 0.3
        assert fitted(surprise, len(texts)) == pytest.approx(expected.tolist(), abs=1e-4)


def test_an_ensemble_is_aggregated_as_coste_says() -> None:
    rewards = torch.tensor([[1.0, 0.0, 2.0], [3.0, 0.0, -2.0]])
    assert aggregate(rewards, "mean").tolist() == [2.0, 0.0, 0.0]
    assert aggregate(rewards, "min").tolist() == [1.0, 0.0, -2.0]
    assert aggregate(rewards, "mean_minus_variance", 0.5).tolist() == [1.5, 0.0, -2.0]
    assert aggregate(rewards, "mean_minus_std", 0.5).tolist() == [1.5, 0.0, -1.0]
    assert disagreement(rewards).tolist() == [1.0, 0.0, 2.0]


def test_losses_over_nothing_are_refused() -> None:
    nothing = torch.zeros(0, 2), torch.zeros(0, 2, dtype=torch.long), torch.zeros(0, 2).bool()
    for loss in (all_pairs_loss, plackett_luce_loss, pick_best_loss):
        with pytest.raises(ValueError, match="positive normaliser"):
            loss(*nothing)
    with pytest.raises(ValueError, match="positive normaliser"):
        davidson_loss(torch.zeros(0), torch.zeros(0).bool(), torch.tensor(0.0))
