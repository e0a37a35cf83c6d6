"""What the API takes besides answers: strict types, no unknown fields."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from assent.store import Role, TaskKind

Text = Annotated[str, StringConstraints(min_length=1, max_length=100_000)]


class Body(BaseModel):
    """Base of all bodies."""

    model_config = ConfigDict(strict=True, extra="forbid", use_attribute_docstrings=True)


class Nothing(Body):
    """An empty object."""


class ClaimBody(Body):
    """Which task is wanted."""

    kinds: Annotated[list[TaskKind], Field(min_length=1, max_length=4)] | None = None
    """Kinds to choose from; all if null."""
    exclude: Annotated[
        list[Annotated[str, StringConstraints(max_length=64)]], Field(max_length=100)
    ] = []
    """Leases already on a screen."""


class SkipBody(Body):
    """Why a task is given away."""

    reason: Annotated[str, StringConstraints(min_length=1, max_length=32)]


class PasswordBody(Body):
    """A new password."""

    old: Annotated[str, StringConstraints(max_length=1_000)] | None = None
    """The one so far; null when there is none."""
    new: Annotated[str, StringConstraints(max_length=1_000)]


class PersonBody(Body):
    """Somebody to let in."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    role: Role


class RoleBody(Body):
    """What somebody may do from now on."""

    role: Role


class GuidelinesBody(Body):
    """New guidelines."""

    text: Annotated[str, StringConstraints(max_length=200_000)]
    based_on: Annotated[int, Field(ge=0, le=1_000_000_000)]
    """The version that was edited."""


class TasksBody(Body):
    """Tasks to make."""

    kind: TaskKind
    count: Annotated[int, Field(ge=1, le=100_000)] = 50
    overlap: Annotated[int, Field(ge=1, le=99)] | None = None
    """Answers that count for each; the project's own if null."""
    size: Annotated[int, Field(ge=2, le=9)] = 4
    """Responses to a ranking."""
    round: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """Of the comparisons; the newest if null."""


Overlap = Annotated[int, Field(ge=1, le=99)]


class OverlapBody(Body):
    """How many people's answers count for a task."""

    overlap: Overlap


class KindOverlapBody(OverlapBody):
    """How many people's answers count for each task of a kind."""

    kind: TaskKind


class CheckBody(Body):
    """A comparison whose answer is known."""

    prompt: Text
    better: Text
    worse: Text
    why: Annotated[str, StringConstraints(max_length=4_000)] = ""


class CheckFileBody(Body):
    """A file of check items."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    """What the file is called; its ending says how it is written: .jsonl, .json or .csv."""
    text: Annotated[str, StringConstraints(min_length=1, max_length=1_000_000)]


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    type: Literal["about:blank"]
    title: str
    status: int
    detail: str
    errors: list[dict[str, str]] = []
