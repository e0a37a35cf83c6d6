"""The reward model learns what is preferred, and its folder gives everybody the same score."""

import json
import logging
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.training_fixtures import (
    LETTERS,
    PROMPTS,
    TOKENIZER,
    interrupt_at,
    optimiser,
    small_reward_model,
)
from transformers import AutoModelForSequenceClassification

from assent.config.reward import RewardSettings
from assent.errors import DataError, RewardError
from assent.models.rewards import TextReward
from assent.models.tokens import encode, encode_responses
from assent.objectives.masks import right_pad
from assent.training.reward import train_reward
from assent.training.run_folder import RunFolder
from assent.types import PreferencePair

SAMPLES = (PROMPTS, ["ab", "h", "cafe", "dad", "gg", "", "bead", "fa"])


def planted(count: int, seed: int) -> list[PreferencePair]:
    """Whoever has more of the letter a is preferred."""
    chance = random.Random(seed)
    pairs: list[PreferencePair] = []
    while len(pairs) < count:
        words = ["".join(chance.choices(LETTERS[:4], k=chance.randint(1, 6))) for _ in range(2)]
        more, less = sorted(words, key=lambda word: -word.count("a"))
        if more.count("a") > less.count("a"):
            prompt = chance.choice(PROMPTS)
            pairs.append(PreferencePair(prompt=prompt, chosen=more, rejected=less))
    return pairs


def settings(**given: Any) -> RewardSettings:
    return RewardSettings.model_validate(
        {"epochs": 1, "batch_size": 10, "optimiser": optimiser(max_grad_norm=1e6)} | given
    )


def train(
    folder: Path,
    pairs: list[PreferencePair],
    given: RewardSettings,
    samples: tuple[list[str], list[str]] | None = SAMPLES,
) -> TextReward:
    model = small_reward_model(folder.parent / "base")
    return train_reward(model, TOKENIZER, pairs, samples, given, RunFolder(folder), seed=0)


def metrics(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[TextReward, Path]:
    folder = tmp_path_factory.mktemp("reward") / "run"
    return train(folder, planted(200, seed=0), settings(epochs=4, batch_size=20)), folder


def test_a_planted_preference_is_found_and_holds_on_pairs_never_seen(
    trained: tuple[TextReward, Path],
) -> None:
    reward, _ = trained
    fresh = planted(200, seed=1)
    prompts = [pair.prompt for pair in fresh]
    won = reward(prompts, [pair.chosen for pair in fresh])
    lost = reward(prompts, [pair.rejected for pair in fresh])
    right = sum(one > other for one, other in zip(won, lost, strict=True))
    assert right / len(fresh) > 0.9


def test_normalised_scores_of_the_reference_have_mean_0_and_deviation_1(
    trained: tuple[TextReward, Path],
) -> None:
    reward, folder = trained
    for one in (reward, TextReward.load(folder / "model")):
        scores = torch.tensor(one(*SAMPLES), dtype=torch.float64)
        assert scores.mean().item() == pytest.approx(0, abs=1e-5)
        assert scores.std(unbiased=False).item() == pytest.approx(1, abs=1e-5)
        assert one.normalisation.samples == len(PROMPTS)


def test_the_folder_gives_transformers_the_same_raw_scores(
    trained: tuple[TextReward, Path],
) -> None:
    reward, folder = trained
    model = AutoModelForSequenceClassification.from_pretrained(folder / "model", num_labels=1)
    texts = [
        prompt + response
        for prompt, response in zip(
            encode(TOKENIZER, SAMPLES[0]), encode_responses(TOKENIZER, SAMPLES[1]), strict=True
        )
    ]
    padded = right_pad(texts, int(TOKENIZER.pad_token_id))
    with torch.no_grad():
        theirs = model(input_ids=padded.tokens, attention_mask=padded.mask.long()).logits[:, 0]
    ours = torch.tensor(reward.raw(*SAMPLES))
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-5)
    assert ours.std() > 0.1
    assert model.config.num_labels == 1


def test_without_samples_scores_stay_raw(tmp_path: Path) -> None:
    reward = train(tmp_path / "run", planted(10, seed=0), settings(), samples=None)
    assert reward(*SAMPLES) == reward.raw(*SAMPLES)
    assert TextReward.load(tmp_path / "run" / "model").normalisation.samples == 0


