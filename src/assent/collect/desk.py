"""The desk where people fetch tasks and hand in answers: claim, answer, skip, undo, edit.

Each of these is one transaction in which nobody else writes, so a task never has more people at
work and answers that count than its overlap. An answer that comes after its lease ran out is kept:
it counts while there is room, and is stored as extra otherwise. Nothing that is handed out tells
which model spoke, what others said, or that the answer is known.
"""

import secrets
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, get_args

from assent.collect.answers import Answer, note_hash, to_body, to_event
from assent.collect.choosing import Chooser, Nothing, why_nothing
from assent.collect.leasing import LeaseClock, Monotonic
from assent.collect.owning import answered_lease, own_answer, own_lease, why_closed
from assent.collect.passing import PassedOver
from assent.config.labelling import LabellingSettings
from assent.errors import (
    IdempotencyConflict,
    LeaseClosed,
    TooManyLeases,
)
from assent.store import (
    Lease,
    LeaseState,
    Recorded,
    Store,
    StoredEvent,
    TaskContent,
    TaskKind,
    WorkChange,
    WorkView,
    event_id,
)

KINDS: Final[tuple[TaskKind, ...]] = get_args(TaskKind)
_SOURCES_EVERY_SECONDS: Final = 5.0

LookUp = Callable[[str], str | None]
"""What can be looked up about a prompt; None where there is no such place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handed:
    """A task in somebody's hands, with all they may see of it."""

    lease: Lease
    content: TaskContent
    look_up: str | None
    looks_up: bool
    """Whether there is a place to look things up at all, for this task or for others."""
    expires_in_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """An answer that is stored; `replayed` when it was there before this call."""

    event_id: str
    lease_id: str
    replayed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PastAnswer:
    """An answer with the task as it was shown."""

    event: StoredEvent
    handed: Handed
    body: Answer
    stands: bool


