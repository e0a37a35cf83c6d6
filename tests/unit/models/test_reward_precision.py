"""A reward that is a model can be read in another precision, by itself or as a part."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tests.training_fixtures import (
    PROMPTS,
    TOKENIZER,
    count_of_a,
    ppo_settings,
    small_policy,
    small_reward_model,
)

from assent.config.rewards import StepSettings
from assent.models.reward_ensembles import RewardEnsemble
from assent.models.reward_sums import SummedReward
from assent.models.rewards import TextReward, at_precision
from assent.models.step_rewards import StepReward
from assent.training.ppo import train_ppo
from assent.training.run_folder import RunFolder
from assent.types import RewardFunction

RESPONSES = ["a b c" if number % 2 else "cab\nb" for number in range(len(PROMPTS))]


@pytest.fixture
def model(tmp_path: Path) -> TextReward:
    return TextReward(small_reward_model(tmp_path / "policy"), TOKENIZER)


MADE: dict[str, Callable[[TextReward], RewardFunction]] = {
    "model": lambda one: one,
    "ensemble": lambda one: RewardEnsemble([one, one]),
    "sum": lambda one: SummedReward({"learned": (0.5, one), "counted": (1.0, count_of_a)}),
    "steps": lambda one: StepReward(one, StepSettings()),
}


@pytest.mark.parametrize("kind", MADE)
def test_it_is_near_and_the_first_one_stays_as_it_was(kind: str, model: TextReward) -> None:
    reward = MADE[kind](model)
    precise = list(reward(PROMPTS, RESPONSES))
    rough = list(at_precision(reward, "bfloat16")(PROMPTS, RESPONSES))
    assert rough != precise
    assert rough == pytest.approx(precise, rel=0.05, abs=0.05)
    assert list(reward(PROMPTS, RESPONSES)) == precise
    again = at_precision(at_precision(reward, "bfloat16"), "float32")
    assert list(again(PROMPTS, RESPONSES)) == precise


def test_a_function_is_taken_as_it_is() -> None:
    assert at_precision(count_of_a, "bfloat16") is count_of_a


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_ppo_reads_its_reward_model_as_precisely_as_its_policy(
    precision: str, model: TextReward, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    plain = TextReward.raw

    def watched(self: TextReward, prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
        seen.append(self.precision)
        return plain(self, prompts, responses)

    monkeypatch.setattr(TextReward, "raw", watched)
    settings = ppo_settings(updates=2, precision=precision)
    policy, reference = small_policy(), small_policy()
    run = RunFolder(tmp_path / "run")
    train_ppo(policy, reference, TOKENIZER, PROMPTS, model, settings, run, seed=0)
    assert seen == [precision] * 2
