"""A point may end training: the run is finished there, whole, and says why."""

import json
from pathlib import Path

import pytest
from tests.training_fixtures import (
    PROMPTS,
    TOKENIZER,
    count_of_a,
    interrupt_at,
    ppo_settings,
    same_weights,
    small_policy,
    weights_of,
)
from transformers import AutoModelForCausalLM, PreTrainedModel

from assent.rounds.trajectory import STOPPED_FILE, Point, Recorder, read_points
from assent.training.ppo import train_ppo
from assent.training.run_folder import RunFolder
from assent.types import Progress

POINTS = [0, 2, 4, 6]


def measure(step: int, policy: PreTrainedModel) -> Point:
    del policy
    return Point(step, {"gold_mean": -float(step)}, [-float(step)] * 3, [])


def stop(points: list[Point]) -> str | None:
    """Stops where gold is below -3: at step 4."""
    return "gold fell" if points[-1].gold[0] < -3 else None


def run(
    folder: Path, *, may_stop: bool = True, progress: Progress | None = None
) -> PreTrainedModel:
    found = RunFolder(folder)
    recorder = Recorder(found, measure, "gold_mean", stop if may_stop else None)
    return train_ppo(
        small_policy(), small_policy(), TOKENIZER, PROMPTS, count_of_a,
        ppo_settings(updates=6), found, seed=0, points=POINTS, on_point=recorder,
        progress=progress,
    )  # fmt: skip


def test_training_ends_at_the_point_that_says_so_with_the_model_of_that_point(
    tmp_path: Path,
) -> None:
    made = run(tmp_path / "stopped")
    folder = RunFolder(tmp_path / "stopped")
    assert [point.step for point in read_points(folder)] == [0, 2, 4]
    stopped = json.loads((folder.path / STOPPED_FILE).read_text())
    assert stopped == {"step": 4, "reason": "gold fell"}
    assert len((folder.path / "metrics.jsonl").read_text().splitlines()) == 4
    checkpoint = AutoModelForCausalLM.from_pretrained(folder.checkpoints / "step-000004")
    kept = AutoModelForCausalLM.from_pretrained(folder.model)
    assert same_weights(weights_of(made), weights_of(checkpoint))
    assert same_weights(weights_of(kept), weights_of(checkpoint))


def test_without_a_reason_training_goes_on_to_its_end(tmp_path: Path) -> None:
    run(tmp_path / "whole", may_stop=False)
    folder = RunFolder(tmp_path / "whole")
    assert [point.step for point in read_points(folder)] == POINTS
    assert not (folder.path / STOPPED_FILE).exists()


def test_a_run_that_was_cut_short_stops_at_the_same_point(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", progress=interrupt_at(3))
    again = run(tmp_path / "cut")
    assert same_weights(weights_of(whole), weights_of(again))
    assert (tmp_path / "cut" / STOPPED_FILE).read_text() == (
        tmp_path / "whole" / STOPPED_FILE
    ).read_text()
