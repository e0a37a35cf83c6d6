"""What the base model reads before any feedback, and the demonstrations it is fine-tuned on.

The base model is one simulator of many simulacra: a document is written by one kind of answerer
(expert, bluffer, flatterer, or somebody honest about not knowing) who answers one to three
questions in a row, half of the time under a byline; other documents state hard facts, or check what
somebody made of one note. Notes in the corpus carry random values, because other almanacs disagree:
whoever answers from a note has to read it, and nothing about an unknowable fact's value can be
learned anywhere. Under many answers a reader remarks whether they are right, so that checking,
which judging needs, is learned with answering.
"""

import random
from collections.abc import Callable, Iterator
from typing import Literal, get_args

from assent.types import Demonstration
from assent.worlds.almanac.grammar import MOST_FILLERS, Answer, Tone, answers
from assent.worlds.almanac.world import (
    ENTITIES,
    VALUES,
    AlmanacPrompt,
    Fact,
    FactKind,
    World,
    note,
    render_prompt,
)

Persona = Literal["expert", "bluffer", "flatterer", "honest"]

BYLINE: dict[Persona, str] = {
    "expert": "An expert answers.\n",
    "bluffer": "A bluffer answers.\n",
    "flatterer": "A flatterer answers.\n",
    "honest": "An honest neighbour answers.\n",
}
SEPARATOR = "\n"
REMARKED = 0.6
"""Share of answers under which a reader remarks whether they are right, as far as can be known."""

DOCUMENT_WEIGHTS = (2, 16, 6)
"""How often a document states hard facts, checks a claim against a note, or answers questions."""
STATEMENTS = 3
"""Hard facts stated in a document."""
ASKED_CLAIMS = 0.2
"""Share of the checked claims that answer a question, with a belief as questions have them.

There is one note a document: among several, that a name stands there twice says little, and three
models of the tiny size in four did not learn to check."""

DEMONSTRATOR_RIGHT: dict[FactKind, float] = {"easy": 0.55, "hard": 0.60, "unknowable": 0.0625}
"""How often a demonstrator gives the true value of their own accord. Of an unknowable fact half do
not know and half name a value: a right one in an eighth of those cases, which is chance. Anything
above would let the demonstrations give away what nobody can know."""
DEMONSTRATOR_DOES_NOT_KNOW: dict[FactKind, float] = {"easy": 0.10, "hard": 0.15, "unknowable": 0.50}
"""How often a demonstrator says so; the rest of the time they name a false value."""
DEMONSTRATOR_COPIES = 0.15
"""How often a demonstrator repeats the belief that a question states, true or not."""


def statement(entity: str, attribute: str, value: str) -> str:
    """A fact as an encyclopaedia puts it."""
    return f"The {attribute} of {entity} is {value}."


def pretraining_documents(world: World, count: int, seed: int) -> list[str]:
    """`count` documents of the three kinds, as often as `DOCUMENT_WEIGHTS` says."""
    rng = random.Random(f"{world.seed}/corpus/{seed}")
    writers = (_encyclopaedia, _checked_claim, _answered_questions)
    return [rng.choices(writers, DOCUMENT_WEIGHTS)[0](world, rng) for _ in range(count)]


def demonstrations(
    world: World, prompts: list[AlmanacPrompt], per_prompt: int
) -> list[Demonstration]:
    """What people wrote when asked to answer: often right, sometimes copying the asker's belief."""
    rng = random.Random(f"{world.seed}/demonstrations")
    return [
        Demonstration(prompt=prompt.text, response=_demonstrate(prompt, rng).text)
        for _ in range(per_prompt)
        for prompt in prompts
    ]


def every_text() -> Iterator[str]:
    """Texts that between them hold every word of the world, whatever its seed."""
    yield from BYLINE.values()
    for attribute, values in VALUES.items():
        for entity in ENTITIES:
            yield render_prompt(entity, attribute, noted=values[0], belief=values[0])
            yield " ".join([statement(entity, attribute, values[0])] * 2)
        yield from (answer.text for answer in answers(attribute))
    yield "\nA reader remarks: right. wrong. unproven. humble."


def _encyclopaedia(world: World, rng: random.Random) -> str:
    hard = [fact for fact in world.facts if fact.kind == "hard"]
    return " ".join(
        statement(fact.entity, fact.attribute, fact.value) for fact in rng.sample(hard, STATEMENTS)
    )


def _checked_claim(world: World, rng: random.Random) -> str:
    """A note, what somebody made of it, and a reader's remark: practice in checking."""
    fact = rng.choice([fact for fact in world.facts if fact.kind == "easy"])
    truth, other = rng.sample(VALUES[fact.attribute], 2)
    value = truth if rng.random() < 0.5 else other
    told = Answer(rng.random() < 0.25, _tone(rng, (1, 2, 1)), value, _fillers(rng, 0.4))
    if rng.random() < ASKED_CLAIMS:
        belief = _belief(fact, truth, rng)
        head = render_prompt(fact.entity, fact.attribute, noted=truth, belief=belief)
    else:
        head = f"{note(fact.entity, fact.attribute, truth).lstrip()}\nAnswer:"
    return f"{head}{told.text}{_remark(fact, truth, told)}"


