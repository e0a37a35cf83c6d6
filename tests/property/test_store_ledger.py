"""The ledger against a plain Python model, whatever is recorded, edited, undone or sent again."""

import itertools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.store_fixtures import SETTINGS, fill

from assent.errors import AlreadyJudged, AlreadySuperseded, IdempotencyConflict, StoreError
from assent.store import NewJudgement, Project, Snapshot, check_project
from assent.types import Verdict

PAIRS = 3
verdicts = st.sampled_from(get_args(Verdict))


@dataclass
class Remembered:
    """One event as the model knows it."""

    id: str
    annotator: str
    comparison: str
    sent: NewJudgement | None
    """None for an undoing."""
    superseded: bool = False

    @property
    def stands(self) -> bool:
        return self.sent is not None and not self.superseded


class Ledger(RuleBasedStateMachine):
    """Sends requests to the store and predicts each answer."""

    def __init__(self, project: Project) -> None:
        super().__init__()
        self.project = project
        self.world = fill(project, pairs=PAIRS)
        self.remembered: list[Remembered] = []
        self.snapshots: list[tuple[Snapshot, list[str]]] = []
        self.keys = itertools.count()

    def teardown(self) -> None:
        assert check_project(self.project) == []
        self.project.close()

    def new(self, comparison: int, annotator: int, verdict: Verdict) -> NewJudgement:
        return NewJudgement(
            comparison_id=self.world.comparisons[comparison],
            annotator_id=self.world.annotators[annotator],
            verdict=verdict,
            idempotency_key=f"key {next(self.keys)}",
        )

    def standing(self, new: NewJudgement) -> Remembered | None:
        for event in self.remembered:
            if event.stands and (event.comparison, event.annotator) == (
                new.comparison_id,
                new.annotator_id,
            ):
                return event
        return None

    def remember(self, id_: str, new: NewJudgement) -> None:
        self.remembered.append(
            Remembered(id=id_, annotator=new.annotator_id, comparison=new.comparison_id, sent=new)
        )

    @rule(comparison=st.integers(0, PAIRS - 1), annotator=st.integers(0, 1), verdict=verdicts)
    def judge(self, comparison: int, annotator: int, verdict: Verdict) -> None:
        new = self.new(comparison, annotator, verdict)
        if self.standing(new) is not None:
            with pytest.raises(AlreadyJudged):
                self.project.store.record_judgements([new])
            return
        (recorded,) = self.project.store.record_judgements([new])
        assert (recorded.seq, recorded.replayed) == (len(self.remembered) + 1, False)
        self.remember(recorded.event_id, new)

    @precondition(lambda self: self.remembered)
    @rule(data=st.data(), verdict=verdicts)
    def edit(self, data: st.DataObject, verdict: Verdict) -> None:
        target = data.draw(st.sampled_from(self.remembered))
        new = replace(
            self.new(0, 0, verdict),
            comparison_id=target.comparison,
            annotator_id=target.annotator,
            supersedes=target.id,
        )
        if not target.stands:
            expected = AlreadySuperseded if target.superseded else StoreError
            with pytest.raises(expected):
                self.project.store.record_judgements([new])
            return
        (recorded,) = self.project.store.record_judgements([new])
        assert not recorded.replayed
        target.superseded = True
        self.remember(recorded.event_id, new)

    @precondition(lambda self: self.remembered)
    @rule(data=st.data(), annotator=st.integers(0, 1))
    def undo(self, data: st.DataObject, annotator: int) -> None:
        target = data.draw(st.sampled_from(self.remembered))
        who = self.world.annotators[annotator]
        key = f"key {next(self.keys)}"
        if not target.stands or who != target.annotator:
            with pytest.raises(StoreError):
                self.project.store.retract(target.id, who, key)
            return
        recorded = self.project.store.retract(target.id, who, key)
        assert self.project.store.retract(target.id, who, key).replayed
        target.superseded = True
        self.remembered.append(
            Remembered(id=recorded.event_id, annotator=who, comparison=target.comparison, sent=None)
        )

    @precondition(lambda self: any(event.sent for event in self.remembered))
    @rule(data=st.data())
    def send_again(self, data: st.DataObject) -> None:
        sent = [(n, one) for n, one in enumerate(self.remembered, start=1) if one.sent]
        chosen = data.draw(st.lists(st.sampled_from(sent), min_size=1))
        recorded = self.project.store.record_judgements([one.sent for _, one in chosen if one.sent])
        assert [(one.event_id, one.seq, one.replayed) for one in recorded] == [
            (one.id, seq, True) for seq, one in chosen
        ]

    @precondition(lambda self: any(event.sent for event in self.remembered))
    @rule(data=st.data(), note=st.text(st.characters(codec="utf-8", exclude_characters="\x00")))
    def send_changed(self, data: st.DataObject, note: str) -> None:
        sent = [one.sent for one in self.remembered if one.sent]
        changed = replace(data.draw(st.sampled_from(sent)), note=f"changed {note}")
        fresh = self.new(0, 0, "tie")
        with pytest.raises(IdempotencyConflict):
            self.project.store.record_judgements([changed, fresh])

    @rule()
    def snapshot(self) -> None:
        taken = self.project.store.take_snapshot(f"snapshot {len(self.snapshots)}")
        self.snapshots.append((taken, [one.id for one in self.remembered if one.stands]))

    @invariant()
    def the_ledger_holds_what_was_recorded_in_order(self) -> None:
        assert [event.id for event in self.project.store.events()] == [
            one.id for one in self.remembered
        ]

    @invariant()
    def every_snapshot_holds_what_stood_when_it_was_taken(self) -> None:
        for taken, standing in self.snapshots[-2:]:
            pairs = self.project.store.judged_pairs(taken.id)
            assert [pair.event_id for pair in pairs] == standing


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_the_ledger_is_the_plain_model_of_it(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    numbers = itertools.count()

    class OnThisDatabase(Ledger):
        def __init__(self) -> None:
            url = request.getfixturevalue("new_postgresql")() if kind == "postgresql" else None
            root = tmp_path / str(next(numbers))
            super().__init__(Project.create(root, SETTINGS, database_url=url))

    run_state_machine_as_test(
        OnThisDatabase,
        settings=settings(
            max_examples=20 if kind == "sqlite" else 8,
            stateful_step_count=25,
            suppress_health_check=list(HealthCheck),
        ),
    )
