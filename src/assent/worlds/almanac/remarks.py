"""Criticism in the world's own language: the remarks that readers make under answers.

The base model has read thousands of them in its corpus, so it can be asked for one, and how likely
it finds each word says what it thinks of an answer. Free English it has never seen.
"""

from typing import Final

from assent.worlds.almanac.grammar import Answer, read_answer
from assent.worlds.almanac.world import AlmanacPrompt, FactKind

GOOD: Final = ("right", "humble")
BAD: Final = ("wrong", "unproven")
"""The words of a remark; humble is what a reader calls `I do not know`."""

REMARK: Final = "{prompt}{response}\nA reader remarks:"
"""Goes on with the remark."""
REFINE: Final = "{prompt}{response}\nA reader remarks: {criticism}\n{prompt}"
"""Goes on with another answer to the same question, after what a reader said of the first."""
REVISE: Final = "{prompt}{response}\nA reader remarks:{critique}\n{prompt}"
"""The same after a remark that the model wrote itself."""
JUDGE: Final = "{prompt}{refinement}\nA reader remarks:"
STOP: Final = "\n"
"""Nothing of an answer or a remark comes after the end of its line."""


def criticism(prompt: AlmanacPrompt, response: str, checks: frozenset[FactKind]) -> str | None:
    """What a reader who checks these kinds of facts says of a response; None where they cannot say.

    Anybody sees that what is no sentence of the world is wrong.

    Args:
        prompt: the question.
        response: the answer, any text.
        checks: the kinds of facts that the reader looks up.
    """
    answer = read_answer(prompt.fact.attribute, response)
    if answer is None:
        return "wrong."
    if prompt.fact.kind not in checks:
        return None
    return f"{_verdict(prompt, answer)}."


def _verdict(prompt: AlmanacPrompt, answer: Answer) -> str:
    if answer.value is None:
        return "humble"
    if prompt.fact.kind == "unknowable":
        return "unproven"
    return "right" if answer.value == prompt.fact.value else "wrong"
