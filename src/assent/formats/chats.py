"""Chats in files: lists of turns under several names, and the dialogue text of hh-rlhf.

The roles of other projects become ours (`human` is `user`, `gpt` is `assistant` …). A response is
the last turn of a chat and everything before it is the prompt; earlier turns of the assistant stay
in the prompt.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from assent.formats.rows import Row, RowRefused, missing, response_of, unpacked, wrong_type
from assent.types import ChatPrompt, Message

ROLES: Final[Mapping[str, str]] = {
    "system": "system",
    "developer": "developer",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bard": "assistant",
    "bing": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
}
"""Who speaks, by every name that the formats use."""

_MARK = re.compile(r"\n\n(Human|Assistant): ?")
_SPOKEN = {"user": "\n\nHuman: ", "assistant": "\n\nAssistant: "}


def is_chat(cell: object) -> bool:
    """Whether a cell is a list of turns, by its shape alone."""
    value = unpacked(cell)
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(turn, Mapping)
            and (("role" in turn and "content" in turn) or ("from" in turn and "value" in turn))
            for turn in value
        )
    )


def turns_of(cell: object, column: str) -> tuple[Message, ...]:
    """The turns that a cell holds, `role` and `content` or `from` and `value`."""
    value = unpacked(cell)
    if value is None or value == "":
        raise missing(column)
    if not isinstance(value, list):
        raise wrong_type(column, value, "a list of turns")
    return tuple(_turn(turn, f"{column}[{at}]") for at, turn in enumerate(value))


def _turn(turn: object, where: str) -> Message:
    if not isinstance(turn, Mapping):
        raise wrong_type(where, turn, "a turn with role and content")
    role = turn.get("role", turn.get("from"))
    if turn.get("tool_calls") or turn.get("function_call"):
        raise RowRefused(
            reason="tool calls", detail=f"{where} calls a tool, which a text response cannot hold"
        )
    known = ROLES.get(role.lower()) if isinstance(role, str) else None
    if known is None:
        raise RowRefused(
            reason="unknown role",
            detail=f"{where} has the role {role!r}; use system, user or assistant",
        )
    content = turn.get("content", turn.get("value"))
    return Message(known, _text(content, where))


def _text(content: object, where: str) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [
            block.get("text")
            if isinstance(block, Mapping) and block.get("type") == "text"
            else None
            for block in content
        ]
        texts = [part for part in parts if isinstance(part, str)]
        if texts and len(texts) == len(parts):
            return "".join(texts)
        raise RowRefused(
            reason="not text", detail=f"{where} holds something other than text, such as an image"
        )
    place = f"{where}.content"
    raise wrong_type(place, content, "text")


def chat_prompt(turns: Sequence[Message], column: str) -> ChatPrompt:
    """Turns as a prompt, refused where nothing is asked."""
    if not any(turn.content.strip() for turn in turns):
        raise RowRefused(
            reason="empty prompt", detail=f"column {column} has nothing before the response"
        )
    if turns[-1].role == "assistant":
        raise RowRefused(
            reason="prompt ends with the assistant",
            detail=f"column {column}: it ends with the assistant; end it with the user",
        )
    return ChatPrompt(turns)


def instruction_prompt(text: str, column: str, system: str | None = None) -> ChatPrompt:
    """An instruction to an assistant: one user turn, after a system turn where there is one."""
    before = (Message("system", system),) if system else ()
    if not text.strip():
        raise RowRefused(reason="empty prompt", detail=f"column {column} is an empty prompt")
    return ChatPrompt((*before, Message("user", text)))


def split_last(turns: Sequence[Message], column: str) -> tuple[ChatPrompt, str]:
    """The prompt and the response that a whole chat holds."""
    if not any(turn.role == "assistant" for turn in turns):
        raise RowRefused(
            reason="no assistant turn",
            detail=f"column {column} has no turn of the assistant to learn from",
        )
    if turns[-1].role != "assistant":
        raise RowRefused(
            reason="no assistant turn at the end",
            detail=f"column {column} ends with the {turns[-1].role}, not with the assistant",
        )
    response = response_of(turns[-1].content, column)
    return chat_prompt(turns[:-1], column), response


def prompt_of(row: Row, column: str) -> str:
    """A prompt: text, or a list of turns."""
    cell = row.cells.get(column)
    if is_chat(cell):
        return chat_prompt(turns_of(cell, column), column)
    text = row.text(column)
    if not text.strip():
        raise RowRefused(reason="empty prompt", detail=f"column {column} is an empty prompt")
    return text


def reply_of(row: Row, column: str, prompt: str) -> str:
    """A response: text, or turns of which only the last is new and the assistant's.

    Some files repeat the prompt's turns at the beginning; those are taken off.
    """
    cell = row.cells.get(column)
    if not is_chat(cell):
        return response_of(row.text(column), column)
    turns = turns_of(cell, column)
    before = prompt.messages if isinstance(prompt, ChatPrompt) else (Message("user", prompt),)
    if len(turns) > len(before) and turns[: len(before)] == before:
        turns = turns[len(before) :]
    return only_turn(turns, column)


def only_turn(turns: Sequence[Message], column: str) -> str:
    """The one turn of the assistant that is a response."""
    if not turns or turns[-1].role != "assistant":
        raise RowRefused(
            reason="no assistant turn at the end",
            detail=f"column {column} does not end with the assistant",
        )
    if len(turns) > 1:
        raise RowRefused(
            reason="more than one turn in a response",
            detail=f"column {column} has {len(turns)} turns after the prompt, not one",
        )
    return response_of(turns[0].content, column)


def as_turns(prompt: str) -> tuple[Message, ...]:
    """A prompt as turns; plain text is one turn of the user."""
    return prompt.messages if isinstance(prompt, ChatPrompt) else (Message("user", prompt),)


def as_json(turns: Sequence[Message]) -> list[dict[str, Any]]:
    """Turns as most formats write them."""
    return [{"role": turn.role, "content": turn.content} for turn in turns]


def dialogue_turns(text: str, column: str) -> tuple[Message, ...]:
    r"""The turns of `\n\nHuman: …\n\nAssistant: …`; text before the first mark is a system turn."""
    parts = _MARK.split(text)
    if len(parts) == 1:
        raise RowRefused(
            reason="no dialogue",
            detail=rf"column {column} has no \n\nHuman: and \n\nAssistant: turns",
        )
    before = (Message("system", parts[0]),) if parts[0].strip() else ()
    spoken = zip(parts[1::2], parts[2::2], strict=True)
    return (*before, *(Message(ROLES[who.lower()], said) for who, said in spoken))


def dialogue_text(turns: Sequence[Message]) -> str | None:
    """Turns as that text, or None where they would not be read back as they are."""
    if not any(turn.role in _SPOKEN for turn in turns):
        return None
    text = "".join(_SPOKEN.get(turn.role, "") + turn.content for turn in turns)
    return text if dialogue_turns(text, "") == tuple(turns) else None
