"""Intervals of the audits that read records cover the exact value of their population.

As in `test_coverage`: prompts are drawn with replacement from a finite population in which every
answer and every verdict has a known chance, so the population's value is a sum and not a
simulation. Figures whose estimand no sum gives are not here, and `NOT_HERE` says why.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import combinations_with_replacement
from math import factorial, prod
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import brentq
from scipy.special import expit
from tests.unit.audit.test_kl_accounting import TOKENIZER, toy

from assent.audit import diversity, feedback_data, kl_accounting, length, reward_model
from assent.audit.diversity import Diversity
from assent.audit.duplicates import given_away
from assent.audit.evidence import Judged
from assent.audit.figures import estimate
from assent.audit.kl_accounting import KlAccounting
from assent.audit.length import Win
from assent.audit.questions import Reply
from assent.audit.subject import Estimate, Figure, ItemRecord, Subject
from assent.audit.whose_values import panel_of
from assent.config.ppo import SamplingSettings
from assent.models.tokens import encode_prompts
from assent.objectives.seeds import derive_seed
from assent.stats.diversity import (
    distinct_n,
    expectation_adjusted_distinct,
    overlap,
    repetition,
    self_bleu,
)
from assent.stats.verdicts import holm
from assent.types import ResponsePair
from assent.worlds.almanac import World, answers
from assent.worlds.almanac.annotators import FLAWED, SOBER, SimulatedAnnotator

WORLD = World(11)
RESAMPLINGS = 200
LEVEL = 0.95
Covered = tuple[Sequence[Estimate], Mapping[str, float]]
"""What one resampling found, and the exact values."""

NOT_HERE = {
    "over-optimisation": "fits and peaks of curves; planted curves are recovered elsewhere",
    "calibration_error": "descriptive: a plug-in with a known bias",
    "lead": "against the best of several rules, picked on the same judgements",
    "repeated_prompts": "of these prompts: a share of pairs among them, whose mean grows with them",
    "explained, win_rate_controlled": "coefficients; planted ones are recovered elsewhere",
    "consensus, spread, apart": "of a panel of annotators; DICES has no exact value",
    "effective_number, k2, accuracy_lowest": "descriptive",
}


# Judgements --------------------------------------------------------------------------------------

JUDGES = (FLAWED, replace(SOBER, position_bias=0.5))
TIES = (0.1, 0.3)
"""How often each of the two calls it a tie, whatever the pair."""
ASKED = 60
"""Comparisons in a resampling, each judged by both; every fourth by the first once more."""
MEDIAN_SECONDS = 6.0


class Population:
    """All pairs of different answers to all prompts of the world: prompt and pair are drawn."""

    def __init__(self) -> None:
        self.prompts = WORLD.prompts("test")
        judges = [SimulatedAnnotator(WORLD, spec) for spec in JUDGES]
        sums: dict[str, float] = dict.fromkeys(
            ("left0", "left1", "agree", "again", "first", "second",
             "right0", "right1", "nll", "brier"), 0.0)  # fmt: skip
        self.slopes: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
        self.texts: list[list[str]] = []
        self.chance: list[list[NDArray[np.float64]]] = []
        self.score: list[NDArray[np.float64]] = []
        for prompt in self.prompts:
            said = sorted(answers(prompt.fact.attribute), key=lambda one: one.text)[::9]
            texts = [one.text for one in said]
            left = []
            for judge in judges:
                liked = np.array([judge.utility_of(prompt, one) for one in said])
                logit = liked[:, None] - liked[None, :] + judge.spec.position_bias
                left.append((1 - judge.spec.lapse) * expit(logit) + judge.spec.lapse / 2)
            check = ResponsePair(prompt=prompt.text, first=texts[0], second=texts[1])
            assert left[1][0, 1] == pytest.approx(judges[1].probability_first(check))
            rng = random.Random(prompt.text)
            score = np.array([0.6 * judges[0].utility_of(prompt, one) + rng.gauss(0, 0.7)
                              for one in said])  # fmt: skip
            self.texts.append(texts)
            self.chance.append(left)
            self.score.append(score)
            self._add(sums, left, score)
        self.mean = {name: value / len(self.prompts) for name, value in sums.items()}

    def _add(
        self, sums: dict[str, float], left: list[NDArray[np.float64]], score: NDArray[np.float64]
    ) -> None:
        off = ~np.eye(len(score), dtype=bool)
        # Half of the time a response is on the left: its chance to win, whichever side it is on.
        wins = [0.5 * (one + 1 - one.T) for one in left]
        margin = score[:, None] - score[None, :]
        said = [
            {"first": (1 - tie) * win, "second": (1 - tie) * (1 - win), "tie": tie + 0 * win}
            for win, tie in zip(wins, TIES, strict=True)
        ]
        hit = np.where(margin == 0, 0.5, (margin > 0).astype(float))
        both: dict[str, Any] = {
            "left0": left[0], "left1": left[1],
            "agree": sum(said[0][name] * said[1][name] for name in said[0]),
            "again": sum(said[0][name] ** 2 for name in said[0]),
        }  # fmt: skip
        for name, table in both.items():
            sums[name] += float(table[off].mean())
        upper = np.triu_indices(len(score), 1)  # texts are sorted: the first of a unit won
        for name, side in (("first", "first"), ("second", "second")):
            sums[name] += float(np.mean([one[side][upper].mean() for one in said]))
        for n, win in enumerate(wins):
            sums[f"right{n}"] += float((win * hit + (1 - win) * (1 - hit))[off].mean())
        # Whoever calls fewer ties gives more of the judgements that have a winner.
        shares = np.array([1 - tie for tie in TIES]) / sum(1 - tie for tie in TIES)
        win = shares[0] * wins[0] + shares[1] * wins[1]
        sums["nll"] += float((np.logaddexp(0, -margin) + (1 - win) * margin)[off].mean())
        gap = expit(margin)
        sums["brier"] += float((win * (1 - gap) ** 2 + (1 - win) * gap**2)[off].mean())
        self.slopes.append((margin[off], win[off]))

    @property
    def slope(self) -> float:
        """The temperature that fits the population best."""

        def gradient(at: float) -> float:
            return sum(float(((win - expit(at * gap)) * gap).mean()) for gap, win in self.slopes)

        return float(brentq(gradient, 0.01, 10))

    def drawn(self, seed: int, *, again: bool) -> tuple[list[Judged], list[float]]:
        """Judgements of a resampling, and the reward's margin of each."""
        rng = np.random.default_rng(seed)
        judged: list[Judged] = []
        margins: list[float] = []
        for number in range(ASKED):
            which = int(rng.integers(len(self.prompts)))
            one, other = rng.choice(len(self.texts[which]), 2, replace=False)
            for turn in (0, 1, 0)[: 3 if again and number % 4 == 0 else 2]:
                is_left = bool(rng.integers(2))
                side = self.chance[which][turn]
                wins = side[one, other] if is_left else 1 - side[other, one]
                first = rng.random() < wins
                tie = rng.random() < TIES[turn]
                judged.append(
                    Judged(
                        event_id=f"e{len(judged)}", seq=len(judged), comparison_id=f"c{number}",
                        annotator_id=str(turn), annotator=str(turn),
                        prompt=self.prompts[which].text,
                        first=self.texts[which][one], second=self.texts[which][other],
                        shown_order="first_left" if is_left else "second_left",
                        verdict="tie" if tie else "first" if first else "second",
                        seconds=float(MEDIAN_SECONDS * rng.lognormal(0, 0.7)),
                        purpose="reward", round=1,
                    )
                )  # fmt: skip
                margins.append(float(self.score[which][one] - self.score[which][other]))
        return judged, margins


