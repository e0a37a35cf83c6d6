"""RAFT cut short anywhere, while it draws and while it learns, and gone on with: the same bits."""

import random
import re
import time
from pathlib import Path

import pytest
from tests.faults.children import Child
from tests.faults.training_runs import left_behind
from tests.training_fixtures import (
    PROMPTS,
    TOKENIZER,
    count_of_a,
    interrupt_at,
    optimiser,
    small_policy,
)

from assent.config.best_of import RaftSettings
from assent.config.lora import LoraSettings
from assent.config.ppo import SamplingSettings
from assent.errors import CannotResume
from assent.training.best_of import train_best_of
from assent.training.run_folder import RunFolder
from assent.types import Progress

PARTS, STEPS, ITERATIONS = 3, 4, 3
SETTINGS = RaftSettings(
    iterations=ITERATIONS,
    prompts=8,
    n=4,
    sampling_batch=3,
    batch_size=4,
    epochs=2,
    checkpoint_every=3,
    kl_coef=0.05,
    sampling=SamplingSettings(max_new_tokens=6),
    optimiser=optimiser(),
)
ADAPTER = SETTINGS.model_copy(update={"lora": LoraSettings(rank=2)})


def run(folder: Path, settings: RaftSettings = SETTINGS, progress: Progress | None = None) -> None:
    train_best_of(
        small_policy(), None if settings.lora else small_policy(), TOKENIZER, PROMPTS, count_of_a,
        settings, RunFolder(folder / "run"), seed=3, points=(0, 5, 12), progress=progress,
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What a run leaves behind that nothing stopped."""
    folder = tmp_path_factory.mktemp("whole")
    run(folder)
    return left_behind(folder)


def test_what_is_compared_holds_samples_points_and_every_step(whole: dict[str, object]) -> None:
    metrics = whole["run/metrics.jsonl"]
    assert isinstance(metrics, list)
    assert [line["step"] for line in metrics] == list(range(1, ITERATIONS * STEPS + 1))
    assert {name for name in whole if "/samples/" in name} == {
        f"run/samples/batch-{number:04d}.jsonl" for number in range(1, ITERATIONS + 1)
    }
    assert len({whole[f"run/samples/batch-{number:04d}.jsonl"] for number in (1, 2, 3)}) == 3
    assert {name.split("/")[2] for name in whole if "/checkpoints/" in name} == {
        f"step-{number:06d}" for number in (0, 5, 12)
    }


@pytest.mark.parametrize("place", range(1, ITERATIONS * (PARTS + STEPS), 2))
def test_interrupted_while_drawing_or_learning_it_ends_as_if_never_interrupted(
    place: int, tmp_path: Path, whole: dict[str, object]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, progress=interrupt_at(place))
    seen: list[int] = []
    run(tmp_path, progress=_Counting(seen))
    assert left_behind(tmp_path) == whole
    assert seen[-1] == ITERATIONS * (PARTS + STEPS), "the bar goes on from where it stood"


def test_an_adapter_goes_on_as_well(tmp_path: Path) -> None:
    run(tmp_path / "whole", ADAPTER)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", ADAPTER, interrupt_at(PARTS + STEPS + 2))
    run(tmp_path / "cut", ADAPTER)
    assert left_behind(tmp_path / "cut") == left_behind(tmp_path / "whole")


def test_killed_at_random_times_it_ends_as_if_never_killed(
    tmp_path: Path, whole: dict[str, object]
) -> None:
    chance = random.Random(1)
    for _ in range(8):
        child = Child.start(lambda: run(tmp_path))
        time.sleep(chance.uniform(0.05, 0.4))
        child.kill()
        child.end()
    run(tmp_path)
    assert left_behind(tmp_path) == whole


def test_other_settings_data_or_seed_are_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, progress=interrupt_at(2))
    with pytest.raises(CannotResume, match="begun with other settings"):
        run(tmp_path, SETTINGS.model_copy(update={"n": 5}))


def test_a_damaged_state_is_named_and_removing_it_starts_again(
    tmp_path: Path, whole: dict[str, object]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, progress=interrupt_at(PARTS + STEPS + PARTS + 1))
    (file,) = (tmp_path / "run/state").glob("*/weights.safetensors")
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(CannotResume, match=re.escape(str(file))):
        run(tmp_path)
    for child in (tmp_path / "run/state").rglob("*.*"):
        child.unlink()
    for folder in (tmp_path / "run/state").iterdir():
        folder.rmdir()
    run(tmp_path)
    assert left_behind(tmp_path) == whole


class _Counting:
    """Progress that notes how far the bar is."""

    def __init__(self, seen: list[int]) -> None:
        self._seen = seen

    def task(self, name: str, total: int, done: int = 0) -> "_Counting":
        del name, total
        self._seen.append(done)
        return self

    def __enter__(self) -> "_Counting":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def advance(self, steps: int = 1, note: str = "") -> None:
        del note
        self._seen.append(self._seen[-1] + steps)


def test_what_a_killed_write_left_aside_is_removed(
    tmp_path: Path, whole: dict[str, object]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, progress=interrupt_at(PARTS + STEPS + 1))
    aside = tmp_path / "run/samples/batch-0002/.part-0001.jsonl.21444.tmp"
    aside.parent.mkdir(exist_ok=True)
    aside.write_text('{"prompt": 4, "tok')
    run(tmp_path)
    assert left_behind(tmp_path) == whole
