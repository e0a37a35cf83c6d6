"""Comparing and making records of files: what the tests of formats share."""

from collections.abc import Iterable
from pathlib import Path

from assent.formats import AnyRecord, Problem, read_file
from assent.types import ChatPrompt, Message


def chat(*turns: str) -> ChatPrompt:
    """`"user: Hello"` and the like as a chat."""
    pairs = (turn.partition(": ") for turn in turns)
    return ChatPrompt([Message(role, content) for role, _, content in pairs])


def exact(records: Iterable[AnyRecord | Problem]) -> list[object]:
    """Records to compare: a chat is not the text that reads the same."""
    return [
        record if isinstance(record, Problem) else (record, turns(record.prompt))
        for record in records
    ]


def turns(prompt: str) -> tuple[Message, ...] | None:
    return prompt.messages if isinstance(prompt, ChatPrompt) else None


def records_of(path: Path, format_name: str | None = None) -> list[AnyRecord]:
    """Everything in a file, none of it a problem."""
    outcomes = list(read_file(path, format_name))
    problems = [one for one in outcomes if isinstance(one, Problem)]
    assert problems == []
    return [one for one in outcomes if not isinstance(one, Problem)]