@cache
def population() -> Population:
    return Population()


def feedback(seed: int) -> Covered:
    """The feedback audit; who judged a quarter again weighs as much more."""
    people = population()
    judged, _ = people.drawn(seed, again=True)
    rng = random.Random(seed)
    leaked = [prompt.text for n, prompt in enumerate(people.prompts) if n % 5 == 0]
    test = [rng.choice(people.prompts).text for _ in range(ASKED)]
    found = feedback_data.describe(
        judged, groups={}, training=leaked, test=test, world=WORLD, level=LEVEL
    )
    mean, weights = people.mean, (1.25, 1.0)
    decided = [weight * (1 - tie) for weight, tie in zip(weights, TIES, strict=True)]
    either = [mean["first"], mean["second"]]
    by_chance = sum(share**2 for share in (*either, 1 - sum(either)))
    held = given_away([one.text for one in people.prompts], leaked)
    return found.figures, {
        "left": (decided[0] * mean["left0"] + decided[1] * mean["left1"]) / sum(decided),
        "undecided": (1.25 * TIES[0] + TIES[1]) / 2.25,
        "agreement": mean["agree"],
        "alpha": 1 - (1 - mean["agree"]) / (1 - by_chance),
        "self_agreement": mean["again"],
        "seconds": MEDIAN_SECONDS,
        "contaminated": len(held) / len(people.prompts),
        "uncheckable": float(np.mean([one.fact.kind != "easy" for one in people.prompts])),
    }


