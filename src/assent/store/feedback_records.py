"""Records of feedback on more or less than two responses: rankings, ratings, criticism.

As in `records`, `New…` is handed in and the others are read back. `context` is what else is to be
kept: how it was asked (guideline version, lease …), or what an imported file said besides. It holds
JSON values, which the store keeps and never reads.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Context = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewResponseSet:
    """Two to nine responses to one prompt, to be ranked; `index` tells a set asked again apart."""

    prompt_id: str
    response_ids: tuple[str, ...]
    """In the order stored; the order shown is the asker's."""
    purpose: str = "reward"
    round: int = 0
    index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResponseSet:
    """A set of responses with everything an annotator needs to see."""

    id: str
    prompt_id: str
    prompt: str
    response_ids: tuple[str, ...]
    responses: tuple[str, ...]
    """Texts, in the order of `response_ids`."""
    purpose: str
    round: int
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRanking:
    """The order of a whole response set; an annotator has one that stands."""

    response_set_id: str
    annotator_id: str
    ranks: Mapping[str, int]
    """Response id to rank: 0 is best, ties share one, and none is left out (0, 1, 1, 2)."""
    idempotency_key: str
    flags: tuple[str, ...] = ()
    note: str | None = None
    seconds_spent: float | None = None
    context: Context = field(default_factory=dict)
    supersedes: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRating:
    """A number on each of some named axes for one response; an annotator has one that stands.

    Thumbs are a rating on the axis `good`: 1 is up, 0 is down.
    """

    response_id: str
    annotator_id: str
    axes: Mapping[str, float]
    idempotency_key: str
    lowest: float | None = None
    """The worst value of the scale, where it is known."""
    highest: float | None = None
    """The best value of the scale, where it is known."""
    flags: tuple[str, ...] = ()
    note: str | None = None
    seconds_spent: float | None = None
    context: Context = field(default_factory=dict)
    supersedes: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCriticism:
    """What an annotator wrote about a response and, it may be, a better response in its place."""

    response_id: str
    annotator_id: str
    text: str
    idempotency_key: str
    refinement: str | None = None
    """The text of the better response; it is stored as a response of origin `edit`."""
    seconds_spent: float | None = None
    context: Context = field(default_factory=dict)
    supersedes: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedRanking:
    """A ranking that stands, with the texts it is about."""

    event_id: str
    seq: int
    response_set_id: str
    annotator_id: str
    prompt_id: str
    prompt: str
    response_ids: tuple[str, ...]
    responses: tuple[str, ...]
    ranks: tuple[int, ...]
    """In the order of `responses`; 0 is best, equal ranks are ties."""
    flags: tuple[str, ...]
    note: str | None
    context: Context
    round: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRating:
    """A rating that stands, with the texts it is about."""

    event_id: str
    seq: int
    annotator_id: str
    prompt_id: str
    prompt: str
    response_id: str
    response: str
    axes: Mapping[str, float]
    lowest: float | None
    highest: float | None
    flags: tuple[str, ...]
    note: str | None
    context: Context


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCriticism:
    """A criticism that stands, with the texts it is about."""

    event_id: str
    seq: int
    annotator_id: str
    prompt_id: str
    prompt: str
    response_id: str
    response: str
    text: str
    refinement_id: str | None
    refinement: str | None
    context: Context
