"""The points of a trajectory: one JSON file a checkpoint, written as training passes it."""

import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from transformers import PreTrainedModel

from assent.config.files import write_file
from assent.training.points import Stop
from assent.training.run_folder import RunFolder

POINTS = "points"
STOPPED_FILE = "stopped.json"
"""In a run's folder: at which step training was ended early, and why."""

_log = logging.getLogger(__name__)

Answer = tuple[str, float | None]
"""What a checkpoint says to a prompt, and the probability of just that where it is known."""


@dataclass(frozen=True, slots=True)
class Point:
    """What was measured at one checkpoint."""

    step: int
    figures: dict[str, Any]
    gold: list[float]
    """Of each prompt; empty where no truth is known."""
    answers: list[Answer]
    proxy: list[float] = field(default_factory=list)
    """Learned reward of each prompt, where gold is known."""
    covariance: list[float] = field(default_factory=list)
    """Of gold and reward over the responses to each prompt, where gold is known."""


Measure = Callable[[int, PreTrainedModel], Point]
"""Measures a policy after so many updates."""


@dataclass(frozen=True, slots=True)
class Recorder:
    """Measures the policy at a point and writes what it found; writing again changes nothing."""

    run: RunFolder
    measure: Measure
    shown: str
    """The figure that the progress bar shows."""
    stop: Callable[[list[Point]], str | None] | None = None
    """Why training should end at the last of the points so far, if it should."""

    def __call__(self, step: int, policy: PreTrainedModel) -> str:
        """Measure and write; the note for the progress bar."""
        point = self.measure(step, policy)
        folder = self.run.path / POINTS
        folder.mkdir(parents=True, exist_ok=True)
        write_file(folder / f"step-{step:06d}.json", json.dumps(asdict(point)) + "\n")
        reason = self.stop(read_points(self.run)) if self.stop else None
        if reason is not None:
            _log.warning("%s stopped: %s", self.run.path.name, reason)
            stopped = {"step": step, "reason": reason}
            write_file(self.run.path / STOPPED_FILE, json.dumps(stopped) + "\n")
            return Stop(f"stopped: {reason}")
        return f"{self.shown.partition('_')[0]} {point.figures[self.shown]:.2f}"


def point_steps(updates: int, points: int) -> list[int]:
    """Numbers of updates to measure after: closer at first, where the policy moves most."""
    spaced = {round(updates * (number / (points - 1)) ** 1.5) for number in range(points)}
    missing = [step for step in range(updates + 1) if step not in spaced]
    return sorted(spaced | set(missing[: max(points - len(spaced), 0)]))


def why_stopped(run: RunFolder) -> str | None:
    """Why a run was ended early, if it was."""
    file = run.path / STOPPED_FILE
    if not file.exists():
        return None
    reason: str = json.loads(file.read_text(encoding="utf-8"))["reason"]
    return reason


def read_points(run: RunFolder) -> list[Point]:
    """The points of a run in order."""
    points = []
    for file in sorted((run.path / POINTS).glob("step-*.json")):
        found = json.loads(file.read_text(encoding="utf-8"))
        answers = [(text, probability) for text, probability in found["answers"]]
        each = {name: found.get(name, []) for name in ("proxy", "covariance")}
        points.append(Point(found["step"], found["figures"], found["gold"], answers, **each))
    return points
