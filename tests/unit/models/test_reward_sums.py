"""Several rewards as one: the sum, what each part gave, and which part was wrong."""

import json
import sys
from collections.abc import Sequence
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

from assent.config.files import whole_folder
from assent.config.load import load_settings
from assent.config.metrics import METRICS, declared, require_declared, tag_of
from assent.config.policy_gradient import PolicyGradientSettings
from assent.config.ppo import PpoSettings, SamplingSettings
from assent.config.rewards import (
    CallableReward,
    ModelReward,
    SumReward,
    models_of,
    wants_own_model,
)
from assent.config.sinks import JsonlSink
from assent.config.write import dump_toml
from assent.errors import ConfigError, RewardError
from assent.models.checkpoints import save_model
from assent.models.reward_sources import open_reward
from assent.models.reward_sums import SummedReward, part_figures
from assent.models.rewards import Normalisation, TextReward, save_normalisation
from assent.training.policy_gradient import train_policy_gradient
from assent.training.ppo import train_ppo
from assent.training.run_folder import RunFolder

BOTH = {
    "kind": "sum",
    "parts": {
        "learned": {"weight": 1.0},
        "check": {
            "weight": -0.5,
            "source": {"kind": "callable", "function": "rewards_of_sums:length"},
        },
    },
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, with a module of rewards."""
    (tmp_path / "rewards_of_sums.py").write_text(
        "def length(prompts, responses):\n    return [float(len(one)) for one in responses]\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "rewards_of_sums", raising=False)
    return tmp_path


def brevity(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    del prompts
    return [-float(len(response)) for response in responses]


def test_the_sum_is_weighed_and_every_part_is_kept_as_it_came() -> None:
    reward = SummedReward({"letters": (2.0, count_of_a), "short": (0.5, brevity)})
    assert part_figures(reward) == {}, "nothing was asked yet"
    assert reward(["p", "q"], ["aab", ""]) == [2 * 2 - 1.5, 0.0]
    assert reward.last == {"letters": [2.0, 0.0], "short": [-3.0, 0.0]}
    assert part_figures(reward) == {
        "reward/part_mean/letters": 1.0, "reward/part_mean/short": -1.5,
    }  # fmt: skip
    assert part_figures(count_of_a) == {}


def test_a_part_that_is_wrong_is_named() -> None:
    def short(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
        return count_of_a(prompts, responses)[:-1]

    reward = SummedReward({"good": (1.0, count_of_a), "bad": (1.0, short)})
    with pytest.raises(RewardError, match=r"^part bad: the reward short returned 1 values for 2"):
        reward(["p", "q"], ["a", "b"])


def test_a_sum_of_the_settings_holds_the_rounds_own_model(here: Path) -> None:
    with whole_folder(here / "own") as aside:
        save_model(aside, small_reward_model(here / "policy"), TOKENIZER)
        save_normalisation(aside, Normalisation(gain=2.0, bias=0.25, samples=2))
    source = SumReward.model_validate(BOTH)
    assert wants_own_model(source)
    assert models_of(source) == [ModelReward()]
    reward = open_reward(source, here / "own")
    learned = TextReward.load(here / "own")
    (found,), (alone,) = reward(["a"], ["bcd"]), learned(["a"], ["bcd"])
    assert found == pytest.approx(alone - 1.5)
    with pytest.raises(ConfigError, match=r"name a reward model"):
        open_reward(source)


def test_models_of_other_sources() -> None:
    assert wants_own_model(ModelReward())
    assert not wants_own_model(ModelReward(path="x"))
    assert models_of(CallableReward(function="a:b")) == []


def test_a_sum_is_set_from_the_command_line_and_survives_a_file(tmp_path: Path) -> None:
    settings = load_settings(
        PpoSettings,
        (),
        (
            "reward.kind=sum",
            "reward.parts.learned.weight=1",
            "reward.parts.check.weight=-0.5",
            "reward.parts.check.source.kind=callable",
            "reward.parts.check.source.function=rewards_of_sums:length",
        ),
    )
    assert settings.reward == SumReward.model_validate(BOTH)
    file = tmp_path / "ppo.toml"
    file.write_text(dump_toml(settings))
    assert load_settings(PpoSettings, (file,)) == settings


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({}, "parts"),
        ({"Big Name": {}}, "Big Name"),
        ({"one": {"weight": float("nan")}}, "weight"),
        ({"one": {"source": {"kind": "sum", "parts": {}}}}, "source"),
    ],
)
def test_sums_that_mean_nothing_are_refused_by_key(parts: object, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load_settings(PpoSettings, base={"reward": {"kind": "sum", "parts": parts}})


def test_part_metrics_are_declared_as_one_family(tmp_path: Path) -> None:
    require_declared(["reward/part_mean/learned"])
    assert declared("reward/part_mean/learned") is METRICS["reward/part_mean"]
    assert declared("reward/proxy_mean/learned") is None
    assert tag_of("reward/part_mean/learned") == "reward/part_mean/learned"
    assert tag_of("reward/proxy_mean") == "objective/scores"
    with pytest.raises(ValueError, match="reward/part_means/x"):
        require_declared(["reward/part_means/x"])
    with JsonlSink(tmp_path / "metrics.jsonl") as sink:
        sink.log(1, {"reward/part_mean/learned": 0.5})


@pytest.mark.parametrize("method", ["ppo", "rloo"])
def test_a_run_logs_what_each_part_gave(method: str, tmp_path: Path) -> None:
    reward = SummedReward({"letters": (2.0, count_of_a), "short": (0.5, brevity)})
    run = RunFolder(tmp_path)
    if method == "ppo":
        train_ppo(
            small_policy(), small_policy(), TOKENIZER, PROMPTS, reward, ppo_settings(updates=2),
            run, seed=0,
        )  # fmt: skip
    else:
        settings = PolicyGradientSettings(
            updates=2, prompts_per_update=4, sampling=SamplingSettings(max_new_tokens=6)
        )
        train_policy_gradient(
            small_policy(), small_policy(), TOKENIZER, PROMPTS, reward, settings, run, seed=0
        )
    for text in (tmp_path / "metrics.jsonl").read_text().splitlines():
        line = json.loads(text)
        parts = 2 * line["reward/part_mean/letters"] + 0.5 * line["reward/part_mean/short"]
        assert line["reward/proxy_mean"] == pytest.approx(parts, abs=1e-5)
