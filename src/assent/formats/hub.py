"""Tables of the Hugging Face libraries: parquet files and `save_to_disk` folders.

They are read with pyarrow, which the extra `[hub]` brings, a batch of rows at a time. Nothing in
them is run or unpickled.
"""

import importlib
import importlib.util
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from assent.config.files import whole_folder
from assent.errors import ConfigError, UnreadableFile
from assent.formats.records import Place
from assent.formats.rows import Row, split_of
from assent.types import Split

Batch = Any
"""A table or a part of one: pyarrow is an optional extra, so its types have no name here."""

_ROWS_A_BATCH = 256
_ROWS_A_TABLE = 10_000


def parquet_rows(path: Path) -> Iterator[Row]:
    """The rows of a parquet file.

    Raises:
        UnreadableFile: pyarrow is not installed, or cannot read the file.
    """
    pyarrow, parquet = _module(path, "pyarrow"), _module(path, "pyarrow.parquet")
    try:
        file = parquet.ParquetFile(path)
        yield from _rows(path.name, file.iter_batches(batch_size=_ROWS_A_BATCH), None)
    except (pyarrow.ArrowException, OSError) as error:
        raise UnreadableFile(_broken(path, error)) from error


def is_saved_dataset(path: Path) -> bool:
    """Whether a folder was written by datasets' `save_to_disk`."""
    return (path / "state.json").is_file() or (path / "dataset_dict.json").is_file()


def arrow_rows(path: Path) -> Iterator[Row]:
    """The rows of a `save_to_disk` folder, split after split where it has several.

    Raises:
        UnreadableFile: pyarrow is not installed, or the folder is not whole.
    """
    pyarrow = _module(path, "pyarrow")
    try:
        for name, folder in _parts(path):
            label = f"{path.name}/{name}" if name else path.name
            batches = _batches(pyarrow, folder)
            yield from _rows(label, batches, split_of(name) if name else _own_split(folder))
    except (pyarrow.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise UnreadableFile(_broken(path, error)) from error


def _parts(path: Path) -> list[tuple[str, Path]]:
    if not (path / "dataset_dict.json").is_file():
        return [("", path)]
    splits = json.loads((path / "dataset_dict.json").read_text(encoding="utf-8"))["splits"]
    return [(name, path / Path(name).name) for name in splits]


def _own_split(folder: Path) -> Split | None:
    said = json.loads((folder / "state.json").read_text(encoding="utf-8")).get("_split")
    return split_of(said) if isinstance(said, str) else None


def _batches(pyarrow: Any, folder: Path) -> Iterator[Batch]:  # noqa: ANN401 - a module
    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    for listed in state["_data_files"]:
        # Only the name: a folder from elsewhere must not point out of itself.
        with pyarrow.memory_map(str(folder / Path(listed["filename"]).name)) as mapped:
            for batch in pyarrow.ipc.open_stream(mapped):
                for start in range(0, batch.num_rows, _ROWS_A_BATCH):
                    yield batch.slice(start, _ROWS_A_BATCH)


def _rows(name: str, batches: Iterator[Batch], split: Split | None) -> Iterator[Row]:
    number = 0
    for batch in batches:
        for cells in batch.to_pylist():
            number += 1
            yield Row(Place(name, number), _present(cells), split)


def _present(cells: Mapping[str, Any]) -> dict[str, Any]:
    """Cells without those that are there only because another row has them."""
    return {name: _without_null(cell) for name, cell in cells.items() if cell is not None}


def _without_null(cell: object) -> object:
    if isinstance(cell, dict):
        return _present(cell)
    if isinstance(cell, list):
        return [_without_null(one) for one in cell]
    return cell


def require_hub(doing: str) -> None:
    """Refuse to begin what needs the extra.

    Raises:
        ConfigError: it is not installed.
    """
    if any(importlib.util.find_spec(name) is None for name in ("pyarrow", "datasets")):
        message = f"{doing} needs one more package; run: pip install 'assent[hub]'"
        raise ConfigError(message)


def write_parquet(path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write rows as a parquet file."""
    _module(path, "pyarrow.parquet").write_table(_arrow_table(path, rows, columns), path)


def write_saved_dataset(
    path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]
) -> None:
    """Write rows as a folder that datasets' `load_from_disk` reads.

    Raises:
        ConfigError: a file or a folder of something else is there.
    """
    if path.exists() and not is_saved_dataset(path):
        message = f"{path} is there and is no save_to_disk folder; name another place"
        raise ConfigError(message)
    datasets = _module(path, "datasets")
    table = _arrow_table(path, rows, columns)
    shows_bars = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        with whole_folder(path) as aside:
            datasets.Dataset(table).save_to_disk(str(aside))
    finally:
        if shows_bars:
            datasets.enable_progress_bars()


def _arrow_table(path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> Batch:
    """Rows as a table whose column types fit all of them.

    Where some rows have text in a column and others lists or objects, those are JSON in text.
    """
    pyarrow = _module(path, "pyarrow")
    tables: list[Batch] = []
    mixed = _mixed(rows)
    remaining = ({name: _cell(one, name in mixed) for name, one in row.items()} for row in rows)
    try:
        while batch := list(islice(remaining, _ROWS_A_TABLE)):
            tables.append(pyarrow.Table.from_pylist(batch))
        if not tables:
            return pyarrow.table({column: pyarrow.nulls(0) for column in columns})
        return pyarrow.concat_tables(tables, promote_options="permissive")
    except pyarrow.ArrowException as error:
        what = " ".join(str(error).split())[:200]
        message = f"{path} cannot be written as a table: {what}; write .jsonl instead"
        raise ConfigError(message) from error


def _mixed(rows: Iterable[Mapping[str, Any]]) -> set[str]:
    texts: set[str] = set()
    others: set[str] = set()
    for row in rows:
        texts.update(name for name, cell in row.items() if isinstance(cell, str))
        others.update(name for name, cell in row.items() if isinstance(cell, list | dict))
    return texts & others


def _cell(cell: object, is_mixed: bool) -> object:
    if is_mixed and isinstance(cell, list | dict):
        return json.dumps(cell, ensure_ascii=False)
    return cell


def _module(path: Path, name: str) -> Any:  # noqa: ANN401 - a module
    # Not at the top of the file: pyarrow is an optional extra.
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        message = f"{path} needs one more package; run: pip install 'assent[hub]'"
        raise UnreadableFile(message) from error


def _broken(path: Path, error: Exception) -> str:
    return f"{path} cannot be read: {' '.join(str(error).split())[:200]}; write or fetch it again"
