"""Statements that every table needs: which ids exist, and adding the rows that do not.

Rows are added in the order given; those already there are left as they are, so writing again
after a crash is safe. Call inside a writing transaction: nobody else can write in between.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

from sqlalchemy import Connection, Row, Select, Table, func, insert, select

from assent.errors import StoreDamaged, UnknownRecord
from assent.types import ChatPrompt, Message

AnyRow = Row[*tuple[Any, ...]]
AnySelect = Select[*tuple[Any, ...]]

_CHUNK = 1000  # SQLite allows 32,766 variables in a statement; short ones are cached
_BLOCK = 5000


def chunks(ids: Collection[str]) -> Iterator[list[str]]:
    """The ids without repetition, in order, in lists short enough for one statement."""
    unique = list(dict.fromkeys(ids))
    for start in range(0, len(unique), _CHUNK):
        yield unique[start : start + _CHUNK]


def existing(connection: Connection, table: Table, ids: Collection[str]) -> set[str]:
    """Those of `ids` that have a row."""
    found: set[str] = set()
    for chunk in chunks(ids):
        found.update(connection.scalars(select(table.c.id).where(table.c.id.in_(chunk))))
    return found


def require(connection: Connection, table: Table, ids: Iterable[str | None]) -> None:
    """Refuse ids without a row; None stands for "none" and passes.

    Raises:
        UnknownRecord: names the first id that has no row.
    """
    wanted = list(dict.fromkeys(id_ for id_ in ids if id_ is not None))
    found = existing(connection, table, wanted)
    for id_ in wanted:
        if id_ not in found:
            message = f"{table.name} has no record {id_}"
            raise UnknownRecord(message)


def add_missing(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], created_at: str
) -> list[str]:
    """Add the rows whose id is new, with their position and time; return every row's id."""
    ids = [str(row["id"]) for row in rows]
    known = existing(connection, table, ids)
    position = connection.scalar(select(func.max(table.c.position))) or 0
    fresh: list[dict[str, Any]] = []
    for row in rows:
        if row["id"] in known:
            continue
        known.add(row["id"])
        position += 1
        fresh.append({**row, "position": position, "created_at": created_at})
    if fresh:
        connection.execute(insert(table), fresh)
    return ids


def in_order(connection: Connection, query: AnySelect) -> Iterator[Sequence[AnyRow]]:
    """The rows of a query in blocks, so that a million of them need little memory."""
    result = connection.execute(query, execution_options={"yield_per": _BLOCK})
    yield from result.partitions()


def by_name(row: AnyRow) -> Mapping[str, Any]:
    """A row's values by column name, without copying them."""
    return cast("Mapping[str, Any]", row._mapping)


def prompt_text(text: str, messages: str | None) -> str:
    """A prompt from its two columns: a `ChatPrompt` where it has turns."""
    if messages is None:
        return text
    return ChatPrompt([Message(one["role"], one["content"]) for one in json.loads(messages)])


def parsed_ids(text: str) -> tuple[str, ...]:
    """The ids in a column that holds a JSON list of them.

    Raises:
        StoreDamaged: it holds something else.
    """
    try:
        ids: list[str] = json.loads(text)
    except ValueError as error:
        message = f"a response set names its responses as {text[:40]!r}, which is no JSON list"
        raise StoreDamaged(message) from error
    return tuple(ids)


def parsed_object(text: str) -> dict[str, Any]:
    """A JSON object from a column that holds nothing else."""
    value: dict[str, Any] = json.loads(text)
    return value
