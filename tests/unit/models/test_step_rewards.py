"""Process rewards: a response by its steps, each read where it ends."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.training_fixtures import TOKENIZER, small_reward_model

from assent.config.files import whole_folder
from assent.config.rewards import ModelReward, StepSettings
from assent.models.checkpoints import save_model
from assent.models.reward_sources import open_reward
from assent.models.rewards import TextReward
from assent.models.step_rewards import StepReward, beginnings


def minus_errors(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    assert len(prompts) == len(responses)
    return [-float(text.count("wrong")) + 0.1 * text.count("\n") for text in responses]


@pytest.mark.parametrize(
    ("text", "separator", "expected"),
    [
        ("one\ntwo\nthree", "\n", ["one", "one\ntwo", "one\ntwo\nthree"]),
        ("one\n\ntwo\n", "\n", ["one", "one\n\ntwo"]),
        ("one\n\ntwo\nthree", "\n\n", ["one", "one\n\ntwo\nthree"]),
        (" one", "\n", [" one"]),
        ("", "\n", [""]),
        ("\n \n", "\n", ["\n \n"]),
        ("a.*b.*c", ".*", ["a", "a.*b", "a.*b.*c"]),
    ],
)
def test_a_step_is_the_text_up_to_its_end(text: str, separator: str, expected: list[str]) -> None:
    assert beginnings(text, separator) == expected


@pytest.mark.parametrize(
    ("combine", "expected"),
    [("min", [0.0, -0.9, -1.9]), ("mean", [0.1, -0.45, -1.45]), ("last", [0.2, -0.9, -1.9])],
)
def test_steps_become_one_reward(combine: str, expected: list[float]) -> None:
    settings = StepSettings.model_validate({"combine": combine})
    reward = StepReward(minus_errors, settings)
    said = ["a\nb\nc", "right\nwrong", "wrong\nwrong"]
    assert reward(["x", "y", "z"], said) == pytest.approx(expected)
    assert reward.by_step(["x", "y", "z"], said)[1] == pytest.approx([0.0, -0.9])


def test_a_setting_reads_a_reward_model_by_steps(tmp_path: Path) -> None:
    model = small_reward_model(tmp_path / "policy")
    with whole_folder(tmp_path / "reward") as aside:
        save_model(aside, model, TOKENIZER)
    source = ModelReward.model_validate({"steps": {"separator": "h", "combine": "min"}})
    found = open_reward(source, tmp_path / "reward")(["a", "b"], ["cahbe", "dd"])
    plain = TextReward.load(tmp_path / "reward")
    expected = [min(plain(["a", "a"], ["ca", "cahbe"])), plain(["b"], ["dd"])[0]]
    assert list(found) == pytest.approx(expected, abs=1e-6)
