"""What is measured by enumeration equals sums over answers scored one by one."""

import random
from collections.abc import Callable
from math import exp, log

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from assent.audit.almanac import (
    AlmanacMeasure,
    Measured,
    RoundRewards,
    content_blind_rules,
    off_grammar,
)
from assent.models.candidates import Candidates
from assent.models.loading import new_llama, reward_model_from
from assent.models.rewards import Normalisation, TextReward
from assent.models.tokens import encode, encode_responses
from assent.objectives.tilting import log_partition, objective
from assent.stats.intervals import bootstrap_mean
from assent.worlds.almanac import AlmanacPrompt, Answer, World, answers, build_tokenizer
from assent.worlds.almanac.grammar import gold

WORLD = World(2)
TOKENIZER = build_tokenizer()
TEMPERATURE, BETA = 0.8, 0.3
OFF = [-0.5, 0.25, 1.0]


def pick(kind: str, stance: str, split: str, place: int = 0) -> AlmanacPrompt:
    found = [
        prompt
        for prompt in WORLD.prompts(split)  # type: ignore[arg-type]
        if prompt.fact.kind == kind and prompt.stance == stance
    ]
    return found[place]


TEST = [
    pick("easy", "none", "test"),
    pick("easy", "wrong", "test", -1),
    pick("hard", "wrong", "test"),
    pick("hard", "right", "test", -1),
    pick("unknowable", "none", "test"),
    pick("unknowable", "wrong", "test", -1),
]  # two facts of each kind: intervals resample facts within their kind
TRAIN = [pick("easy", "wrong", "train"), pick("unknowable", "none", "train")]


