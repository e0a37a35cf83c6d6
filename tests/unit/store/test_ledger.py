"""Judgements and demonstrations as events: replays, edits, undoing, and the chain of hashes."""

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from tests.store_fixtures import World, fill, judge

from assent.errors import (
    AlreadyJudged,
    AlreadySuperseded,
    DataError,
    IdempotencyConflict,
    StoreError,
    UnknownRecord,
)
from assent.store import NewDemonstration, NewJudgement, Project, Recorded, StoredDemonstration


def judgement(world: World, key: str = "key", comparison: int = 0) -> NewJudgement:
    return NewJudgement(
        comparison_id=world.comparisons[comparison],
        annotator_id=world.annotators[1],
        verdict="first",
        strength=2,
        note="naïve",
        seconds_spent=1.5,
        idempotency_key=key,
    )


def test_a_judgement_is_stored_as_the_next_event(project: Project) -> None:
    world = fill(project)
    first, second = project.store.record_judgements(
        [judgement(world, "a"), judgement(world, "b", comparison=1)]
    )
    assert (first.seq, second.seq, first.replayed, second.replayed) == (1, 2, False, False)
    stored = project.store.events()
    assert [(one.id, one.seq) for one in stored] == [(first.event_id, 1), (second.event_id, 2)]
    assert stored[0].payload == {
        "v": 1,
        "verdict": "first",
        "strength": 2,
        "note": "naïve",
        "seconds_spent": 1.5,
    }
    assert stored[0].kind == "judgement"
    assert stored[0].comparison_id == world.comparisons[0]
    assert stored[0].annotator_id == world.annotators[1]
    assert stored[0].created_at > datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert project.store.events(after_seq=1, limit=5) == stored[1:]


def test_every_event_hashes_what_it_says_and_the_hash_before_it(project: Project) -> None:
    world = fill(project)
    judge(project.store, world.comparisons, world.annotators[1])
    prev_hash = "0" * 64
    for event in project.store.events():
        assert event.prev_hash == prev_hash
        # The definition, spelt out: the columns as text, joined by NUL.
        said = [
            event.id,
            event.kind,
            event.comparison_id,
            event.response_id,
            event.annotator_id,
            event.idempotency_key,
            event.supersedes,
            json.dumps(event.payload, sort_keys=True, separators=(",", ":")),
            event.created_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            prev_hash,
        ]
        text = "\x00".join(str(field) for field in said)
        assert event.hash == hashlib.sha256(text.encode()).hexdigest()
        prev_hash = event.hash


def test_a_repeated_judgement_is_answered_with_the_stored_event(project: Project) -> None:
    world = fill(project)
    (first,) = project.store.record_judgements([judgement(world)])
    new, old, twice = project.store.record_judgements(
        [judgement(world, "other", comparison=1), judgement(world), judgement(world)]
    )
    assert old == twice == replace(first, replayed=True)
    assert (new.seq, new.replayed) == (2, False)
    assert len(project.store.events()) == 2


def test_a_key_used_for_other_content_is_refused_and_the_batch_is_dropped(
    project: Project,
) -> None:
    world = fill(project)
    project.store.record_judgements([judgement(world)])
    before = project.store.counts()
    for changed in (
        replace(judgement(world), verdict="second"),
        replace(judgement(world), note=None),
        replace(judgement(world), comparison_id=world.comparisons[1]),
    ):
        with pytest.raises(IdempotencyConflict, match="idempotency key 'key'"):
            project.store.record_judgements([judgement(world, "new", comparison=2), changed])
    assert project.store.counts() == before


def test_two_annotators_may_use_the_same_key(project: Project) -> None:
    world = fill(project)
    mine, theirs = project.store.record_judgements(
        [judgement(world), replace(judgement(world), annotator_id=world.annotators[0])]
    )
    assert mine.event_id != theirs.event_id


def test_a_second_verdict_must_supersede_the_first(project: Project) -> None:
    world = fill(project)
    (first,) = project.store.record_judgements([judgement(world)])
    changed = replace(judgement(world, "changed"), verdict="second")
    with pytest.raises(AlreadyJudged, match=f"event {first.event_id}"):
        project.store.record_judgements([changed])
    edit = replace(changed, supersedes=first.event_id)
    (second,) = project.store.record_judgements([edit])
    with pytest.raises(AlreadyJudged, match=f"event {second.event_id}"):
        project.store.record_judgements([judgement(world, "third")])


def test_one_batch_may_judge_and_edit(project: Project) -> None:
    world = fill(project)
    (first,) = project.store.record_judgements([judgement(world)])
    edit = replace(judgement(world, "edit"), verdict="tie", supersedes=first.event_id)
    other = judgement(world, "other", comparison=1)
    with pytest.raises(AlreadyJudged):
        project.store.record_judgements([other, replace(other, idempotency_key="again")])
    assert len(project.store.record_judgements([edit, other])) == 2
    again = project.store.record_judgements([edit, other])
    assert [one.replayed for one in again] == [True, True]


def test_an_event_is_superseded_at_most_once(project: Project) -> None:
    world = fill(project)
    (first,) = project.store.record_judgements([judgement(world)])
    edit = replace(judgement(world, "edit"), verdict="tie", supersedes=first.event_id)
    (second,) = project.store.record_judgements([edit])
    late = replace(edit, idempotency_key="late")
    with pytest.raises(AlreadySuperseded, match=f"by event {second.event_id}"):
        project.store.record_judgements([late])
    with pytest.raises(AlreadySuperseded):
        project.store.retract(first.event_id, world.annotators[1], "undo")


