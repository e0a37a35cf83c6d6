"""Snapshots: what they hold, what they never notice, and that they are verified when read."""

import hashlib
import json

import pytest
from sqlalchemy import text
from tests.store_fixtures import fill, judge

from assent.errors import DataError, IdempotencyConflict, StoreDamaged, UnknownRecord
from assent.store import JudgedPair, NewComparison, NewJudgement, Project


def test_a_snapshot_holds_the_judgements_that_stand_in_order(project: Project) -> None:
    world = fill(project)
    flawed, ada = world.annotators
    first, second, third = judge(project.store, world.comparisons, ada)
    project.store.record_judgements(
        [
            NewJudgement(
                comparison_id=world.comparisons[0],
                annotator_id=ada,
                verdict="second",
                strength=3,
                idempotency_key="edit",
                supersedes=first,
            )
        ]
    )
    project.store.retract(second, ada, "undo")
    snapshot = project.store.take_snapshot("round 1")
    pairs = project.store.judged_pairs(snapshot.id)
    assert [(one.seq, one.verdict, one.strength) for one in pairs] == [
        (3, "first", None),
        (4, "second", 3),
    ]
    assert pairs[0] == JudgedPair(
        event_id=third,
        seq=3,
        comparison_id=world.comparisons[2],
        annotator_id=ada,
        prompt_id=world.prompts[2],
        prompt="question 2",
        first="answer 0 to 2",
        second="answer 1 to 2",
        shown_order="second_left",
        verdict="first",
        strength=None,
        round=0,
    )
    assert (snapshot.event_count, snapshot.up_to_seq) == (2, 5)
    assert flawed not in {one.annotator_id for one in pairs}


def test_what_happens_later_does_not_reach_a_snapshot(project: Project) -> None:
    world = fill(project)
    ada = world.annotators[1]
    events = judge(project.store, world.comparisons[:2], ada)
    snapshot = project.store.take_snapshot("round 1")
    before = project.store.judged_pairs(snapshot.id)
    project.store.retract(events[0], ada, "undo")
    judge(project.store, world.comparisons[2:], ada)
    assert project.store.judged_pairs(snapshot.id) == before
    assert project.store.take_snapshot("round 1") == snapshot
    later = project.store.take_snapshot("round 2")
    assert [one.seq for one in project.store.judged_pairs(later.id)] == [2, 4]
    assert project.store.snapshots() == [snapshot, later]
    assert project.store.snapshot(later.id) == later


def test_a_snapshot_of_the_past_is_the_one_that_was_taken_then(project: Project) -> None:
    world = fill(project)
    ada = world.annotators[1]
    events = judge(project.store, world.comparisons, ada)
    then = project.store.take_snapshot("then")
    project.store.retract(events[0], ada, "undo")
    again = project.store.take_snapshot("again", up_to_seq=then.up_to_seq)
    assert again.content_sha256 == then.content_sha256


def test_the_hash_of_a_snapshot_covers_judgements_and_texts(project: Project) -> None:
    world = fill(project)
    judge(project.store, world.comparisons, world.annotators[1])
    snapshot = project.store.take_snapshot("round 1")
    payloads = {one.id: one.payload for one in project.store.events()}
    digest = hashlib.sha256()
    for pair in project.store.judged_pairs(snapshot.id):
        line = [
            pair.event_id,
            pair.comparison_id,
            pair.annotator_id,
            json.dumps(payloads[pair.event_id], sort_keys=True, separators=(",", ":")),
            str(pair.round),
            pair.prompt,
            pair.first,
            pair.second,
        ]
        digest.update("".join(f"{field}\x00" for field in line).encode())
    assert snapshot.content_sha256 == digest.hexdigest()


def test_a_snapshot_keeps_to_its_purposes(project: Project) -> None:
    world = fill(project)
    ada = world.annotators[1]
    (held_out,) = project.store.add_comparisons(
        [
            NewComparison(
                prompt_id=world.prompts[0],
                first_response_id=world.responses[1],
                second_response_id=world.responses[0],
                shown_order="first_left",
                purpose="promotion",
            )
        ]
    )
    judge(project.store, [*world.comparisons, held_out], ada)
    reward = project.store.take_snapshot("reward")
    promotion = project.store.take_snapshot("promotion", purposes=("promotion",))
    both = project.store.take_snapshot("both", purposes=("promotion", "reward", "reward"))
    assert (reward.event_count, promotion.event_count, both.event_count) == (3, 1, 4)
    assert [one.comparison_id for one in project.store.judged_pairs(promotion.id)] == [held_out]


def test_a_name_is_one_snapshot(project: Project) -> None:
    world = fill(project)
    judge(project.store, world.comparisons, world.annotators[1])
    project.store.take_snapshot("round 1")
    with pytest.raises(IdempotencyConflict, match="another name"):
        project.store.take_snapshot("round 1", purposes=("promotion",))
    with pytest.raises(IdempotencyConflict, match="another name"):
        project.store.take_snapshot("round 1", up_to_seq=1)
    assert project.store.take_snapshot("round 1", up_to_seq=3).event_count == 3


def test_a_snapshot_beyond_the_ledger_or_of_nothing_is_refused(project: Project) -> None:
    with pytest.raises(DataError, match="up_to_seq is 1; the ledger has events 1 to 0"):
        project.store.take_snapshot("early", up_to_seq=1)
    with pytest.raises(DataError, match="names no purpose"):
        project.store.take_snapshot("empty", purposes=())
    with pytest.raises(UnknownRecord, match="snapshots has no record none"):
        project.store.judged_pairs("none")
    assert project.store.take_snapshot("zero").event_count == 0


def test_a_snapshot_whose_texts_were_changed_is_refused(project: Project) -> None:
    world = fill(project)
    judge(project.store, world.comparisons, world.annotators[1])
    snapshot = project.store.take_snapshot("round 1")
    with project.store.database.writing() as connection:
        connection.execute(
            text("UPDATE responses SET text = 'forged' WHERE id = :id"),
            {"id": world.responses[3]},
        )
    with pytest.raises(StoreDamaged, match="snapshot 'round 1' held 3 judgements"):
        project.store.judged_pairs(snapshot.id)