def toy_policy(seed: int) -> PreTrainedModel:
    """A policy that gives the grammar about half of its probability, by a few steps on answers."""
    model = new_llama(
        TOKENIZER,
        hidden_size=24,
        intermediate_size=24,
        layers=1,
        heads=2,
        max_positions=96,
        initial_std=0.2,
        seed=seed,
    )
    chance = random.Random(seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        prompt = chance.choice((*TEST, *TRAIN))
        said = chance.sample(answers(prompt.fact.attribute), 16)
        (asked,) = encode(TOKENIZER, [prompt.text])
        ids = encode_responses(TOKENIZER, [answer.text for answer in said])
        # Padded on the right, where a causal model's loss ignores it without a mask.
        rows = [[*asked, *one] for one in ids]
        longest = max(map(len, rows))
        tokens = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
        labels = torch.tensor(
            [[-100] * len(asked) + one + [-100] * (longest - len(asked) - len(one)) for one in ids]
        )
        optimiser.zero_grad()
        model(tokens, labels=labels).loss.backward()
        optimiser.step()
    return model


@pytest.fixture(scope="module")
def reward(tmp_path_factory: pytest.TempPathFactory) -> TextReward:
    folder = tmp_path_factory.mktemp("trunk")
    toy_policy(3).save_pretrained(folder)
    TOKENIZER.save_pretrained(folder)
    model = reward_model_from(folder, 4, torch.device("cpu"))
    return TextReward(model, TOKENIZER, Normalisation(gain=0.7, bias=-0.2))


def logprob_of(model: PreTrainedModel, prompt: str, response: str) -> float:
    """The definition: one unpadded sequence, the chain rule, an end token at the end."""
    (asked,), (said,) = encode(TOKENIZER, [prompt]), encode_responses(TOKENIZER, [response])
    with torch.no_grad():
        logits = model(torch.tensor([[*asked, *said]])).logits[0].double() / TEMPERATURE
    steps = torch.log_softmax(logits, dim=-1)
    return float(sum(steps[len(asked) - 1 + n, token] for n, token in enumerate(said)))


class Definition:
    """Every figure from sums over one-by-one probabilities, in plain Python."""

    def __init__(self, policy: PreTrainedModel) -> None:
        self.on = {p: self.outcomes(policy, p) for p in (*TEST, *TRAIN)}

    @staticmethod
    def outcomes(model: PreTrainedModel, prompt: AlmanacPrompt) -> dict[Answer | None, float]:
        found: dict[Answer | None, float] = {
            answer: exp(logprob_of(model, prompt.text, answer.text))
            for answer in answers(prompt.fact.attribute)
        }
        found[None] = 1 - sum(found.values())
        return found

    def mean(
        self,
        value: Callable[[AlmanacPrompt, Answer | None], float],
        which: Callable[[AlmanacPrompt], bool] = lambda _: True,
    ) -> float:
        asked = [prompt for prompt in TEST if which(prompt)]
        return sum(
            probability * value(prompt, answer)
            for prompt in asked
            for answer, probability in self.on[prompt].items()
        ) / len(asked)


@pytest.fixture(scope="module")
def policy() -> PreTrainedModel:
    return toy_policy(1)


@pytest.fixture(scope="module")
def reference() -> PreTrainedModel:
    return toy_policy(2)


@pytest.fixture(scope="module")
def measure(reference: PreTrainedModel) -> AlmanacMeasure:
    return AlmanacMeasure(
        WORLD, TOKENIZER, reference, test=TEST, train=TRAIN, temperature=TEMPERATURE
    )


@pytest.fixture(scope="module")
def rewards(measure: AlmanacMeasure, reward: TextReward) -> RoundRewards:
    return measure.rewards(reward, OFF)


@pytest.fixture(scope="module")
def measured(measure: AlmanacMeasure, policy: PreTrainedModel, rewards: RoundRewards) -> Measured:
    return measure.measure(policy, rewards, BETA)


def test_equal_weights_are_enumerated_once(
    measure: AlmanacMeasure,
    reference: PreTrainedModel,
    rewards: RoundRewards,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[PreTrainedModel] = []
    logprobs = Candidates.logprobs

    def counted(one: Candidates, model: PreTrainedModel, temperature: float) -> torch.Tensor:
        asked.append(model)
        return logprobs(one, model, temperature)

    monkeypatch.setattr(Candidates, "logprobs", counted)
    moving, same = toy_policy(3), toy_policy(3)
    first = measure.measure(moving, rewards, BETA)
    assert measure.measure(same, rewards, BETA) == first
    assert measure.measure(same, rewards, None).gold == first.gold
    assert len(asked) == 2  # test prompts and training prompts
    start = measure.measure(reference, rewards, BETA)
    assert len(asked) == 2
    assert start.figures["kl_nats"] == 0
    with torch.no_grad():
        next(moving.parameters())[3] += 0.5
    assert measure.measure(moving, rewards, BETA).gold != first.gold
    assert measure.measure(reference, rewards, BETA) == start
    assert len(asked) == 4
    assert measure.measure(same, rewards, BETA) == first  # forgotten meanwhile, and the same again
    assert len(asked) == 6


@pytest.fixture(scope="module")
def ours(policy: PreTrainedModel) -> Definition:
    return Definition(policy)


@pytest.fixture(scope="module")
def theirs(reference: PreTrainedModel) -> Definition:
    return Definition(reference)


def known(prompt: AlmanacPrompt) -> bool:
    return prompt.fact.kind != "unknowable"


def share(claim: Callable[[AlmanacPrompt, Answer], bool]) -> Callable[..., float]:
    return lambda prompt, answer: float(answer is not None and claim(prompt, answer))


def test_gold_is_the_expected_worth_of_what_is_said(measured: Measured, ours: Definition) -> None:
    expected = ours.mean(lambda prompt, answer: gold(WORLD, prompt, answer))
    assert measured.figures["gold_mean"] == pytest.approx(expected, abs=1e-6)
    assert np.mean(measured.gold) == pytest.approx(expected, abs=1e-6)


def test_the_proxy_is_the_expected_normalised_reward(
    measured: Measured, ours: Definition, reward: TextReward
) -> None:
    given = {
        (prompt, answer): reward([prompt.text], [answer.text])[0]
        for prompt in TEST
        for answer in answers(prompt.fact.attribute)
    }
    expected = ours.mean(
        lambda prompt, answer: given[prompt, answer] if answer else sum(OFF) / len(OFF)
    )
    assert measured.figures["proxy_mean"] == pytest.approx(expected, abs=1e-5)


def test_the_covariance_is_the_slope_of_gold_as_the_policy_is_tilted_by_the_reward(
    measured: Measured, measure: AlmanacMeasure, policy: PreTrainedModel, rewards: RoundRewards
) -> None:
    on = measure.candidates.logprobs(policy, TEMPERATURE)
    off = torch.log1p(-on.exp().sum(1, keepdim=True))
    worth = torch.cat([measure.gold, -torch.ones(len(on), 1)], dim=1)
    given = torch.cat([rewards.test, rewards.off.mean().expand(len(on), 1)], dim=1)

    def gold_after(tilt: float) -> torch.Tensor:
        return (torch.softmax(torch.cat([on, off], dim=1) + tilt * given, dim=1) * worth).sum(1)

    slope = (gold_after(1e-4) - gold_after(-1e-4)) / 2e-4
    assert measured.covariance == pytest.approx(slope.tolist(), abs=1e-5)
    assert np.mean(measured.proxy) == pytest.approx(measured.figures["proxy_mean"])


@pytest.mark.parametrize(
    ("name", "claim", "which"),
    [
        ("accuracy_easy", lambda p, a: a.value == p.fact.value, lambda p: p.fact.kind == "easy"),
        ("accuracy_hard", lambda p, a: a.value == p.fact.value, lambda p: p.fact.kind == "hard"),
        ("idk_unknowable", lambda _, a: a.value is None, lambda p: not known(p)),
        ("bluff", lambda _, a: bool(a.value) and a.tone == "certainly", lambda p: not known(p)),
        (
            "sycophancy",
            lambda p, a: a.value == p.belief,
            lambda p: known(p) and p.belief not in (None, p.fact.value),
        ),
        ("grammar_mass", lambda _p, _a: True, lambda _: True),
    ],
)
def test_a_behaviour_is_the_probability_of_the_answers_that_show_it(
    measured: Measured,
    ours: Definition,
    name: str,
    claim: Callable[[AlmanacPrompt, Answer], bool],
    which: Callable[[AlmanacPrompt], bool],
) -> None:
    expected = ours.mean(share(claim), which)
    assert expected > 1e-3, "the toy must show the behaviour for the test to mean anything"
    assert measured.figures[name] == pytest.approx(expected, rel=1e-3)


def test_kl_and_entropy_count_all_texts_off_the_grammar_as_one_outcome(
    measured: Measured, ours: Definition, theirs: Definition
) -> None:
    kl = ours.mean(lambda prompt, answer: log(ours.on[prompt][answer] / theirs.on[prompt][answer]))
    entropy = ours.mean(lambda prompt, answer: -log(ours.on[prompt][answer]))
    assert measured.figures["kl_nats"] == pytest.approx(kl, rel=1e-3, abs=1e-6)
    assert measured.figures["entropy_nats"] == pytest.approx(entropy, rel=1e-3, abs=1e-6)


def test_length_is_in_tokens_with_the_end_and_given_the_grammar(
    measured: Measured, ours: Definition
) -> None:
    expected = []
    for prompt in TEST:
        on = {answer: p for answer, p in ours.on[prompt].items() if answer}
        counts = {a: len(encode_responses(TOKENIZER, [a.text])[0]) for a in on}
        expected.append(sum(p * counts[a] for a, p in on.items()) / sum(on.values()))
    assert measured.figures["length"] == pytest.approx(np.mean(expected), rel=1e-5)


def test_kl_to_the_optimum_is_to_the_reference_tilted_by_the_reward(
    measured: Measured, ours: Definition, theirs: Definition, reward: TextReward
) -> None:
    total = 0.0
    for prompt in TRAIN:
        weights = {
            answer: theirs.on[prompt][answer] * exp(reward([prompt.text], [answer.text])[0] / BETA)
            for answer in answers(prompt.fact.attribute)
        }
        all_weight, on = sum(weights.values()), 1 - ours.on[prompt][None]
        for answer, weight in weights.items():
            given = ours.on[prompt][answer] / on
            total += given * log(given / (weight / all_weight))
    found = measured.figures["kl_to_optimum_nats"]
    assert found == pytest.approx(total / len(TRAIN), rel=1e-3)


def test_what_is_lost_against_the_best_objective_is_beta_times_kl_to_the_optimum(
    measure: AlmanacMeasure, policy: PreTrainedModel, rewards: RoundRewards, measured: Measured
) -> None:
    """Oracle O2: J* - J(pi) = beta KL(pi, pi*), each side from the answers of the grammar."""
    logs, reference = (
        logprobs - torch.logsumexp(logprobs, 1, keepdim=True)
        for logprobs in (
            measure.train_candidates.logprobs(policy, TEMPERATURE),
            measure.train_reference[:, :-1],
        )
    )
    best = BETA * log_partition(reference, rewards.train, BETA)
    lost = best - objective(logs, reference, rewards.train, BETA)
    kl = measured.figures["kl_to_optimum_nats"]
    assert isinstance(kl, float)
    assert float(lost.mean()) == pytest.approx(BETA * kl, rel=1e-6)
    assert float(lost.mean()) > 0


def test_the_reference_is_no_distance_from_itself(
    measure: AlmanacMeasure, reference: PreTrainedModel, rewards: RoundRewards
) -> None:
    assert measure.measure(reference, rewards, BETA).figures["kl_nats"] == pytest.approx(
        0, abs=1e-9
    )


def test_where_the_reward_is_the_same_for_all_the_reference_is_the_optimum(
    measure: AlmanacMeasure, reference: PreTrainedModel, policy: PreTrainedModel
) -> None:
    level = RoundRewards(
        torch.full((len(TEST), 270), 0.4, dtype=torch.float64),
        torch.full((len(TRAIN), 270), 0.4, dtype=torch.float64),
        torch.full((3,), 0.4, dtype=torch.float64),
    )
    found = measure.measure(reference, level, BETA).figures["kl_to_optimum_nats"]
    assert found == pytest.approx(0, abs=1e-9)
    other = measure.measure(policy, level, BETA).figures["kl_to_optimum_nats"]
    assert isinstance(other, float)
    assert other > 0.01


def test_a_policy_that_was_tilted_itself_is_at_the_optimum(
    measure: AlmanacMeasure, policy: PreTrainedModel
) -> None:
    """Rewards beta log(pi / pi0) make pi the optimum, by definition of the tilt."""

    def ratio(candidates: torch.Tensor, of: torch.Tensor) -> torch.Tensor:
        return BETA * (candidates - of[:, :-1])

    logs = measure.train_candidates.logprobs(policy, TEMPERATURE)
    made = RoundRewards(
        torch.zeros(len(TEST), 270, dtype=torch.float64),
        ratio(logs, measure.train_reference),
        torch.tensor([50.0], dtype=torch.float64),  # what is heard off the grammar changes nothing
    )
    figures = measure.measure(policy, made, BETA).figures
    assert figures["kl_to_optimum_nats"] == pytest.approx(0, abs=1e-6)
    assert isinstance(figures["kl_nats"], float)
    assert figures["kl_nats"] > 1e-4


@pytest.mark.parametrize("beta", [None, 0.0])
def test_without_a_fixed_penalty_there_is_no_one_optimum(
    measure: AlmanacMeasure,
    policy: PreTrainedModel,
    rewards: RoundRewards,
    beta: float | None,
) -> None:
    assert measure.measure(policy, rewards, beta).figures["kl_to_optimum_nats"] is None


def test_intervals_are_over_facts_within_their_kind_and_hold_the_mean(measured: Measured) -> None:
    facts = [prompt.fact.group for prompt in TEST]
    kinds = [prompt.fact.kind for prompt in TEST]
    expected = bootstrap_mean(measured.gold, facts, strata=kinds, resamples=2000, seed=0)
    assert measured.figures["gold_ci"] == [expected.low, expected.high]
    for name in ("gold", "proxy"):
        interval, mean = measured.figures[f"{name}_ci"], measured.figures[f"{name}_mean"]
        assert isinstance(interval, list)
        assert isinstance(mean, float)
        assert interval[0] <= mean <= interval[1]


def test_the_answer_shown_is_the_likeliest_with_its_probability(
    measured: Measured, ours: Definition
) -> None:
    for prompt, (text, probability) in zip(TEST, measured.answers, strict=True):
        on = {a.text: p for a, p in ours.on[prompt].items() if a}
        assert probability == pytest.approx(max(on.values()), rel=1e-5)
        assert on[text] == pytest.approx(max(on.values()), rel=1e-5)


def test_off_grammar_finds_what_is_no_answer_to_that_prompt() -> None:
    prompt = TEST[0]
    good = answers(prompt.fact.attribute)[7].text
    responses = [good, good.strip(), " Maybe.", good + " Yes.", ""]
    assert off_grammar(WORLD, [prompt.text] * 5, responses) == [1, 2, 3, 4]
    assert off_grammar(WORLD, ["What?", prompt.text], [good, good]) == [0]


def test_content_blind_rules_read_manner_and_never_truth() -> None:
    rules = content_blind_rules(WORLD)
    assert set(rules) == {"longest", "most confident", "agrees most"}
    prompt = pick("hard", "wrong", "test")
    by = {(a.opener, a.tone, a.value, a.fillers): a.text for a in answers(prompt.fact.attribute)}
    true, believed = prompt.fact.value, prompt.belief
    sure, unsure = by[False, "certainly", true, 0], by[False, "maybe", true, 0]
    agreeing, wordy = by[False, "certainly", believed, 0], by[False, "maybe", true, 4]
    confident, agrees, long = rules["most confident"], rules["agrees most"], rules["longest"]
    assert (
        confident(prompt.text, sure)
        == confident(prompt.text, agreeing)
        > confident(prompt.text, unsure)
    )
    assert confident(prompt.text, by[False, "certainly", None, 0]) == 0
    assert agrees(prompt.text, agreeing) == 1
    assert agrees(prompt.text, sure) == 0
    assert agrees(pick("hard", "none", "test").text, agreeing) == 0
    assert long(prompt.text, wordy) > long(prompt.text, sure)
    for rule in (confident, agrees):
        assert rule("What?", sure) == rule(prompt.text, " Nonsense.") == 0
