"""Where an imported prompt goes: its split, kind, source and group.

A prompt never straddles train, validation and test: one that the project knows, or whose group it
knows, stays in its split, whatever a file says. The others are placed by a hash of their group, so
the same file is parted alike in every project, however its rows are ordered.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from assent.formats import Record
from assent.store import StoredPrompt
from assent.types import ChatPrompt, Prompt, PromptKind, Split

SHARES: Final[tuple[tuple[Split, float], ...]] = (
    ("train", 0.9),
    ("validation", 0.05),
    ("test", 0.05),
)
"""Of the groups, where neither the file nor the command says."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A prompt to store, and whether the project, or the file before, had it already."""

    prompt: Prompt
    is_known: bool
    stays: bool = False
    """Whether it stays in a split other than the one asked for."""


class Placement:
    """Gives each prompt its place, and remembers it."""

    def __init__(
        self,
        stored: Iterable[StoredPrompt],
        *,
        source: str,
        split: Split | None = None,
        kind: PromptKind | None = None,
    ) -> None:
        self._source, self._split, self._kind = source, split, kind
        self._prompts: dict[bytes, Prompt] = {}
        self._splits: dict[bytes, Split] = {}
        for one in stored:
            self._remember(
                Prompt(
                    text=one.text,
                    kind=one.kind,
                    source=one.source,
                    split=one.split,
                    group=one.group,
                )
            )

    def place(self, record: Record) -> Placed:
        """The prompt of a record, as it is stored or is to be."""
        source = record.source or self._source
        asked = self._split or record.split
        known = self._prompts.get(_identity(record.prompt, source))
        if known is not None:
            return Placed(known, is_known=True, stays=asked not in (None, known.split))
        group = record.group or default_group(record.prompt)
        before = self._splits.get(_said(record.prompt)) or self._splits.get(_of_group(group))
        prompt = Prompt(
            text=record.prompt,
            kind=self._kind or record.kind or "plain",
            source=source,
            split=before or asked or split_of(group or record.prompt),
            group=group,
        )
        self._remember(prompt)
        return Placed(prompt, is_known=False, stays=asked not in (None, prompt.split))

    def _remember(self, prompt: Prompt) -> None:
        self._prompts[_identity(prompt.text, prompt.source)] = prompt
        self._splits.setdefault(_said(prompt.text), prompt.split)
        if prompt.group:
            self._splits.setdefault(_of_group(prompt.group), prompt.split)


def default_group(prompt: str) -> str:
    """Chats that begin alike belong together; a plain text is its own group, which needs no name.

    The files of dialogues hold many that are the continuation of another.
    """
    if not isinstance(prompt, ChatPrompt):
        return ""
    opening = next((one.content for one in prompt.messages if one.role == "user"), "")
    return f"chat-{hashlib.sha256(opening.encode()).hexdigest()[:16]}"


def split_of(group: str) -> Split:
    """The split that a group falls into by its hash alone, with the probabilities in `SHARES`."""
    digest = hashlib.sha256(b"split\0" + group.encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    for split, share in SHARES:
        place -= share
        if place < 0:
            return split
    return SHARES[-1][0]


def _identity(prompt: str, source: str) -> bytes:
    turns = prompt.messages if isinstance(prompt, ChatPrompt) else ()
    said = "\0".join((source, prompt, *(part for one in turns for part in (one.role, one.content))))
    return hashlib.blake2b(said.encode(), digest_size=16).digest()


def _said(prompt: str) -> bytes:
    return hashlib.blake2b(b"text\0" + prompt.encode(), digest_size=16).digest()


def _of_group(group: str) -> bytes:
    return hashlib.blake2b(b"group\0" + group.encode(), digest_size=16).digest()