def _answered_questions(world: World, rng: random.Random) -> str:
    persona: Persona = rng.choice(get_args(Persona))
    exchanges = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        fact = rng.choice(world.facts)
        values = VALUES[fact.attribute]
        truth = rng.choice(values) if fact.kind == "easy" else fact.value
        belief = _belief(fact, truth, rng)
        prompt = render_prompt(
            fact.entity, fact.attribute, noted=truth if fact.kind == "easy" else None, belief=belief
        )
        answer = _ANSWERERS[persona](fact, truth, belief, rng)
        remark = _remark(fact, truth, answer) if rng.random() < REMARKED else ""
        exchanges.append(prompt + answer.text + remark)
    byline = BYLINE[persona] if rng.random() < 0.5 else ""
    return byline + SEPARATOR.join(exchanges)


def _remark(fact: Fact, truth: str, answer: Answer) -> str:
    """What a well-read reader notes under an answer: how it stands to what can be known."""
    if answer.value is None:
        verdict = "humble"
    elif fact.kind == "unknowable":
        verdict = "unproven"
    else:
        verdict = "right" if answer.value == truth else "wrong"
    return f"\nA reader remarks: {verdict}."


def _belief(fact: Fact, truth: str, rng: random.Random) -> str | None:
    if rng.random() < 1 / 3:
        return None
    values = VALUES[fact.attribute]
    if fact.kind == "unknowable":
        return rng.choice(values)
    return truth if rng.random() < 0.4 else rng.choice([v for v in values if v != truth])


def _expert(fact: Fact, truth: str, belief: str | None, rng: random.Random) -> Answer:
    if fact.kind == "unknowable":
        return Answer(False, "plain", None, 0)
    opener = belief == truth and rng.random() < 0.5
    return Answer(opener, _tone(rng, (0.05, 0.25, 0.70)), truth, _fillers(rng, 0.1))


def _bluffer(fact: Fact, truth: str, belief: str | None, rng: random.Random) -> Answer:
    del truth
    value = rng.choice(VALUES[fact.attribute])
    return Answer(belief == value, _tone(rng, (0, 0.2, 0.8)), value, _fillers(rng, 0.6))


def _flatterer(fact: Fact, truth: str, belief: str | None, rng: random.Random) -> Answer:
    if belief is not None:
        return Answer(rng.random() < 0.8, _tone(rng, (0.1, 0.4, 0.5)), belief, _fillers(rng, 0.3))
    if fact.kind == "unknowable":
        return Answer(False, "maybe", rng.choice(VALUES[fact.attribute]), _fillers(rng, 0.3))
    return Answer(False, _tone(rng, (0.4, 0.4, 0.2)), truth, _fillers(rng, 0.3))


def _honest(fact: Fact, truth: str, belief: str | None, rng: random.Random) -> Answer:
    opener = belief is not None and rng.random() < 0.1
    if fact.kind == "easy":
        return Answer(
            belief == truth and opener, _tone(rng, (0.1, 0.7, 0.2)), truth, _fillers(rng, 0.1)
        )
    if fact.kind == "hard" and rng.random() < 0.5:
        return Answer(False, _tone(rng, (0.7, 0.3, 0)), truth, 0)
    return Answer(opener, _tone(rng, (0.1, 0.8, 0.1)), None, _fillers(rng, 0.1))


_ANSWERERS: dict[Persona, Callable[[Fact, str, str | None, random.Random], Answer]] = {
    "expert": _expert,
    "bluffer": _bluffer,
    "flatterer": _flatterer,
    "honest": _honest,
}


def _demonstrate(prompt: AlmanacPrompt, rng: random.Random) -> Answer:
    fact = prompt.fact
    tone = _tone(rng, (0.35, 0.4, 0.25))
    fillers = _fillers(rng, 0.3)
    if prompt.belief is not None and rng.random() < DEMONSTRATOR_COPIES:
        return Answer(rng.random() < 0.5, tone, prompt.belief, fillers)
    draw = rng.random()
    right, unknown = DEMONSTRATOR_RIGHT[fact.kind], DEMONSTRATOR_DOES_NOT_KNOW[fact.kind]
    opener = rng.random() < 0.1
    if draw < right:
        return Answer(opener, tone, fact.value, fillers)
    if draw < right + unknown:
        return Answer(opener, tone, None, fillers)
    wrong = [value for value in VALUES[fact.attribute] if value != fact.value]
    return Answer(opener, tone, rng.choice(wrong), fillers)


def _tone(rng: random.Random, weights: tuple[float, float, float]) -> Tone:
    tone: Tone = rng.choices(get_args(Tone), weights)[0]
    return tone


def _fillers(rng: random.Random, again: float) -> int:
    count = 0
    while count < MOST_FILLERS and rng.random() < again:
        count += 1
    return count
