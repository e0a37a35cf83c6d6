"""Best-of-n: its distribution against simulation, its KL against the bound, and what learns it."""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.training_fixtures import TOKENIZER, optimiser, small_policy
from torch import Tensor

from assent.config.best_of import BestOfNSettings
from assent.config.ppo import MissingEos, SamplingSettings
from assent.models.tokens import encode_prompts
from assent.objectives.kl import categorical_kl
from assent.objectives.selection import keep_best
from assent.objectives.tilting import best_of_n, best_of_n_kl, log_partition, tilt, tilt_samples
from assent.stats.scaling import best_of_n as best_of_n_estimate
from assent.training.best_of import train_best_of
from assent.training.run_folder import RunFolder

logits = st.lists(st.floats(-6, 3), min_size=1, max_size=7)
tied_scores = st.lists(st.integers(0, 3).map(float), min_size=7, max_size=7)


def distribution(values: Sequence[float]) -> Tensor:
    return torch.log_softmax(torch.tensor(values, dtype=torch.float64), dim=-1)


def by_definition(chances: Sequence[float], scores: Sequence[float], n: int) -> list[float]:
    """Every sequence of n draws, its best answers sharing its probability."""
    found = [0.0] * len(chances)
    for drawn in itertools.product(range(len(chances)), repeat=n):
        probability = math.prod(chances[answer] for answer in drawn)
        top = max(scores[answer] for answer in drawn)
        best = [answer for answer in drawn if scores[answer] == top]
        for answer in best:
            found[answer] += probability / len(best)
    return found


@settings(max_examples=40)
@given(values=logits, scores=tied_scores, n=st.integers(1, 4))
def test_o4_the_distribution_of_the_best_of_n_is_that_of_every_sequence_of_draws(
    values: list[float], scores: list[float], n: int
) -> None:
    logprobs, mine = distribution(values), scores[: len(values)]
    found = best_of_n(logprobs, torch.tensor(mine), n).exp()
    expected = by_definition(logprobs.exp().tolist(), mine, n)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


@given(values=logits, scores=tied_scores, n=st.integers(1, 10**6))
def test_o4_it_is_a_distribution_for_any_n_and_its_kl_keeps_below_the_bound(
    values: list[float], scores: list[float], n: int
) -> None:
    logprobs = distribution(values)
    best = best_of_n(logprobs, torch.tensor(scores[: len(values)]), n)
    assert math.isclose(best.exp().sum().item(), 1.0, abs_tol=1e-12)
    assert -1e-12 <= categorical_kl(best, logprobs).item() <= best_of_n_kl(n) + 1e-9


