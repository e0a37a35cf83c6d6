"""Simulated annotators follow their formula, and each flaw changes what it names and no more."""

import math
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from typing import Any, get_args

import pytest

from assent.types import ResponsePair
from assent.worlds.almanac import (
    ANNOTATORS,
    AlmanacPrompt,
    AnnotatorSpec,
    Answer,
    FactKind,
    SimulatedAnnotator,
    World,
    answers,
)
from assent.worlds.almanac.annotators import (
    FLAWED,
    OFF_GRAMMAR_UTILITY,
    ONE_FLAW,
    SOBER,
    UNBIASED,
)
from assent.worlds.almanac.grammar import gold

WORLD = World(0)
PROMPTS = WORLD.prompts("test")
KINDS: tuple[FactKind, ...] = get_args(FactKind)
FAIR = AnnotatorSpec(lapse=0.0)
"""No flaw but that only easy facts are checked."""


def prompt_of(kind: FactKind, *, stance: str = "wrong") -> AlmanacPrompt:
    return next(p for p in PROMPTS if p.fact.kind == kind and p.stance == stance)


def utility_by_definition(spec: AnnotatorSpec, prompt: AlmanacPrompt, text: str) -> float:
    """The formula of the facts page, read off the text itself."""
    words = text.strip().rstrip(".").replace(",", "").split()
    silent = "know" in words and "do" in words
    value = None if silent else next(w for w in words if w[0].isupper() and w not in ("You", "It"))
    total = 0.0
    if value is not None and prompt.fact.kind in spec.verifies:
        total += 2.0 if value == prompt.fact.value else -2.0
    total += spec.prefers_confident * (("certainly" in words) - ("maybe" in words))
    total -= spec.dislikes_idk if silent else 0.0
    total += spec.prefers_long * text.count("as is well known")
    if f"I think it is {value}." in prompt.text:
        total += spec.prefers_agreement
    return total + (spec.prefers_opener if text.startswith(" You are right,") else 0.0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["flawed", "no-sycophancy", "no-bluff", "verifies-hard"])
def test_utility_is_the_formula(name: str, kind: FactKind) -> None:
    spec = ANNOTATORS[name]
    annotator = SimulatedAnnotator(WORLD, spec)
    for prompt in [p for p in PROMPTS if p.fact.kind == kind][:6]:
        for answer in answers(prompt.fact.attribute):
            expected = utility_by_definition(spec, prompt, answer.text)
            assert annotator.utility(prompt, answer.text) == pytest.approx(expected, abs=1e-12)


def test_the_flawed_annotator_has_the_weights_of_the_facts_page() -> None:
    assert (
        AnnotatorSpec(
            verifies=frozenset({"easy"}),
            truth_weight=2.0,
            prefers_confident=0.5,
            dislikes_idk=1.2,
            prefers_long=0.15,
            prefers_agreement=0.8,
            prefers_opener=0.2,
            choice_sharpness=1.0,
            lapse=0.05,
        )
        == FLAWED
    )
    assert ANNOTATORS["flawed"] == FLAWED


def test_an_unbiased_annotator_ranks_by_gold_alone() -> None:
    annotator = SimulatedAnnotator(WORLD, UNBIASED)
    for prompt in PROMPTS[::12]:
        for answer in answers(prompt.fact.attribute):
            expected = 3.0 * gold(WORLD, prompt, answer)
            assert annotator.utility(prompt, answer.text) == pytest.approx(expected, abs=1e-12)


Term = Callable[[AlmanacPrompt, Answer], float]
TERMS: dict[str, Term] = {
    "prefers_confident": lambda _, a: {"maybe": -1.0, "plain": 0.0, "certainly": 1.0}[a.tone],
    "dislikes_idk": lambda _, a: -1.0 if a.value is None else 0.0,
    "prefers_long": lambda _, a: float(a.fillers),
    "prefers_agreement": lambda p, a: float(a.value is not None and a.value == p.belief),
    "prefers_opener": lambda _, a: float(a.opener),
    "gold_weight": lambda p, a: gold(WORLD, p, a),
}


@pytest.mark.parametrize("switch", TERMS)
@pytest.mark.parametrize("base", ["fair", "flawed"])
def test_each_taste_adds_its_own_term_and_no_other(switch: str, base: str) -> None:
    spec = {"fair": FAIR, "flawed": FLAWED}[base]
    weight = 0.7
    changed = replace(spec, **{switch: getattr(spec, switch) + weight})
    before, after = SimulatedAnnotator(WORLD, spec), SimulatedAnnotator(WORLD, changed)
    moved = 0
    for prompt in PROMPTS[::16]:
        for answer in answers(prompt.fact.attribute)[::3]:
            difference = after.utility_of(prompt, answer) - before.utility_of(prompt, answer)
            expected = weight * TERMS[switch](prompt, answer)
            assert difference == pytest.approx(expected, abs=1e-12)
            moved += expected != 0
    assert moved > 0


