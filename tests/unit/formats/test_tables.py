"""Parquet files and saved folders of the hub library are read, and a missing extra is named."""

import sys
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.format_records import exact, records_of

from assent.errors import ConfigError, UnreadableFile
from assent.formats import (
    ComparisonRecord,
    Place,
    Problem,
    PromptRecord,
    inspect_file,
    read_file,
    write_file_as,
)

ROWS = [{"prompt": f"question {n}", "chosen": " yes", "rejected": " no"} for n in range(600)]


def expected(row: dict[str, str]) -> ComparisonRecord:
    return ComparisonRecord(
        prompt=row["prompt"], responses=(row["chosen"], row["rejected"]), verdict="first"
    )


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")


def test_a_parquet_file_is_read_batch_by_batch(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), path)
    records = records_of(path)
    assert exact(records) == exact(map(expected, ROWS))
    assert records[599].where == Place("a.parquet", 600)


def test_a_saved_folder_with_splits_gives_each_record_its_split(tmp_path: Path) -> None:
    parts = {"train": ROWS[:3], "validation": ROWS[3:4], "test": ROWS[4:6]}
    whole = datasets.DatasetDict({k: datasets.Dataset.from_list(v) for k, v in parts.items()})
    whole.save_to_disk(str(tmp_path / "saved"))
    records = records_of(tmp_path / "saved")
    assert [one.split for one in records] == ["train"] * 3 + ["validation"] + ["test"] * 2
    assert [str(one.where) for one in records][2:4] == [
        "saved/train, row 3",
        "saved/validation, row 1",
    ]


def test_a_folder_in_several_shards_is_read_whole(tmp_path: Path) -> None:
    datasets.Dataset.from_list(ROWS).save_to_disk(str(tmp_path / "saved"), num_shards=3)
    assert exact(records_of(tmp_path / "saved")) == exact(map(expected, ROWS))


def test_a_nul_in_a_table_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist([ROWS[0], {**ROWS[1], "chosen": "a\0b"}]), path)
    (problem,) = [one for one in read_file(path) if isinstance(one, Problem)]
    assert str(problem) == (
        "a.parquet, row 2: column chosen holds a NUL character, which cannot be stored as text; "
        "remove it"
    )


def test_a_folder_that_points_out_of_itself_is_not_followed(tmp_path: Path) -> None:
    datasets.Dataset.from_list(ROWS).save_to_disk(str(tmp_path / "saved"))
    secret = tmp_path / "secret.arrow"
    (tmp_path / "saved" / "data-00000-of-00001.arrow").rename(secret)
    state = tmp_path / "saved" / "state.json"
    state.write_text(state.read_text().replace("data-00000-of-00001", "../secret"))
    with pytest.raises(UnreadableFile, match="cannot be read"):
        inspect_file(tmp_path / "saved")


@pytest.mark.parametrize("content", [b"PAR1", b"PAR1" + b"x" * 500 + b"PAR1"])
def test_a_broken_parquet_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(content)
    with pytest.raises(UnreadableFile, match=r"a\.parquet cannot be read: .*write or fetch"):
        inspect_file(path)


def test_a_broken_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(UnreadableFile, match="cannot be read"):
        inspect_file(tmp_path)


def test_a_missing_extra_is_named_to_readers_and_writers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), path)
    for name in [one for one in sys.modules if one.partition(".")[0] in ("pyarrow", "datasets")]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UnreadableFile, match=r"pip install 'assent\[hub\]'"):
        inspect_file(path)
    with pytest.raises(ConfigError, match=r"writing parquet needs .*'assent\[hub\]'"):
        write_file_as(tmp_path / "b.parquet", "trl-prompts", [PromptRecord(prompt="a")])
    with pytest.raises(ConfigError, match=r"save_to_disk folder needs .*'assent\[hub\]'"):
        write_file_as(tmp_path / "b", "trl-prompts", [PromptRecord(prompt="a")])
