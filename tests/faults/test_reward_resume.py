"""Every objective of a reward model, cut short and resumed, ends with the same bits."""

from pathlib import Path
from typing import Any

import pytest
from tests.faults.training_runs import left_behind
from tests.training_fixtures import TOKENIZER, interrupt_at, optimiser
from tests.unit.training.test_reward_objectives import COMPARED, SAMPLES, examples, start

from assent.config.lora import LoraSettings
from assent.config.reward import RewardSettings
from assent.errors import CannotResume
from assent.training.reward import train_reward
from assent.training.run_folder import RunFolder
from assent.types import Progress

CASES: dict[str, dict[str, Any]] = {
    **{objective: {"objective": objective} for objective in COMPARED[1:]},
    "ratings": {"objective": "ratings"},
    "ratings-lora": {"objective": "ratings", "lora": LoraSettings(rank=2)},
    "stopping": {
        "objective": "davidson",
        "early_stopping": {"share": 0.4, "every": 2, "patience": 3},
        "optimiser": optimiser(0.05),
        "epochs": 6,
    },
}


def run(case: str, folder: Path, progress: Progress | None = None, seed: int = 0) -> None:
    given = RewardSettings.model_validate(
        {
            "epochs": 2, "batch_size": 6, "micro_batch_size": 4, "checkpoint_every": 3,
            "optimiser": optimiser(), **CASES[case],
        }
    )  # fmt: skip
    ratings = given.objective == "ratings"
    train_reward(
        start(folder / "base", 2 if ratings else 1), TOKENIZER,
        examples(given.objective, 8 if ratings else 24, seed), SAMPLES, given,
        RunFolder(folder / "run"), seed=3, progress=progress,
    )  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("step", [2, 5])
def test_interrupted_and_resumed_ends_as_if_never_interrupted(
    case: str, step: int, tmp_path: Path
) -> None:
    """Before and after the first state is there."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    run(case, whole)
    with pytest.raises(KeyboardInterrupt):
        run(case, cut, interrupt_at(step))
    assert (cut / "run" / "state").exists() == (step > 3)
    run(case, cut)
    files = left_behind(whole)
    assert "run/model/model.safetensors" in files
    steps = files["run/metrics.jsonl"]
    assert isinstance(steps, list)
    assert len(steps) > 5
    assert left_behind(cut) == files


@pytest.mark.parametrize("case", ["rankings", "ordinal", "ratings"])
def test_other_judgements_of_the_same_texts_are_other_data(case: str, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(case, tmp_path, interrupt_at(5))
    with pytest.raises(CannotResume, match="other data"):
        run(case, tmp_path, seed=1)
