"""Files as rows: JSON lines, JSON arrays, CSV, prompts one a line, also gzipped; tables: `hub`.

A row at a time, so a file may be larger than the memory; only a JSON array's text is held, up to
`LONGEST_ARRAY` characters. A row that is not JSON, has a key twice, NaN, an infinity, or text that
no database holds is a `Problem`; a file that ends early, or is not in UTF-8, is an error.
"""

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal, TypeVar

from assent.errors import UnreadableFile
from assent.formats.hub import arrow_rows, is_saved_dataset, parquet_rows
from assent.formats.records import Place, Problem
from assent.formats.rows import Row, printable

FileKind = Literal["jsonl", "json", "csv", "text", "parquet", "save_to_disk"]

LONGEST_ARRAY = 256 * 2**20
"""Characters of a JSON array: more is refused, with what to do."""
LONGEST_ROW = 64 * 2**20
"""Bytes of a line."""

_GZIP, _PARQUET = b"\x1f\x8b", b"PAR1"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_BOM = b"\xef\xbb\xbf"
_BLOCK = 1 << 16
_ESCAPED = re.compile(r"\\u(?:[dD][89a-fA-F]|0000)")
_TABULAR = {".csv": ",", ".tsv": "\t"}

RowOrProblem = Row | Problem
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class RowSource:
    """A file that is open for reading rows."""

    kind: FileKind
    is_gzipped: bool
    rows: Iterator[RowOrProblem]


def open_rows(path: Path) -> RowSource:
    """The rows of a file or a folder, and what kind of file it is.

    Raises:
        UnreadableFile: missing, empty, of no known kind, or found broken while the rows are read.
    """
    try:
        if path.is_dir():
            return _folder(path)
        with path.open("rb") as file:
            head = file.read(4)
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror or error}"
        raise UnreadableFile(message) from error
    if not head:
        raise UnreadableFile(_empty(path))
    if head == _PARQUET:
        return RowSource("parquet", is_gzipped=False, rows=_checked(path, parquet_rows(path)))
    is_gzipped = head.startswith(_GZIP)
    if path.suffix == ".gz" and not is_gzipped:
        message = f"{path} is named .gz and is not a gzip file; rename it, or fetch it again"
        raise UnreadableFile(message)
    suffix = Path(path.stem if path.suffix == ".gz" else path.name).suffix.lower()
    kind = _kind(path, suffix, is_gzipped=is_gzipped)
    read = {"jsonl": _lines, "json": _array, "csv": _table, "text": _texts}[kind]
    rows = _whole(path, read(path, is_gzipped=is_gzipped))
    first = next(rows, None)
    if first is None:
        raise UnreadableFile(_empty(path))
    return RowSource(kind, is_gzipped, chain((first,), rows))


def _empty(path: Path) -> str:
    return f"{path} is empty: there is no row in it"


def _folder(path: Path) -> RowSource:
    if not is_saved_dataset(path):
        message = (
            f"{path} is a folder, and not one that datasets' save_to_disk wrote; "
            "name one file in it"
        )
        raise UnreadableFile(message)
    return RowSource("save_to_disk", is_gzipped=False, rows=_checked(path, arrow_rows(path)))


def _kind(path: Path, suffix: str, *, is_gzipped: bool) -> Literal["jsonl", "json", "csv", "text"]:
    """By the name for CSV, by the first character for JSON; other `.txt` files hold prompts."""
    if suffix in _TABULAR:
        return "csv"
    start = next(_whole(path, _starts(path, is_gzipped=is_gzipped)))
    if start.startswith(_UTF16):
        message = f"{path} is in UTF-16; write it in UTF-8 (iconv -f UTF-16 -t UTF-8)"
        raise UnreadableFile(message)
    start = start.removeprefix(_BOM).lstrip()
    if suffix == ".txt" and not _is_json(start.partition(b"\n")[0]):
        return "text"
    if start.startswith(b"["):
        return "json"
    if start.startswith(b"{"):
        first, ended, _ = start.partition(b"\n")
        is_spread = bool(ended) and suffix == ".json" and not _is_json(first)
        return "json" if is_spread else "jsonl"
    if suffix in (".jsonl", ".ndjson", ".json"):
        return "jsonl"  # whose rows then say what is wrong
    message = f"{path} is neither JSON nor parquet; if it is CSV, let its name end in .csv"
    raise UnreadableFile(message)


