"""Ten steps are five, an end of any kind, and five more: the same bits in every file."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.faults.training_runs import (
    PPO,
    REWARD,
    SAVED,
    SFT,
    STAGES,
    STEPS,
    VARIANTS,
    killed,
    killed_at_random,
    left_behind,
    run_stage,
    stop_before_the_end,
)
from tests.training_fixtures import interrupt_at

from assent.errors import CannotResume
from assent.training.run_folder import RunFolder, fingerprint

if TYPE_CHECKING:
    from assent.config.ppo import PpoSettings
    from assent.config.reward import RewardSettings
    from assent.config.sft import SftSettings

ROOT = Path(__file__).parents[2]
STATE_5, STATE_10 = "run/state/step-000005", "run/state/step-000010"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, object]]:
    """What a run leaves behind that nothing stopped before its eleventh step."""
    made: dict[str, dict[str, object]] = {}

    def files(stage: str) -> dict[str, object]:
        if stage not in made:
            folder = tmp_path_factory.mktemp(stage)
            stop_before_the_end(stage, folder)
            made[stage] = left_behind(folder)
        return made[stage]

    return files


def in_a_process(*words: str, prefix: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*prefix, sys.executable, "-m", "tests.faults.training_runs", *words],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
    )


def test_what_is_compared_holds_weights_moments_counters_and_ten_steps_of_metrics(
    undisturbed: Callable[[str], dict[str, object]],
) -> None:
    for stage in STAGES:
        files = undisturbed(stage)
        for name in ("weights.safetensors", "optimiser.safetensors", "state.json"):
            assert f"{STATE_10}/{name}" in files
        metrics = files["run/metrics.jsonl"]
        assert isinstance(metrics, list)
        assert [line["step"] for line in metrics] == list(range(1, STEPS + 1))
        assert len({str(line) for line in metrics}) == STEPS
    ppo = undisturbed("ppo")
    state = ppo[f"{STATE_10}/state.json"]
    assert isinstance(state, bytes)
    assert b'"kl_coef": 0.1,' not in state, "the controller moved"
    assert {name for name in ppo if "checkpoints" in name and name.endswith(".safetensors")} == {
        f"run/checkpoints/step-{point:06d}/model.safetensors" for point in (0, 5, SAVED)
    }


@pytest.mark.parametrize("stage", STAGES)
def test_killed_after_step_five_and_resumed_is_as_if_never_killed(
    stage: str, tmp_path: Path, undisturbed: Callable[[str], dict[str, object]]
) -> None:
    shown = "5" if stage == "ppo" else "6"  # PPO saves before it shows a step, the others after
    killed(stage, tmp_path, int(shown))
    assert (tmp_path / STATE_5 / "state.json").exists()
    assert not (tmp_path / "run" / "model").exists()
    stop_before_the_end(stage, tmp_path)
    assert left_behind(tmp_path) == undisturbed(stage)


@pytest.mark.parametrize("stage", STAGES)
def test_killed_at_random_times_and_resumed_is_as_if_never_killed(
    stage: str, tmp_path: Path, undisturbed: Callable[[str], dict[str, object]]
) -> None:
    assert killed_at_random(stage, tmp_path, 1)
    stop_before_the_end(stage, tmp_path)
    assert left_behind(tmp_path) == undisturbed(stage)


@pytest.mark.parametrize("stage", STAGES)
def test_a_full_disk_in_the_middle_of_a_checkpoint_leaves_the_last_one(
    stage: str, tmp_path: Path, undisturbed: Callable[[str], dict[str, object]]
) -> None:
    unshare = shutil.which("unshare")
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    disk.mkdir()
    own = (str(unshare), "--user", "--map-root-user", "--mount", "sh", "-c")
    mount = 'mount -t tmpfs -o size=4m small "$1"'
    if (
        unshare is None
        or subprocess.run(
            [*own, mount, "sh", str(disk)], check=False, capture_output=True
        ).returncode
    ):
        pytest.skip("this machine lets nobody mount a small disk of their own")
    # The disk goes with the process that mounted it, so what was left on it is copied first.
    script = f'{mount} && shift 2 && "$@" && cp -r "{disk}" "{kept}"'
    done = in_a_process(
        "full-disk", stage, str(disk), prefix=(*own, script, "sh", str(disk), "--")
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert left_behind(kept) == undisturbed(stage)


@pytest.mark.parametrize("stage", [*STAGES, *VARIANTS])
@pytest.mark.parametrize("step", [2, 7])
def test_interrupted_and_resumed_ends_as_if_never_interrupted(
    stage: str, step: int, tmp_path: Path
) -> None:
    """Before and after the first state is there; this time to the finished model."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    run_stage(stage, whole)
    with pytest.raises(KeyboardInterrupt):
        run_stage(stage, cut, interrupt_at(step))
    run_stage(stage, cut)
    assert RunFolder(cut / "run").is_done
    files = left_behind(whole)
    assert "run/model/model.safetensors" in files
    assert not any("/state/" in name for name in files)
    assert left_behind(cut) == files


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_begun_with_other_settings_refuses_to_go_on(stage: str, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_stage(stage, tmp_path, interrupt_at(7))
    before = left_behind(tmp_path)
    file = tmp_path / "run" / "settings.toml"
    stages: dict[str, SftSettings | RewardSettings | PpoSettings]
    stages = {"sft": SFT, "reward": REWARD, "ppo": PPO}
    settings = stages[stage]
    changed = settings.model_copy(
        update={"optimiser": settings.optimiser.model_copy(update={"lr": 0.5})}
    )
    with pytest.raises(CannotResume, match=re.escape(str(file))) as raised:
        RunFolder(tmp_path / "run").begin(changed)
    assert "\n" not in str(raised.value)
    assert left_behind(tmp_path) == before


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_begun_with_another_seed_or_other_data_refuses_to_go_on(
    stage: str, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_stage(stage, tmp_path, interrupt_at(7))
    before = left_behind(tmp_path)
    run = RunFolder(tmp_path / "run")
    stages: dict[str, SftSettings | RewardSettings | PpoSettings]
    stages = {"sft": SFT, "reward": REWARD, "ppo": PPO}
    settings = stages[stage]
    begun = json.loads((run.path / "inputs.json").read_text())
    assert begun["seed"] == 3
    with pytest.raises(CannotResume, match="was begun with seed 3, not 4;"):
        run.begin(settings, seed=4, data=begun["data"])
    with pytest.raises(CannotResume, match="was begun with other data;") as raised:
        run.begin(settings, seed=3, data=fingerprint(["other"]))
    assert "\n" not in str(raised.value)
    assert left_behind(tmp_path) == before


def test_a_run_out_of_memory_goes_on_with_smaller_micro_batches(tmp_path: Path) -> None:
    """They change no result but rounding, and the first advice is to make them smaller."""
    with pytest.raises(KeyboardInterrupt):
        run_stage("sft", tmp_path, interrupt_at(7))
    smaller = SFT.model_copy(update={"micro_batch_size": 1, "gradient_checkpointing": True})
    run = RunFolder(tmp_path / "run")
    begun = json.loads((run.path / "inputs.json").read_text())
    run.begin(smaller, seed=3, data=begun["data"])
    assert "micro_batch_size = 1" in (run.path / "settings.toml").read_text()


def test_a_fingerprint_tells_texts_and_tokens_apart_wherever_they_are_cut() -> None:
    parts: list[tuple[list[str] | list[list[int]], ...]] = [
        (["ab", "c"],), (["a", "bc"],), (["abc"],), (["ab"], ["c"]), ([[1, 2], [3]],),
        ([[1], [2, 3]],), ([[1, 2, 3]],), (["ab", "c"], []), (["ab", "c\ud800"],),
    ]  # fmt: skip
    assert len({fingerprint(*one) for one in parts}) == len(parts)
    assert fingerprint(["ab", "c"]) == fingerprint(iter(["ab", "c"]))


@pytest.mark.parametrize("name", ["weights.safetensors", "optimiser.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["cut short", "one bit", "missing", "not json"])
def test_a_damaged_state_is_named_and_not_trained_on(
    name: str, damage: str, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_stage("ppo", tmp_path, interrupt_at(5))
    file = tmp_path / STATE_5 / name
    content = bytearray(file.read_bytes())
    if damage == "missing":
        file.unlink()
    elif damage == "cut short":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "one bit":
        place = content.index(b"{") if name == "state.json" else len(content) - 3
        content[place] ^= 1
        file.write_bytes(content)
    else:
        file.write_bytes(b"[1, 2]")
    metrics = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    with pytest.raises(CannotResume, match=re.escape(str(file))) as raised:
        run_stage("ppo", tmp_path)
    assert "\n" not in str(raised.value)
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == metrics
    shutil.rmtree(tmp_path / "run" / "state")
    run_stage("ppo", tmp_path)  # what the message says to do
    assert RunFolder(tmp_path / "run").is_done


def test_a_state_of_another_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_stage("sft", tmp_path / "sft", interrupt_at(7))
    with pytest.raises(KeyboardInterrupt):
        run_stage("reward", tmp_path / "reward", interrupt_at(7))
    shutil.rmtree(tmp_path / "sft" / "run" / "state")
    shutil.copytree(tmp_path / "reward" / "run" / "state", tmp_path / "sft" / "run" / "state")
    with pytest.raises(CannotResume, match="do not fit the model"):
        run_stage("sft", tmp_path / "sft")
