"""RLOO, GRPO and PPO-ptx cut short anywhere and gone on with: the same bits in every file."""

import random
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

from assent.config.lora import LoraSettings
from assent.config.policy_gradient import GrpoSettings, PolicyGradientSettings
from assent.config.ppo import AdaptiveKl, SamplingSettings
from assent.errors import CannotResume
from assent.training.policy_gradient import train_policy_gradient
from assent.training.run_folder import RunFolder
from assent.types import Progress

COMMON = {
    "updates": 11,
    "prompts_per_update": 3,
    "samples_per_prompt": 2,
    "micro_batch_size": 4,
    "sampling": SamplingSettings(max_new_tokens=6),
    "kl": AdaptiveKl(initial_coef=0.1, target_nats=0.02, horizon_episodes=100),
    "optimiser": optimiser(),
}
RLOO = PolicyGradientSettings.model_validate(COMMON)
GRPO = GrpoSettings.model_validate(COMMON | {"epochs": 2, "minibatches": 2})
REINFORCE = RLOO.model_copy(update={"advantage": "reinforce"})
LORA = RLOO.model_copy(update={"lora": LoraSettings(rank=2)})
ALL = {"rloo": RLOO, "grpo": GRPO, "reinforce": REINFORCE, "lora": LORA}


def run(folder: Path, name: str, progress: Progress | None = None) -> None:
    settings = ALL[name]
    train_policy_gradient(
        small_policy(), None if settings.lora else small_policy(), TOKENIZER, PROMPTS, count_of_a,
        settings, RunFolder(folder / "run"), seed=3, points=(0, 5, 10), progress=progress,
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    """What runs leave behind that nothing stopped."""
    found = {}
    for name in ALL:
        folder = tmp_path_factory.mktemp(name)
        run(folder, name)
        found[name] = left_behind(folder)
    return found


def test_what_is_compared_holds_points_and_every_step(
    whole: dict[str, dict[str, object]],
) -> None:
    for name, files in whole.items():
        metrics = files["run/metrics.jsonl"]
        assert isinstance(metrics, list)
        assert [line["step"] for line in metrics] == list(range(1, 12))
        assert len({line["policy/kl_coef"] for line in metrics}) > 5, "the controller moved"
        assert ("reward/baseline" in metrics[0]) == (name == "reinforce")
        for point in (0, 5, 10):
            assert f"run/checkpoints/step-{point:06d}/model.safetensors" in files


@pytest.mark.parametrize("name", list(ALL))
@pytest.mark.parametrize("steps", [(2,), (7, 9)])
def test_interrupted_and_resumed_ends_as_if_never_interrupted(
    name: str, steps: tuple[int, ...], tmp_path: Path, whole: dict[str, dict[str, object]]
) -> None:
    for step in steps:
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, name, interrupt_at(step))
    run(tmp_path, name)
    assert left_behind(tmp_path) == whole[name]


@pytest.mark.parametrize("name", ["grpo", "reinforce"])
def test_killed_at_random_times_and_resumed_is_as_if_never_killed(
    name: str, tmp_path: Path, whole: dict[str, dict[str, object]]
) -> None:
    chance = random.Random(2)
    killed = 0
    for _ in range(6):
        child = Child.start(lambda: run(tmp_path, name))
        time.sleep(chance.uniform(0.05, 0.4))
        child.kill()
        killed += child.end().died
    run(tmp_path, name)
    assert killed
    assert left_behind(tmp_path) == whole[name]


def test_a_run_begun_with_another_advantage_refuses_to_go_on(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, "rloo", interrupt_at(7))
    before = left_behind(tmp_path)
    with pytest.raises(CannotResume, match=r"settings\.toml"):
        run(tmp_path, "reinforce")
    assert left_behind(tmp_path) == before