def test_the_first_loss_and_accuracy_are_those_of_the_scores_before(tmp_path: Path) -> None:
    pairs = planted(10, seed=2)
    before = TextReward(small_reward_model(tmp_path / "base"), TOKENIZER)
    prompts = [pair.prompt for pair in pairs]
    won = torch.tensor(before.raw(prompts, [pair.chosen for pair in pairs]))
    lost = torch.tensor(before.raw(prompts, [pair.rejected for pair in pairs]))
    train(tmp_path / "run", pairs, settings(centre_coef=0.5, micro_batch_size=4))
    (line,) = metrics(tmp_path / "run")
    loss = torch.log1p(torch.exp(lost - won)).mean() + 0.5 * (won + lost).square().mean()
    assert line["loss/reward"] == pytest.approx(float(loss), abs=1e-5)
    assert line["reward_model/accuracy"] == pytest.approx(float((won > lost).float().mean()))
    assert line["reward_model/margin_mean"] == pytest.approx(float((won - lost).mean()), abs=1e-5)
    assert line["reward_model/chosen_mean"] == pytest.approx(float(won.mean()), abs=1e-5)
    assert line["reward_model/rejected_mean"] == pytest.approx(float(lost.mean()), abs=1e-5)


def gradient(folder: Path, given: RewardSettings) -> torch.Tensor:
    """Of the first of two steps, read off Adam's first moment in the saved state."""
    twice = given.model_copy(update={"epochs": 2, "checkpoint_every": 1})
    with pytest.raises(KeyboardInterrupt):
        train_reward(
            small_reward_model(folder.parent / "base"), TOKENIZER, planted(10, seed=3), SAMPLES,
            twice, RunFolder(folder), seed=0, progress=interrupt_at(2),
        )  # fmt: skip
    moments = load_file(folder / "state" / "step-000001" / "optimiser.safetensors")
    parts = [moments[name].flatten() for name in sorted(moments) if name.endswith("/exp_avg")]
    return torch.cat(parts).double()


@pytest.mark.parametrize("size", [1, 3, 7])
def test_micro_batches_have_the_gradient_of_the_whole_batch(size: int, tmp_path: Path) -> None:
    whole = gradient(tmp_path / "whole", settings(centre_coef=0.1))
    parts = gradient(tmp_path / "parts", settings(centre_coef=0.1, micro_batch_size=size))
    assert whole.norm() > 1e-3
    assert (parts - whole).norm() / whole.norm() < 1e-6


def test_a_reward_that_tells_nothing_apart_is_refused_and_leaves_no_model(tmp_path: Path) -> None:
    same = (["a"] * 8, ["b"] * 8)
    with pytest.raises(RewardError, match="all 8 reference samples the same score") as raised:
        train(tmp_path / "run", planted(10, seed=0), settings(), samples=same)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run" / "model").exists()


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_pairs_are_refused(count: int, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{count} of {count} judged pairs") as raised:
        train(tmp_path / "run", planted(count, seed=0), settings())
    assert "collect more judgements" in str(raised.value)


def test_too_long_pairs_are_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pairs = planted(6, seed=0)
    long = [
        PreferencePair(prompt="a", chosen="b" * 20, rejected="c"),
        PreferencePair(prompt="a", chosen="b", rejected="c" * 20),
    ]
    with caplog.at_level(logging.WARNING):
        train(tmp_path / "run", [*pairs[:3], *long, *pairs[3:]], settings(max_tokens=15))
    assert "2 of 8 judged pairs are longer than 15 tokens and were left out" in caplog.text
    assert metrics(tmp_path / "run")[-1]["data/examples"] == 6
    train(tmp_path / "without", pairs, settings(max_tokens=15))
    one, other = (
        load_file(tmp_path / name / "model" / "model.safetensors") for name in ("run", "without")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)
    with pytest.raises(DataError, match=r"1 of 3 judged pairs .*reward.max_tokens = 15"):
        train(tmp_path / "few", [*long, pairs[0]], settings(max_tokens=15))


def test_a_suffix_is_trained_with_kept_and_read_again(tmp_path: Path) -> None:
    pairs = planted(40, seed=0)
    reward = train(tmp_path / "run", pairs, settings(suffix="fad", epochs=1))
    loaded = TextReward.load(tmp_path / "run" / "model")
    prompts, responses = [one.prompt for one in pairs], [one.chosen for one in pairs]
    assert loaded.raw(prompts, responses) == pytest.approx(reward.raw(prompts, responses), abs=1e-5)
    (read,) = loaded.reading.encode(prompts[:1], responses[:1])
    (said, suffix) = encode(TOKENIZER, [responses[0], "fad"])
    assert read.response == [*said, *suffix, TOKENIZER.eos_token_id]
    assert read.after == len(suffix) + 1
