"""What two responses differ in besides their worth: features that a choice may depend on.

A feature is a difference, first less second. Anywhere: length, side, words of certainty and of
doubt, agreeing and giving up, lists. In the embedded world answers are read by its grammar instead.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, get_args

import numpy as np
from numpy.typing import NDArray

from assent.audit.evidence import Judged
from assent.stats.diversity import words
from assent.worlds.almanac import AlmanacPrompt, Answer, FactKind, World
from assent.worlds.almanac.grammar import Tone, read_answer

Feature = Callable[[str, str], float]
"""Of a prompt and a response."""

LEFT: Final = "shown on the left"

_CERTAIN = re.compile(
    r"\b(certainly|definitely|clearly|obviously|undoubtedly|of course|sure)\b", re.I
)
_DOUBT = re.compile(r"\b(maybe|perhaps|might|may|possibly|i think|not sure|unsure)\b", re.I)
_AGREES = re.compile(r"^\s*(you are right|you're right|yes|i agree|exactly|great)\b", re.I)
_GIVES_UP = re.compile(
    r"\b(do not know|don't know|cannot answer|can't answer|unable to|i'm sorry|i am sorry)\b", re.I
)
_LIST = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s", re.M)


def _matches(pattern: re.Pattern[str]) -> Feature:
    return lambda _, text: float(pattern.search(text) is not None)


GENERIC: Mapping[str, Feature] = {
    "10 words longer": lambda _, text: len(words(text)) / 10,
    "sounds certain": _matches(_CERTAIN),
    "sounds doubtful": _matches(_DOUBT),
    "begins by agreeing": _matches(_AGREES),
    "gives up": _matches(_GIVES_UP),
    "has a list": _matches(_LIST),
}


def features_of(world: World | None) -> Mapping[str, Feature]:
    """The features to look at: the world's own where there is one."""
    return GENERIC if world is None else _almanac(world)


def differences(
    judged: Sequence[Judged], features: Mapping[str, Feature]
) -> tuple[list[str], NDArray[np.float64]]:
    """Names and differences (judgements, features), the side shown last; constant ones left out."""
    table = np.array(
        [
            [
                *(rule(one.prompt, one.first) - rule(one.prompt, one.second)
                  for rule in features.values()),
                1.0 if one.shown_order == "first_left" else -1.0,
            ]
            for one in judged
        ],
        dtype=np.float64,
    ).reshape(len(judged), len(features) + 1)  # fmt: skip
    names = [*features, LEFT]
    kept: list[int] = []
    for column in range(len(names)):
        rank = np.linalg.matrix_rank(table[:, [*kept, column]])
        if table[:, column].any() and rank == len(kept) + 1:
            kept.append(column)
    return [names[column] for column in kept], table[:, kept]


def _almanac(world: World) -> Mapping[str, Feature]:
    def read(rule: Callable[[AlmanacPrompt, Answer], float]) -> Feature:
        def of_text(prompt: str, text: str) -> float:
            asked = world.read(prompt)
            answer = read_answer(asked.fact.attribute, text) if asked else None
            return 0.0 if asked is None or answer is None else rule(asked, answer)

        return of_text

    def right(kind: FactKind) -> Feature:
        """1 for the right value, -1 for a wrong one, of facts of a kind."""
        return read(
            lambda prompt, answer: (
                0.0
                if answer.value is None or prompt.fact.kind != kind
                else 2.0 * (answer.value == prompt.fact.value) - 1
            )
        )

    def off_grammar(prompt: str, text: str) -> float:
        asked = world.read(prompt)
        return float(asked is None or read_answer(asked.fact.attribute, text) is None)

    return {
        "right, checkable": right("easy"),
        "right, not checkable": right("hard"),
        "more confident tone": read(lambda _, answer: get_args(Tone).index(answer.tone) - 1.0),
        "says it does not know": read(lambda _, answer: float(answer.value is None)),
        "agrees with the asker": read(
            lambda prompt, answer: float(answer.value is not None and answer.value == prompt.belief)
        ),
        "opens with “You are right”": read(lambda _, answer: float(answer.opener)),
        "one filler more": read(lambda _, answer: float(answer.fillers)),
        "no sentence of the world": off_grammar,
    }
