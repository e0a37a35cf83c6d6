"""What a format is: how its rows look, what they are read into, and what it can carry."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from assent.formats.records import (
    AnyRecord,
    ComparisonRecord,
    Problem,
    RankingRecord,
    Record,
)
from assent.formats.rows import Row, RowRefused

Cells = Mapping[str, Any]
NewRow = dict[str, Any]
"""A row about to be written: a cell for each column that it has."""

Rows = Iterable[Row]
Outcome = Iterator[AnyRecord | Problem]


@dataclass(slots=True)
class Tally:
    """What writing a format loses: `lost` from records that are written, `left_out` whole ones."""

    lost: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    rows: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One format of files, to read and, where `takes` names records, to write."""

    name: str
    title: str
    columns: Mapping[str, str]
    """Every column that is read, with its meaning."""
    fits: Callable[[Cells], bool]
    """Whether a row has this format's columns, by their names and types."""
    looks: Callable[[Cells], bool] = lambda _: True
    """Whether a row also has this format's own marks, where another format has its columns."""
    gives: tuple[type[Record], ...]
    read: Callable[[Rows], Outcome]
    takes: tuple[type[Record], ...] = ()
    carries: frozenset[str] = frozenset()
    """Fields of records that have a place in a row, beside prompt, responses and verdict."""
    write: Callable[[Iterable[AnyRecord], Tally], Iterator[NewRow]] | None = None
    blanks: Mapping[str, Any] = field(default_factory=dict)
    """What a row holds in a column that only other rows say something in, where not null."""
    order_is_shown: bool = False
    """Whether rows name two responses in the order shown; else their order says who won."""


def each_row(
    read_row: Callable[[Row], AnyRecord | Iterable[AnyRecord]],
) -> Callable[[Rows], Outcome]:
    """A reader of a file from a reader of one row, whose refusals become problems."""

    def read(rows: Rows) -> Outcome:
        for row in rows:
            try:
                got = read_row(row)
                yield from (got,) if isinstance(got, Record) else got
            except RowRefused as refused:
                yield row.problem(refused.reason, refused.detail)

    return read


def each_record(
    write_record: Callable[[AnyRecord, Tally], Iterable[NewRow]],
) -> Callable[[Iterable[AnyRecord], Tally], Iterator[NewRow]]:
    """A writer of a file from a writer of one record."""

    def write(records: Iterable[AnyRecord], tally: Tally) -> Iterator[NewRow]:
        for record in records:
            yield from write_record(record, tally)

    return write


def text_columns(*columns: str) -> Callable[[Cells], bool]:
    """A row fits where these columns hold text."""

    def fits(cells: Cells) -> bool:
        return all(isinstance(cells.get(column), str) for column in columns)

    return fits


def said_of(row: Row, *, kept: tuple[str, ...] = ()) -> dict[str, Any]:
    """The fields of a record that a row may say in columns of their own."""
    kind = row.get("kind")
    return {
        "source": row.name("source") or "",
        "split": row.split_named() or row.split,
        "group": row.name("group") or "",
        "kind": kind if kind in ("plain", "few_shot", "user") else None,
        "meta": row.kept(*kept),
    }


SAID = ("annotator", "source", "split", "group", "kind")
"""Fields that formats without strict columns carry in columns of their own."""

SAID_COLUMNS = {
    "annotator": "who judged or wrote it",
    "source": "the data set that the prompt is from",
    "split": "train, validation or test",
    "group": "prompts that belong into one split",
    "kind": "plain, few_shot or user",
}


SAID_BLANKS = dict.fromkeys((*SAID, "note"), "")
"""Text, so that tools that infer a column's type from the first rows find it to be text."""


def saying(record: AnyRecord) -> NewRow:
    """Those columns of a record, where it says anything in them."""
    fields = {name: getattr(record, name, None) for name in SAID}
    return {name: value for name, value in fields.items() if value}


def as_comparisons(ranking: RankingRecord) -> Iterator[ComparisonRecord]:
    """Every pair of a ranking as a comparison, better response first, ties included."""
    order = sorted(range(len(ranking.responses)), key=lambda at: ranking.ranks[at])
    for position, better in enumerate(order):
        for worse in order[position + 1 :]:
            yield ComparisonRecord(
                prompt=ranking.prompt,
                responses=(ranking.responses[better], ranking.responses[worse]),
                verdict="tie" if ranking.ranks[better] == ranking.ranks[worse] else "first",
                annotator=ranking.annotator,
                kind=ranking.kind,
                source=ranking.source,
                split=ranking.split,
                group=ranking.group,
                meta=ranking.meta,
                where=ranking.where,
            )


def comparisons_of(record: AnyRecord, tally: Tally) -> Iterator[ComparisonRecord]:
    """A comparison itself, or the pairs of a ranking, which is counted as lost."""
    if isinstance(record, ComparisonRecord):
        yield record
    elif isinstance(record, RankingRecord):
        tally.lost["ranking (written as its pairs)"] += 1
        yield from as_comparisons(record)


def winner_first(record: ComparisonRecord, tally: Tally) -> tuple[str, str] | None:
    """Chosen and rejected; None, and counted, where nothing won."""
    if record.verdict == "first":
        return record.responses
    if record.verdict == "second":
        return record.responses[1], record.responses[0]
    tally.left_out[UNDECIDED[record.verdict]] += 1
    return None


UNDECIDED = {
    "tie": "tie (no place for it)",
    "both_bad": "both bad (no place for it)",
    "cannot_judge": "cannot judge (no place for it)",
}
