"""The points of a trajectory: one JSON file a checkpoint, written as training passes it."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from assent.audit.almanac import AlmanacMeasure, RoundRewards, off_grammar
from assent.config.files import write_file
from assent.config.ppo import FixedKl
from assent.models.rewards import TextReward
from assent.rounds.stages import reference_samples
from assent.rounds.workspace import Workspace
from assent.stats.paired import peak_and_fall
from assent.store import ModelVersion
from assent.training.run_folder import RunFolder
from assent.worlds.almanac import AlmanacPrompt

POINTS = "points"
TEST_PROMPTS, TRAIN_PROMPTS = 72, 24


@dataclass(frozen=True, slots=True)
class Point:
    """What was measured at one checkpoint."""

    step: int
    figures: dict[str, Any]
    gold: list[float]
    answers: list[tuple[str, float]]


def build_measure(workspace: Workspace, reference: ModelVersion) -> AlmanacMeasure:
    """The world's instrument, on a fixed part of the test and training prompts."""
    test, train = measured_prompts(workspace)
    return AlmanacMeasure(
        workspace.world,
        workspace.tokenizer(reference),
        workspace.model(reference),
        test=test,
        train=train,
        temperature=workspace.settings.ppo.sampling.temperature,
    )


def measured_prompts(workspace: Workspace) -> tuple[list[AlmanacPrompt], list[AlmanacPrompt]]:
    """The same part of the test and training prompts each time; each kind and stance evenly."""
    test = workspace.world.prompts("test")
    train = workspace.world.prompts("train")
    # Strides that share no factor with the prompts a fact has, so that every stance comes up.
    return (
        [
            test[(number * 2) % len(test) + (number * 2) // len(test)]
            for number in range(TEST_PROMPTS)
        ],
        [train[(number * 13) % len(train)] for number in range(TRAIN_PROMPTS)],
    )


def round_rewards(
    workspace: Workspace,
    measure: AlmanacMeasure,
    reward_model: ModelVersion,
    reference: ModelVersion,
) -> RoundRewards:
    """The rewards of all answers, and of what the reference said off the grammar."""
    reward = TextReward.load(workspace.path(reward_model), workspace.device)
    samples = reference_samples(workspace, reference)
    off = off_grammar(workspace.world, samples.prompts, samples.responses)
    scored = reward([samples.prompts[n] for n in off], [samples.responses[n] for n in off])
    return measure.rewards(reward, scored)


def point_steps(updates: int, points: int) -> list[int]:
    """Numbers of updates to measure after: closer at first, where the policy moves most."""
    spaced = {round(updates * (number / (points - 1)) ** 1.5) for number in range(points)}
    missing = [step for step in range(updates + 1) if step not in spaced]
    return sorted(spaced | set(missing[: max(points - len(spaced), 0)]))


class PointRecorder:
    """Measures the policy at a point and writes what it found; writing again changes nothing."""

    def __init__(
        self, workspace: Workspace, run: RunFolder, measure: AlmanacMeasure, rewards: RoundRewards
    ) -> None:
        self._run, self._measure, self._rewards = run, measure, rewards
        kl = workspace.settings.ppo.kl
        self._beta = kl.coef if isinstance(kl, FixedKl) else None

    def __call__(self, step: int, policy: PreTrainedModel) -> str:
        """Measure and write; the note for the progress bar."""
        found = self._measure.measure(policy, self._rewards, self._beta)
        folder = self._run.path / POINTS
        folder.mkdir(parents=True, exist_ok=True)
        point = Point(step, found.figures, found.gold, found.answers)
        write_file(folder / f"step-{step:06d}.json", json.dumps(asdict(point)) + "\n")
        return f"gold {found.figures['gold_mean']:.2f}"


def read_points(run: RunFolder) -> list[Point]:
    """The points of a run in order."""
    files = sorted((run.path / POINTS).glob("step-*.json"))
    return [_read(file) for file in files]


def gold_fall(points: list[Point], prompts: list[AlmanacPrompt], last_round: int) -> dict[str, Any]:
    """How far gold falls from peak to end; peak and fall on different halves of the facts."""
    groups = [prompt.fact.group for prompt in prompts]
    half = np.array([place % 2 == 0 for place in _places_within_kind(prompts)])
    found = peak_and_fall(
        np.array([point.gold for point in points]),
        half=half,
        clusters=groups,
        strata=[prompt.fact.kind for prompt in prompts],
        resamples=2000,
        seed=0,
    )
    return {
        "gold_fall": found.fall,
        "ci": [found.interval.low, found.interval.high],
        "peaks": list(found.peaks),
        "n": len(prompts),
        "round": last_round,
        "method": (
            "peak located on half of the facts, fall to the last point measured on the other half, "
            "both ways round and averaged; 95 % bootstrap over facts within each kind"
        ),
    }


def _places_within_kind(prompts: list[AlmanacPrompt]) -> list[int]:
    """For each prompt, the how-manieth fact of its kind it asks about, so that halves are alike."""
    seen: dict[str, dict[str, int]] = {}
    places = []
    for prompt in prompts:
        facts = seen.setdefault(prompt.fact.kind, {})
        places.append(facts.setdefault(prompt.fact.group, len(facts)))
    return places


def _read(file: Path) -> Point:
    found = json.loads(file.read_text(encoding="utf-8"))
    answers = [(text, probability) for text, probability in found["answers"]]
    return Point(found["step"], found["figures"], found["gold"], answers)
