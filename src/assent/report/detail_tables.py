"""The tables behind an audit's figures as rows for people: by annotator, by margin, by group ..."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from assent.report.findings import interval, number

SHOWN: Final = 24
"""Rows of each table on the page; the audit's own file has them all."""
DRAWN: Final = frozenset({"points", "causes", "bins", "baselines"})
"""Tables that the page shows as a plot or says in a sentence."""
TEXTS: Final = 4
"""Texts of a cell."""


class DetailTable(NamedTuple):
    """One table, each cell a text."""

    caption: str
    columns: list[str]
    rows: list[list[str]]


def detail_tables(tables: Mapping[str, Any]) -> list[DetailTable]:
    """All lists of rows in what an audit kept beside its figures, wherever they lie in it."""
    return [_table(name, rows, count) for name, rows, count in _lists(tables, "") if rows and count]


def _lists(
    value: Mapping[str, Any], name: str
) -> Iterator[tuple[str, Sequence[Mapping[str, Any]], int]]:
    """Name, rows and how many there are in all; a longer list may be kept in part."""
    for key, one in value.items():
        if key in DRAWN:
            continue
        words = f"{name}: {_words(key)}" if name else _words(key)
        if isinstance(one, list) and one and all(isinstance(row, Mapping) for row in one):
            yield words, one, len(one)
        elif isinstance(one, Mapping) and isinstance(one.get("shown"), list):
            shown = [row for row in one["shown"] if isinstance(row, Mapping)]
            yield words, shown, int(one.get("count", len(shown)))
        elif isinstance(one, Mapping):
            yield from _lists(one, words)


def _table(name: str, rows: Sequence[Mapping[str, Any]], count: int) -> DetailTable:
    merged = [_merged(row) for row in rows[:SHOWN]]
    columns = list(dict.fromkeys(key for row in merged for key in row))
    # A column that says nothing in any row is left out.
    columns = [key for key in columns if any(row.get(key) not in (None, "") for row in merged)]
    more = f" ({len(merged)} of {count})" if count > len(merged) else ""
    cells = [[_cell(row.get(key)) for key in columns] for row in merged]
    return DetailTable(f"{name}{more}", [_words(key) for key in columns], cells)


def _merged(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row whose interval stands in the cell of what it is of, the number before it."""
    found: dict[str, Any] = {}
    last: str | None = None
    for key, value in row.items():
        if key.endswith("interval") and last is not None and _is_pair(value):
            found[last] = f"{_cell(found[last])}{interval((value[0], value[1]), 3)}"
        else:
            found[key] = value
            last = key if isinstance(value, float) else last
    return found


def _cell(value: object) -> str:
    """A value in a cell: numbers rounded, an estimate with its interval, lists in a row."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number(value, 3)
    if isinstance(value, Mapping):
        return _estimate(value) or "; ".join(
            f"{_words(str(key))} {_cell(one)}" for key, one in value.items()
        )
    if isinstance(value, list):
        more = " …" if len(value) > TEXTS else ""
        return " | ".join(_cell(one) for one in value[:TEXTS]) + more
    return "" if value is None else str(value).strip()


def _estimate(value: Mapping[str, Any]) -> str:
    """A value or difference with its interval; nothing for any other table."""
    found = value.get("value", value.get("difference"))
    if not isinstance(found, float):
        return ""
    ends = value.get("interval")
    return number(found, 3) + (interval((ends[0], ends[1]), 3) if ends and _is_pair(ends) else "")


def _is_pair(value: object) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) == 2
        and all(isinstance(one, float | int) for one in value)
    )


def _words(key: str) -> str:
    return key.replace("_", " ")