def panel(seed: int) -> Covered:
    """Whose values: what two annotators have in common."""
    people = population()
    matrix, names = feedback_data.ratings(people.drawn(derive_seed(seed, 1), again=False)[0])
    either = [people.mean["first"], people.mean["second"]]
    by_chance = sum(share**2 for share in (*either, 1 - sum(either)))
    alpha = 1 - (1 - people.mean["agree"]) / (1 - by_chance)
    found = [one for one in panel_of(matrix, names, {}, level=LEVEL).figures if one.name == "alpha"]
    return found, {"alpha": alpha}


def reward(seed: int) -> Covered:
    """The reward model's figures, the second annotator's judgements being the fresh ones."""
    people = population()
    judged, margins = people.drawn(derive_seed(seed, 2), again=False)
    kept = [n for n, one in enumerate(judged) if one.decided]
    subject = Subject(name="r", model=cast("Any", None), world=WORLD, seed=seed)
    found = reward_model.describe(
        [judged[n] for n in kept],
        np.array([margins[n] for n in kept]),
        fresh=[judged[n].annotator == "1" for n in kept],
        subject=subject,
        ceiling=None,
    )
    mean = people.mean
    shares = [(1 - tie) / sum(1 - one for one in TIES) for tie in TIES]
    return found.figures, {
        "accuracy": shares[0] * mean["right0"] + shares[1] * mean["right1"],
        "accuracy_fresh": mean["right1"],
        "nll": mean["nll"],
        "brier": mean["brier"],
        "slope": people.slope,
    }


# Samples -----------------------------------------------------------------------------------------