def _starts(path: Path, *, is_gzipped: bool) -> Iterator[bytes]:
    with _opened(path, is_gzipped=is_gzipped) as file:
        # What is there at once: of a file that breaks off, the first rows are still read.
        yield file.read1(_BLOCK)


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _opened(path: Path, *, is_gzipped: bool) -> gzip.GzipFile | io.BufferedReader:
    return gzip.open(path) if is_gzipped else path.open("rb")


def _whole(path: Path, items: Iterator[Item]) -> Iterator[Item]:
    """The same items, with what breaks a file said in one line."""
    count = 0
    try:
        for item in items:
            yield item
            count += 1
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        after = f" after row {count}" if count else ""
        message = f"{path}: the gzip data are broken{after} ({error}); fetch the file again"
        raise UnreadableFile(message) from error
    except UnicodeDecodeError as error:
        # The bytes are read ahead of the rows.
        place = f"after row {count}" if count else "in row 1 or after it"
        message = (
            f"{path} is not in UTF-8: byte 0x{error.object[error.start]:02x} {place}; "
            "write it in UTF-8, for example iconv -f LATIN1 -t UTF-8"
        )
        raise UnreadableFile(message) from error
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror or error}"
        raise UnreadableFile(message) from error


class _Refused(ValueError):
    """A row that is JSON and that no record is made of."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        message = f"the key {twice!r} is there twice"
        raise _Refused(message)
    return found


def _no_constant(name: str) -> None:
    message = f"{name} is no JSON number; write null"
    raise _Refused(message)


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)


def _parsed(text: str, place: Place) -> RowOrProblem:
    """One row from the text of one JSON object."""
    try:
        cells = _DECODER.decode(text)
    except _Refused as error:
        return Problem(place, _reason(error), f"{error}")
    except json.JSONDecodeError as error:
        return Problem(place, "not JSON", f"not JSON: {error.msg} at character {error.pos + 1}")
    except (ValueError, RecursionError) as error:
        return Problem(place, "not JSON", f"not JSON that can be read: {error}")
    return _row(cells, place, is_suspect=_ESCAPED.search(text) is not None)


def _reason(error: _Refused) -> str:
    return "duplicate key" if "twice" in str(error) else "not a finite number"


def _row(cells: object, place: Place, *, is_suspect: bool) -> RowOrProblem:
    if not isinstance(cells, dict):
        return Problem(place, "not an object", "a row should be an object: {column: value, …}")
    if is_suspect and (found := unstorable(cells)):
        column, what = found
        detail = (
            f"column {printable(column)} holds {what}, which cannot be stored as text; remove it"
        )
        return Problem(place, "not storable as text", detail)
    return Row(place, cells)


def unstorable(cells: Mapping[str, Any]) -> tuple[str, str] | None:
    """The first column with a NUL or a lone surrogate in any text, and which of the two."""
    for column, cell in cells.items():
        waiting: list[Any] = [column, cell]
        while waiting:
            value = waiting.pop()
            if isinstance(value, str):
                if "\0" in value:
                    return column, "a NUL character"
                if not value.isascii() and not _is_unicode(value):
                    return column, "half of a surrogate pair"
            elif isinstance(value, Mapping):
                waiting += [*value.keys(), *value.values()]
            elif isinstance(value, Sequence):
                waiting += value
    return None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _lines(path: Path, *, is_gzipped: bool) -> Iterator[RowOrProblem]:
    with _opened(path, is_gzipped=is_gzipped) as file:
        number = 0
        while line := file.readline(LONGEST_ROW + 1):
            number += 1
            if len(line) > LONGEST_ROW:
                message = f"{path}, row {number} is longer than {LONGEST_ROW >> 20} MiB"
                raise UnreadableFile(message)
            text = (line.removeprefix(_BOM) if number == 1 else line).decode().strip()
            if text:
                yield _parsed(text, Place(path.name, number))


def _texts(path: Path, *, is_gzipped: bool) -> Iterator[RowOrProblem]:
    """Each line that says anything is a prompt, as it stands."""
    with io.TextIOWrapper(_opened(path, is_gzipped=is_gzipped), "utf-8-sig", newline="\n") as file:
        number = 0
        while line := file.readline(LONGEST_ROW + 1):
            number += 1
            if len(line) > LONGEST_ROW:
                message = f"{path}, row {number} is longer than {LONGEST_ROW >> 20} MiB"
                raise UnreadableFile(message)
            if text := line.rstrip("\r\n"):
                yield _row({"prompt": text}, Place(path.name, number), is_suspect=True)


def _array(path: Path, *, is_gzipped: bool) -> Iterator[RowOrProblem]:
    with io.TextIOWrapper(_opened(path, is_gzipped=is_gzipped), "utf-8-sig") as file:
        text = file.read(LONGEST_ARRAY + 1)
    if len(text) > LONGEST_ARRAY:
        message = (
            f"{path} is a JSON array of more than {LONGEST_ARRAY >> 20} MiB, which has to be held "
            "in memory; write JSON lines instead: jq -c '.[]' FILE > FILE.jsonl"
        )
        raise UnreadableFile(message)
    at = _skip(text, 0)
    if text[at : at + 1] == "{":  # one object over several lines
        yield _parsed(text, Place(path.name, 1))
        return
    at, number = _skip(text, at + 1), 0
    while text[at : at + 1] != "]":
        number += 1
        start = at
        try:
            cells, at = _DECODER.raw_decode(text, at)
        except _Refused as error:
            place = Place(path.name, number)
            yield Problem(place, _reason(error), str(error))
            _, at = json.JSONDecoder().raw_decode(text, start)
        except (ValueError, RecursionError) as error:
            raise UnreadableFile(_broken(path, number, error)) from error
        else:
            is_suspect = _ESCAPED.search(text, start, at) is not None
            yield _row(cells, Place(path.name, number), is_suspect=is_suspect)
        at = _skip(text, at)
        if text[at : at + 1] == ",":
            at = _skip(text, at + 1)
        elif text[at : at + 1] != "]":
            raise UnreadableFile(_broken(path, number, None))


def _broken(path: Path, number: int, error: Exception | None) -> str:
    what = f"line {error.lineno}: {error.msg}" if isinstance(error, json.JSONDecodeError) else error
    return (
        f"{path} is not a whole JSON array: it breaks at row {number}"
        f" ({what or 'no comma, and no ] at the end'})"
    )


def _skip(text: str, at: int) -> int:
    while text[at : at + 1] and text[at] in " \t\r\n":
        at += 1
    return at


def _table(path: Path, *, is_gzipped: bool) -> Iterator[RowOrProblem]:
    packed = _opened(path, is_gzipped=is_gzipped)
    with io.TextIOWrapper(packed, "utf-8-sig", newline="") as lines:
        csv.field_size_limit(max(csv.field_size_limit(), LONGEST_ROW))
        head = lines.readline()
        separator = _separator(path, head)
        reader = csv.reader(chain((head,), lines), delimiter=separator, strict=True)
        try:
            yield from _records(path, reader)
        except csv.Error as error:
            message = f"{path}, line {reader.line_num}: not CSV: {error}"
            raise UnreadableFile(message) from error


def _separator(path: Path, head: str) -> str:
    """A comma, unless the name says otherwise or the header has none and another one."""
    suffix = Path(path.stem if path.suffix == ".gz" else path.name).suffix.lower()
    usual = _TABULAR[suffix]
    return next((one for one in (usual, ";", "\t") if one in head), usual)


def _records(path: Path, reader: Iterator[list[str]]) -> Iterator[RowOrProblem]:
    header = next(reader, [])
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice or "" in header:
        message = (
            f"{path}: the header has {f'the column {twice[0]!r} twice' if twice else 'no name'}"
            " for a column; name every column once"
        )
        raise UnreadableFile(message)
    for number, fields in enumerate((one for one in reader if one), start=1):
        place = Place(path.name, number)
        if len(fields) != len(header):
            detail = f"has {len(fields)} fields, and the header {len(header)}"
            yield Problem(place, "wrong number of fields", detail)
            continue
        cells = {name: field for name, field in zip(header, fields, strict=True) if field}
        yield _row(cells, place, is_suspect=True)


def _checked(path: Path, rows: Iterator[Row]) -> Iterator[RowOrProblem]:
    """Rows of a table: text in them was never looked at."""
    first = next(rows, None)
    if first is None:
        raise UnreadableFile(_empty(path))
    return _storable(chain((first,), rows))


def _storable(rows: Iterator[Row]) -> Iterator[RowOrProblem]:
    for row in rows:
        checked = _row(row.cells, row.where, is_suspect=True)
        yield row if isinstance(checked, Row) else checked


def sample(path: Path, count: int) -> tuple[FileKind, bool, list[RowOrProblem]]:
    """The kind of a file, whether it is gzipped, and its first rows."""
    source = open_rows(path)
    return source.kind, source.is_gzipped, list(islice(source.rows, count))
