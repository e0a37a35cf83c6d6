"""Reading a file: its records one by one, and what is in it as a whole."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from assent.formats.catalogue import Detected, detect, other_format
from assent.formats.containers import FileKind, open_rows
from assent.formats.format import Format
from assent.formats.own import NAMES
from assent.formats.records import AnyRecord, ComparisonRecord, Problem
from assent.formats.rows import Row

_SHOWN = 3
_MISFITS = ("column missing", "wrong type")


@dataclass(frozen=True, slots=True)
class Dropped:
    """Rows, or parts of rows, that give no record for one reason."""

    reason: str
    count: int
    first: tuple[Problem, ...]
    """Up to three of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What a file holds."""

    path: str
    kind: FileKind
    is_gzipped: bool
    format: str
    title: str
    confidence: float
    why: tuple[str, ...]
    mapping: Mapping[str, str]
    """The columns that are there and read, each with its meaning."""
    unread: tuple[str, ...]
    """The columns that are there and not read."""
    rows: int
    counts: Mapping[str, int]
    """Records by type."""
    verdicts: Mapping[str, int]
    """Comparisons by verdict."""
    annotators: int
    """How many are named."""
    dropped: tuple[Dropped, ...]
    examples: tuple[AnyRecord, ...]
    """The first three records."""


class _Watched:
    """Rows on their way to a format, seen as they pass; problems are put aside."""

    def __init__(self, rows: Iterator[Row | Problem]) -> None:
        self._rows = rows
        self.count = 0
        self.columns: dict[str, None] = {}
        self.last: Row | None = None
        self.problems: list[Problem] = []

    def __iter__(self) -> Iterator[Row]:
        for row in self._rows:
            self.count += 1
            if isinstance(row, Problem):
                self.problems.append(row)
                continue
            self.last = row
            if not row.cells.keys() <= self.columns.keys():
                self.columns.update(dict.fromkeys(row.cells))
            yield row

    def waiting(self) -> Iterator[Problem]:
        """The problems since the last time."""
        problems, self.problems = self.problems, []
        yield from problems


def read_file(path: Path, format_name: str | None = None) -> Iterator[AnyRecord | Problem]:
    """The records of a file, one at a time, and a problem for each row that gives none.

    Args:
        path: a file, or a folder that `save_to_disk` wrote.
        format_name: its format; without one it is told from the first rows.

    Raises:
        UnreadableFile: at once, or while reading where the file breaks off.
        UnknownFormat: at once.
    """
    return _read(_Watched(open_rows(path).rows), detect(path, format_name).format)


def _read(watched: _Watched, of: Format) -> Iterator[AnyRecord | Problem]:
    for outcome in of.read(watched):
        yield from watched.waiting()
        is_misfit = isinstance(outcome, Problem) and outcome.reason in _MISFITS
        yield _explained(outcome, watched.last, of) if is_misfit else outcome  # type: ignore[arg-type]
    yield from watched.waiting()


def _explained(problem: Problem, row: Row | None, of: Format) -> Problem:
    """A row that lacks a column may be one of another format."""
    if row is None or row.where != problem.where or not (other := other_format(row.cells, of)):
        return problem
    detail = (
        f"{problem.detail}; the row has the columns of {other.name} and the file is read as "
        f"{of.name}: split it"
    )
    return replace(problem, reason="another format", detail=detail)


def inspect_file(path: Path, format_name: str | None = None) -> Inspection:
    """Everything about a file that a user wants to know before importing it: reads it once.

    Raises:
        UnreadableFile: it is missing, empty or broken.
        UnknownFormat: no format has its columns, or none has this name.
    """
    found = detect(path, format_name)
    watched = _Watched(open_rows(path).rows)
    counts: Counter[str] = Counter()
    verdicts: Counter[str] = Counter()
    annotators: set[str] = set()
    dropped: dict[str, list[Problem]] = {}
    drops: Counter[str] = Counter()
    examples: list[AnyRecord] = []
    for outcome in _read(watched, found.format):
        if isinstance(outcome, Problem):
            drops[outcome.reason] += 1
            if len(first := dropped.setdefault(outcome.reason, [])) < _SHOWN:
                first.append(outcome)
            continue
        counts[NAMES[type(outcome)]] += 1
        if isinstance(outcome, ComparisonRecord):
            verdicts[outcome.verdict] += 1
        if annotator := getattr(outcome, "annotator", None):
            annotators.add(annotator)
        if len(examples) < _SHOWN:
            examples.append(outcome)
    return _inspection(
        path, found, watched, counts, verdicts, len(annotators), examples, drops, dropped
    )


def _inspection(
    path: Path,
    found: Detected,
    watched: _Watched,
    counts: Counter[str],
    verdicts: Counter[str],
    annotators: int,
    examples: list[AnyRecord],
    drops: Counter[str],
    dropped: Mapping[str, list[Problem]],
) -> Inspection:
    columns = found.format.columns
    return Inspection(
        path=str(path),
        kind=found.kind,
        is_gzipped=found.is_gzipped,
        format=found.format.name,
        title=found.format.title,
        confidence=found.confidence,
        why=found.why,
        mapping={name: text for name, text in columns.items() if name in watched.columns},
        unread=tuple(name for name in watched.columns if name not in columns),
        rows=watched.count,
        counts=dict(counts),
        verdicts=dict(verdicts),
        annotators=annotators,
        dropped=tuple(
            Dropped(reason, count, tuple(dropped[reason])) for reason, count in drops.most_common()
        ),
        examples=tuple(examples),
    )