class Desk:
    """Hands tasks out and takes answers in; safe to share between threads.

    Args:
        store: of the project.
        settings: how tasks are handed out.
        seed: of the project; orders, repeats and check items are drawn from it.
        look_up: what can be looked up about a prompt.
        more: makes tasks of what came since; called now and then when nothing is left to hand out.
        monotonic: seconds that never run backwards.
    """

    def __init__(
        self,
        store: Store,
        settings: LabellingSettings,
        *,
        seed: int,
        look_up: LookUp | None = None,
        more: Callable[[], object] | None = None,
        monotonic: Monotonic = time.monotonic,
    ) -> None:
        self._work = store.work
        self._settings = settings
        self._chooser = Chooser(seed=seed, settings=settings)
        self._look_up = look_up
        self._more = more
        self._monotonic = monotonic
        self._asked_for_more = -_SOURCES_EVERY_SECONDS
        self._clock = LeaseClock(settings.lease_minutes * 60.0, monotonic)
        self._passed = PassedOver(monotonic)

    @property
    def settings(self) -> LabellingSettings:
        """How tasks are handed out."""
        return self._settings

    @property
    def looks_up(self) -> bool:
        """Whether there is a place to look things up."""
        return self._look_up is not None

    # Fetching ------------------------------------------------------------------------------------

    def claim(
        self,
        annotator_id: str,
        kinds: Collection[TaskKind] | None = None,
        exclude: Collection[str] = (),
    ) -> Handed | Nothing:
        """The task this person goes on with, or why there is none.

        A live lease of theirs that is not in `exclude` comes first, so that asking again after a
        lost answer or a reload gives the same task.

        Raises:
            TooManyLeases: they hold as many tasks as one may, all of them excluded.
        """
        wanted = tuple(kind for kind in KINDS if kinds is None or kind in kinds)
        found = self._claim(annotator_id, wanted, exclude)
        if isinstance(found, str) and self._fetch_more():
            found = self._claim(annotator_id, wanted, exclude)
        return found

    def held(self, annotator_id: str) -> list[Handed]:
        """What is in this person's hands, oldest first."""
        with self._work.look() as view:
            now = self._work.now()
            return [
                self._handed(view, lease, now)
                for lease in view.live_leases(annotator_id)
                if self._clock.seconds_left(lease, now) > 0
            ]

    def look(self, annotator_id: str, lease_id: str) -> Handed:
        """One of this person's tasks, whatever became of it.

        Raises:
            UnknownRecord: no such lease, or another person's.
        """
        with self._work.look() as view:
            return self._handed(view, own_lease(view, annotator_id, lease_id), self._work.now())

    def renew(self, annotator_id: str, lease_id: str) -> float:
        """Keep a task for another term; seconds until it runs out.

        Raises:
            UnknownRecord: no such lease, or another person's.
            LeaseClosed: it is not live any more.
        """
        with self._work.change() as change:
            lease = own_lease(change, annotator_id, lease_id)
            if lease.state != "live" or self._clock.seconds_left(lease, change.now) <= 0:
                raise LeaseClosed(why_closed(lease, "its time ran out; an answer is still taken"))
            change.extend_lease(lease, change.now + self._term())
            self._clock.start(lease_id)
        return self._clock.term_seconds

    def skip(self, annotator_id: str, lease_id: str, reason: str) -> LeaseState:
        """Give a task away for good; it goes to somebody else. Repeating it changes nothing.

        Raises:
            UnknownRecord: no such lease, or another person's.
            LeaseClosed: it was answered.
        """
        return self._give_up(annotator_id, lease_id, "skipped", reason)

    def release(self, annotator_id: str, lease_id: str) -> LeaseState:
        """Hand a task back to the pool. Repeating it changes nothing.

        Raises:
            UnknownRecord: no such lease, or another person's.
            LeaseClosed: it was answered.
        """
        return self._give_up(annotator_id, lease_id, "released", None)

    def look_again(self) -> None:
        """Forget what nobody need look at: tasks were freed otherwise than here."""
        self._passed.look_again()

    # Answering -----------------------------------------------------------------------------------

    def answer(self, annotator_id: str, lease_id: str, key: str, answer: Answer) -> Given:
        """Store an answer; the same key with the same content is answered with what is stored.

        Raises:
            UnknownRecord: no such lease, or another person's.
            LeaseClosed: the task was answered under another key, skipped, or handed back.
            IdempotencyConflict: the key came with other content before.
            DataError: the answer does not fit the task.
        """
        with self._work.change() as change:
            lease = own_lease(change, annotator_id, lease_id)
            before = change.event(event_id(annotator_id, key))
            counts = False
            if before is None:
                if lease.state not in ("live", "expired"):
                    raise LeaseClosed(why_closed(lease, ""))
                counts = self._counts(change, lease)
            recorded = self._record(change, lease, key, answer, before, extra=not counts)
            if not recorded.replayed:
                change.close_lease(lease, "submitted", event_id=recorded.event_id, counts=counts)
                self._clock.end(lease_id)
        return Given(event_id=recorded.event_id, lease_id=lease_id, replayed=recorded.replayed)

    def edit(self, annotator_id: str, old: str, key: str, answer: Answer) -> Given:
        """Replace an answer that stands by an event that supersedes it.

        Raises:
            UnknownRecord: no such answer, or another person's.
            AlreadySuperseded: it was edited or undone before.
            IdempotencyConflict: the key came with other content before.
            DataError: the answer does not fit the task.
        """
        with self._work.change() as change:
            before = change.event(event_id(annotator_id, key))
            lease = answered_lease(change, annotator_id, old if before is None else before.id, old)
            recorded = self._record(
                change, lease, key, answer, before, extra=not lease.counts, supersedes=old
            )
            if not recorded.replayed:
                change.answered_anew(lease, recorded.event_id)
        return Given(event_id=recorded.event_id, lease_id=lease.id, replayed=recorded.replayed)

    def undo(self, annotator_id: str, old: str, key: str) -> Handed:
        """Take an answer back; its task is in this person's hands again, as it was shown.

        Raises:
            UnknownRecord: no such answer, or another person's.
            AlreadySuperseded: it was edited or undone before.
            IdempotencyConflict: the key came with other content before.
        """
        with self._work.change() as change:
            event = own_answer(change, annotator_id, old)
            lease = change.lease(str(event.payload["context"]["lease"]))
            recorded = change.retract(old, annotator_id, key)
            if not recorded.replayed:
                change.close_lease(lease, "undone", event_id=old)
                self._passed.freed(change.task(lease.task_id).position, lease.id)
                again = self._open(change, lease.task_id, annotator_id, lease.shown)
            else:
                again = change.last_lease(lease.task_id, annotator_id) or lease
            return self._handed(change, again, change.now)

    def past(self, annotator_id: str, answer: str) -> PastAnswer:
        """An answer of this person's, with the task as it was shown.

        Raises:
            UnknownRecord: no such answer, or another person's.
        """
        with self._work.look() as view:
            event = own_answer(view, annotator_id, answer)
            lease = view.lease(str(event.payload["context"]["lease"]))
            handed = self._handed(view, lease, self._work.now())
            text = None
            if event.kind == "demonstration" and event.response_id is not None:
                text = view.response_text(event.response_id)
            body = to_body(event, handed.content, lease, text)
            return PastAnswer(
                event=event,
                handed=handed,
                body=body.model_copy(update={"note": view.note(answer)}),
                stands=view.superseded_by(answer) is None,
            )

    # ---------------------------------------------------------------------------------------------

    def _claim(
        self, annotator_id: str, kinds: Sequence[TaskKind], exclude: Collection[str]
    ) -> Handed | Nothing:
        with self._work.change() as change:
            self._end_expired(change)
            held = change.live_leases(annotator_id)
            for lease in held:
                if lease.id not in exclude and change.task(lease.task_id).kind in kinds:
                    return self._handed(change, lease, change.now)
            if len(held) >= self._settings.leases_per_person:
                message = (
                    f"{len(held)} tasks are in your hands; answer, skip or hand back one of them"
                )
                raise TooManyLeases(message)
            picked = self._chooser.choose(change, annotator_id, kinds, exclude, self._passed)
            if picked is None:
                self._passed.forget(annotator_id)
                picked = self._chooser.choose(change, annotator_id, kinds, exclude, self._passed)
            if picked is None:
                return why_nothing(change, annotator_id, kinds)
            task, shown = picked
            before = change.last_lease(task.id, annotator_id)
            if before is not None and before.state == "expired":
                # The draft that the browser kept goes by the lease, so it comes back as it was.
                change.reopen_lease(before, change.now + self._term())
                self._clock.start(before.id)
                self._passed.taken_up(before.id)
                return self._handed(change, change.lease(before.id), change.now)
            lease = self._open(change, task.id, annotator_id, shown)
            return self._handed(change, lease, change.now)

    def _open(
        self, change: WorkChange, task: str, annotator_id: str, shown: Sequence[str]
    ) -> Lease:
        lease = change.open_lease(
            secrets.token_hex(16),
            task,
            annotator_id,
            shown=shown,
            guidelines_version=change.newest_guidelines(),
            expires_at=change.now + self._term(),
        )
        self._clock.start(lease.id)
        return lease

    def _end_expired(self, change: WorkChange) -> None:
        if not self._clock.may_have_run_out():
            return
        for lease in change.live_leases():
            if self._clock.seconds_left(lease, change.now) <= 0:
                change.close_lease(lease, "expired")
                self._clock.end(lease.id)
                self._passed.freed(change.task(lease.task_id).position, lease.id)

    def _counts(self, change: WorkChange, lease: Lease) -> bool:
        """Whether an answer that comes now is one of those that count.

        A live lease keeps its place. One that ran out takes a free place if there is one.
        """
        in_time = lease.state == "live" and self._clock.seconds_left(lease, change.now) > 0
        if not in_time:
            self._end_expired(change)
        task = change.task(lease.task_id)
        room = task.remaining > 0 or in_time
        return room and change.counted(task.id) < task.overlap

    def _record(
        self,
        change: WorkChange,
        lease: Lease,
        key: str,
        answer: Answer,
        before: StoredEvent | None,
        *,
        extra: bool,
        supersedes: str | None = None,
    ) -> Recorded:
        """Append an answer; a repeated one is compared under the circumstances of the first."""
        content = change.content(change.task(lease.task_id))
        if before is None:
            context = self._context(lease, content, extra=extra)
        else:
            context = dict(before.payload.get("context", {}))
            context.pop("note", None)
            if context.get("lease") != lease.id:
                message = f"idempotency key {key!r} was used for another task; use a new one"
                raise IdempotencyConflict(message)
        hashed = note_hash(answer.note, change.note_key(lease.annotator_id))
        if hashed is not None:
            context["note"] = hashed
        event = to_event(
            answer,
            content,
            lease,
            key=key,
            axes=self._settings.axes,
            context=context,
            supersedes=supersedes,
        )
        recorded = change.record(event)
        if not recorded.replayed:
            change.keep_note(recorded.event_id, lease.annotator_id, answer.note)
        return recorded

    def _context(
        self, lease: Lease, content: TaskContent, *, extra: bool
    ) -> dict[str, str | int | bool]:
        """What is kept about how it was asked."""
        context: dict[str, str | int | bool] = {
            "lease": lease.id,
            "guidelines": lease.guidelines_version,
        }
        if content.task.kind == "comparison":
            first = next(iter(content.responses))
            context["shown_order"] = "first_left" if lease.shown[0] == first else "second_left"
        if content.task.look_up and self._look_up is not None:
            context["look_up"] = True
        if extra:
            context["extra"] = True
        return context

    def _give_up(
        self, annotator_id: str, lease_id: str, state: LeaseState, reason: str | None
    ) -> LeaseState:
        with self._work.change() as change:
            lease = own_lease(change, annotator_id, lease_id)
            if lease.state not in ("live", "expired", state):
                raise LeaseClosed(why_closed(lease, ""))
            if lease.state != state:
                change.close_lease(lease, state, reason=reason)
                self._clock.end(lease_id)
                self._passed.freed(change.task(lease.task_id).position, lease.id)
        return state

    def _handed(self, view: WorkView, lease: Lease, now: datetime) -> Handed:
        content = view.content(view.task(lease.task_id))
        looked_up = None
        if content.task.look_up and self._look_up is not None:
            looked_up = self._look_up(content.prompt)
        left = self._clock.seconds_left(lease, now) if lease.state == "live" else 0.0
        return Handed(
            lease=lease,
            content=content,
            look_up=looked_up,
            looks_up=self.looks_up,
            expires_in_seconds=left,
        )

    def _term(self) -> timedelta:
        return timedelta(seconds=self._clock.term_seconds)

    def _fetch_more(self) -> bool:
        """Make tasks of what came since, if that was not tried a moment ago."""
        moment = self._monotonic()
        if self._more is None or moment - self._asked_for_more < _SOURCES_EVERY_SECONDS:
            return False
        self._asked_for_more = moment
        self._more()
        return True
