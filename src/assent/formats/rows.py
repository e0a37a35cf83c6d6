"""A row of a file as its reader sees it: cells by column, and one clear refusal where one is wrong.

CSV has text only, so numbers, booleans and JSON written as text are understood; an empty cell and
null are no cell at all.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from assent.formats.records import Place, Problem
from assent.types import Split

_LONGEST_SHOWN = 40

_SPLITS: Mapping[str, Split] = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "valid1": "validation",
    "valid2": "validation",
    "val": "validation",
    "dev": "validation",
    "eval": "validation",
    "test": "test",
}


class RowRefused(Exception):
    """This row gives no record; the reader of the file makes a `Problem` of it."""

    def __init__(self, *, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = printable(detail)


@dataclass(frozen=True, slots=True)
class Row:
    """One row: `cells` by column, and where it stands."""

    where: Place
    cells: Mapping[str, Any]
    split: Split | None = None
    """The split that the file as a whole is, where it says so."""

    def get(self, column: str) -> Any:  # noqa: ANN401 - a cell is any JSON value
        """The cell, or None where there is none."""
        cell = self.cells.get(column)
        return None if cell == "" else cell

    def text(self, column: str) -> str:
        """A cell that has to be there and be text; it may be empty."""
        if (cell := self.cells.get(column)) is None:
            raise missing(column)
        if not isinstance(cell, str):
            raise wrong_type(column, cell, "text")
        return cell

    def optional_text(self, column: str) -> str | None:
        """A text, or None where there is none."""
        if (cell := self.get(column)) is None:
            return None
        if not isinstance(cell, str):
            raise wrong_type(column, cell, "text")
        return cell

    def name(self, column: str) -> str | None:
        """Who or what is meant: text, or a number used as a name."""
        cell = self.get(column)
        if cell is None or isinstance(cell, str):
            return cell
        if isinstance(cell, int) and not isinstance(cell, bool):
            return str(cell)
        raise wrong_type(column, cell, "a name")

    def number(self, column: str) -> float | None:
        """A finite number, or None where there is none."""
        if (cell := self.get(column)) is None:
            return None
        return as_number(column, cell)

    def required_number(self, column: str) -> float:
        """A finite number, which has to be there."""
        if (number := self.number(column)) is None:
            raise missing(column)
        return number

    def whole(self, column: str) -> int | None:
        """A whole number, or None where there is none."""
        if (number := self.number(column)) is None:
            return None
        if number != int(number):
            raise wrong_type(column, number, "a whole number")
        return int(number)

    def boolean(self, column: str) -> bool:
        """True or false, which has to be there; 1 and 0 will do."""
        if (cell := self.get(column)) is None:
            raise missing(column)
        said = cell.strip().lower() if isinstance(cell, str) else cell
        if said in (True, "true", "yes", "1"):
            return True
        if said in (False, "false", "no", "0"):
            return False
        raise wrong_type(column, cell, "true or false")

    def items(self, column: str) -> list[Any]:
        """A list, which has to be there."""
        cell = unpacked(self.get(column))
        if cell is None:
            raise missing(column)
        if not isinstance(cell, list):
            raise wrong_type(column, cell, "a list")
        return cell

    def table(self, column: str) -> Mapping[str, Any]:
        """An object, or an empty one where there is none."""
        cell = unpacked(self.get(column))
        if cell is None:
            return {}
        if not isinstance(cell, Mapping):
            raise wrong_type(column, cell, "an object")
        return cell

    def split_named(self, column: str = "split") -> Split | None:
        """The split that a column names; a word that is none of ours is no split."""
        said = self.get(column)
        return _SPLITS.get(said.strip().lower()) if isinstance(said, str) else None

    def kept(self, *columns: str) -> dict[str, Any]:
        """These cells where there are any, for a record's `meta`."""
        return {column: self.cells[column] for column in columns if self.get(column) is not None}

    def problem(self, reason: str, detail: str) -> Problem:
        """What is wrong with this row."""
        return Problem(self.where, reason, detail)


def split_of(name: str) -> Split | None:
    """The split that a name such as `train` or `valid2` stands for."""
    return _SPLITS.get(name.lower())


def printable(text: str) -> str:
    """Text of a file on a terminal: what is no character to print is written as its escape."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def missing(column: str) -> RowRefused:
    """A column that a record cannot do without."""
    return RowRefused(reason="column missing", detail=f"column {column} is missing or empty")


def wrong_type(column: str, cell: object, wanted: str) -> RowRefused:
    """A cell that is not what its column holds."""
    return RowRefused(
        reason="wrong type", detail=f"column {column} should be {wanted}, and is {shown(cell)}"
    )


def shown(cell: object) -> str:
    """A cell in an error: what it is, and how it begins."""
    kinds = {dict: "an object", list: "a list", bool: "a boolean", type(None): "null"}
    kind = kinds.get(type(cell))
    if kind in ("an object", "a list"):
        return kind
    text = repr(cell)
    if len(text) > _LONGEST_SHOWN:
        text = f"{text[: _LONGEST_SHOWN - 1]}…"
    return f"{kind} ({text})" if kind and cell is not None else text


def as_number(column: str, cell: object) -> float:
    """A finite number, also one written as text."""
    try:
        number = float(cell) if isinstance(cell, int | float | str) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if isinstance(cell, bool) or not math.isfinite(number):
        raise wrong_type(column, cell, "a number")
    return number


def unpacked(cell: object) -> object:
    """A cell that holds a list or an object as JSON text, as CSV has to, as what it says."""
    if isinstance(cell, str) and cell.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(cell)
        except (ValueError, RecursionError):
            return cell
    return cell


def response_of(text: str, column: str) -> str:
    """A response, refused where there is nothing in it."""
    if not text.strip():
        raise RowRefused(reason="empty response", detail=f"column {column} is an empty response")
    return text


def distinct(first: str, second: str) -> tuple[str, str]:
    """Two responses, refused where nobody could prefer one."""
    if first == second:
        raise RowRefused(reason="identical responses", detail="the two responses are the same text")
    return first, second