def test_o4_with_many_answers_and_no_ties_the_kl_reaches_the_bound() -> None:
    logprobs = distribution([0.0] * 200_000)
    scores = torch.rand(200_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for n in (2, 8, 64):
        reached = categorical_kl(best_of_n(logprobs, scores, n), logprobs).item()
        assert math.isclose(reached, best_of_n_kl(n), rel_tol=1e-3)


@given(values=logits, scores=tied_scores, n=st.integers(1, 9), m=st.integers(1, 9))
def test_the_best_of_n_of_a_best_of_m_is_the_best_of_nm(
    values: list[float], scores: list[float], n: int, m: int
) -> None:
    """What RAFT does: iterations multiply."""
    logprobs, mine = distribution(values), torch.tensor(scores[: len(values)])
    twice = best_of_n(best_of_n(logprobs, mine, m), mine, n)
    torch.testing.assert_close(twice.exp(), best_of_n(logprobs, mine, n * m).exp())


def test_batches_rare_answers_and_impossible_ones() -> None:
    logprobs = torch.tensor(
        [[0.0, -80.0, -math.inf], [math.log(0.5), math.log(0.5), -math.inf]], dtype=torch.float64
    )
    scores = torch.tensor([[0.0, 1.0, 9.0], [1.0, 0.0, 2.0]])
    best = best_of_n(logprobs, scores, 4)
    assert math.isclose(best[0, 1].item(), math.log(4) - 80.0, rel_tol=1e-12), "n times as likely"
    torch.testing.assert_close(best[1, :2].exp(), torch.tensor([15 / 16, 1 / 16]).double())
    assert best[:, 2].tolist() == [-math.inf, -math.inf]


@settings(max_examples=15)
@given(
    values=st.lists(st.floats(-2, 2), min_size=3, max_size=3),
    proxy=st.lists(st.integers(0, 1).map(float), min_size=3, max_size=3),
    n=st.integers(1, 4),
)
def test_o5_the_estimator_from_n_samples_is_without_bias(
    values: list[float], proxy: list[float], n: int
) -> None:
    """Its mean over all 243 sequences of five samples is the exact gold of best-of-n."""
    gold = np.array([1.0, -2.0, 5.0])
    logprobs = distribution(values)
    drawn = np.array(list(itertools.product(range(3), repeat=5)))
    chances = np.exp(logprobs.numpy()[drawn].sum(1))
    estimates = best_of_n_estimate(np.array(proxy)[drawn], gold[drawn], n)
    exact = best_of_n(logprobs, torch.tensor(proxy), n).exp() @ torch.tensor(gold)
    assert math.isclose(float(chances @ estimates), exact.item(), abs_tol=1e-10)


def test_o11_keeping_the_best_of_many_draws_and_fitting_them_gives_best_of_n() -> None:
    """A tabular softmax, fitted by the loss of fine-tuning to what was kept."""
    reference = distribution([0.5, -1.0, 1.0, 0.0, -2.0, 0.3])
    scores = torch.tensor([1.0, 3.0, 0.0, 1.0, 5.0, 2.0], dtype=torch.float64)
    chance = torch.Generator().manual_seed(1)
    groups, n = 200_000, 4
    drawn = torch.multinomial(reference.exp(), groups * n, replacement=True, generator=chance)
    drawn = drawn.reshape(groups, n)
    kept = drawn[keep_best(scores[drawn], 1).kept]
    shares = torch.bincount(kept, minlength=6).double() / groups
    table = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    for _ in range(2000):
        loss = -(shares * table.log_softmax(0)).sum()
        (gradient,) = torch.autograd.grad(loss, table)
        with torch.no_grad():
            table -= 5 * gradient
    limit = best_of_n(reference, scores, n).exp()
    error = 4 * torch.sqrt(limit * (1 - limit) / groups) + 1e-6
    assert ((table.softmax(0) - limit).abs() < error).all()


def test_o11_with_a_price_on_kl_the_tilt_is_where_raft_stands_still() -> None:
    reference = distribution([0.5, -1.0, 1.0, 0.0])
    rewards = torch.tensor([0.3, 2.0, -1.0, 0.7], dtype=torch.float64)
    beta = 0.4
    optimum = tilt(reference, rewards, beta)
    shaped = rewards - beta * (optimum - reference)
    torch.testing.assert_close(shaped, beta * log_partition(reference, rewards, beta).expand(4))
    still = best_of_n(optimum, shaped.round(decimals=12), 8)
    torch.testing.assert_close(still, optimum)
    moved = best_of_n(reference, rewards, 8)
    assert categorical_kl(moved, reference).item() > 0.1, "elsewhere it moves"


def test_o11_best_of_n_fine_tuning_of_a_model_comes_to_the_best_of_n_of_its_start(
    tmp_path: Path,
) -> None:
    """One prompt and one token a response, so that the model's answers can be listed."""
    worth = {
        "": 2.0,
        "a": 0.0,
        "b": 1.0,
        "c": 3.0,
        "d": 1.0,
        "e": 0.5,
        "f": 4.0,
        "g": 2.5,
        "h": 0.2,
    }

    def reward(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
        del prompts
        return [worth[response] for response in responses]

    def chances(model: torch.nn.Module) -> Tensor:
        with torch.no_grad():
            prompt = torch.tensor(encode_prompts(TOKENIZER, ["ab"]))
            logits: Tensor = model(input_ids=prompt).logits
            return logits[0, -1].double().log_softmax(-1)

    start = small_policy()
    reference = chances(start)
    texts = TOKENIZER.batch_decode([[token] for token in range(10)], skip_special_tokens=True)
    scores = torch.tensor([worth[text] for text in texts])
    n = 3
    trained = train_best_of(
        start, small_policy(), TOKENIZER, ["ab"], reward,
        BestOfNSettings(
            prompts=3000, n=n, sampling_batch=3000, epochs=100, batch_size=3000,
            sampling=SamplingSettings(max_new_tokens=1),
            missing_eos=MissingEos(mode="subtract", penalty=0.0),
            optimiser=optimiser(lr=3e-2),
        ),
        RunFolder(tmp_path), seed=0,
    )  # fmt: skip
    found, limit = chances(trained).exp(), best_of_n(reference, scores, n).exp()
    assert float((found - limit).abs().sum() / 2) < 0.03
    assert float((reference.exp() - limit).abs().sum() / 2) > 0.3, "it had far to go"


@given(seed=st.integers(0, 1000), beta=st.floats(0.2, 3.0))
def test_importance_weights_are_those_of_the_formula(seed: int, beta: float) -> None:
    chance = torch.Generator().manual_seed(seed)
    rewards = torch.randn(2, 9, generator=chance, dtype=torch.float64)
    found = tilt_samples(rewards, beta)
    for row, weights, effective, log_z in zip(rewards.tolist(), *found, strict=True):
        raw = [math.exp(reward / beta) for reward in row]
        share = [one / sum(raw) for one in raw]
        torch.testing.assert_close(weights.exp(), torch.tensor(share, dtype=torch.float64))
        assert math.isclose(effective.item(), 1 / sum(one**2 for one in share), rel_tol=1e-9)
        assert math.isclose(log_z.item(), math.log(sum(raw) / 9), abs_tol=1e-9)


def test_importance_sampling_comes_to_the_tilt_and_says_how_much_it_knows() -> None:
    reference = distribution([0.5, -1.0, 1.0, 0.0, -3.0])
    rewards = torch.tensor([0.0, 1.0, -1.0, 0.5, 3.0], dtype=torch.float64)
    chance = torch.Generator().manual_seed(2)
    drawn = torch.multinomial(reference.exp(), 200_000, replacement=True, generator=chance)
    found = tilt_samples(rewards[drawn], 0.7)
    estimate = torch.zeros(5, dtype=torch.float64)
    estimate.index_add_(0, drawn, found.log_weights.exp())
    exact = tilt(reference, rewards, 0.7).exp()
    torch.testing.assert_close(estimate, exact, rtol=0, atol=0.01)
    log_z = log_partition(reference, rewards, 0.7).item()
    assert math.isclose(found.log_partition.item(), log_z, abs_tol=0.02)
    # With weight function w = pi*/pi0, the effective share is 1 / E[w^2] under the reference.
    effective = 1 / (exact**2 / reference.exp()).sum().item()
    assert math.isclose(found.effective.item() / 200_000, effective, rel_tol=0.05)
    assert math.isclose(tilt_samples(torch.zeros(50), 1.0).effective.item(), 50, rel_tol=1e-9)
