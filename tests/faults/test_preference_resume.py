"""DPO and KTO cut short and resumed: the same bits in every file as if they had not been."""

import json
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.faults.children import in_child
from tests.faults.training_runs import STEPS, left_behind
from tests.training_fixtures import (
    LETTERS,
    TOKENIZER,
    Watched,
    interrupt_at,
    optimiser,
    small_policy,
)

from assent.config.lora import LoraSettings
from assent.config.preference import DpoSettings, KtoSettings
from assent.errors import CannotResume
from assent.training.kto import train_kto
from assent.training.preference import train_preference
from assent.training.run_folder import RunFolder
from assent.types import MarkedResponse, PreferencePair, Progress

STAGES = ("dpo", "dpo-lora", "dpo-simpo", "kto", "kto-lora")
GIVEN = {"batch_size": 4, "micro_batch_size": 3, "checkpoint_every": 5, "optimiser": optimiser()}


def run_stage(stage: str, folder: Path, progress: Progress | None = None, seed: int = 3) -> None:
    """Eleven steps in FOLDER from fresh models, from where the folder stands."""
    stage, _, variant = stage.partition("-")
    given: dict[str, object] = {**GIVEN}
    if variant == "lora":
        given["lora"] = LoraSettings(rank=2)
    if variant == "simpo":
        given["loss"] = {"kind": "simpo"}
    reference = None if variant == "lora" else small_policy()
    run = RunFolder(folder / "run")
    chance = random.Random(0)
    words = ["".join(chance.choices(LETTERS, k=chance.randint(2, 6))) for _ in range(4 * STEPS)]

    def points(total: int) -> set[int]:
        return {0, 5, total}

    if stage == "dpo":
        pairs = [PreferencePair(prompt=word, chosen=word + "a", rejected="hh") for word in words]
        train_preference(
            small_policy(), reference, TOKENIZER, pairs, DpoSettings.model_validate(given), run,
            seed=seed, points=points, progress=progress,
        )  # fmt: skip
    else:
        marked = [
            MarkedResponse(prompt=word, response=word[::-1], good="a" in word) for word in words
        ]
        train_kto(
            small_policy(), reference, TOKENIZER, marked, KtoSettings.model_validate(given), run,
            seed=seed, points=points, progress=progress,
        )  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, object]]:
    """What a run leaves behind that nothing stopped."""
    made: dict[str, dict[str, object]] = {}

    def files(stage: str) -> dict[str, object]:
        if stage not in made:
            folder = tmp_path_factory.mktemp(stage)
            run_stage(stage, folder)
            made[stage] = left_behind(folder)
        return made[stage]

    return files


def test_what_is_compared_holds_the_model_its_points_and_eleven_steps(
    whole: Callable[[str], dict[str, object]],
) -> None:
    for stage in STAGES:
        files = whole(stage)
        assert "run/model/model.safetensors" in files
        assert {name for name in files if "checkpoints" in name and "model.safe" in name} >= {
            f"run/checkpoints/step-{point:06d}/model.safetensors" for point in (0, 5, STEPS)
        }
        metrics = files["run/metrics.jsonl"]
        assert isinstance(metrics, list)
        assert [line["step"] for line in metrics] == list(range(1, STEPS + 1))
        assert len({str(line) for line in metrics}) == STEPS


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("step", [2, 8])
def test_interrupted_before_and_after_the_first_state_and_resumed(
    stage: str, step: int, tmp_path: Path, whole: Callable[[str], dict[str, object]]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_stage(stage, tmp_path, interrupt_at(step))
    assert (tmp_path / "run" / "state" / "step-000005").exists() == (step == 8)
    run_stage(stage, tmp_path)
    assert left_behind(tmp_path) == whole(stage)


@pytest.mark.parametrize("stage", ["dpo", "kto"])
def test_killed_and_resumed(
    stage: str, tmp_path: Path, whole: Callable[[str], dict[str, object]]
) -> None:
    assert in_child(lambda: run_stage(stage, tmp_path, _kill_at(8))).died
    run_stage(stage, tmp_path)
    assert left_behind(tmp_path) == whole(stage)


@pytest.mark.parametrize("stage", ["dpo", "kto"])
def test_a_run_begun_with_other_data_seed_or_settings_refuses_to_go_on(
    stage: str, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_stage(stage, tmp_path, interrupt_at(7))
    before = left_behind(tmp_path)
    with pytest.raises(CannotResume, match="was begun with seed 3, not 4;"):
        run_stage(stage, tmp_path, seed=4)
    run = RunFolder(tmp_path / "run")
    kinds: dict[str, type[DpoSettings | KtoSettings]] = {"dpo": DpoSettings, "kto": KtoSettings}
    begun = json.loads((run.path / "inputs.json").read_text())
    with pytest.raises(CannotResume, match="was begun with other data;"):
        run.begin(kinds[stage].model_validate(GIVEN), seed=3, data="other")
    with pytest.raises(CannotResume, match="was begun with other settings"):
        run.begin(kinds[stage].model_validate({**GIVEN, "epochs": 9}), seed=3, data=begun["data"])
    assert left_behind(tmp_path) == before


def _kill_at(step: int) -> Watched:
    def after(done: int) -> None:
        if done == step:
            os.kill(os.getpid(), signal.SIGKILL)

    return Watched(after)
