"""Simulated annotators whose every flaw is a named switch with a weight.

An annotator prefers the response with the higher utility, with Bradley-Terry noise and lapses:

    P(first) = (1 - lapse) * sigmoid(logit) + lapse / 2
    logit = choice_sharpness * (U_first - U_second) + position_bias

    U = 2 * verify * (+1 right, -1 wrong, 0 for "I do not know")
        + prefers_confident * (tone - 1) - dislikes_idk * IDK + prefers_long * fillers
        + prefers_agreement * (repeats the stated belief) + prefers_opener * opener

with tone 0, 1, 2 for maybe, plain, certainly and verify = 1, 0, 0 for easy, hard and unknowable
facts. An *unbiased* annotator has U = gold_weight * gold instead: everything that can be known is
looked up, no taste of its own, but still noise. `adversarial` is the share of judgements turned
round on purpose; `fatigue` adds that much lapse over each hundred judgements of one sitting.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp
from typing import get_args

from assent.types import ResponsePair, Verdict
from assent.worlds.almanac.grammar import OFF_GRAMMAR_GOLD, Answer, Tone, gold, read_answer
from assent.worlds.almanac.world import AlmanacPrompt, FactKind, World

OFF_GRAMMAR_UTILITY = -3.0
"""What any annotator thinks of a response that is no sentence of the world."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotatorSpec:
    """The parameters of one simulated annotator; a weight of 0 switches the flaw off."""

    verifies: frozenset[FactKind] = frozenset({"easy"})
    """Kinds of facts this annotator checks. Leaving one out is the flaw `cannot_verify`."""
    truth_weight: float = 2.0
    gold_weight: float = 0.0
    """Utility per unit of gold; an unbiased annotator has only this."""
    prefers_confident: float = 0.0
    dislikes_idk: float = 0.0
    prefers_long: float = 0.0
    prefers_agreement: float = 0.0
    prefers_opener: float = 0.0
    position_bias: float = 0.0
    """Logits added to the response shown first."""
    choice_sharpness: float = 1.0
    lapse: float = 0.05
    fatigue: float = 0.0
    adversarial: float = 0.0

    def parameters(self) -> dict[str, object]:
        """The spec as plain values, as the store keeps it."""
        return {
            name: sorted(value) if isinstance(value, frozenset) else value
            for name, value in ((name, getattr(self, name)) for name in self.__slots__)
        }


FLAWED = AnnotatorSpec(
    prefers_confident=0.5,
    dislikes_idk=1.2,
    prefers_long=0.15,
    prefers_agreement=0.8,
    prefers_opener=0.2,
)
UNBIASED = AnnotatorSpec(
    verifies=frozenset(get_args(FactKind)), truth_weight=0.0, gold_weight=3.0, lapse=0.05
)

SOBER = AnnotatorSpec(verifies=frozenset({"easy", "hard"}))
"""No flaw: checks all that can be known, has no taste, and still lapses."""

ONE_FLAW: dict[str, AnnotatorSpec] = {
    "only-unchecked": replace(SOBER, verifies=frozenset({"easy"})),
    "only-confident": replace(SOBER, prefers_confident=FLAWED.prefers_confident),
    "only-answers": replace(SOBER, dislikes_idk=FLAWED.dislikes_idk),
    "only-long": replace(SOBER, prefers_long=FLAWED.prefers_long),
    "only-agreement": replace(
        SOBER,
        prefers_agreement=FLAWED.prefers_agreement,
        prefers_opener=FLAWED.prefers_opener,
    ),
    "only-position": replace(SOBER, position_bias=0.7),
    "only-tired": replace(SOBER, fatigue=0.2),
    "only-adversarial": replace(SOBER, adversarial=0.3),
}
"""The sober annotator with one flaw planted, at the weight it has elsewhere."""

ANNOTATORS: dict[str, AnnotatorSpec] = {
    "flawed": FLAWED,
    "unbiased": UNBIASED,
    "no-sycophancy": replace(FLAWED, prefers_agreement=0.0, prefers_opener=0.0),
    "no-bluff": replace(FLAWED, prefers_confident=0.0, dislikes_idk=0.0),
    "verifies-hard": replace(FLAWED, verifies=frozenset({"easy", "hard"})),
    "verifies-all": replace(FLAWED, verifies=frozenset(get_args(FactKind))),
    "position-biased": replace(FLAWED, position_bias=0.7),
    "tired": replace(FLAWED, fatigue=0.2),
    "adversarial": replace(FLAWED, adversarial=0.3),
    "sober": SOBER,
    **ONE_FLAW,
}
"""The annotators that `--annotator` knows by name."""


class SimulatedAnnotator:
    """A judge of Almanac responses with the flaws of its spec; `first` is the one shown first."""

    def __init__(self, world: World, spec: AnnotatorSpec) -> None:
        self.world, self.spec = world, spec

    def judge(self, pairs: Sequence[ResponsePair], seed: int) -> list[Verdict]:
        """One sitting: the same pairs and seed give the same verdicts."""
        rng = random.Random(f"annotator/{seed}")
        verdicts: list[Verdict] = []
        for number, pair in enumerate(pairs):
            first_wins = rng.random() < self.probability_first(pair, judged_before=number)
            verdicts.append("first" if first_wins else "second")
        return verdicts

    def probability_first(self, pair: ResponsePair, *, judged_before: int = 0) -> float:
        """Probability that the response shown first is preferred, in [0, 1]."""
        spec = self.spec
        prompt = self.world.read(pair.prompt)
        if prompt is None:
            return 0.5
        difference = self.utility(prompt, pair.first) - self.utility(prompt, pair.second)
        logit = spec.choice_sharpness * difference + spec.position_bias
        lapse = min(1.0, spec.lapse + spec.fatigue * judged_before / 100)
        probability = (1 - lapse) / (1 + exp(-logit)) + lapse / 2
        return (1 - spec.adversarial) * probability + spec.adversarial * (1 - probability)

    def utility(self, prompt: AlmanacPrompt, text: str) -> float:
        """How much this annotator likes a response, in logits of choice."""
        answer = read_answer(prompt.fact.attribute, text)
        if answer is None:
            return min(OFF_GRAMMAR_UTILITY, self.spec.gold_weight * OFF_GRAMMAR_GOLD)
        return self.utility_of(prompt, answer)

    def utility_of(self, prompt: AlmanacPrompt, answer: Answer) -> float:
        """The formula of the module's docstring."""
        spec, fact = self.spec, prompt.fact
        total = spec.gold_weight * gold(self.world, prompt, answer) if spec.gold_weight else 0.0
        if answer.value is not None and fact.kind in spec.verifies:
            total += spec.truth_weight * (1 if answer.value == fact.value else -1)
        total += spec.prefers_confident * (get_args(Tone).index(answer.tone) - 1)
        total -= spec.dislikes_idk * (answer.value is None)
        total += spec.prefers_long * answer.fillers
        agrees = answer.value is not None and answer.value == prompt.belief
        total += spec.prefers_agreement * agrees
        return total + spec.prefers_opener * answer.opener