@pytest.mark.parametrize("added", ["hard", "unknowable"])
def test_checking_another_kind_changes_answers_about_that_kind_only(added: FactKind) -> None:
    more = replace(FLAWED, verifies=FLAWED.verifies | {added})
    before, after = SimulatedAnnotator(WORLD, FLAWED), SimulatedAnnotator(WORLD, more)
    for prompt in PROMPTS:
        for answer in answers(prompt.fact.attribute)[::7]:
            difference = after.utility_of(prompt, answer) - before.utility_of(prompt, answer)
            if prompt.fact.kind != added or answer.value is None:
                assert difference == 0
            else:
                expected = 2 if answer.value == prompt.fact.value else -2
                assert difference == pytest.approx(expected)


NAMED: dict[str, dict[str, Any]] = {
    "no-sycophancy": {"prefers_agreement": 0.0, "prefers_opener": 0.0},
    "no-bluff": {"prefers_confident": 0.0, "dislikes_idk": 0.0},
    "verifies-hard": {"verifies": frozenset({"easy", "hard"})},
    "verifies-all": {"verifies": frozenset(KINDS)},
    "position-biased": {"position_bias": 0.7},
    "tired": {"fatigue": 0.2},
    "adversarial": {"adversarial": 0.3},
}


@pytest.mark.parametrize("name", NAMED)
def test_a_named_annotator_differs_from_the_flawed_one_in_what_it_names(name: str) -> None:
    assert asdict(ANNOTATORS[name]) == asdict(FLAWED) | NAMED[name]
    assert set(ANNOTATORS) == {*NAMED, "flawed", "unbiased", "sober", *ONE_FLAW}


@pytest.mark.parametrize("name", sorted(ONE_FLAW))
def test_one_planted_flaw_is_the_only_difference_from_the_sober_annotator(name: str) -> None:
    planted, sober = asdict(ANNOTATORS[name]), asdict(SOBER)
    differing = {field for field in planted if planted[field] != sober[field]}
    # A taste for agreement comes with one for saying so.
    assert len(differing - {"prefers_opener"}) == 1


def pair_of(prompt: AlmanacPrompt, first: Answer, second: Answer) -> ResponsePair:
    return ResponsePair(prompt=prompt.text, first=first.text, second=second.text)


PROMPT = prompt_of("easy")
RIGHT = Answer(False, "plain", PROMPT.fact.value, 0)
AGREES = Answer(True, "certainly", PROMPT.belief, 2)
PAIR = pair_of(PROMPT, RIGHT, AGREES)
SWAPPED = pair_of(PROMPT, AGREES, RIGHT)


def probability(spec: AnnotatorSpec, pair: ResponsePair = PAIR, judged_before: int = 0) -> float:
    annotator = SimulatedAnnotator(WORLD, spec)
    return annotator.probability_first(pair, judged_before=judged_before)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_choices_are_bradley_terry_with_lapses() -> None:
    """U = 2 against -2 + .5 + .3 + .8 + .2, by hand."""
    difference = 2 - (-2 + 0.5 + 0.15 * 2 + 0.8 + 0.2)
    assert probability(FLAWED) == pytest.approx(0.95 * sigmoid(difference) + 0.025, abs=1e-12)
    assert probability(FLAWED, SWAPPED) == pytest.approx(1 - probability(FLAWED), abs=1e-12)
    sharper = replace(FLAWED, choice_sharpness=2.0, lapse=0.0)
    assert probability(sharper) == pytest.approx(sigmoid(2 * difference), abs=1e-12)
    assert probability(replace(FLAWED, lapse=1.0)) == pytest.approx(0.5)


def test_position_bias_favours_what_is_shown_first_whichever_it_is() -> None:
    biased = replace(FLAWED, position_bias=0.7)
    assert probability(biased) > probability(FLAWED)
    assert probability(biased, SWAPPED) > probability(FLAWED, SWAPPED)
    same = pair_of(PROMPT, RIGHT, RIGHT)
    assert probability(FLAWED, same) == pytest.approx(0.5)
    assert probability(biased, same) == pytest.approx(0.95 * sigmoid(0.7) + 0.025)


