"""What is written loads where it is meant to, whole or not at all, and what is lost is counted."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest
from tests.format_records import chat, exact, records_of

from assent.errors import ConfigError, DataError, UnknownFormat
from assent.formats import (
    WRITABLE,
    AnyRecord,
    ComparisonRecord,
    DemonstrationRecord,
    PromptRecord,
    RankingRecord,
    RatingRecord,
    UnpairedRecord,
    inspect_file,
    write_file_as,
)

QUESTION = chat("system: Be brief.", "user: Name a colour.")
PLAIN = "A colour is"
PAIR = ("Red.", "Dog.")


def comparison(**more: Any) -> ComparisonRecord:
    return ComparisonRecord(**{"prompt": QUESTION, "responses": PAIR, "verdict": "first", **more})


def of_each_kind(prompt: str) -> list[AnyRecord]:
    """Records that between them every format has something to write of."""
    return [
        ComparisonRecord(prompt=prompt, responses=PAIR, verdict="second", annotator="mira"),
        RankingRecord(prompt=prompt, responses=(*PAIR, "Cat."), ranks=(0, 1, 1)),
        DemonstrationRecord(prompt=prompt, response="Red.", annotator="otto"),
        UnpairedRecord(prompt=prompt, response="Dog.", good=False),
        RatingRecord(prompt=prompt, response="Red.", axes={"truth": 4.0}),
        PromptRecord(prompt=prompt),
    ]


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[str]:
    datasets.disable_progress_bars()
    yield str(tmp_path / "cache")
    datasets.enable_progress_bars()


@pytest.mark.parametrize("name", WRITABLE)
def test_the_hub_library_loads_what_is_written(tmp_path: Path, cache: str, name: str) -> None:
    path = tmp_path / "written.jsonl"
    written = write_file_as(path, name, [*of_each_kind(chat("user: Hi")), *of_each_kind(PLAIN)])
    loaded = datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=cache)
    assert loaded.num_rows == written.rows > 0
    assert {*loaded.column_names} == {*json.loads(path.read_text().splitlines()[0])}


@pytest.mark.parametrize("name", WRITABLE)
@pytest.mark.parametrize("kind", [".json.gz", ".csv", ".parquet", ""])
def test_every_kind_of_file_holds_the_same_records(tmp_path: Path, name: str, kind: str) -> None:
    records = [*of_each_kind(chat("user: Hi", "assistant: Hm?", "user: Hi!")), *of_each_kind(PLAIN)]
    path = tmp_path / f"written{kind}"
    first = write_file_as(tmp_path / "lines.jsonl", name, records)
    second = write_file_as(path, name, records)
    assert (second.rows, second.lost, second.left_out) == (first.rows, first.lost, first.left_out)
    assert exact(records_of(path, name)) == exact(records_of(tmp_path / "lines.jsonl", name))


def test_types_are_those_that_trl_wants(tmp_path: Path, cache: str) -> None:
    """Strings in standard sets, lists of role and content in conversational ones, a bool label."""

    def features(name: str) -> Any:
        path = tmp_path / f"{name}.jsonl"
        write_file_as(path, name, of_each_kind(chat("user: Hi")))
        return datasets.load_dataset(
            "json", data_files=str(path), split="train", cache_dir=cache
        ).features

    text = datasets.Value("string")
    turn = {"role": text, "content": text}
    standard = features("trl-preference")
    assert [standard[one] for one in ("prompt", "chosen", "rejected")] == [text] * 3
    talk = features("trl-preference-chat")
    assert [talk[one].feature for one in ("prompt", "chosen", "rejected")] == [turn] * 3
    assert features("trl-unpaired")["label"] == datasets.Value("bool")
    assert features("trl-prompt-completion-chat")["completion"].feature == turn
    assert features("messages")["messages"].feature == turn
    assert features("trl-prompts")["prompt"] == text


def test_every_row_has_the_same_columns(tmp_path: Path) -> None:
    """Tools infer the columns from the first rows."""
    path = tmp_path / "a.jsonl"
    said: list[dict[str, Any]] = [{}, {"strength": 2, "annotator": "mira"}]
    write_file_as(path, "trl-preference", [comparison(**more) for more in said])
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [list(row) for row in rows] == [list(rows[0])] * 2
    # TRL makes a tensor of margins, and a table reader a type of the first rows: no nulls.
    assert [(row["margin"], row["annotator"]) for row in rows] == [(0, ""), (2, "mira")]
    back = records_of(path)
    assert exact(back) == exact([comparison(prompt=str(QUESTION), **more) for more in said])


def test_ties_are_left_out_of_a_format_that_has_no_place_for_them(tmp_path: Path) -> None:
    records = [comparison(), comparison(verdict="tie"), comparison(verdict="both_bad")]
    written = write_file_as(tmp_path / "a.jsonl", "trl-preference-chat", records)
    assert written.rows == 1
    assert written.left_out == {"tie (no place for it)": 1, "both bad (no place for it)": 1}
    assert written.lost == {}


def test_each_thing_that_has_no_place_is_counted(tmp_path: Path) -> None:
    records = [
        comparison(annotator="mira", strength=3, confidence=7.0, flags=("unsafe",), note="odd"),
        comparison(annotator="otto", verdict="second", split="test", meta={"id": 1}),
        comparison(verdict="tie", annotator="otto"),
    ]
    written = write_file_as(tmp_path / "a.jsonl", "hh-rlhf", records)
    assert written.lost == {
        "annotator": 2,
        "strength": 1,
        "confidence": 1,
        "flags": 1,
        "note": 1,
        "split": 1,
        "other columns": 1,
    }
    assert written.left_out == {"tie (no place for it)": 1}


def test_a_ranking_becomes_its_pairs_where_there_is_no_place_for_it(tmp_path: Path) -> None:
    ranking = RankingRecord(prompt=QUESTION, responses=("a", "b", "c"), ranks=(0, 1, 1))
    path = tmp_path / "a.jsonl"
    written = write_file_as(path, "trl-preference-chat", [ranking])
    assert written.lost == {"ranking (written as its pairs)": 1}
    assert written.left_out == {"tie (no place for it)": 1}
    assert [one.responses for one in records_of(path) if isinstance(one, ComparisonRecord)] == [
        ("a", "b"),
        ("a", "c"),
    ]
    again = write_file_as(path, "arena", [ranking])
    assert (again.rows, again.left_out) == (3, {})


def test_comparisons_become_thumbs_and_say_so(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    written = write_file_as(path, "trl-unpaired-chat", [comparison(verdict="second")])
    assert written.lost == {"which response it was compared with": 1}
    assert exact(records_of(path)) == exact(
        [
            UnpairedRecord(prompt=QUESTION, response="Dog.", good=True),
            UnpairedRecord(prompt=QUESTION, response="Red.", good=False),
        ]
    )


def test_roles_are_counted_where_only_text_has_a_place_and_text_where_only_roles_have(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.jsonl"
    lost = write_file_as(path, "trl-preference", [comparison()]).lost
    assert lost == {"chat roles (written as text)": 1}
    (back,) = records_of(path)
    assert exact([back]) == exact([comparison(prompt=str(QUESTION))])
    lost = write_file_as(path, "trl-preference-chat", [comparison(prompt=PLAIN)]).lost
    assert lost == {"plain prompt (written as a user turn)": 1}
    (back,) = records_of(path)
    assert exact([back]) == exact([comparison(prompt=chat(f"user: {PLAIN}"))])


def test_an_input_is_parted_from_its_instruction_again(tmp_path: Path) -> None:
    source = tmp_path / "alpaca.json"
    rows = [
        {"instruction": "Translate.", "input": "bread", "output": "pain"},
        {"instruction": "Say hello.", "input": "", "output": "Hello."},
    ]
    source.write_text(json.dumps(rows))
    target = tmp_path / "again.json"
    written = write_file_as(target, "alpaca", records_of(source))
    assert json.loads(target.read_text()) == rows
    assert written.lost == {"other columns": 1}


def test_dialogue_marks_inside_a_text_are_left_out_of_hh(tmp_path: Path) -> None:
    trap = comparison(responses=("Yes.\n\nHuman: and now?", "No."))
    written = write_file_as(tmp_path / "a.jsonl", "hh-rlhf", [trap, comparison()])
    assert written.rows == 1
    assert written.left_out == {r"turns that \n\nHuman: and \n\nAssistant: cannot hold": 1}


def test_records_of_another_kind_are_counted(tmp_path: Path) -> None:
    prompt = PromptRecord(prompt=PLAIN)
    records: list[AnyRecord] = [comparison(), prompt, prompt]
    written = write_file_as(tmp_path / "a.jsonl", "arena", records)
    assert written.left_out == {"prompt (another kind of record)": 2}


def test_nothing_to_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("before")
    with pytest.raises(DataError, match=r"no record can be written as hh-rlhf \(tie.*: 1\)"):
        write_file_as(path, "hh-rlhf", [comparison(verdict="tie")])
    with pytest.raises(DataError, match="there is none"):
        write_file_as(path, "hh-rlhf", [])
    assert path.read_text() == "before"


@pytest.mark.parametrize("kind", [".jsonl", ".csv", ".json.gz", ".parquet"])
def test_records_that_fail_on_the_way_leave_what_was_there(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a{kind}"
    path.write_text("before")

    def failing() -> Iterator[AnyRecord]:
        yield comparison()
        message = "the store is gone"
        raise RuntimeError(message)

    with pytest.raises(RuntimeError, match="the store is gone"):
        write_file_as(path, "arena", failing())
    with pytest.raises(DataError, match="record 1 cannot be written: its responses holds half"):
        write_file_as(path, "arena", [comparison(responses=("a\ud800", "b"))])
    assert path.read_text() == "before"
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "a.jsonl.gz", tmp_path / "b.jsonl.gz"
    for path in (first, second):
        write_file_as(path, "messages", of_each_kind(PLAIN))
    assert first.read_bytes() == second.read_bytes()
    assert gzip.decompress(first.read_bytes()).startswith(b'{"messages"')


@pytest.mark.parametrize("name", ["a.txt", "a.xlsx", "a.parquet.gz"])
def test_a_name_that_says_no_kind_of_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="the ending says the kind of file"):
        write_file_as(tmp_path / name, "arena", [comparison()])


def test_a_format_that_is_only_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownFormat, match="llmbar is read and not written; write one of"):
        write_file_as(tmp_path / "a.jsonl", "llmbar", [comparison()])


def test_a_saved_folder_is_one_of_the_hub_library_and_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "saved"
    records: list[AnyRecord] = [comparison(annotator="mira"), comparison(strength=2)]
    for _ in range(2):  # the second time in the place of the first
        write_file_as(path, "trl-preference-chat", records)
    assert datasets.load_from_disk(str(path)).num_rows == 2
    found = inspect_file(path)
    assert (found.kind, found.format, found.rows) == ("save_to_disk", "trl-preference-chat", 2)
    assert exact(records_of(path)) == exact(records)


def test_a_saved_folder_takes_no_other_folders_place(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="is no save_to_disk folder"):
        write_file_as(tmp_path / "mine", "arena", [comparison()])
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years of work"


def test_numbers_and_steps_are_told_apart_in_margins(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    records: list[AnyRecord] = [
        comparison(strength=2),
        comparison(margin=2.0),
        comparison(margin=0.25),
    ]
    write_file_as(path, "trl-preference-chat", records)
    assert exact(records_of(path)) == exact(records)
