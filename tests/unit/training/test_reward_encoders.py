"""Encoders of the BERT kind learn judgements as decoders do, and load in transformers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.chat_fixtures import wordpiece
from tests.training_fixtures import optimiser, same_weights, weights_of
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertConfig, BertModel

from assent.config.files import whole_folder
from assent.config.lora import LoraSettings
from assent.config.reward import RewardSettings
from assent.errors import DataError
from assent.models.checkpoints import save_model
from assent.models.loading import reward_model_from
from assent.models.rewards import TextReward
from assent.training.reward import train_reward
from assent.training.run_folder import RunFolder
from assent.types import ChatPrompt, Message, PreferencePair, RatedResponse

TOKENIZER = wordpiece()
ASKED = ["What is the bridge of Fernby?", ChatPrompt([Message("user", "How are you today?")])]
PAIRS = [
    PreferencePair(prompt=prompt, chosen=f"It may be {word}.", rejected=f"Blue, {word}!")
    for prompt in ASKED
    for word in ("stone", "well", "brief", "first", "kind", "blue", "read", "you")
]
SAMPLES = (ASKED, ["It may be you.", "Blue, read!"])


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder without a head, with dropout in its configuration."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(TOKENIZER), hidden_size=16, intermediate_size=24, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=48, hidden_dropout_prob=0.3,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("encoder") / "bert"
    with whole_folder(folder) as aside:
        save_model(aside, BertModel(config), TOKENIZER)
    return folder


def train(
    encoder: Path, folder: Path, pairs: list[PreferencePair] | None = None, **given: Any
) -> TextReward:
    settings = RewardSettings.model_validate(
        {"epochs": 6, "batch_size": 8, "optimiser": optimiser(5e-3), **given}
    )
    return train_reward(
        reward_model_from(encoder, seed=1), TOKENIZER, pairs or PAIRS, SAMPLES, settings,
        RunFolder(folder), seed=0,
    )  # fmt: skip


@pytest.mark.parametrize("lora", [None, LoraSettings(rank=4)], ids=["whole", "lora"])
def test_an_encoder_learns_and_its_folder_gives_transformers_the_same_scores(
    encoder: Path, lora: LoraSettings | None, tmp_path: Path
) -> None:
    reward = train(encoder, tmp_path / "run", lora=lora)
    prompts = [pair.prompt for pair in PAIRS]
    won = reward(prompts, [pair.chosen for pair in PAIRS])
    lost = reward(prompts, [pair.rejected for pair in PAIRS])
    assert sum(one > other for one, other in zip(won, lost, strict=True)) >= 14
    again = TextReward.load(tmp_path / "run" / "model")
    assert again.reading.name == "pair"
    assert again(prompts, [pair.chosen for pair in PAIRS]) == pytest.approx(won, abs=1e-4)
    assert again.normalisation == reward.normalisation
    theirs: Any = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run" / "model")
    reads = AutoTokenizer.from_pretrained(tmp_path / "run" / "model")
    assert theirs.config.num_labels == 1
    raw = again.raw(prompts, [pair.chosen for pair in PAIRS])
    for pair, score in zip(PAIRS, raw, strict=True):
        with torch.no_grad():
            alone = theirs(**reads([str(pair.prompt)], [pair.chosen], return_tensors="pt"))
        assert float(alone.logits[0, 0]) == pytest.approx(score, abs=1e-5)


def test_micro_batches_train_an_encoder_the_same(encoder: Path, tmp_path: Path) -> None:
    # A large epsilon: some gradients are 0 but for rounding, which Adam would blow up.
    given: dict[str, Any] = {"epochs": 2, "optimiser": optimiser(5e-3, eps=1e-2)}
    whole = weights_of(train(encoder, tmp_path / "whole", **given).model)
    parts = weights_of(train(encoder, tmp_path / "parts", micro_batch_size=1, **given).model)
    assert not same_weights(whole, weights_of(reward_model_from(encoder, seed=1)))
    for name, weight in whole.items():
        torch.testing.assert_close(parts[name], weight, rtol=1e-4, atol=1e-5, msg=name)


def test_pairs_longer_than_the_encoders_positions_are_left_out_and_counted(
    encoder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its 48 positions, not the 256 tokens of the settings, are the limit."""
    long = PreferencePair(prompt="stone " * 60, chosen="a", rejected="b")
    with caplog.at_level("WARNING"):
        with_long = train(encoder, tmp_path / "with", [*PAIRS[:4], long, *PAIRS[4:]], epochs=1)
    assert "1 of 17 judged pairs are longer than 48 tokens" in caplog.text
    without = train(encoder, tmp_path / "without", epochs=1)
    assert same_weights(weights_of(with_long.model), weights_of(without.model))
    with pytest.raises(DataError, match=r"1 of 3 judged pairs .*room for 48 tokens"):
        train(encoder, tmp_path / "few", [long, long, PAIRS[0]])


def test_an_encoder_rates_on_several_axes(encoder: Path, tmp_path: Path) -> None:
    rated = [
        RatedResponse(prompt=pair.prompt, response=text, axes={"calm": 3.0 - loud, "blue": loud})
        for pair in PAIRS
        for text, loud in ((pair.chosen, 0.0), (pair.rejected, 2.0))
    ]
    given = RewardSettings.model_validate(
        {
            "objective": "ratings", "axes": {"calm": 2.0, "blue": -1.0}, "epochs": 8,
            "batch_size": 8, "optimiser": optimiser(5e-3),
        }
    )  # fmt: skip
    reward = train_reward(
        reward_model_from(encoder, seed=1, outputs=2), TOKENIZER, rated, SAMPLES, given,
        RunFolder(tmp_path / "run"), seed=0,
    )  # fmt: skip
    folder = tmp_path / "run" / "model"
    again, calm = TextReward.load(folder), TextReward.load(folder, axis="calm")
    prompts, said = [one.prompt for one in rated], [one.response for one in rated]
    assert again(prompts, said) == pytest.approx(reward(prompts, said), abs=1e-4)
    predicted = calm(prompts, said)
    right = sum(one > other for one, other in zip(predicted[::2], predicted[1::2], strict=True))
    assert right >= 14, "of 16, a rating of 3 and one of 1 to the same prompt"
    assert 1 < sum(predicted) / len(predicted) < 3, "in the units of the ratings"