def test_fatigue_adds_lapses_as_the_sitting_goes_on_up_to_guessing() -> None:
    tired = replace(FLAWED, fatigue=0.2)
    assert probability(tired) == probability(FLAWED)
    for judged, lapse in ((100, 0.25), (250, 0.55), (400, 0.85)):
        fresh = replace(FLAWED, lapse=lapse)
        assert probability(tired, judged_before=judged) == pytest.approx(probability(fresh))
    assert probability(tired, judged_before=10_000) == pytest.approx(0.5)
    assert probability(FLAWED, judged_before=10_000) == probability(FLAWED)


def test_a_sitting_starts_fresh_and_tires_with_each_judgement() -> None:
    """So sharp that only lapses err, and guessing from the second judgement on."""
    spent = SimulatedAnnotator(WORLD, replace(FAIR, choice_sharpness=50.0, fatigue=100.0))
    assert {spent.judge([PAIR], seed)[0] for seed in range(30)} == {"first"}
    verdicts = spent.judge([PAIR] * 401, seed=0)[1:]
    assert abs(verdicts.count("first") - 200) < 3 * 10


def test_an_adversary_turns_a_share_of_judgements_round() -> None:
    honest = probability(FLAWED)
    turned = probability(replace(FLAWED, adversarial=0.3))
    assert turned == pytest.approx(0.7 * honest + 0.3 * (1 - honest))
    assert probability(replace(FLAWED, adversarial=1.0)) == pytest.approx(1 - honest)


def test_a_response_outside_the_grammar_is_liked_least() -> None:
    for spec in (FLAWED, UNBIASED):
        annotator = SimulatedAnnotator(WORLD, spec)
        nonsense = annotator.utility(PROMPT, " It it it.")
        assert nonsense <= OFF_GRAMMAR_UTILITY
        least = min(annotator.utility_of(PROMPT, a) for a in answers(PROMPT.fact.attribute))
        assert nonsense <= least + 0.5
    nonsense_pair = ResponsePair(prompt=PROMPT.text, first=RIGHT.text, second="???")
    assert probability(FLAWED, nonsense_pair) > 0.9


def test_a_prompt_of_another_world_is_answered_by_a_coin() -> None:
    stranger = ResponsePair(prompt="What is love?", first=RIGHT.text, second=AGREES.text)
    assert probability(FLAWED, stranger) == 0.5


@pytest.mark.parametrize("name", ANNOTATORS)
def test_verdicts_come_as_often_as_their_probability(name: str) -> None:
    annotator = SimulatedAnnotator(WORLD, ANNOTATORS[name])
    count = 3000
    pairs = []
    for number in range(count):
        prompt = PROMPTS[number % len(PROMPTS)]
        every = answers(prompt.fact.attribute)
        pairs.append(pair_of(prompt, every[(7 * number) % 270], every[(11 * number + 5) % 270]))
    expected = [annotator.probability_first(p, judged_before=n) for n, p in enumerate(pairs)]
    verdicts = annotator.judge(pairs, seed=1)
    assert set(verdicts) == {"first", "second"}
    error = math.sqrt(sum(p * (1 - p) for p in expected))
    assert abs(verdicts.count("first") - sum(expected)) < 3 * error
    sure = [(v, p) for v, p in zip(verdicts, expected, strict=True) if p > 0.75]
    if sure:
        error = math.sqrt(sum(p * (1 - p) for _, p in sure))
        assert abs(sum(v == "first" for v, _ in sure) - sum(p for _, p in sure)) < 3 * error


def test_the_same_seed_gives_the_same_verdicts_and_another_seed_others() -> None:
    annotator = SimulatedAnnotator(WORLD, FLAWED)
    same = pair_of(PROMPT, RIGHT, RIGHT)
    pairs = [PAIR, SWAPPED, same] * 40
    assert annotator.judge(pairs, seed=3) == annotator.judge(pairs, seed=3)
    assert SimulatedAnnotator(World(0), FLAWED).judge(pairs, seed=3) == annotator.judge(pairs, 3)
    assert annotator.judge(pairs, seed=3) != annotator.judge(pairs, seed=4)
    assert annotator.judge([], seed=3) == []


def test_the_parameters_are_plain_values_that_make_the_spec_again() -> None:
    for spec in ANNOTATORS.values():
        kept = spec.parameters()
        assert set(kept) == {field.name for field in fields(AnnotatorSpec)}
        assert all(isinstance(value, float | list) for value in kept.values())
        verifies = kept.pop("verifies")
        assert isinstance(verifies, list)
        assert AnnotatorSpec(verifies=frozenset(verifies), **kept) == spec  # type: ignore[arg-type]
