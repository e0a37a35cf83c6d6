"""Ensembles and averages: members differ, resume one by one, and are read as one reward."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.training_fixtures import (
    PROMPTS,
    TOKENIZER,
    Watched,
    optimiser,
    ppo_settings,
    small_reward_model,
)
from tests.unit.training.test_reward import SAMPLES, planted

from assent.config.ppo import SeparateValue
from assent.config.reward import RewardSettings
from assent.config.rewards import ModelReward
from assent.errors import ConfigError, DataError, NotAModel
from assent.models.reward_ensembles import LearnedReward, RewardEnsemble, load_reward
from assent.models.reward_sources import open_reward
from assent.models.rewards import TextReward
from assent.training.actors import value_model_for
from assent.training.reward import train_reward
from assent.training.reward_ensemble import train_ensemble
from assent.training.reward_stopping import is_looked_at
from assent.training.run_folder import RunFolder
from assent.types import PreferencePair, RewardExample

FRESH = (PROMPTS, ["abab", "hh", "cab", "dada", "b", "aaa", "d", "fab"])


def settings(ensemble: dict[str, Any] | None = None, **given: Any) -> RewardSettings:
    return RewardSettings.model_validate(
        {"epochs": 1, "batch_size": 10, "optimiser": optimiser(), "ensemble": ensemble} | given
    )


def train(folder: Path, given: RewardSettings, **more: Any) -> LearnedReward:
    model = small_reward_model(folder.parent / "base")
    said: list[RewardExample] = list(planted(40, seed=0))
    return train_ensemble(model, TOKENIZER, said, SAMPLES, given, RunFolder(folder), seed=0, **more)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[RewardEnsemble, Path]:
    folder = tmp_path_factory.mktemp("ensemble") / "run"
    reward = train(folder, settings({"members": 3}))
    assert isinstance(reward, RewardEnsemble)
    return reward, folder


def test_members_are_ordinary_reward_models_that_differ(
    trained: tuple[RewardEnsemble, Path],
) -> None:
    reward, folder = trained
    alone = [TextReward.load(folder / "model" / f"member-{number}") for number in range(3)]
    rows = [one(*FRESH) for one in alone]
    assert len({tuple(row) for row in rows}) == 3
    found = reward.by_member(*FRESH)
    torch.testing.assert_close(found, torch.tensor(rows, dtype=torch.float64))
    for one in alone:
        scores = torch.tensor(one(*SAMPLES))
        assert scores.mean().item() == pytest.approx(0, abs=1e-5)
        assert scores.std(unbiased=False).item() == pytest.approx(1, abs=1e-5)
    heads = [weights(folder / "model" / f"member-{n}")["score.weight"] for n in range(3)]
    assert (heads[0] - heads[1]).abs().max() > 0.1, "each draws its own"


def test_the_folder_is_one_reward_combined_as_was_asked(
    trained: tuple[RewardEnsemble, Path],
) -> None:
    reward, folder = trained
    rows = reward.by_member(*FRESH)
    mean, spread = rows.mean(0), rows.var(0, unbiased=False)
    for how, expected in (
        ("mean", mean),
        ("min", rows.min(0).values),
        ("mean_minus_variance", mean - 0.7 * spread),
        ("mean_minus_std", mean - 0.7 * spread.sqrt()),
    ):
        source = ModelReward.model_validate({"aggregate": how, "uncertainty_coef": 0.7})
        found = open_reward(source, folder / "model")(*FRESH)
        assert list(found) == pytest.approx(expected.tolist(), abs=1e-6), how
    assert open_reward(ModelReward(), folder / "model")(*FRESH) == pytest.approx(mean.tolist())
    assert reward.disagreement(*FRESH) == pytest.approx(spread.sqrt().tolist())
    scale = reward.normalisation
    back = [scale.gain * raw + scale.bias for raw in reward.raw(*FRESH)]
    assert back == pytest.approx(reward(*FRESH), abs=1e-5)


def test_metrics_are_the_mean_of_the_members(trained: tuple[RewardEnsemble, Path]) -> None:
    _, folder = trained

    def losses(part: Path) -> list[float]:
        lines = (part / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line)["loss/reward"] for line in lines]

    by_member = [losses(folder / f"member-{number}") for number in range(3)]
    assert losses(folder) == pytest.approx([sum(step) / 3 for step in zip(*by_member, strict=True)])
    assert not (folder / "member-0" / "model").exists(), "kept once, in the finished folder"


def test_a_folder_that_lost_a_member_or_its_manifest_is_refused(
    trained: tuple[RewardEnsemble, Path], tmp_path: Path
) -> None:
    _, folder = trained
    whole = folder / "model"
    with pytest.raises(NotAModel, match="is an ensemble of reward models; name one of them"):
        TextReward.load(whole)
    copy = tmp_path / "copy"
    copy.mkdir()
    for said, message in (
        ("{", "no manifest"),
        ('{"members": ["../base"], "aggregate": "mean", "uncertainty_coef": 0}', "member-0"),
        ('{"members": [], "aggregate": "mean", "uncertainty_coef": 0}', "member-0"),
        ('{"members": ["member-0"], "uncertainty_coef": 0}', "it holds no 'aggregate'"),
        ('{"members": ["member-0"], "aggregate": "max", "uncertainty_coef": 0}', "none of ours"),
        ('{"members": ["member-0"], "aggregate": "mean", "uncertainty_coef": 0}', "member-0"),
    ):
        (copy / "reward_ensemble.json").write_text(said)
        with pytest.raises(NotAModel, match=message) as raised:
            load_reward(copy)
        assert "\n" not in str(raised.value)


def test_an_average_is_one_model_with_the_mean_of_the_weights(tmp_path: Path) -> None:
    wanted = settings({"members": 2, "aggregate": "average_weights", "bootstrap": True})
    kept: list[dict[str, torch.Tensor]] = []

    def keep(_: int) -> None:
        folder = tmp_path / "run" / "member-0" / "model"
        if folder.is_dir() and not kept:
            kept.append(weights(folder))

    reward = train(tmp_path / "run", wanted, progress=Watched(keep))
    assert isinstance(reward, TextReward)
    mean = weights(tmp_path / "run" / "model")
    first = kept[0]
    start = dict(small_reward_model(tmp_path / "base").named_parameters())
    # The other member is twice the mean less the first; both lie near the common start.
    other = 2 * mean["score.weight"] - first["score.weight"]
    assert (other - first["score.weight"]).abs().max() > 1e-4
    for one in (first["score.weight"], other):
        assert (one - start["score.weight"]).abs().max() < 0.2
    scores = torch.tensor(TextReward.load(tmp_path / "run" / "model")(*SAMPLES))
    assert scores.mean().item() == pytest.approx(0, abs=1e-5)
    assert scores.std(unbiased=False).item() == pytest.approx(1, abs=1e-5)


def stopped_at(call: int) -> Watched:
    calls = [0]

    def after(_: int) -> None:
        calls[0] += 1
        if calls[0] == call:
            raise KeyboardInterrupt

    return Watched(after)


@pytest.mark.parametrize("aggregate", ["min", "average_weights"])
@pytest.mark.parametrize("call", [3, 6])
def test_an_ensemble_cut_short_goes_on_to_the_same_bits(
    call: int, aggregate: str, tmp_path: Path
) -> None:
    """Four steps a member: in the first, or in the second when the first is done."""
    wanted = settings({"members": 2, "aggregate": aggregate}, checkpoint_every=1)
    train(tmp_path / "whole", wanted)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", wanted, progress=stopped_at(call))
    assert not (tmp_path / "run" / "model").exists()
    assert RunFolder(tmp_path / "run" / "member-0").is_done == (call > 4)
    train(tmp_path / "run", wanted)
    one, other = (
        {
            str(file.relative_to(tmp_path / name)): file.read_bytes()
            for file in (tmp_path / name / "model").rglob("*")
            if file.is_file()
        }
        for name in ("whole", "run")
    )
    assert one == other


def test_without_members_there_is_no_ensemble(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"reward\.ensemble\.members"):
        train(tmp_path / "run", settings())
    with pytest.raises(ValueError, match="members"):
        settings({"members": 1})


def stopping(folder: Path, pairs: list[PreferencePair], **given: Any) -> list[dict[str, float]]:
    asked = {"share": 0.4, "every": 2, "patience": 2} | given
    train_reward(
        small_reward_model(folder.parent / "base"), TOKENIZER, pairs, SAMPLES,
        settings(epochs=40, batch_size=10, checkpoint_every=3, early_stopping=asked,
                 optimiser=optimiser(0.02)),
        RunFolder(folder), seed=0,
    )  # fmt: skip
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def flipped(count: int) -> list[PreferencePair]:
    """Judged by the letter a on the prompts that are learned from, and against it on the others."""
    return [
        one
        if not is_looked_at(one.prompt, 0.4)
        else PreferencePair(prompt=one.prompt, chosen=one.rejected, rejected=one.chosen)
        for one in planted(count, seed=0)
    ]


def test_training_ends_when_prompts_it_does_not_learn_from_are_judged_worse(
    tmp_path: Path,
) -> None:
    lines = stopping(tmp_path / "run", flipped(60))
    looked = [line for line in lines if "loss/reward_validation" in line]
    assert [line["step"] for line in looked] == [2, 4, 6], "the first is best, then twice worse"
    assert lines[-1]["step"] == 6
    best = TextReward.load(tmp_path / "run" / "model")
    shown = [one for one in flipped(60) if is_looked_at(one.prompt, 0.4)]
    prompts = [one.prompt for one in shown]
    won = torch.tensor(best.raw(prompts, [one.chosen for one in shown]))
    lost = torch.tensor(best.raw(prompts, [one.rejected for one in shown]))
    loss = torch.log1p(torch.exp(lost - won)).mean().item()
    assert loss == pytest.approx(looked[0]["loss/reward_validation"], abs=1e-5)
    assert looked[-1]["loss/reward_validation"] > loss + 0.01


def test_it_does_not_end_while_they_are_judged_better(tmp_path: Path) -> None:
    pairs = planted(60, seed=0)
    learned = sum(not is_looked_at(one.prompt, 0.4) for one in pairs)
    lines = stopping(tmp_path / "run", pairs, patience=50)
    assert lines[-1]["step"] == 40 * -(-learned // 10)
    assert lines[-1]["data/examples"] == 40 * learned, "what is looked at is never learned from"


def test_nothing_to_look_at_is_said(tmp_path: Path) -> None:
    pairs = [PreferencePair(prompt="a", chosen="b", rejected="c")] * 9
    with pytest.raises(
        DataError, match=r"reward.early_stopping.share = 0\.\d+: \d elements"
    ) as said:
        stopping(tmp_path / "run", pairs)
    assert "\n" not in str(said.value)


def test_the_prompts_looked_at_are_a_share_of_all_and_stay_the_same() -> None:
    prompts = [str(number) for number in range(2000)]
    few = {one for one in prompts if is_looked_at(one, 0.1)}
    more = {one for one in prompts if is_looked_at(one, 0.3)}
    assert few < more
    assert len(more) / 2000 == pytest.approx(0.3, abs=0.03)


def test_a_value_model_begins_as_the_first_member(trained: tuple[RewardEnsemble, Path]) -> None:
    reward, _ = trained
    asked = ppo_settings(value_model=SeparateValue())
    made = value_model_for(asked, reward, TOKENIZER)
    assert made is not None
    first = reward.members[0]
    weight = first.normalisation.gain * first.model.get_parameter("score.weight")
    torch.testing.assert_close(made.head.linear.weight, weight)
