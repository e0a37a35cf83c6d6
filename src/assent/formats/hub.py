"""Tables of the Hugging Face libraries: parquet files and `save_to_disk` folders.

They are read with pyarrow, which the extra `[hub]` brings, a batch of rows at a time. Nothing in
them is run or unpickled.
"""

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assent.errors import UnreadableFile
from assent.formats.records import Place
from assent.formats.rows import Row, split_of
from assent.types import Split

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS_A_BATCH = 256


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


def _batches(pyarrow: Any, folder: Path) -> Iterator["pa.RecordBatch"]:  # noqa: ANN401 - a module
    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    for listed in state["_data_files"]:
        # Only the name: a folder from elsewhere must not point out of itself.
        with pyarrow.memory_map(str(folder / Path(listed["filename"]).name)) as mapped:
            for batch in pyarrow.ipc.open_stream(mapped):
                for start in range(0, batch.num_rows, _ROWS_A_BATCH):
                    yield batch.slice(start, _ROWS_A_BATCH)


def _rows(name: str, batches: Iterator["pa.RecordBatch"], split: Split | None) -> Iterator[Row]:
    number = 0
    for batch in batches:
        for cells in batch.to_pylist():
            number += 1
            yield Row(Place(name, number), cells, split)


def _module(path: Path, name: str) -> Any:  # noqa: ANN401 - a module
    # Not at the top of the file: pyarrow is an optional extra.
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        message = f"{path} needs one more package; run: pip install 'assent[hub]'"
        raise UnreadableFile(message) from error


def _broken(path: Path, error: Exception) -> str:
    return f"{path} cannot be read: {' '.join(str(error).split())[:200]}; write or fetch it again"
