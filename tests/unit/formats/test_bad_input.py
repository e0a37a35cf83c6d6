"""What is wrong with a file is said in one line that names the file, the row and the column."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.format_records import exact

from assent.errors import UnknownFormat, UnreadableFile
from assent.formats import (
    ComparisonRecord,
    FeedbackRecord,
    Problem,
    inspect_file,
    read_file,
)

GOOD = {"prompt": "The sky is", "chosen": " blue.", "rejected": " green."}


def lines(path: Path, *rows: object) -> Path:
    """JSON lines of these rows; text is written as it is."""
    path.write_text(
        "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows),
        encoding="utf-8",
    )
    return path


def problems_of(path: Path, name: str | None = None) -> list[Problem]:
    return [one for one in read_file(path, name) if isinstance(one, Problem)]


def records_in(path: Path) -> int:
    return sum(not isinstance(one, Problem) for one in read_file(path))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match=r"no\.jsonl cannot be read: No such file"):
        inspect_file(tmp_path / "no.jsonl")


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.parquet", "a.jsonl.gz"])
def test_an_empty_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(UnreadableFile, match="is empty: there is no row in it"):
        inspect_file(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.json", b"[]"), ("a.csv", b"prompt,label\n"), ("a.jsonl", b"\n \n"), ("a.json", b"[ ]\n")],
)
def test_a_file_without_rows_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableFile, match=r"is empty|neither JSON"):
        inspect_file(tmp_path / name)


def test_a_folder_that_is_no_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="name one file in it"):
        inspect_file(tmp_path)


@pytest.mark.parametrize(
    ("row", "detail"),
    [
        ({"prompt": "a", "chosen": "b"}, "column rejected is missing or empty"),
        ({"prompt": "a", "chosen": "b", "rejected": None}, "column rejected is missing or empty"),
        ({"prompt": "a", "chosen": 4, "rejected": "c"}, "column chosen should be text, and is 4"),
        (
            {"prompt": "a", "chosen": "b", "rejected": ["c"]},
            "column rejected should be text, and is a list",
        ),
        (
            {**GOOD, "margin": "much"},
            "column margin should be a number, and is 'much'",
        ),
    ],
)
def test_a_row_without_its_columns_names_file_row_and_column(
    tmp_path: Path, row: dict[str, Any], detail: str
) -> None:
    (problem,) = problems_of(lines(tmp_path / "a.jsonl", GOOD, row))
    assert str(problem) == f"a.jsonl, row 2: {detail}"


def test_rows_of_another_format_are_named_as_such(tmp_path: Path) -> None:
    alpaca = {"instruction": "Say hello.", "input": "", "output": "Hello."}
    path = lines(tmp_path / "mixed.jsonl", GOOD, GOOD, alpaca)
    (problem,) = problems_of(path)
    assert problem.reason == "another format"
    assert str(problem) == (
        "mixed.jsonl, row 3: column chosen is missing or empty; the row has the columns of alpaca "
        "and the file is read as trl-preference: split it"
    )
    assert inspect_file(path).confidence == pytest.approx(2 / 3)


def test_columns_of_no_format_are_refused_with_the_nearest(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", {"instruction": "a", "answer_text": "b"})
    with pytest.raises(UnknownFormat, match=r"instruction, answer_text \(nearest is .*instruction"):
        inspect_file(path)
    with pytest.raises(UnknownFormat, match="'alpca'; did you mean alpaca"):
        inspect_file(path, "alpca")


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        (["user"], "no assistant turn"),
        (["user", "assistant", "user"], "no assistant turn at the end"),
        (["assistant"], "empty prompt"),
        (["user", "assistant", "assistant"], "prompt ends with the assistant"),
    ],
)
def test_a_chat_that_nothing_can_be_learnt_from_is_a_problem(
    tmp_path: Path, turns: Sequence[str], reason: str
) -> None:
    row = {"messages": [{"role": role, "content": "text"} for role in turns]}
    (problem,) = problems_of(lines(tmp_path / "a.jsonl", row))
    assert problem.reason == reason
    assert "messages" in problem.detail


@pytest.mark.parametrize(
    ("turn", "reason"),
    [
        ({"role": "wizard", "content": "x"}, "unknown role"),
        ({"role": None, "content": "x"}, "unknown role"),
        ({"role": "assistant", "content": 4}, "wrong type"),
        ({"role": "assistant", "content": None, "tool_calls": [{"name": "f"}]}, "tool calls"),
        ({"role": "assistant", "content": [{"type": "image", "url": "x"}]}, "not text"),
    ],
)
def test_a_turn_that_is_not_text_by_somebody_known_is_a_problem(
    tmp_path: Path, turn: dict[str, Any], reason: str
) -> None:
    good = {"role": "user", "content": "Hi"}
    (problem,) = problems_of(lines(tmp_path / "a.jsonl", {"messages": [good, turn]}), "messages")
    assert problem.reason == reason
    assert "messages[1]" in problem.detail


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"rejected": "  \n"}, "empty response"),
        ({"chosen": ""}, "empty response"),
        ({"rejected": GOOD["chosen"]}, "identical responses"),
        ({"prompt": " "}, "empty prompt"),
    ],
)
def test_empty_and_identical_texts_are_problems(
    tmp_path: Path, change: dict[str, str], reason: str
) -> None:
    (problem,) = problems_of(lines(tmp_path / "a.jsonl", GOOD, {**GOOD, **change}))
    assert (problem.reason, problem.where.row) == (reason, 2)


@pytest.mark.parametrize(
    ("line", "reason", "detail"),
    [
        ('{"prompt": "a", ', "not JSON", "not JSON: Expecting property name"),
        ("prompt: a", "not JSON", "not JSON: Expecting value"),
        ('["a"]', "not an object", "a row should be an object"),
        ('{"prompt": "a", "prompt": "b"}', "duplicate key", "the key 'prompt' is there twice"),
        ('{"prompt": "a", "x": NaN}', "not a finite number", "NaN is no JSON number"),
        ('{"prompt": "a", "x": -Infinity}', "not a finite number", "-Infinity is no JSON number"),
        ('{"prompt": "a\\ud800", "x": 1}', "not storable as text", "column prompt holds half of"),
        ('{"prompt": "a", "x": {"y\\udc00": 1}}', "not storable as text", "column x holds half of"),
        ('{"prompt": "a\\u0000"}', "not storable as text", "column prompt holds a NUL"),
        ('{"x": ' + "[" * 100_000, "not JSON", "not JSON"),
        ('{"x": ' + "9" * 5000 + "}", "not JSON", "not JSON that can be read"),
    ],
)
def test_a_row_that_no_record_can_be_made_of_is_a_problem_and_the_rest_is_read(
    tmp_path: Path, line: str, reason: str, detail: str
) -> None:
    path = lines(tmp_path / "a.jsonl", GOOD, line, GOOD)
    (problem,) = problems_of(path)
    assert (problem.reason, problem.where.row) == (reason, 2)
    assert problem.detail.startswith(detail)
    assert records_in(path) == 2


def test_faults_are_found_in_an_array_too_and_the_rest_is_read(tmp_path: Path) -> None:
    good = json.dumps(GOOD)
    path = tmp_path / "a.json"
    path.write_text(f'[{good}, {{"a": 1, "a": 2}}, {{"a": NaN}}, {{"a": "\\ud800"}}, 4, {good}]')
    assert [(one.where.row, one.reason) for one in problems_of(path)] == [
        (2, "duplicate key"),
        (3, "not a finite number"),
        (4, "not storable as text"),
        (5, "not an object"),
    ]
    assert records_in(path) == 2


@pytest.mark.parametrize("ending", ["", ",", ', {"prompt": '])
def test_an_array_that_breaks_off_is_refused(tmp_path: Path, ending: str) -> None:
    path = tmp_path / "a.json"
    path.write_text("[" + json.dumps(GOOD) + ending)
    with pytest.raises(UnreadableFile, match="not a whole JSON array: it breaks at row"):
        list(read_file(path))


def test_nothing_but_faults_is_refused_with_the_first(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", "hello", "there")
    with pytest.raises(
        UnreadableFile, match=r"none of the first 2 rows can be read; a\.jsonl, row 1"
    ):
        inspect_file(path)


def test_a_broken_gzip_says_where_it_breaks(tmp_path: Path) -> None:
    whole = gzip.compress(
        "".join(json.dumps({**GOOD, "n": n}) + "\n" for n in range(20_000)).encode()
    )
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(whole[: len(whole) // 2])
    rows = read_file(path)
    assert isinstance(next(rows), ComparisonRecord)
    with pytest.raises(UnreadableFile, match=r"gzip data are broken after row \d{4,}.*fetch"):
        list(rows)
    path.write_bytes(whole[:200])
    with pytest.raises(UnreadableFile, match="gzip data are broken"):
        inspect_file(path)
    path.write_bytes(b"not gzip at all")
    with pytest.raises(UnreadableFile, match=r"named \.gz and is not a gzip file"):
        inspect_file(path)


def test_a_gzip_file_without_the_name_is_read_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(gzip.compress(json.dumps(GOOD).encode()))
    assert (inspect_file(path).is_gzipped, records_in(path)) == (True, 1)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
def test_a_byte_order_mark_and_line_ends_of_windows_change_nothing(
    tmp_path: Path, name: str
) -> None:
    text = {
        "a.jsonl": json.dumps(GOOD) + "\n" + json.dumps({**GOOD, "prompt": "é is"}) + "\n",
        "a.json": json.dumps([GOOD, {**GOOD, "prompt": "é is"}], indent=1),
        "a.csv": "prompt,chosen,rejected\nThe sky is, blue., green.\né is, blue., green.\n",
    }[name]
    plain, windows = tmp_path / name, tmp_path / "windows" / name
    windows.parent.mkdir()
    plain.write_bytes(text.encode())
    windows.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    read = exact(read_file(windows))
    assert read == exact(read_file(plain))
    assert len(read) == 2


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
def test_a_file_in_another_encoding_is_refused_and_told_how_to_be_written(
    tmp_path: Path, name: str
) -> None:
    row = '{"prompt": "caf\u00e9", "chosen": "a", "rejected": "b"}'
    text = {"a.jsonl": row, "a.json": f"[{row}]", "a.csv": "prompt,chosen\ncaf\u00e9,a\n"}[name]
    (tmp_path / name).write_bytes(text.encode("latin-1"))
    with pytest.raises(
        UnreadableFile, match=r"not in UTF-8: byte 0xe9 in row 1 or after it; .*iconv"
    ):
        inspect_file(tmp_path / name)


def test_a_column_that_holds_something_else_is_named_and_not_called_unknown(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": 1, "chosen": 2, "rejected": 3}\n')
    said = r"a.jsonl, row 1: column \w+ should be text, and is 2 \(read as "
    with pytest.raises(UnknownFormat, match=said):
        inspect_file(path)


def test_utf_16_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(json.dumps(GOOD).encode("utf-16"))
    with pytest.raises(UnreadableFile, match="is in UTF-16; write it in UTF-8"):
        inspect_file(path)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("prompt,prompt\na,b\n", "the column 'prompt' twice"),
        ("prompt,\na,b\n", "no name for a column"),
        ('prompt,chosen\n"a"b,c\n', "line 2: not CSV"),
        ('prompt,chosen\n"a,b\n', "not CSV: unexpected end of data"),
    ],
)
def test_csv_that_cannot_be_told_apart_is_refused(tmp_path: Path, text: str, error: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(UnreadableFile, match=error):
        inspect_file(path)


def test_a_csv_row_with_too_many_fields_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("prompt,chosen,rejected\na,b,c\na,b,c,d\n")
    (problem,) = problems_of(path)
    assert str(problem) == "a.csv, row 2: has 4 fields, and the header 3"


def test_rows_inside_an_object_are_pointed_at(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"version": 1, "data": [GOOD, GOOD]}, indent=1))
    with pytest.raises(UnknownFormat, match="its key 'data' holds a list of objects"):
        inspect_file(path)


def test_what_a_file_says_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    escape = "\x1b]0;owned\x07"
    path = lines(tmp_path / "a.jsonl", {escape: 1, "x": 2})
    with pytest.raises(UnknownFormat) as caught:
        inspect_file(path)
    (unknown,) = problems_of(
        lines(tmp_path / "b.jsonl", {"messages": [{"role": escape, "content": "a"}]}), "messages"
    )
    (hidden,) = problems_of(lines(tmp_path / "c.jsonl", GOOD, {escape: "a\0"}))
    for said in (str(caught.value), str(unknown), str(hidden)):
        assert said.isprintable()
        assert "owned" in said


def test_text_of_no_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.md"
    path.write_text("just some words\n")
    with pytest.raises(UnreadableFile, match=r"neither JSON nor parquet.*\.csv"):
        inspect_file(path)


def test_a_text_file_holds_a_prompt_a_line(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes(b"\xef\xbb\xbfWho is Ode?\r\n\n  [1] is a list\nWhy\x00?\n")
    found = inspect_file(path)
    assert (found.kind, found.format, found.rows) == ("text", "trl-prompts", 3)
    assert [one.prompt for one in found.examples] == ["Who is Ode?", "  [1] is a list"]
    assert [str(one.where) for one in found.examples] == [
        "prompts.txt, row 1",
        "prompts.txt, row 3",
    ]
    assert found.dropped[0].reason == "not storable as text"


def test_dropped_rows_are_counted_by_reason_with_the_first_three(tmp_path: Path) -> None:
    empty = {**GOOD, "chosen": " "}
    path = lines(tmp_path / "a.jsonl", GOOD, *[empty] * 5, {**GOOD, "rejected": " blue."})
    found = inspect_file(path)
    assert (found.rows, dict(found.counts)) == (7, {"comparison": 1})
    assert [(one.reason, one.count) for one in found.dropped] == [
        ("empty response", 5),
        ("identical responses", 1),
    ]
    assert [one.where.row for one in found.dropped[0].first] == [2, 3, 4]


def test_criticism_needs_no_type(tmp_path: Path) -> None:
    row = {"prompt": "The fastest bird is", "response": " the hen", "criticism": "Hens hardly fly."}
    path = lines(
        tmp_path / "a.jsonl", row, {**row, "response": " the eel", "refinement": " the owl"}
    )
    found = [one for one in read_file(path) if isinstance(one, FeedbackRecord)]
    assert [one.refinement for one in found] == [None, " the owl"]
