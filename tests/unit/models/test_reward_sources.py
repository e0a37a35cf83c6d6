"""The reward of a setting: a model, a function by its import path, a server."""

import sys
from pathlib import Path

import pytest
from tests.training_fixtures import TOKENIZER, small_reward_model

from assent.config.files import whole_folder
from assent.config.rewards import CallableReward, HttpReward, ModelReward
from assent.errors import ConfigError, NotAModel, RewardError
from assent.models.checkpoints import save_model
from assent.models.reward_http import RewardServer
from assent.models.reward_sources import ImportedReward, open_reward
from assent.models.rewards import Normalisation, TextReward, save_normalisation

SOURCE = """
NUMBER = 3

def length(prompts, responses):
    return [float(len(one)) for one in responses]

def broken(prompts, responses):
    raise ZeroDivisionError("no\\nresponses")
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, with a module of rewards that no one else has."""
    (tmp_path / "rewards_of_this_test.py").write_text(SOURCE)
    (tmp_path / "unimportable_rewards.py").write_text("import nothing_of_this_name")
    monkeypatch.chdir(tmp_path)
    for name in ("rewards_of_this_test", "unimportable_rewards"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def source(function: str) -> CallableReward:
    return CallableReward(function=function)


@pytest.mark.usefixtures("here")
def test_a_function_is_imported_from_the_current_folder_and_called() -> None:
    path = list(sys.path)
    reward = open_reward(source("rewards_of_this_test:length"))
    assert list(reward(["p", "q"], ["ab", ""])) == [2.0, 0.0]
    assert sys.path == path


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("rewards_of_this_test:width", "rewards_of_this_test has no function width"),
        ("rewards_of_this_test:NUMBER", "has no function NUMBER"),
        ("no_such_module:length", "no_such_module does not import from .*ModuleNotFoundError"),
        ("unimportable_rewards:length", "does not import .*nothing_of_this_name"),
    ],
)
def test_a_function_that_is_not_there_is_one_line(function: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as raised:
        open_reward(source(function))
    assert function in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.usefixtures("here")
def test_what_a_function_raises_is_one_line_that_names_it() -> None:
    reward = open_reward(source("rewards_of_this_test:broken"))
    says = "the reward rewards_of_this_test:broken raised ZeroDivisionError: no responses"
    with pytest.raises(RewardError, match=says):
        reward(["p"], ["r"])


@pytest.mark.parametrize(
    "function", ["length", "module:", ":length", "a b:length", "a:b:c", "os.system", "a:b()", ""]
)
def test_what_is_no_import_path_is_refused_in_the_settings(function: str) -> None:
    with pytest.raises(ValueError, match="give module:function"):
        source(function)


def test_a_model_is_the_rounds_own_or_the_one_that_is_named(tmp_path: Path) -> None:
    for name, gain in (("own", 1.0), ("other", 2.0)):
        with whole_folder(tmp_path / name) as aside:
            save_model(aside, small_reward_model(tmp_path / "policy"), TOKENIZER)
            save_normalisation(aside, Normalisation(gain=gain, bias=0.0, samples=2))
    own = open_reward(ModelReward(), tmp_path / "own")
    named = open_reward(ModelReward(path=str(tmp_path / "other"), batch_size=3), tmp_path / "own")
    assert isinstance(named, TextReward)
    assert named.batch_size == 3
    (one,), (two,) = own(["a"], ["b"]), named(["a"], ["b"])
    assert two == pytest.approx(2 * one)
    assert one != 0
    with pytest.raises(ConfigError, match=r"ppo.reward.path: name a reward model"):
        open_reward(ModelReward())
    with pytest.raises(NotAModel, match="does not exist"):
        open_reward(ModelReward(path=str(tmp_path / "absent")))


def test_a_server_is_opened_without_being_asked() -> None:
    reward = open_reward(HttpReward(url="http://127.0.0.1:9/rewards"))
    assert isinstance(reward, RewardServer)
    reward.close()


def test_a_function_that_is_not_there_is_named_whatever_stage_asks_for_it() -> None:
    with pytest.raises(ConfigError, match=r"^reward function 'no_such_module:f': no_such_module"):
        ImportedReward("no_such_module:f")
