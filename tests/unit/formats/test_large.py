"""A large file is read a row at a time: what is held does not grow with it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from assent.errors import UnreadableFile
from assent.formats import containers, inspect_file

ROW = {"prompt": "Question: why is the sky blue?", "chosen": " " + "a" * 900, "rejected": " no"}

MEASURE = """
import resource, sys, time
from pathlib import Path
from assent.formats import Problem, inspect_file, read_file
inspect_file(Path(sys.argv[1]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
began = time.perf_counter()
found = inspect_file(Path(sys.argv[2]))
count = sum(not isinstance(one, Problem) for one in read_file(Path(sys.argv[2])))
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(found.counts["comparison"], count, grown, time.perf_counter() - began)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_200_megabytes_are_read_in_little_memory(tmp_path: Path, name: str) -> None:
    small, large = tmp_path / f"small-{name}", tmp_path / name
    line = json.dumps(ROW) + "\n" if name == "a.jsonl" else ",".join(ROW.values()) + "\n"
    head = "" if name == "a.jsonl" else ",".join(ROW) + "\n"
    rows = 200 * 2**20 // len(line) + 1
    small.write_text(head + line * 100)
    with large.open("w") as file:
        file.write(head)
        for start in range(0, rows, 1000):
            file.write(line * min(1000, rows - start))
    assert large.stat().st_size > 200 * 2**20
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, small, large], capture_output=True, text=True, check=True
    )
    inspected, read, grown_kib, _ = done.stdout.split()
    assert (int(inspected), int(read)) == (rows, rows)
    assert int(grown_kib) < 16 * 1024, done.stdout


def test_an_array_over_the_limit_is_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "LONGEST_ARRAY", 1 << 20)
    path = tmp_path / "a.json"
    path.write_text(json.dumps([ROW] * 2000))
    with pytest.raises(UnreadableFile, match=r"more than 1 MiB.*JSON lines instead: jq -c"):
        inspect_file(path)


def test_a_line_over_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "LONGEST_ROW", 1 << 20)
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(ROW) + "\n" + json.dumps({**ROW, "chosen": "a" * (1 << 20)}) + "\n")
    with pytest.raises(UnreadableFile, match="row 2 is longer than 1 MiB"):
        inspect_file(path)


def test_a_long_cell_of_csv_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"prompt,completion\nwhy,{'a' * 300_000}\n")
    (record,) = inspect_file(path).examples
    assert len(getattr(record, "response", "")) == 300_000