def test_undoing_frees_the_comparison_and_repeating_it_changes_nothing(project: Project) -> None:
    world = fill(project)
    (first,) = project.store.record_judgements([judgement(world)])
    undone = project.store.retract(first.event_id, world.annotators[1], "undo")
    assert project.store.retract(first.event_id, world.annotators[1], "undo") == Recorded(
        event_id=undone.event_id, seq=undone.seq, replayed=True
    )
    assert project.store.events()[-1].comparison_id == world.comparisons[0]
    (second,) = project.store.record_judgements([judgement(world, "again")])
    assert second.seq == 3


def test_an_undoing_stays(project: Project) -> None:
    world = fill(project)
    (first,) = project.store.record_judgements([judgement(world)])
    undone = project.store.retract(first.event_id, world.annotators[1], "undo")
    with pytest.raises(StoreError, match="is an undoing and stays"):
        project.store.retract(undone.event_id, world.annotators[1], "undo the undoing")


def test_nobody_changes_the_judgement_of_another(project: Project) -> None:
    world = fill(project)
    (first,) = project.store.record_judgements([judgement(world)])
    with pytest.raises(StoreError, match="only they can change it"):
        project.store.retract(first.event_id, world.annotators[0], "undo")


def test_an_edit_stays_with_its_comparison(project: Project) -> None:
    world = fill(project)
    (first,) = project.store.record_judgements([judgement(world)])
    elsewhere = replace(judgement(world, "edit", comparison=1), supersedes=first.event_id)
    with pytest.raises(StoreError, match="about something else"):
        project.store.record_judgements([elsewhere])


def test_unknown_references_are_named(project: Project) -> None:
    world = fill(project)
    with pytest.raises(UnknownRecord, match="comparisons has no record none"):
        project.store.record_judgements([replace(judgement(world), comparison_id="none")])
    with pytest.raises(UnknownRecord, match="annotators has no record none"):
        project.store.record_judgements([replace(judgement(world), annotator_id="none")])
    with pytest.raises(UnknownRecord, match="events has no record none"):
        project.store.record_judgements([replace(judgement(world), supersedes="none")])
    with pytest.raises(UnknownRecord, match="events has no record none"):
        project.store.retract("none", world.annotators[0], "undo")
    assert project.store.events() == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"verdict": "left"}, "verdict is 'left'; use one of first, second, tie"),
        ({"strength": 0}, "strength is 0; use 1 to 4"),
        ({"strength": 5}, "strength is 5"),
        ({"seconds_spent": -1.0}, "seconds_spent is -1.0"),
        ({"seconds_spent": float("nan")}, "seconds_spent is nan"),
        ({"note": "a\x00"}, "note: character 1"),
        ({"idempotency_key": ""}, "idempotency_key has 0 characters"),
        ({"idempotency_key": "k" * 201}, "idempotency_key has 201 characters"),
    ],
)
def test_a_judgement_out_of_range_is_refused(
    project: Project, change: dict[str, object], said: str
) -> None:
    world = fill(project)
    bad = replace(judgement(world), **change)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(DataError, match=f"judgement 2: {said}"):
        project.store.record_judgements([judgement(world, "fine", comparison=1), bad])
    assert project.store.events() == []


def test_demonstrations_are_kept_with_the_response_they_write(project: Project) -> None:
    world = fill(project)
    ada = world.annotators[1]
    new = NewDemonstration(
        prompt_id=world.prompts[0], text="like this", annotator_id=ada, idempotency_key="d1"
    )
    (first,) = project.store.record_demonstrations([new])
    (again,) = project.store.record_demonstrations([new])
    assert again == replace(first, replayed=True)
    (stored,) = project.store.demonstrations()
    (response,) = project.store.responses(origin="demonstration")
    assert stored == StoredDemonstration(
        event_id=first.event_id,
        seq=1,
        prompt_id=world.prompts[0],
        prompt="question 0",
        response_id=response.id,
        response="like this",
        annotator_id=ada,
    )


def test_a_demonstration_is_edited_on_its_prompt_and_undone(project: Project) -> None:
    world = fill(project)
    ada = world.annotators[1]
    new = NewDemonstration(
        prompt_id=world.prompts[0], text="draft", annotator_id=ada, idempotency_key="d1"
    )
    (first,) = project.store.record_demonstrations([new])
    edit = replace(new, text="better", idempotency_key="d2", supersedes=first.event_id)
    with pytest.raises(StoreError, match="about something else"):
        project.store.record_demonstrations([replace(edit, prompt_id=world.prompts[1])])
    (second,) = project.store.record_demonstrations([edit])
    assert [one.response for one in project.store.demonstrations()] == ["better"]
    project.store.retract(second.event_id, ada, "d3")
    assert project.store.demonstrations() == []


def test_sixteen_thousand_judgements_are_recorded_at_once(project: Project) -> None:
    world = fill(project, pairs=4000)
    names = [project.store.add_annotator(f"annotator {n}", "simulated") for n in range(4)]
    new = [
        NewJudgement(
            comparison_id=comparison, annotator_id=name, verdict="tie", idempotency_key=comparison
        )
        for comparison in world.comparisons
        for name in names
    ]
    recorded = project.store.record_judgements(new)
    assert [one.seq for one in recorded] == list(range(1, 16_001))
