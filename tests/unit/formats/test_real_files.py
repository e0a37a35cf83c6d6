"""The published files in `ASSENT_DATA`: every row is a record, or is dropped for a stated reason.

The counts of rows are those of the data's own README; what is dropped was looked at by hand.
"""

import os
import re
from pathlib import Path
from typing import Any

import pytest
from tests.format_records import records_of, turns

from assent.formats import (
    ComparisonRecord,
    DemonstrationRecord,
    Problem,
    RankingRecord,
    inspect_file,
    read_file,
    write_file_as,
)
from assent.types import ChatPrompt

DATA = Path(os.environ.get("ASSENT_DATA", Path(__file__).parents[4] / "shared" / "data"))
pytestmark = pytest.mark.skipif(
    not (DATA / "README.md").is_file(),
    reason=f"no published data at {DATA}; set ASSENT_DATA to the folder that holds them",
)

EXPECTED: dict[str, dict[str, Any]] = {
    "preferences/hh_harmless_base_test.jsonl.gz": {
        "format": "hh-rlhf",
        "counts": {"comparison": 1345},
        "dropped": {"empty response": 3, "prompt ends with the assistant": 1},
    },
    "preferences/oasst1_en_validation_messages.jsonl.gz": {
        "format": "oasst-messages",
        "counts": {"ranking": 245, "demonstration": 278, "prompt": 154},
        "dropped": {
            "deleted or not approved": 52,
            "identical responses": 1,
            "parent message missing": 1,
        },
    },
    "preferences/oasst1_en_validation_pairs.jsonl.gz": {
        "format": "trl-preference-chat",
        "counts": {"comparison": 623},
        "dropped": {"identical responses": 1},
    },
    "preferences/llmbar_natural.jsonl": {"format": "llmbar", "counts": {"comparison": 100}},
    "preferences/llmbar_neighbor.jsonl": {"format": "llmbar", "counts": {"comparison": 134}},
    "preferences/llmbar_gptinst.jsonl": {"format": "llmbar", "counts": {"comparison": 92}},
    "preferences/truthfulqa_judge_truth.jsonl.gz": {
        "format": "truthfulqa-judge",
        "counts": {"rating": 13195},
        "dropped": {"empty response": 46},
    },
    "preferences/truthfulqa_judge_info.jsonl.gz": {
        "format": "truthfulqa-judge",
        "counts": {"rating": 13195},
        "dropped": {"empty response": 46},
    },
    "demos/seed_tasks.jsonl": {"format": "self-instruct", "counts": {"demonstration": 175}},
    "demos/user_oriented_instructions.jsonl": {
        "format": "self-instruct",
        "counts": {"demonstration": 156},
    },
    "demos/mt_bench_questions.jsonl": {"format": "mt-bench", "counts": {"prompt": 48}},
    "demos/gsm8k_train_4000.jsonl.gz": {
        "format": "question-answer",
        "counts": {"demonstration": 4000},
    },
    "feedback/ilf_mbpp_human_feedback.jsonl.gz": {"format": "ilf", "counts": {"feedback": 113}},
}


def stated_rows(name: str) -> int:
    """The rows of a file as the data's README has them."""
    section = (DATA / "README.md").read_text().partition(f"#### `{name}`")[2]
    found = re.search(r"- rows: ([\d,]+)", section)
    assert found
    return int(found[1].replace(",", ""))


def test_every_file_is_expected() -> None:
    folders = ("preferences", "demos", "feedback")
    there = {f"{one}/{path.name}" for one in folders for path in (DATA / one).iterdir()}
    assert there == {*EXPECTED}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_published_file_is_told_and_read_whole(name: str) -> None:
    found, expected = inspect_file(DATA / name), EXPECTED[name]
    assert (found.format, found.confidence) == (expected["format"], 1.0)
    assert found.rows == stated_rows(name)
    assert found.counts == expected["counts"]
    assert {one.reason: one.count for one in found.dropped} == expected.get("dropped", {})


def test_oasst_pairs_are_those_of_the_trees() -> None:
    """Two files of one source: the pairs of our rankings are the pairs that were published."""
    folder = DATA / "preferences"
    trees = read_file(folder / "oasst1_en_validation_messages.jsonl.gz")
    ours = {
        (one.prompt, better, worse)
        for one in trees
        if isinstance(one, RankingRecord)
        for better, high in zip(one.responses, one.ranks, strict=True)
        for worse, low in zip(one.responses, one.ranks, strict=True)
        if high < low
    }
    theirs = {
        (one.prompt, *one.responses)
        for one in read_file(folder / "oasst1_en_validation_pairs.jsonl.gz")
        if isinstance(one, ComparisonRecord)
    }
    assert len(ours) > 600
    assert len(ours & theirs) / len(theirs) > 0.97
    assert len(ours & theirs) / len(ours) > 0.97


def test_a_dialogue_is_parted_into_its_turns() -> None:
    for one in read_file(DATA / "preferences" / "hh_harmless_base_test.jsonl.gz"):
        if isinstance(one, Problem):
            continue
        assert isinstance(one.prompt, ChatPrompt)
        roles = [turn.role for turn in one.prompt.messages]
        assert (roles[0], roles[-1]) == ("user", "user")
        assert not any("\n\nHuman:" in turn.content for turn in one.prompt.messages)


@pytest.mark.parametrize(
    ("name", "format_name"),
    [
        ("preferences/hh_harmless_base_test.jsonl.gz", "hh-rlhf"),
        ("preferences/hh_harmless_base_test.jsonl.gz", "trl-preference-chat"),
        ("preferences/oasst1_en_validation_messages.jsonl.gz", "oasst-trees"),
        ("demos/gsm8k_train_4000.jsonl.gz", "messages"),
        ("demos/seed_tasks.jsonl", "alpaca"),
    ],
)
def test_published_records_go_out_and_come_back(
    tmp_path: Path, name: str, format_name: str
) -> None:
    records = [one for one in read_file(DATA / name) if not isinstance(one, Problem)]
    path = tmp_path / "again.jsonl"
    written = write_file_as(path, format_name, records)
    assert written.left_out == {}
    back = records_of(path)
    kinds = (DemonstrationRecord, ComparisonRecord, RankingRecord)
    assert [said(one) for one in back if isinstance(one, kinds)] == [
        said(one) for one in records if isinstance(one, kinds)
    ]


def said(record: DemonstrationRecord | ComparisonRecord | RankingRecord) -> object:
    """The turns of the prompt, and what was said about the responses."""
    asked = turns(record.prompt) or record.prompt
    if isinstance(record, DemonstrationRecord):
        return asked, record.response
    if isinstance(record, ComparisonRecord):
        return asked, record.responses, record.verdict
    return asked, record.responses, record.ranks
