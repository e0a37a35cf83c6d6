"""Stages of eleven steps that can be killed: called by the tests, and run as a process of its own.

    python -m tests.faults.training_runs full-disk STAGE FOLDER      no room for step 10's state

A state is saved after steps 5 and 10; the eleventh step leaves that of step 10 to be looked at.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest
from tests.faults.children import Child, in_child
from tests.training_fixtures import (
    LETTERS,
    PROMPTS,
    TOKENIZER,
    Watched,
    count_of_a,
    interrupt_at,
    optimiser,
    ppo_settings,
    small_policy,
    small_reward_model,
)
from tests.unit.models.architectures import causal_lm

from assent.config.lora import LoraSettings
from assent.config.ppo import AdaptiveKl, PpoSettings, SeparateValue
from assent.config.reward import RewardSettings
from assent.config.sft import SftSettings
from assent.errors import DiskFull
from assent.training.ppo import train_ppo
from assent.training.reward import train_reward
from assent.training.run_folder import RunFolder
from assent.training.sft import train_sft
from assent.types import Demonstration, PreferencePair, Progress

STAGES = ("sft", "reward", "ppo")
VARIANTS = ("sft-lora", "reward-lora", "ppo-lora", "ppo-separate")
STEPS, SAVED = 11, 10
SFT = SftSettings(
    epochs=1, batch_size=4, micro_batch_size=3, checkpoint_every=5, optimiser=optimiser()
)
REWARD = RewardSettings(epochs=1, batch_size=4, checkpoint_every=5, optimiser=optimiser())
PPO: PpoSettings = ppo_settings(
    updates=STEPS, kl=AdaptiveKl(initial_coef=0.1, target_nats=0.02, horizon_episodes=100)
)


def run_stage(stage: str, folder: Path, progress: Progress | None = None) -> None:
    """Run a stage in FOLDER from fresh models, from where the folder stands.

    A variant trains an adapter, or has a value model of its own.
    """
    stage, _, variant = stage.partition("-")
    changed: dict[str, object] = {"lora": LoraSettings(rank=2)} if variant == "lora" else {}
    if variant == "separate":
        changed = {"value_model": SeparateValue(start="reference", lr=3e-3)}
    run = RunFolder(folder / "run")
    chance = random.Random(0)
    words = ["".join(chance.choices(LETTERS, k=chance.randint(1, 6))) for _ in range(4 * STEPS)]
    if stage == "sft":
        # Dropout in its configuration: a run repeats only because training leaves it off.
        model = causal_lm("gpt2", vocabulary=len(TOKENIZER), dropout=0.2, layers=1)
        shown = [Demonstration(prompt=word, response=word[::-1]) for word in words]
        train_sft(
            model, TOKENIZER, shown, SFT.model_copy(update=changed), run, seed=3, progress=progress
        )
    elif stage == "reward":
        pairs = [PreferencePair(prompt=word, chosen=word + "a", rejected="hh") for word in words]
        reward = small_reward_model(folder / "base")
        samples = (PROMPTS, words[: len(PROMPTS)])
        settings = REWARD.model_copy(update=changed)
        train_reward(reward, TOKENIZER, pairs, samples, settings, run, seed=3, progress=progress)
    else:
        train_ppo(
            small_policy(), None if variant == "lora" else small_policy(), TOKENIZER, PROMPTS,
            count_of_a, PPO.model_copy(update=changed), run,
            seed=3, points=(0, 5, SAVED), progress=progress,
        )  # fmt: skip


def stop_before_the_end(stage: str, folder: Path) -> None:
    """Run a stage until the eleventh step, so that the state of the tenth is still there."""
    try:
        run_stage(stage, folder, interrupt_at(STEPS))
    except KeyboardInterrupt:
        return
    message = "the run was not interrupted"
    raise AssertionError(message)


def left_behind(folder: Path) -> dict[str, object]:
    """Every file of the run by name, metrics without their times."""
    found: dict[str, object] = {}
    for file in sorted((folder / "run").rglob("*")):
        name = str(file.relative_to(folder))
        if file.name == "metrics.jsonl":
            lines = [json.loads(line) for line in file.read_text().splitlines()]
            found[name] = [
                {key: line[key] for key in line if not key.startswith("time")} for line in lines
            ]
        elif file.is_file():
            found[name] = file.read_bytes()
    return found


def killed(stage: str, folder: Path, step: int) -> None:
    """A child runs a stage and is killed as a step is shown."""

    def after(done: int) -> None:
        if done == step:
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(lambda: run_stage(stage, folder, Watched(after))).died


def killed_at_random(stage: str, folder: Path, seed: int) -> int:
    """Eight children, each killed at a random time; how many had not come to their end."""
    chance, died = random.Random(seed), 0
    for _ in range(8):
        child = Child.start(lambda: stop_before_the_end(stage, folder))
        time.sleep(chance.uniform(0.0, 0.15))
        child.kill()
        died += child.end().died
    return died


def _full_disk(stage: str, folder: Path) -> None:
    """The folder is a small disk. Too little room is left for the state of the tenth step."""
    ballast, run = folder / "ballast", folder / "run"

    def after(done: int) -> None:
        if done == SAVED - 1:
            room = os.statvfs(folder)
            ballast.write_bytes(bytes(room.f_bavail * room.f_frsize - 5 * 4096))

    def saved() -> dict[str, bytes]:
        return {str(file): file.read_bytes() for file in (run / "state").rglob("*.*")}

    before: dict[str, bytes] = {}

    def remember(done: int) -> None:
        if done == SAVED - 1:
            before.update(saved())
        after(done)

    with pytest.raises(DiskFull, match=r"the disk is full: .*step-000010") as raised:
        run_stage(stage, folder, Watched(remember))
    assert "\n" not in str(raised.value)
    assert before, "a state had been saved"
    assert saved() == before
    ballast.unlink()
    stop_before_the_end(stage, folder)


if __name__ == "__main__":
    _full_disk(sys.argv[2], Path(sys.argv[3]))
