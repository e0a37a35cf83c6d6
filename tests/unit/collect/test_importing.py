"""Imported feedback: once, each prompt in one split, nothing dropped in silence."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from assent.collect.importing import Context, Imported, ImportOptions, import_file, import_records
from assent.collect.importing_splits import SHARES, default_group, split_of
from assent.errors import DataError, UnreadableFile
from assent.formats import (
    AnyRecord,
    ComparisonRecord,
    DemonstrationRecord,
    FeedbackRecord,
    Place,
    Problem,
    PromptRecord,
    RankingRecord,
    RatingRecord,
    UnpairedRecord,
)
from assent.store import Project, check_project
from assent.types import ChatPrompt, Message, Prompt
from assent.worlds.almanac import build_tokenizer

COMPARISON = ComparisonRecord(prompt="q", responses=("good", "bad"), verdict="first")
EVERY_KIND: tuple[AnyRecord, ...] = (
    PromptRecord(prompt="only asked"),
    DemonstrationRecord(prompt="q", response="mine", annotator="ada"),
    replace(COMPARISON, annotator="ada", strength=2, note="hm", flags=("rude",), meta={"id": 1}),
    RankingRecord(prompt="q", responses=("a", "b", "c"), ranks=(4, 0, 4), annotator="bob"),
    RatingRecord(prompt="q", response="a", axes={"helpful": 4}),
    UnpairedRecord(prompt="q", response="b", good=False, annotator="ada"),
    FeedbackRecord(prompt="q", response="a", criticism="dull", refinement="lively"),
)


def imported(project: Project, records: Sequence[AnyRecord | Problem], **how: Any) -> Imported:
    return import_records(project.store, records, ImportOptions(**{"source": "file", **how}))


def test_every_kind_of_record_is_stored_as_what_it_is(project: Project) -> None:
    result = imported(project, EVERY_KIND)
    assert result.added == {
        "prompts": 1,
        "demonstrations": 1,
        "comparisons": 1,
        "rankings": 1,
        "ratings": 1,
        "thumbs": 1,
        "criticisms": 1,
    }
    store = project.store
    snapshot = store.take_snapshot("all", purposes=("reward", "validation", "test")).id
    (pair,) = store.judged_pairs(snapshot)
    won = {"first": pair.first, "second": pair.second}[pair.verdict]
    assert (won, pair.strength, pair.note, pair.flags) == ("good", 2, "hm", ("rude",))
    assert pair.context["file"] == {"id": 1}
    (ranked,) = store.judged_rankings(snapshot)
    assert dict(zip(ranked.responses, ranked.ranks, strict=True)) == {"a": 1, "b": 0, "c": 1}
    assert {(one.response, tuple(one.axes.items())) for one in store.ratings()} == {
        ("a", (("helpful", 4.0),)),
        ("b", (("good", 0.0),)),
    }
    assert [(one.text, one.refinement) for one in store.criticisms()] == [("dull", "lively")]
    names = {one.name: one.kind for one in store.annotators()}
    assert names == dict.fromkeys(
        ("import/file/ada", "import/file/bob", "import/file/unnamed"), "human"
    )
    assert check_project(project) == []


def test_the_same_again_adds_nothing_and_says_so(project: Project) -> None:
    first = imported(project, EVERY_KIND)
    before = project.store.counts()
    again = imported(project, EVERY_KIND, split="test", kind="user")
    assert (again.added, again.known) == ({}, first.added)
    assert project.store.counts() == before


def test_a_row_that_is_there_twice_is_two_judgements_and_stays_two(project: Project) -> None:
    twice = [COMPARISON, COMPARISON, replace(COMPARISON, verdict="tie")]
    assert imported(project, twice).added == {"comparisons": 3}
    assert imported(project, twice).known == {"comparisons": 3}
    assert imported(project, [*twice, COMPARISON]).added == {"comparisons": 1}
    assert Counter(event.payload["verdict"] for event in project.store.events())["tie"] == 1


def test_annotators_who_judge_the_same_pair_judge_one_comparison(sqlite_project: Project) -> None:
    swapped = replace(COMPARISON, responses=("bad", "good"), verdict="second")
    records = [replace(COMPARISON, annotator="ada"), replace(swapped, annotator="bob")]
    for order_is_shown in (False, True):
        source = f"file {order_is_shown}"
        imported(sqlite_project, records, source=source, order_is_shown=order_is_shown)
    store = sqlite_project.store
    assert len(store.comparisons()) == 2
    pairs = store.judged_pairs(
        store.take_snapshot("all", purposes=("reward", "validation", "test")).id
    )
    assert len({(pair.first, pair.verdict) for pair in pairs}) == 1
    assert [pair.shown_order for pair in pairs[:2]] == ["first_left"] * 2
    assert {pair.shown_order for pair in pairs[2:]} == {"first_left", "second_left"}


def test_sides_do_not_tell_who_won_in_files_that_name_the_winner_first(
    sqlite_project: Project,
) -> None:
    records = [
        ComparisonRecord(prompt=f"q {n}", responses=(f"good {n}", f"bad {n}"), verdict="first")
        for n in range(400)
    ]
    imported(sqlite_project, records)
    verdicts = Counter(event.payload["verdict"] for event in sqlite_project.store.events())
    assert verdicts["first"] == pytest.approx(200, abs=50)


def test_prompts_are_parted_by_their_group_and_never_straddle(sqlite_project: Project) -> None:
    records = [PromptRecord(prompt=f"q {n}", group=f"group {n % 300}") for n in range(1200)]
    result = imported(sqlite_project, records)
    shares = dict(SHARES)
    for split, count in result.prompts.items():
        assert count / 1200 == pytest.approx(shares[split], abs=0.04)
    splits: dict[str, set[str]] = {}
    for one in sqlite_project.store.prompts():
        splits.setdefault(one.group, set()).add(one.split)
    assert all(len(split) == 1 for split in splits.values())


def test_a_prompt_that_the_project_knows_stays_where_it_is(project: Project) -> None:
    project.store.add_prompts([Prompt(text="q", split="test"), Prompt(text="z", group="g")])
    result = imported(
        project,
        [COMPARISON, PromptRecord(prompt="other", group="g", split="test")],
        split="validation",
    )
    assert {one.text: one.split for one in project.store.prompts()} == {
        "q": "test",
        "z": "train",
        "other": "train",
    }
    assert result.stayed == 2
    (comparison,) = project.store.comparisons()
    assert comparison.purpose == "test"


def test_only_judgements_of_train_prompts_are_trained_on(sqlite_project: Project) -> None:
    for split in ("train", "validation", "test"):
        record = replace(COMPARISON, prompt=split, split=split)
        imported(sqlite_project, [record])
    store = sqlite_project.store
    reward = store.judged_pairs(store.take_snapshot("reward").id)
    assert [pair.prompt for pair in reward] == ["train"]


def test_chats_that_begin_alike_share_a_group(sqlite_project: Project) -> None:
    opening = Message("user", "Hello")
    longer = (opening, Message("assistant", "Hi"), Message("user", "How are you?"))
    records = [PromptRecord(prompt=ChatPrompt(turns)) for turns in ((opening,), longer)]
    imported(sqlite_project, records)
    first, second = sqlite_project.store.prompts()
    assert first.group == second.group == default_group(ChatPrompt(longer))
    assert first.split == second.split == split_of(first.group)
    assert isinstance(second.text, ChatPrompt)
    assert second.text.messages == longer


def test_what_is_dropped_is_counted_with_file_row_and_reason(project: Project) -> None:
    where = Place("f.jsonl", 7)
    records: list[AnyRecord | Problem] = [
        Problem(Place("f.jsonl", 1), "empty response", "column chosen is empty"),
        replace(COMPARISON, responses=("same", "same"), where=where),
        RankingRecord(prompt="q", responses=tuple("abcdefghij"), ranks=tuple(range(10))),
        RatingRecord(prompt="q", response="a\x00", axes={"helpful": 1}),
        UnpairedRecord(prompt="q", response="half \ud800", good=True),
        RatingRecord(prompt="q", response="a", axes={"x" * 101: 1}),
        FeedbackRecord(prompt="q", response="a", criticism="no", refinement="a"),
        COMPARISON,
    ]
    result = imported(project, records)
    assert result.added == {"comparisons": 1}
    dropped = {one.reason: (one.count, one.first[0]) for one in result.dropped}
    assert dropped["empty response"] == (1, "f.jsonl, row 1: column chosen is empty")
    assert dropped["identical responses"][1].startswith("f.jsonl, row 7: ")
    assert dropped["text that cannot be stored"][0] == 2
    assert {"too many responses", "a name too long", "refinement changes nothing"} <= set(dropped)
    assert project.store.counts()["events"] == 1


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return build_tokenizer()


def test_prompts_longer_than_the_context_are_reported_and_never_cut(
    sqlite_project: Project, tokenizer: PreTrainedTokenizerBase
) -> None:
    long = "the king is " * 20
    records = [
        PromptRecord(prompt="the king", where=Place("f", 1)),
        PromptRecord(prompt=long, where=Place("f", 2)),
    ]
    result = imported(sqlite_project, records, context=Context(tokenizer=tokenizer, tokens=40))
    assert result.too_long is not None
    assert result.too_long.count == 1
    assert result.too_long.first[0].startswith("f, row 2: the prompt has ")
    assert sqlite_project.store.prompts()[1].text == long


def test_a_chat_that_the_template_refuses_is_dropped_and_named(
    sqlite_project: Project, tokenizer: PreTrainedTokenizerBase
) -> None:
    ends_wrong = ChatPrompt([Message("user", "Hi"), Message("assistant", "Hello")])
    records = [PromptRecord(prompt=ends_wrong, where=Place("f", 3)), PromptRecord(prompt="king")]
    result = imported(sqlite_project, records, context=Context(tokenizer=tokenizer, tokens=40))
    assert result.added == {"prompts": 1}
    assert result.dropped[0].reason == "the model cannot read the prompt"
    assert result.dropped[0].first[0].startswith("f, row 3: ")


def test_ai_feedback_is_by_a_model(sqlite_project: Project) -> None:
    imported(sqlite_project, [replace(COMPARISON, annotator="gpt")], annotator_kind="model")
    (annotator,) = sqlite_project.store.annotators()
    assert (annotator.name, annotator.kind) == ("import/file/gpt", "model")


def pairs_file(path: Path, rows: int) -> Path:
    lines = [
        json.dumps({"prompt": f"q {n}", "chosen": f"good {n}", "rejected": f"bad {n}"})
        for n in range(rows)
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_file_that_breaks_off_changes_nothing(sqlite_project: Project, tmp_path: Path) -> None:
    import gzip

    whole = gzip.compress(pairs_file(tmp_path / "pairs.jsonl", 3000).read_bytes())
    broken = tmp_path / "broken.jsonl.gz"
    broken.write_bytes(whole[: len(whole) - 100])
    with pytest.raises(UnreadableFile, match=r"broken\.jsonl\.gz"):
        import_file(sqlite_project.store, broken)
    assert sum(sqlite_project.store.counts().values()) == len(["project", "ledger head"])


def test_a_file_without_a_usable_row_is_refused_by_name(
    sqlite_project: Project, tmp_path: Path
) -> None:
    file = tmp_path / "same.jsonl"
    file.write_text('{"prompt": "q", "chosen": "a", "rejected": "a"}\n')
    with pytest.raises(DataError, match=r"same\.jsonl.* row 1: the two responses are the same"):
        import_file(sqlite_project.store, file)


def test_a_renamed_file_is_the_same_data_under_the_same_source(
    sqlite_project: Project, tmp_path: Path
) -> None:
    first = pairs_file(tmp_path / "one.jsonl", 5)
    import_file(sqlite_project.store, first)
    renamed = pairs_file(tmp_path / "two.jsonl", 6)
    _, result = import_file(sqlite_project.store, renamed, source="one.jsonl")
    assert (result.added, result.known) == ({"comparisons": 1}, {"comparisons": 5})
