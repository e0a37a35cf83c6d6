"""What writers and judges are asked, and how untrusted texts stand in it.

A request is a template with places in braces, such as `{prompt}`. Texts are put in once: braces in
them are text. A text cannot close the tag it stands in.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from assent.models.kept_answers import Question
from assent.models.writers import as_request
from assent.types import ChatPrompt, Message, Writer

REFINE = (
    "<prompt>\n{prompt}\n</prompt>\n<response>\n{response}\n</response>\n"
    "<criticism>\n{criticism}\n</criticism>\n\n"
    "Write the response again so that it takes up the criticism. Write nothing but the new "
    "response."
)
USES_CRITICISM = (
    "<prompt>\n{prompt}\n</prompt>\n<response>\n{response}\n</response>\n"
    "<criticism>\n{criticism}\n</criticism>\n<new_response>\n{refinement}\n</new_response>\n\n"
    "Does the new response take up the criticism? Answer Yes or No."
)
CRITIQUE = (
    "<prompt>\n{prompt}\n</prompt>\n<response>\n{response}\n</response>\n\n"
    "{request}\nWrite nothing but your criticism of the response."
)
REVISION = (
    "<prompt>\n{prompt}\n</prompt>\n<response>\n{response}\n</response>\n"
    "<criticism>\n{critique}\n</criticism>\n\n"
    "{request}\nWrite nothing but the new response."
)
COMPARE = (
    "<prompt>\n{prompt}\n</prompt>\n<response_a>\n{first}\n</response_a>\n"
    "<response_b>\n{second}\n</response_b>\n\n"
    "{request}\nAnswer A or B and nothing else."
)
APPROVE = (
    "<prompt>\n{prompt}\n</prompt>\n<response>\n{response}\n</response>\n\n"
    "{request}\nIs the response good by this? Answer Yes or No."
)

_PLACE = re.compile(r"\{([a-z_]+)\}")
_TAGS = re.compile(r"<(?=/?(?:prompt|response|response_a|response_b|new_response|criticism)\b)")


@dataclass(frozen=True, slots=True)
class Choice:
    """Words that a judge chooses among: its verdict is the share of the good ones."""

    good: tuple[str, ...] = ("Yes",)
    bad: tuple[str, ...] = ("No",)

    @property
    def options(self) -> tuple[str, ...]:
        """All of them, the good ones first."""
        return (*self.good, *self.bad)

    def share(self, shares: Sequence[float]) -> float:
        """What the good words have together."""
        return float(sum(shares[: len(self.good)]))


@dataclass(frozen=True, slots=True)
class Asking:
    """A model that is asked, the template of its requests, and whether they are a chat or text."""

    writer: Writer
    template: str
    form: str

    def question(self, key: str, **texts: str) -> Question:
        """The template with these texts in its places."""
        return Question(key, as_request(fill(self.template, **texts), self.form))


def fill(template: str, **texts: str) -> str:
    """The template with the texts in their places; a place without a text stays as it is."""
    safe = {
        name: _TAGS.sub("\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}", str(text))
        for name, text in texts.items()
    }
    return _PLACE.sub(lambda found: safe.get(found[1], found[0]), template)


def places(template: str) -> set[str]:
    """The names of the places of a template."""
    return set(_PLACE.findall(template))


def as_response(prompt: str, text: str) -> str:
    """A written text as a response to a prompt.

    What answers a chat has no space around it; what goes on after a plain text that does not end in
    white space begins with a space, as its own responses do.
    """
    bare = text.strip()
    if isinstance(prompt, ChatPrompt) or not prompt or prompt[-1].isspace():
        return bare
    return f" {bare}" if bare else ""


def turns_of(prompt: str) -> list[dict[str, str]] | None:
    """The turns of a chat as JSON; None for a plain text."""
    if not isinstance(prompt, ChatPrompt):
        return None
    return [{"role": one.role, "content": one.content} for one in prompt.messages]


def chat_of(turns: Sequence[dict[str, str]]) -> ChatPrompt:
    """The chat that `turns_of` wrote."""
    return ChatPrompt([Message(one["role"], one["content"]) for one in turns])