KINDS = 30
"""Prompts of the population."""
DRAWN = 50
SAMPLES = 4
TEXTS = 3
REFUSAL = "nobody knows that at all"
WORDS = ["amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "haven", "isle", "jade"]
Law = Mapping[str, float]


@cache
def laws(which: str) -> tuple[Law, ...]:
    """For each prompt the chance of each of a few texts; one of them is said to every prompt."""
    rng = random.Random(which)
    found = []
    for _ in range(KINDS):
        texts = [
            " ".join(rng.choices(WORDS, k=rng.randint(3, 7)) * rng.choice([1, 1, 2]))
            for _ in range(TEXTS - 1)
        ]
        weights = [rng.gammavariate(1, 1) for _ in range(TEXTS)]
        found.append(
            {
                text: weight / sum(weights)
                for text, weight in zip([REFUSAL, *texts], weights, strict=True)
            }
        )
    return tuple(found)


def expected(law: Law, score: Callable[[Sequence[str]], float | None]) -> float | None:
    """The mean of a score over all ways to draw the samples; None where it is never known."""
    total = known = 0.0
    for drawn in combinations_with_replacement(list(law), SAMPLES):
        ways = factorial(SAMPLES) / prod(factorial(drawn.count(text)) for text in law)
        chance = ways * prod(law[text] for text in drawn)
        found = score(drawn)
        if found is not None:
            total, known = total + chance * found, known + chance
    return None if known == 0 else total / known


def split(texts: Sequence[str]) -> list[list[str]]:
    return [text.split() for text in texts]


def replies(drawn: Sequence[int], which: str, rng: random.Random) -> list[Reply]:
    said = [rng.choices(*zip(*laws(which)[n].items(), strict=True), k=SAMPLES) for n in drawn]
    return [
        Reply(
            texts=tuple(map(str, texts)),
            logprobs=(0.0,) * SAMPLES,
            tokens=tuple(len(str(text).split()) for text in texts),
            finished=(True,) * SAMPLES,
        )
        for texts in said
    ]


def as_records(scores: Sequence[Mapping[str, float | None]]) -> list[ItemRecord]:
    return [
        ItemRecord(id=str(n), cluster=str(n), stratum="all", data={}, scores=dict(one))
        for n, one in enumerate(scores)
    ]


def estimates(figures: Sequence[Figure], records: list[ItemRecord], seed: int) -> list[Estimate]:
    return [
        estimate(figure, records, level=LEVEL, most_failed=1.0, seed=seed) for figure in figures
    ]


@cache
def exact_diversity() -> Mapping[str, float]:
    everybody = laws("model")
    vocabulary = len({word for law in everybody for text in law for word in text.split()})
    orders = diversity.ORDERS
    within: dict[str, Callable[[Sequence[str]], float | None]] = {
        "distinct": lambda drawn: sum(distinct_n(split(drawn), n) for n in orders) / len(orders),
        "adjusted_distinct": lambda drawn: expectation_adjusted_distinct(split(drawn), vocabulary),
        "self_bleu": lambda drawn: self_bleu(split(drawn)),
        "repetition": lambda drawn: sum(map(repetition, split(drawn))) / SAMPLES,
    }
    found = {
        name: float(np.mean([cast("float", expected(law, score)) for law in everybody]))
        for name, score in within.items()
    }
    first: dict[str, float] = {}
    for law in everybody:
        for text, chance in law.items():
            first[text] = first.get(text, 0.0) + chance / KINDS
    found["same_everywhere"] = sum(chance**2 for chance in first.values())
    found["across_overlap"] = sum(
        chance * other * overlap(text.split(), said.split())
        for text, chance in first.items()
        for said, other in first.items()
    )
    return found


def sampled_diversity(seed: int) -> Covered:
    rng = random.Random(seed)
    drawn = [rng.randrange(KINDS) for _ in range(DRAWN)]
    records = as_records(diversity.describe(replies(drawn, "model", rng)))
    figures = [one for one in Diversity.figures if one.name in exact_diversity()]
    return estimates(figures, records, seed), exact_diversity()


class Rewarded:
    """A reward of each text, partly for its length."""

    normalisation = SimpleNamespace(gain=1.0)

    def __call__(self, prompts: Sequence[str], texts: Sequence[str]) -> list[float]:
        del prompts
        return [worth(text) for text in texts]


def worth(text: str) -> float:
    return 0.2 * len(text.split()) + random.Random(text).gauss(0, 1)


def spearman(texts: Sequence[str]) -> float | None:
    rewards, lengths = [worth(text) for text in texts], [len(text.split()) for text in texts]
    if len(set(rewards)) == 1 or len(set(lengths)) == 1:
        return None
    return float(stats.spearmanr(rewards, lengths).statistic)


@cache
def exact_length() -> Mapping[str, float]:
    def mean(which: str, value: Callable[[str], float]) -> list[float]:
        return [sum(chance * value(text) for text, chance in law.items()) for law in laws(which)]

    words = {which: mean(which, lambda text: len(text.split())) for which in ("model", "reference")}
    paid = {which: mean(which, worth) for which in ("model", "reference")}
    known = total = 0.0
    for law in laws("reference"):  # averaged over the prompts that have a correlation
        total += cast("float", expected(law, lambda drawn: spearman(drawn) or 0.0))
        known += cast("float", expected(law, lambda drawn: float(spearman(drawn) is not None)))
    return {
        "tokens": float(np.mean(words["model"])),
        "longer": float(np.mean(words["model"]) - np.mean(words["reference"])),
        "gain": float(np.mean(paid["model"]) - np.mean(paid["reference"])),
        "reward_length": total / known,
        "win_rate": float(
            np.mean(
                [
                    chance * other * expit(worth(text) - worth(said))
                    for ours, theirs in zip(laws("model"), laws("reference"), strict=True)
                    for text, chance in ours.items()
                    for said, other in theirs.items()
                ]
            )
            * TEXTS**2
        ),
    }


def sampled_length(seed: int) -> Covered:
    rng = random.Random(seed)
    drawn = [rng.randrange(KINDS) for _ in range(DRAWN)]
    prompts = [(f"prompt {n}", f"prompt {n}", "all") for n in range(DRAWN)]
    ours, theirs = (replies(drawn, which, rng) for which in ("model", "reference"))
    wins = [
        Win(
            prompts[row][0],
            float(rng.random() < expit(worth(one.texts[0]) - worth(other.texts[0]))),
            float(len(one.texts[0].split()) - len(other.texts[0].split())),
            "e",
        )
        for row, (one, other) in enumerate(zip(ours, theirs, strict=True))
    ]
    found = length.describe(prompts, ours, theirs, cast("Any", Rewarded()), wins, level=LEVEL)
    return found.figures, exact_length()


# KL ----------------------------------------------------------------------------------------------

SAMPLING = SamplingSettings(max_new_tokens=2)
ASKED_OF_MODELS = 20
POLICIES = (toy(1, 0.25), toy(2, 0.25))


@cache
@torch.no_grad()
def exact_kl() -> Mapping[str, float]:
    """Over both tokens of a response, the second weighted by the chance of each first one."""
    end = int(TOKENIZER.eos_token_id)
    kl = going_on = 0.0
    asked = encode_prompts(TOKENIZER, [one.text for one in WORLD.prompts("test")])
    for ids in asked:
        ours, theirs = (
            torch.log_softmax(model(torch.tensor([ids])).logits[0, -1].double(), 0)
            for model in POLICIES
        )
        chance = ours.exp()
        rows = torch.tensor([[*ids, token] for token in range(len(chance))])
        after, others = (
            torch.log_softmax(model(rows).logits[:, -1].double(), 1) for model in POLICIES
        )
        second = (after.exp() * (after - others)).sum(1)
        second[end] = 0.0
        kl += float((chance * (ours - theirs)).sum() + (chance * second).sum())
        chance = chance.clone()
        chance[end] = 0.0
        going_on += float((chance * (1 - after.exp()[:, end])).sum())
    return {
        "exact": kl / len(asked),
        "k1": kl / len(asked),
        "k3": kl / len(asked),
        "cut_off": going_on / len(asked),
    }


def accounted(seed: int) -> Covered:
    rng = random.Random(seed)
    prompts = [rng.choice(WORLD.prompts("test")).text for _ in range(ASKED_OF_MODELS)]
    found = kl_accounting.account(POLICIES, TOKENIZER, prompts, SAMPLING, seed, samples=4)
    records = as_records(
        [
            {name: float(found.values[name][row].mean()) for name in exact_kl()}
            for row in range(len(prompts))
        ]
    )
    figures = [one for one in KlAccounting.figures if one.name in exact_kl()]
    return estimates(figures, records, seed), exact_kl()


AUDITS: Mapping[str, Callable[[int], Covered]] = {
    "feedback-data": feedback,
    "whose-values": panel,
    "reward-model": reward,
    "diversity": sampled_diversity,
    "length": sampled_length,
    "kl-accounting": accounted,
}


@pytest.mark.parametrize("audit", sorted(AUDITS))
def test_every_exact_value_has_its_estimate(audit: str) -> None:
    figures, truth = AUDITS[audit](0)
    found = {one.name: one for one in figures}
    for name, value in truth.items():
        assert found[name].interval is not None, name
        low, high = cast("tuple[float, float]", found[name].interval)
        # Ten half-widths: far enough for chance, too near for a sum that is about something else.
        assert abs(value - (low + high) / 2) < 5 * (high - low), (name, value, low, high)


@pytest.mark.slow
def test_intervals_cover_the_exact_value_of_their_population() -> None:
    counts: dict[str, tuple[int, int]] = {}
    for audit, resampled in AUDITS.items():
        for seed in range(RESAMPLINGS):
            figures, truth = resampled(seed)
            for one in figures:
                if one.interval is None or one.name not in truth:
                    continue
                low, high = one.interval
                inside, tried = counts.get(f"{audit}/{one.name}", (0, 0))
                hit = low <= truth[one.name] <= high
                counts[f"{audit}/{one.name}"] = inside + hit, tried + 1
    print({name: f"{inside}/{tried}" for name, (inside, tried) in counts.items()})  # noqa: T201
    assert len(counts) == sum(len(resampled(0)[1]) for resampled in AUDITS.values())
    p_values = [float(stats.binom.cdf(inside, tried, 0.95)) for inside, tried in counts.values()]
    uncovered = [
        f"{name}: {inside} of {tried}"
        for (name, (inside, tried)), p in zip(counts.items(), holm(p_values), strict=True)
        if p <= 0.01
    ]
    assert not uncovered
