"""What record audits look at: judgements that stand, and the models behind a policy."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar
from weakref import WeakKeyDictionary

from assent.audit.subject import Subject
from assent.errors import NotAuditable
from assent.models.reward_ensembles import LearnedReward, load_reward
from assent.objectives.seeds import is_held_out
from assent.store import Ancestor, ModelVersion, Project, Snapshot, Store, StoredEvent
from assent.store.records import ShownOrder
from assent.types import Verdict

_T = TypeVar("_T")
_READ: WeakKeyDictionary[Project, tuple[int, list["Judged"]]] = WeakKeyDictionary()
"""By open project: how many events there were, and what stood; every audit looks at the same."""
_DECIDED = ("first", "second")


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One judgement that stands, with the texts it was about and who gave it when."""

    event_id: str
    seq: int
    comparison_id: str
    annotator_id: str
    annotator: str
    """Name."""
    prompt: str
    first: str
    second: str
    shown_order: ShownOrder
    verdict: Verdict
    seconds: float | None
    purpose: str
    round: int

    @property
    def decided(self) -> bool:
        """Whether one of the two won."""
        return self.verdict in _DECIDED

    @property
    def chose_left(self) -> bool | None:
        """Whether the response shown on the left (or on top) won; None where none did."""
        if not self.decided:
            return None
        return (self.verdict == "first") == (self.shown_order == "first_left")

    @property
    def texts(self) -> tuple[str, str, str]:
        """The prompt, and the responses of the first and the second side."""
        return self.prompt, self.first, self.second

    @property
    def unit(self) -> tuple[str, str, str]:
        """What was judged, whichever way round: the prompt and both texts in a fixed order."""
        one, other = sorted((self.first, self.second))
        return (self.prompt, one, other)

    @property
    def rating(self) -> float:
        """The verdict as a category of `unit`: 0 or 1 for the text that won, then the others."""
        if not self.decided:
            return 2.0 if self.verdict in ("tie", "both_bad") else 3.0
        won = self.first if self.verdict == "first" else self.second
        return float(won == self.unit[2])


class Evidence:
    """A project as the record audits of one model see it; everything is read at most once."""

    def __init__(self, subject: Subject) -> None:
        if subject.project is None:
            message = "there is no project: this audit reads its records"
            raise NotAuditable(message)
        self.subject, self.project = subject, subject.project

    @cached_property
    def lineage(self) -> list[Ancestor]:
        """What the model came from, nearest first; nothing for a folder from elsewhere."""
        version = self.subject.version
        return self.project.store.lineage(version.id) if version else []

    def role(self, role: str) -> ModelVersion | None:
        """What the nearest run that reads a model in a role (`reward_model`, `reference`) read."""
        # Not by the link's own role: a version that has several is in the lineage once.
        for link in self.lineage:
            if link.run is not None and role in link.run.parents:
                return self.project.store.model_version(link.run.parents[role])
        return None

    def require_role(self, role: str, words: str) -> ModelVersion:
        """As `role`.

        Raises:
            NotAuditable: the model has none; says so in `words`.
        """
        found = self.role(role)
        if found is None:
            message = f"{self.subject.name} was trained with no {words}"
            raise NotAuditable(message)
        return found

    def path(self, version: ModelVersion) -> Path:
        """Its folder."""
        return self.project.root / version.path

    def reward(self) -> tuple[ModelVersion, LearnedReward]:
        """The reward model that the policy was trained against.

        Raises:
            NotAuditable: there is none.
        """
        version = self.require_role("reward_model", "reward model")
        return version, load_reward(self.path(version), self.subject.device)

    def snapshot(self) -> Snapshot | None:
        """The judgements behind the model; else the newest snapshot, if any."""
        for link in self.lineage:
            if link.snapshot is not None:
                return link.snapshot
        snapshots = self.project.store.snapshots()
        return snapshots[-1] if snapshots else None

    def held_out_share(self, reward: ModelVersion) -> float:
        """Share of prompts whose judgements the reward model was not trained on."""
        if reward.run_id is None:
            return 0.0
        return float(self.project.store.run(reward.run_id).settings.get("held_out_share", 0.0))

    @cached_property
    def judgements(self) -> list[Judged]:
        """All judgements that stand, of every purpose, in the order given."""
        return standing_judgements(self.project)

    def of_snapshot(self, snapshot: Snapshot) -> list[Judged]:
        """The judgements of a snapshot."""
        ids = {pair.event_id for pair in self.project.store.judged_pairs(snapshot.id)}
        return [one for one in self.judgements if one.event_id in ids]

    def prompts(self, limit: int) -> list[tuple[str, str, str]]:
        """Held-out prompts to sample on, spread over them all: text, group and kind.

        Raises:
            NotAuditable: the project has none.
        """
        found: list[tuple[str, str, str]]
        if self.subject.world is not None:
            found = [
                (prompt.text, prompt.fact.group, prompt.fact.kind)
                for prompt in self.subject.world.prompts("test")
            ]
        else:
            found = [
                (one.text, one.group or one.text, one.kind)
                for one in self.project.store.prompts("test")
            ]
        if not found:
            message = f"{self.project.root} has no test prompts to sample on"
            raise NotAuditable(message)
        return spread(found, limit)


def standing_judgements(project: Project) -> list[Judged]:
    """Judgements that nothing superseded, with their texts; read again once there are others."""
    store = project.store
    count = store.counts()["events"]
    seen, judged = _READ.get(project, (-1, []))
    if seen != count:
        judged = _standing(store)
        _READ[project] = (count, judged)
    return judged


def _standing(store: Store) -> list[Judged]:
    names = {one.id: one.name for one in store.annotators()}
    comparisons = {one.id: one for one in store.comparisons()}
    events = store.events()
    gone = {event.supersedes for event in events}
    found = []
    for event in events:
        if event.kind != "judgement" or event.id in gone or event.comparison_id is None:
            continue
        about = comparisons[event.comparison_id]
        found.append(
            Judged(
                event_id=event.id,
                seq=event.seq,
                comparison_id=about.id,
                annotator_id=event.annotator_id,
                annotator=names[event.annotator_id],
                prompt=about.prompt,
                first=about.first,
                second=about.second,
                shown_order=event.payload.get("context", {}).get("shown_order", about.shown_order),
                verdict=event.payload["verdict"],
                seconds=_seconds(event),
                purpose=about.purpose,
                round=about.round,
            )
        )
    return found


def held_out(judged: Sequence[Judged], share: float) -> list[Judged]:
    """Those with a winner whose prompt no reward model was trained on."""
    return [one for one in judged if one.decided and is_held_out(one.prompt, share)]


def without(judged: Sequence[Judged], others: Collection[Judged]) -> list[Judged]:
    """Judgements about none of what the others are about."""
    seen = {one.unit for one in others}
    return [one for one in judged if one.unit not in seen]


def spread(values: Sequence[_T], limit: int) -> list[_T]:
    """At most `limit` of the values, evenly spread from first to last."""
    if len(values) <= limit:
        return list(values)
    return [values[round(n * (len(values) - 1) / max(limit - 1, 1))] for n in range(limit)]


def _seconds(event: StoredEvent) -> float | None:
    spent = event.payload.get("seconds_spent")
    return None if spent is None else float(spent)
