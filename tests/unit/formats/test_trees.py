"""Conversation trees: which messages become rankings, demonstrations and prompts."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.format_records import chat, exact

from assent.formats import (
    AnyRecord,
    DemonstrationRecord,
    Problem,
    PromptRecord,
    RankingRecord,
    read_file,
)


def message(id_: str, parent: str | None, role: str, **more: Any) -> dict[str, Any]:
    row = {"message_id": id_, "parent_id": parent, "message_tree_id": "t", "role": role}
    return {**row, "text": f"text {id_}", **more}


def read(path: Path, rows: Sequence[dict[str, Any]]) -> tuple[list[AnyRecord], list[Problem]]:
    file = path / "trees.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    outcomes = list(read_file(file, "oasst-messages"))
    problems = [one for one in outcomes if isinstance(one, Problem)]
    return [one for one in outcomes if not isinstance(one, Problem)], problems


ROOT = message("q", None, "prompter")
ASKED = chat("user: text q")


def test_rows_of_a_tree_may_stand_in_any_order(tmp_path: Path) -> None:
    rows = [
        message("a", "q", "assistant", rank=0),
        message("deep", "next", "assistant"),
        ROOT,
        message("next", "a", "prompter"),
        message("b", "q", "assistant", rank=1),
    ]
    in_order = [rows[2], rows[0], rows[4], rows[3], rows[1]]
    (records, problems), (again, _) = read(tmp_path, rows), read(tmp_path, in_order)
    assert problems == []
    assert exact(records) == exact(again)
    assert exact(records) == exact(
        [
            RankingRecord(prompt=ASKED, responses=("text a", "text b"), ranks=(0, 1), group="t"),
            DemonstrationRecord(prompt=ASKED, response="text a", group="t"),
            DemonstrationRecord(
                prompt=chat("user: text q", "assistant: text a", "user: text next"),
                response="text deep",
                group="t",
            ),
        ]
    )


def test_what_a_model_wrote_is_ranked_and_not_imitated(tmp_path: Path) -> None:
    rows = [
        ROOT,
        message("a", "q", "assistant", rank=0, synthetic=True),
        message("b", "q", "assistant", rank=1),
    ]
    records, _ = read(tmp_path, rows)
    assert [type(one) for one in records] == [RankingRecord]


def test_gaps_in_ranks_close_and_equal_ranks_tie(tmp_path: Path) -> None:
    ranks = {"a": 5, "b": 2, "c": 2, "d": 9}
    rows = [ROOT, *(message(id_, "q", "assistant", rank=rank) for id_, rank in ranks.items())]
    (ranking, *best), _ = read(tmp_path, rows)
    assert isinstance(ranking, RankingRecord)
    assert dict(zip(ranking.responses, ranking.ranks, strict=True)) == {
        "text b": 0,
        "text c": 0,
        "text a": 1,
        "text d": 2,
    }
    assert [one.response for one in best if isinstance(one, DemonstrationRecord)] == [
        "text b",
        "text c",
    ]


def test_a_reply_without_a_rank_is_no_part_of_the_ranking(tmp_path: Path) -> None:
    rows = [
        ROOT,
        message("a", "q", "assistant", rank=0),
        message("b", "q", "assistant", rank=1),
        message("late", "q", "assistant", rank=None),
    ]
    (ranking, *best), _ = read(tmp_path, rows)
    assert isinstance(ranking, RankingRecord)
    assert ranking.responses == ("text a", "text b")
    assert len(best) == 2


def test_deleted_messages_go_with_everything_below_them(tmp_path: Path) -> None:
    rows = [
        ROOT,
        message("a", "q", "assistant", deleted=True),
        message("next", "a", "prompter"),
        message("bad", "q", "assistant", review_result=False),
    ]
    records, problems = read(tmp_path, rows)
    assert exact(records) == exact([PromptRecord(prompt=ASKED, group="t")])
    assert [(one.where.row, one.reason) for one in problems] == [
        (2, "deleted or not approved"),
        (3, "deleted or not approved"),
        (4, "deleted or not approved"),
    ]


def test_messages_whose_tree_is_not_whole_are_problems(tmp_path: Path) -> None:
    rows = [
        ROOT,
        message("lost", "nowhere", "assistant"),
        message("below", "lost", "prompter"),
        message("loop", "pool", "assistant"),
        message("pool", "loop", "prompter"),
        message("q", None, "prompter"),
    ]
    records, problems = read(tmp_path, rows)
    assert len(records) == 1
    assert sorted((one.where.row, one.reason) for one in problems) == [
        (2, "parent message missing"),
        (3, "parent message missing"),
        (4, "parent message missing"),
        (5, "parent message missing"),
        (6, "duplicate message"),
    ]


def test_two_trees_keep_apart(tmp_path: Path) -> None:
    other = {**message("q2", None, "prompter"), "message_tree_id": "u"}
    records, _ = read(tmp_path, [ROOT, other])
    assert [one.group for one in records] == ["t", "u"]


def test_a_nested_tree_that_is_no_tree_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "trees.jsonl"
    root = {"message_id": "q", "role": "prompter", "text": "Hi"}
    rows = [
        {"prompt": {**root, "replies": replies}} for replies in ("none", ["a"], [{"role": "x"}])
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    problems = [one for one in read_file(path) if isinstance(one, Problem)]
    assert [one.detail for one in problems] == [
        "column replies should be a list, and is 'none'",
        "column replies should be a list of messages, and is 'a'",
        "column role is 'x'",
    ]
