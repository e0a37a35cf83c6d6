"""Writing records as another project's file, whole or not at all, with what is lost counted.

The rows are spooled first, so that every row has the same columns: tools that infer a schema from
the first rows then read the rest. Cells are JSON in CSV where they are lists or objects.
"""

import csv
import gzip
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Any, TextIO

from assent.config.files import disk_errors, flush_file, flush_folder
from assent.errors import ConfigError, DataError, UnknownFormat
from assent.formats.catalogue import WRITABLE, format_named
from assent.formats.containers import unstorable
from assent.formats.format import Format, Tally
from assent.formats.hub import require_hub, write_parquet, write_saved_dataset
from assent.formats.own import CARRIED, NAMES
from assent.formats.records import AnyRecord

_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)
_WORDS = {"meta": "other columns"}


@dataclass(frozen=True, slots=True)
class Written:
    """What a file holds now."""

    path: str
    format: str
    rows: int
    lost: Mapping[str, int]
    """Records that are written without something they said, by what it was."""
    left_out: Mapping[str, int]
    """Records that are not written, by why."""


def write_file_as(path: Path, format_name: str, records: Iterable[AnyRecord]) -> Written:
    """Write records in a format; the ending of the name says the kind of file.

    `.jsonl`, `.json` and `.csv`, each also with `.gz`; with the extra `[hub]` also `.parquet`, and
    a name without an ending for a folder that datasets' `load_from_disk` reads. What was there
    before is replaced once everything is written.

    Raises:
        UnknownFormat: no format has this name, or it is only read.
        ConfigError: the name says no kind of file, or the extra is not installed.
        DataError: no record can be written in the format, or one holds what JSON cannot: NaN, or
            half of a surrogate pair.
        DiskFull: no room; what was there is untouched.
    """
    of = format_named(format_name)
    if of.write is None:
        message = f"{of.name} is read and not written; write one of {', '.join(WRITABLE)}"
        raise UnknownFormat(message)
    save = _saver(path)
    tally = Tally()
    with (
        disk_errors(f"writing {path}"),
        tempfile.TemporaryFile("w+", encoding="utf-8", newline="\n") as spool,
    ):
        columns: dict[str, None] = {}
        for row in of.write(_taken(of, records, tally), tally):
            columns.update(dict.fromkeys(row))
            tally.rows += 1
            _spool(row, spool, tally.rows)
        if not tally.rows:
            raise DataError(_nothing(path, of, tally))
        path.parent.mkdir(parents=True, exist_ok=True)
        save(path, _Spooled(spool, tuple(columns), of.blanks))
    return Written(str(path), of.name, tally.rows, dict(tally.lost), dict(tally.left_out))


def _nothing(path: Path, of: Format, tally: Tally) -> str:
    why = ", ".join(f"{what}: {count}" for what, count in tally.left_out.items())
    return (
        f"{path} is not written: no record can be written as {of.name} ({why or 'there is none'})"
    )


def _taken(of: Format, records: Iterable[AnyRecord], tally: Tally) -> Iterator[AnyRecord]:
    """The records that a format takes; what it has no place for is counted on the way."""
    for number, record in enumerate(records, start=1):
        if found := unstorable(
            {field.name: getattr(record, field.name) for field in fields(record)}
        ):
            message = f"record {number} cannot be written: its {found[0]} holds {found[1]}"
            raise DataError(message)
        if not isinstance(record, of.takes):
            tally.left_out[f"{NAMES[type(record)]} (another kind of record)"] += 1
            continue
        rows, left_out = tally.rows, tally.left_out.total()
        yield record
        # The writer asks for the next one, so that it is done with this one.
        if tally.left_out.total() == left_out or tally.rows > rows:
            for name in sorted(CARRIED - of.carries):
                if getattr(record, name, None):
                    tally.lost[_WORDS.get(name, name)] += 1


def _spool(row: Mapping[str, Any], spool: IO[str], number: int) -> None:
    try:
        spool.write(_ENCODER.encode(row) + "\n")
    except ValueError as error:
        message = f"row {number} cannot be written as JSON: {error}"
        raise DataError(message) from error


class _Spooled:
    """The rows again, each with every column."""

    def __init__(self, spool: IO[str], columns: Sequence[str], blanks: Mapping[str, Any]) -> None:
        self._spool = spool
        self._blanks = blanks
        self.columns = columns

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self._spool.seek(0)
        for line in self._spool:
            row = json.loads(line)
            yield {column: row.get(column, self._blanks.get(column)) for column in self.columns}


def _saver(path: Path) -> Callable[[Path, _Spooled], None]:
    """How a file of this name is written."""
    is_gzipped = path.suffix == ".gz"
    suffix = Path(path.stem).suffix if is_gzipped else path.suffix
    texts = {".jsonl": _lines, ".ndjson": _lines, ".json": _array, ".csv": _table}
    if suffix in texts:
        return lambda to, rows: _save_text(to, rows, texts[suffix], is_gzipped=is_gzipped)
    if suffix == ".parquet" and not is_gzipped:
        require_hub("writing parquet")
        return _save_parquet
    if not suffix:
        require_hub("writing a save_to_disk folder")
        return lambda to, rows: write_saved_dataset(to, rows, rows.columns)
    message = (
        f"{path}: the ending says the kind of file: .jsonl, .json or .csv, each also with .gz, "
        ".parquet, or no ending for a save_to_disk folder"
    )
    raise ConfigError(message)


def _save_text(
    path: Path, rows: _Spooled, write: Callable[[_Spooled, TextIO], None], *, is_gzipped: bool
) -> None:
    with _aside(path) as aside, aside.open("wb") as raw:
        if is_gzipped:
            # No name and no time inside: the same records give the same bytes.
            with gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed:
                _write_text(packed, rows, write)
        else:
            _write_text(raw, rows, write)
        raw.flush()
        os.fsync(raw.fileno())


def _write_text(
    raw: Any,  # noqa: ANN401 - GzipFile is no BinaryIO to a type checker
    rows: _Spooled,
    write: Callable[[_Spooled, TextIO], None],
) -> None:
    text = io.TextIOWrapper(raw, "utf-8", newline="", write_through=True)
    write(rows, text)
    text.flush()
    text.detach()


def _lines(rows: _Spooled, file: TextIO) -> None:
    for row in rows:
        file.write(_ENCODER.encode(row) + "\n")


def _array(rows: _Spooled, file: TextIO) -> None:
    between = "[\n"
    for row in rows:
        file.write(between + _ENCODER.encode(row))
        between = ",\n"
    file.write("[]\n" if between == "[\n" else "\n]\n")


def _table(rows: _Spooled, file: TextIO) -> None:
    # Lines end as RFC 4180 has it: then a lone carriage return in a text is quoted too.
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerow(rows.columns)
    for row in rows:
        writer.writerow(
            _ENCODER.encode(cell) if isinstance(cell, dict | list) else cell
            for cell in row.values()
        )


def _save_parquet(path: Path, rows: _Spooled) -> None:
    with _aside(path) as aside:
        write_parquet(aside, rows, rows.columns)
        flush_file(aside)


@contextmanager
def _aside(path: Path) -> Iterator[Path]:
    """A file beside its place, which it takes when it is whole."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield aside
        aside.replace(path)
        flush_folder(path.parent)
    finally:
        aside.unlink(missing_ok=True)
