"""What every format reads into and writes from: frozen records without behaviour.

A prompt is plain text, which a model continues as it stands, or a `types.ChatPrompt`, which keeps
its turns until a model's own template renders them. Texts are kept as they are given. What a file
does not say is None, or empty. A record knows the file and the row that it came from.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from assent.types import PromptKind, Split, Verdict

STRENGTHS = (1, 2, 3, 4)
"""How clearly the winner won, from barely to much: the steps that the store keeps."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record came from.

    Rows count from 1: lines in JSON lines, items in a JSON array, and records below the header in
    CSV and tables. A record that several rows make has the place of its last row.
    """

    file: str = ""
    row: int = 0

    def __str__(self) -> str:
        """As a person looks it up: `data.jsonl, row 7`."""
        return f"{self.file}, row {self.row}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What all records have: the prompt, and what the file says about it."""

    prompt: str
    """A `ChatPrompt` for a chat."""
    kind: PromptKind | None = None
    source: str = ""
    """The data set or tool that the prompt is from, where a row names one."""
    split: Split | None = None
    group: str = ""
    """Prompts with one group (a tree, an article) belong into one split."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """Columns kept for the way back, as JSON values: ids, models, scores."""
    where: Place = field(default=Place(), compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptRecord(Record):
    """A prompt to sample responses for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemonstrationRecord(Record):
    """A response that somebody wrote for a prompt."""

    response: str
    annotator: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonRecord(Record):
    """Two responses and what came back; `first` and `second` are the order in the file."""

    responses: tuple[str, str]
    verdict: Verdict
    strength: int | None = None
    """How clearly the winner won: 1 (barely) to 4 (much), as in the store."""
    margin: float | None = None
    """The winner's lead in the units of the file, where it is not such a strength."""
    confidence: float | None = None
    """How sure the annotator was, on the file's own scale."""
    annotator: str | None = None
    note: str | None = None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RankingRecord(Record):
    """Two or more responses in order; `ranks` are 0 for the best, and equal for a tie."""

    responses: tuple[str, ...]
    ranks: tuple[int, ...]
    annotator: str | None = None
    note: str | None = None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RatingRecord(Record):
    """Scores of one response, one an axis, on the file's own scale; larger is more of the axis."""

    response: str
    axes: Mapping[str, float]
    annotator: str | None = None
    note: str | None = None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UnpairedRecord(Record):
    """Thumbs up or down for one response."""

    response: str
    good: bool
    annotator: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackRecord(Record):
    """What somebody wrote about a response, and the response as it should have been."""

    response: str
    criticism: str
    refinement: str | None = None
    annotator: str | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """A row, or a part of one, that gives no record."""

    where: Place
    reason: str
    """A few words that are the same for every row with this fault: what is counted."""
    detail: str
    """One line: what is wrong with this row, which column, and what to do."""

    def __str__(self) -> str:
        """The place and the detail."""
        return f"{self.where}: {self.detail}"


AnyRecord = (
    PromptRecord
    | DemonstrationRecord
    | ComparisonRecord
    | RankingRecord
    | RatingRecord
    | UnpairedRecord
    | FeedbackRecord
)
