"""People, tasks and a desk on both databases, with clocks that a test moves by hand."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from tests.store_fixtures import fill

from assent.collect import sources
from assent.collect.answers import ComparisonAnswer
from assent.collect.desk import Desk, Handed
from assent.config.labelling import LabellingSettings
from assent.store import Project

SEED = 3


@dataclass
class Hand:
    """A monotonic clock that stands still until it is moved."""

    seconds: float = 100.0

    def __call__(self) -> float:
        """The time it shows."""
        return self.seconds

    def move(self, seconds: float) -> None:
        """Let time pass."""
        self.seconds += seconds


@dataclass
class Labelling:
    """A project whose comparisons are tasks, its desk, and people by name."""

    project: Project
    desk: Desk
    hand: Hand
    settings: LabellingSettings
    people: dict[str, str] = field(default_factory=dict)

    def person(self, name: str) -> str:
        """The annotator id of somebody, who is added when first named."""
        if name not in self.people:
            added = self.project.store.people.add(name, "annotator")
            self.people[name] = added.annotator_id
        return self.people[name]

    def claim(self, name: str, *exclude: str) -> Handed:
        """A task for somebody; there must be one."""
        found = self.desk.claim(self.person(name), None, exclude)
        assert isinstance(found, Handed), found
        return found


Start = Callable[..., Labelling]


@pytest.fixture
def labelling(project: Project) -> Start:
    """Makes a project of `pairs` comparisons into labelling with these settings."""

    def start(pairs: int = 3, **settings: object) -> Labelling:
        values: dict[str, object] = {"check_share": 0.0, "repeat_share": 0.0, **settings}
        chosen = LabellingSettings.model_validate(values)
        fill(project, pairs)
        sources.comparison_tasks(project.store, chosen, seed=SEED)
        hand = Hand()
        return Labelling(
            project, Desk(project.store, chosen, seed=SEED, monotonic=hand), hand, chosen
        )

    return start


def verdict(
    said: str = "left", *, strength: int | None = None, note: str | None = None
) -> ComparisonAnswer:
    """An answer to a comparison."""
    return ComparisonAnswer.model_validate(
        {"kind": "comparison", "verdict": said, "strength": strength, "note": note, "seconds": 2.5}
    )
