"""The desk against a model of it: claim, answer, skip, undo, expire, restart, in any order.

The model is a dictionary of what each person was told. After every step the store must agree with
it, no task may count more answers than its overlap, and nobody may have two tasks in one lease.
"""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.labelling_fixtures import Hand, verdict
from tests.store_fixtures import SETTINGS, fill

from assent.collect import sources
from assent.collect.desk import Desk, Handed
from assent.config.labelling import LabellingSettings
from assent.errors import IdempotencyConflict, LeaseClosed, TooManyLeases, UnknownRecord
from assent.store import Project, check_project

PEOPLE = ("ada", "bo", "cy")
people = st.sampled_from(PEOPLE)
verdicts = st.sampled_from(["left", "right", "tie"])
SHARES = {"check_share": 0.2, "repeat_share": 0.2}


@dataclass
class Sent:
    """An answer that was acknowledged."""

    person: str
    lease: str
    key: str
    said: str
    event: str
    stands: bool = True
    by_edit: bool = False


class DeskMachine(RuleBasedStateMachine):
    """Three people at six comparisons, each wanted twice."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="assent-desk-"))
        self.project = Project.create(self.folder / "project", SETTINGS)
        fill(self.project, 6)
        self.settings = LabellingSettings(overlap=2, leases_per_person=2, **SHARES)
        sources.comparison_tasks(self.project.store, self.settings, seed=1)
        sources.add_check_item(
            self.project.store, prompt="1 + 1?", better="2", worse="3", why="sums"
        )
        self.hand = Hand()
        self.ids = {
            name: self.project.store.people.add(name, "annotator").annotator_id for name in PEOPLE
        }
        self.held: dict[str, dict[str, str]] = {name: {} for name in PEOPLE}
        self.sent: list[Sent] = []
        self.undone = 0
        self.keys = 0
        self.restart()

    def teardown(self) -> None:
        assert check_project(self.project) == []
        self.project.close()
        shutil.rmtree(self.folder)

    def key(self) -> str:
        self.keys += 1
        return f"key-{self.keys:06}"

    @rule()
    def restart(self) -> None:
        """The server dies and another one takes over."""
        self.desk = Desk(self.project.store, self.settings, seed=1, monotonic=self.hand)

    @rule(name=people, ahead=st.booleans())
    def claim(self, name: str, ahead: bool) -> None:
        exclude = list(self.held[name]) if ahead else []
        try:
            found = self.desk.claim(self.ids[name], None, exclude)
        except TooManyLeases:
            assert ahead
            return
        if isinstance(found, Handed):
            assert found.lease.id not in exclude
            assert len(set(found.content.responses.values())) == 2
            self.held[name][found.lease.id] = found.content.task.id

    @rule(name=people, said=verdicts, data=st.data())
    def answer(self, name: str, said: str, data: st.DataObject) -> None:
        if not self.held[name]:
            return
        lease = data.draw(st.sampled_from(sorted(self.held[name])))
        key = self.key()
        given = self.desk.answer(self.ids[name], lease, key, verdict(said))
        assert not given.replayed
        del self.held[name][lease]
        self.sent.append(Sent(name, lease, key, said, given.event_id))

    @precondition(lambda self: any(not one.by_edit for one in self.sent))
    @rule(data=st.data(), said=verdicts)
    def send_again(self, data: st.DataObject, said: str) -> None:
        """A retry with the same content is the same answer; with other content it is refused."""
        old = data.draw(st.sampled_from([one for one in self.sent if not one.by_edit]))
        before = len(self.project.store.events())
        try:
            given = self.desk.answer(self.ids[old.person], old.lease, old.key, verdict(said))
        except IdempotencyConflict:
            assert said != old.said
        else:
            assert given.replayed
            assert given.event_id == old.event
        assert len(self.project.store.events()) == before

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def answer_twice(self, data: st.DataObject) -> None:
        """The back button: another key for a lease that was answered."""
        old = data.draw(st.sampled_from(self.sent))
        with pytest.raises(LeaseClosed):
            self.desk.answer(self.ids[old.person], old.lease, self.key(), verdict("tie"))

    @rule(name=people, data=st.data(), back=st.booleans())
    def give_up(self, name: str, data: st.DataObject, back: bool) -> None:
        if not self.held[name]:
            return
        lease = data.draw(st.sampled_from(sorted(self.held[name])))
        if back:
            self.desk.release(self.ids[name], lease)
        else:
            self.desk.skip(self.ids[name], lease, "unclear")
        del self.held[name][lease]

    @precondition(lambda self: any(one.stands for one in self.sent))
    @rule(data=st.data())
    def undo(self, data: st.DataObject) -> None:
        old = data.draw(st.sampled_from([one for one in self.sent if one.stands]))
        key = self.key()
        again = self.desk.undo(self.ids[old.person], old.event, key)
        assert self.desk.undo(self.ids[old.person], old.event, key).lease.id == again.lease.id
        self.held[old.person][again.lease.id] = again.content.task.id
        old.stands = False
        self.undone += 1

    @precondition(lambda self: any(one.stands for one in self.sent))
    @rule(data=st.data(), said=verdicts)
    def edit(self, data: st.DataObject, said: str) -> None:
        old = data.draw(st.sampled_from([one for one in self.sent if one.stands]))
        key = self.key()
        given = self.desk.edit(self.ids[old.person], old.event, key, verdict(said))
        old.stands = False
        # The new one is the answer of the same lease, under a key of the edit.
        self.sent.append(Sent(old.person, old.lease, key, said, given.event_id, by_edit=True))

    @rule(minutes=st.sampled_from([5, 31]))
    def time_passes(self, minutes: int) -> None:
        self.hand.move(minutes * 60)

    @rule(name=people, data=st.data())
    def somebody_else_tries(self, name: str, data: st.DataObject) -> None:
        leases = [(who, one) for who in PEOPLE if who != name for one in self.held[who]]
        if not leases:
            return
        _, lease = data.draw(st.sampled_from(leases))
        with pytest.raises(UnknownRecord):
            self.desk.answer(self.ids[name], lease, self.key(), verdict())

    @invariant()
    def what_was_acknowledged_is_stored_once(self) -> None:
        events = self.project.store.events()
        judged = [one for one in events if one.kind == "judgement"]
        assert {one.id for one in judged} == {one.event for one in self.sent}
        assert len(judged) == len(self.sent)
        assert len(events) - len(judged) == self.undone

    @invariant()
    def no_task_counts_more_than_it_wants(self) -> None:
        with self.project.store.work.look() as view:
            for row in self.project.store.browser.tasks(None, 0, 50):
                assert view.counted(row.id) <= row.overlap
            for name in PEOPLE:
                live = [one.task_id for one in view.live_leases(self.ids[name])]
                assert len(live) == len(set(live))


DeskMachine.TestCase.settings = settings(
    max_examples=6, stateful_step_count=25, derandomize=True, deadline=None
)
TestDesk = DeskMachine.TestCase
