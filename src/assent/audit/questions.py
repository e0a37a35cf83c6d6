"""What an audit asks of a model: items, questions about them, and the replies.

An item is the unit of analysis. Its questions are asked in turns, so that a later one may quote an
earlier reply. A question asks for samples, or for the log-probabilities of given answers; nothing
here knows which model answers.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from assent.errors import DataError
from assent.store.identity import canonical_json, sha256_hex

Role = Literal["model", "base"]
"""Who is asked: the model that is audited, or the base model it was made from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Ask for responses, drawn from the whole distribution."""

    count: int
    temperature: float = 1.0
    max_new_tokens: int = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Logprobs:
    """Ask for the log-probability of each of the question's answers."""

    temperature: float = 1.0
    ends: bool = True
    """Count the end of the response too. Without it an answer stands for all that begin with it,
    so no answer may be the beginning of another."""


Ask = Samples | Logprobs


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One thing to ask; `answers` are for log-probabilities only."""

    prompt: str
    ask: Ask
    answers: tuple[str, ...] = ()
    role: Role = "model"

    def as_dict(self) -> dict[str, Any]:
        """As plain values."""
        kind = "samples" if isinstance(self.ask, Samples) else "logprobs"
        return {
            "role": self.role,
            "prompt": self.prompt,
            "answers": list(self.answers),
            "ask": {"kind": kind, **asdict(self.ask)},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back: one entry a sample, or one an answer."""

    texts: tuple[str, ...]
    """The samples, or the answers as they were given."""
    logprobs: tuple[float, ...]
    """Of each whole text, in nats."""
    tokens: tuple[int, ...]
    """How many tokens each text has, its end included where that was counted."""
    finished: tuple[bool, ...]
    """False where a sample was cut off."""

    def as_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {name: list(getattr(self, name)) for name in self.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One unit of analysis."""

    id: str
    """Its name within the audit; the same for every model, so that models are compared by it."""
    data: Mapping[str, Any]
    """All that the audit needs to ask and to score it, as JSON."""
    cluster: str = ""
    """Items that hang together (one fact, one template) share it; its own if empty."""
    stratum: str = "all"
    """The kind of item, where the design fixes how many there are of each."""
    digest: str = field(init=False, default="")
    """Hash of the data: equal for exact repeats."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", sha256_hex(canonical_json(dict(self.data))))
        if not self.cluster:
            object.__setattr__(self, "cluster", self.id)


def require_items(audit: str, items: Sequence[Item]) -> tuple[list[Item], int]:
    """The items without exact repeats, and how many repeats were left out.

    Raises:
        DataError: there is no item, or two items share an id.
    """
    if not items:
        message = f"audit {audit} has no items"
        raise DataError(message)
    twice = [name for name, count in Counter(item.id for item in items).items() if count > 1]
    if twice:
        message = f"audit {audit}: two items are called {twice[0]!r}; give each its own id"
        raise DataError(message)
    torn: dict[str, str] = {}
    for item in items:
        if torn.setdefault(item.cluster, item.stratum) != item.stratum:
            message = f"audit {audit}: cluster {item.cluster!r} has items in two strata"
            raise DataError(message)
    kept: dict[str, Item] = {}
    for item in items:
        kept.setdefault(item.digest, item)
    return list(kept.values()), len(items) - len(kept)


def require_question(item: Item, question: Question) -> None:
    """Refuse a question whose replies could not be told apart or counted.

    Raises:
        DataError: an empty prompt; no answers, an empty one, two equal ones, or one that is the
            beginning of another while ends are not counted.
    """
    where = f"item {item.id!r}"
    if not question.prompt:
        message = f"{where}: the prompt is empty"
        raise DataError(message)
    if isinstance(question.ask, Samples):
        return
    answers = question.answers
    if not answers:
        message = f"{where}: log-probabilities are asked for, but there are no answers"
        raise DataError(message)
    for number, answer in enumerate(answers):
        if not answer.strip():
            message = f"{where}: answer {number + 1} is empty"
            raise DataError(message)
        for other in range(len(answers)):
            if other == number:
                continue
            if answers[other] == answer:
                message = f"{where}: answer {answer!r} is there twice"
                raise DataError(message)
            if not question.ask.ends and answers[other].startswith(answer):
                message = (
                    f"{where}: answer {answer!r} is the beginning of {answers[other]!r}; count the "
                    "ends, or give answers that differ from their first word on"
                )
                raise DataError(message)
