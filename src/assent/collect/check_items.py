"""Check items from a file: comparisons whose better side is known, one a row.

A file has the columns `prompt`, `better`, `worse` and, if its author likes, `why`; or it is in any
format that holds comparisons, whose chosen response is then the better one. Either every row
becomes a check item or none does.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from assent.collect.sources import add_check_item, looks
from assent.errors import UnfitRows, UnknownFormat
from assent.formats import ComparisonRecord
from assent.formats.catalogue import SAMPLED
from assent.formats.chats import prompt_of
from assent.formats.containers import open_rows, sample
from assent.formats.format import each_row
from assent.formats.own import NAMES
from assent.formats.reading import read_file
from assent.formats.records import AnyRecord, Place, Problem
from assent.formats.rows import Row, response_of
from assent.store import Store
from assent.types import Progress, SilentProgress

COLUMNS: Final = ("prompt", "better", "worse", "why")
_NAMED: Final = 10
"""Rows that a refusal names; it counts the others."""
_SIDES: Final = {"first": 0, "second": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRow:
    """A row that can be a check item."""

    prompt: str
    """A `ChatPrompt` for a chat."""
    better: str
    worse: str
    why: str
    where: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedChecks:
    """What importing a file of check items came to."""

    added: int
    known: int
    """Rows that were check items already, or that the file says twice."""


def import_check_items(
    store: Store,
    path: Path,
    *,
    format_name: str | None = None,
    author: str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> ImportedChecks:
    """Make every row of a file a check item; the same file again adds nothing.

    The file is read and checked whole before anything is written. An import that was killed in the
    middle is finished by running it again.

    Args:
        store: of the project.
        path: jsonl, json or csv, each also gz; parquet; a folder that `save_to_disk` wrote.
        format_name: a format of comparisons; without one the columns above, or what is detected.
        author: the annotator id of whoever knows the answers, if somebody does.
        seed: of the project; which side is stored first is drawn from it.
        progress: shows the rows.

    Raises:
        UnreadableFile: it is missing, empty or broken.
        UnknownFormat: it has neither the columns above nor those of a format.
        UnfitRows: rows that have no better side, lack a text, or contradict another check item;
            each is named, and nothing was written.
    """
    rows, problems = read_check_rows(path, format_name)
    contradictions = _contradictions(store, rows)
    if problems or contradictions:
        raise unfit(path.name, [*problems, *contradictions], len(rows) + len(problems))
    with store.work.look() as view:
        before = {one.task_id for one in view.checks()}
    seen: set[str] = set()
    with (progress or SilentProgress()).task(f"check items of {path.name}", len(rows)) as bar:
        for row in rows:
            task = add_check_item(
                store,
                prompt=row.prompt,
                better=row.better,
                worse=row.worse,
                why=row.why,
                author=author,
                seed=seed,
            )
            seen.add(task)
            bar.advance()
    added = len(seen - before)
    return ImportedChecks(added=added, known=len(rows) - added)


def read_check_rows(
    path: Path, format_name: str | None = None
) -> tuple[list[CheckRow], list[Problem]]:
    """The rows of a file that can be check items, and what is wrong with the others.

    Raises:
        UnreadableFile: it is missing, empty or broken.
        UnknownFormat: it has neither the columns of check items nor those of a format.
    """
    _, _, first = sample(path, SAMPLED)
    if format_name is None and any(
        isinstance(one, Row) and not {"better", "worse"}.isdisjoint(one.cells) for one in first
    ):
        found: Iterable[CheckRow | Problem] = _own_rows(path)
    else:
        found = _records(path, format_name)
    rows: list[CheckRow] = []
    problems: list[Problem] = []
    for one in found:
        if isinstance(one, Problem):
            problems.append(one)
        elif looks(one.better) == looks(one.worse):
            said = "the two responses look the same; nobody could tell which one is better"
            problems.append(Problem(one.where, "identical responses", said))
        else:
            rows.append(one)
    return rows, problems


def unfit(name: str, problems: Sequence[Problem], rows: int) -> UnfitRows:
    """The refusal of a file, which names its first rows that do not fit."""
    ordered = sorted(problems, key=lambda one: one.where.row)
    shown = "; ".join(f"row {one.where.row}: {one.detail}" for one in ordered[:_NAMED])
    more = f"; and {len(ordered) - _NAMED} more" if len(ordered) > _NAMED else ""
    message = (
        f"{name}: {len(ordered)} of {rows} rows cannot be check items, so nothing "
        f"was added: {shown}{more}"
    )
    error = UnfitRows(message)
    error.rows = tuple((f"row {one.where.row}", one.detail) for one in ordered)
    return error


def _own_rows(path: Path) -> Iterator[CheckRow | Problem]:
    """Rows with the columns of check items."""
    problems: list[Problem] = []

    def rows() -> Iterator[Row]:
        for one in open_rows(path).rows:
            if isinstance(one, Problem):
                problems.append(one)
            else:
                yield one

    def read(row: Row) -> AnyRecord:
        why = row.optional_text("why")
        return ComparisonRecord(
            prompt=prompt_of(row, "prompt"),
            responses=(
                response_of(row.text("better"), "better"),
                response_of(row.text("worse"), "worse"),
            ),
            verdict="first",
            note=None if why is None else why.strip(),
            where=row.where,
        )

    for outcome in each_row(read)(rows()):
        yield _check_row(outcome)
    yield from problems


def _records(path: Path, format_name: str | None) -> Iterator[CheckRow | Problem]:
    """Comparisons in any format that has them."""
    try:
        outcomes = read_file(path, format_name)
    except UnknownFormat as error:
        if format_name is not None:
            raise
        message = f"{error}; or to prompt, better, worse and why, the columns of check items"
        raise UnknownFormat(message) from error
    for outcome in outcomes:
        yield _check_row(outcome)


def _check_row(outcome: AnyRecord | Problem) -> CheckRow | Problem:
    if isinstance(outcome, Problem):
        return outcome
    if not isinstance(outcome, ComparisonRecord):
        detail = f"a {NAMES[type(outcome)]} has no better side; check items are comparisons"
        return Problem(outcome.where, "no comparison", detail)
    side = _SIDES.get(outcome.verdict)
    if side is None:
        said = outcome.verdict.replace("_", " ")
        detail = f"its verdict is {said}, so neither side is the better one"
        return Problem(outcome.where, "no better side", detail)
    return CheckRow(
        prompt=outcome.prompt,
        better=outcome.responses[side],
        worse=outcome.responses[1 - side],
        why=outcome.note or "",
        where=outcome.where,
    )


def _contradictions(store: Store, rows: Sequence[CheckRow]) -> list[Problem]:
    """Rows that call the better side worse than another row or a stored check item does."""
    said: dict[tuple[str, str, str], str] = {}
    with store.work.look() as view:
        for one in view.checks():
            better, worse = (
                (one.first, one.second) if one.answer == "first" else (one.second, one.first)
            )
            said[one.prompt, looks(better), looks(worse)] = "a check item of this project"
    found = []
    for row in rows:
        better, worse = looks(row.better), looks(row.worse)
        against = said.get((str(row.prompt), worse, better))
        if against is not None:
            detail = f"says the opposite of {against} about the same two responses"
            found.append(Problem(row.where, "contradiction", detail))
        said.setdefault((str(row.prompt), better, worse), f"row {row.where.row}")
    return found
