"""Others' reward models give what their own pipeline gives, whatever their tokenizer and kind."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.chat_fixtures import bpe_tokenizer, wordpiece
from tests.unit.models.architectures import build, reward_model
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from assent.config.files import whole_folder
from assent.errors import ConfigError, RewardError, TokenizerUnfit
from assent.models.checkpoints import save_model
from assent.models.loading import max_positions, reward_model_from
from assent.models.reading import reading_of
from assent.models.rewards import Normalisation, TextReward, save_normalisation
from assent.models.tokens import encode_prompts
from assent.types import ChatPrompt, Message

CHATS = [
    ChatPrompt([Message("user", "hello there")]),
    ChatPrompt([Message("system", "Be brief."), Message("user", "What is the bridge?")]),
    ChatPrompt([Message("user", "a"), Message("assistant", "b"), Message("user", "Sure?")]),
]
PLAIN = ["What is the harbour of Fernby?", "a", "Human: and you?\n\nAssistant:"]
RESPONSES = ["It may be stone, or it may be blue; I am well.", "", "naïve"]


def causal_reward_model(tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    model = reward_model("qwen2", len(tokenizer))
    model.config.pad_token_id = tokenizer.pad_token_id
    return model


def encoder(kind: str, tokenizer: PreTrainedTokenizerBase, positions: int = 96) -> PreTrainedModel:
    small: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "num_labels": 1,
        "pad_token_id": tokenizer.pad_token_id,
        "initializer_range": 0.3,
    }
    shape: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    shape |= {"num_attention_heads": 2, "max_position_embeddings": positions}
    if kind == "distilbert":
        return build(
            DistilBertForSequenceClassification,
            DistilBertConfig(
                dim=16, hidden_dim=24, n_layers=2, n_heads=2, max_position_embeddings=positions,
                **small,
            ),
        )  # fmt: skip
    if kind == "roberta":
        return build(RobertaForSequenceClassification, RobertaConfig(**small, **shape))
    return build(BertForSequenceClassification, BertConfig(**small, **shape))


def saved(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Path:
    with whole_folder(folder) as aside:
        save_model(aside, model, tokenizer)
    return folder


def pipeline_of_pairs(folder: Path, prompts: list[str], responses: list[str]) -> list[float]:
    """By transformers alone, a pair at a time."""
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    scores = []
    for prompt, response in zip(prompts, responses, strict=True):
        with torch.no_grad():
            found = model(**tokenizer([str(prompt)], [response], return_tensors="pt")).logits
        scores.append(float(found[0, 0]))
    return scores


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta"])
def test_an_encoder_gives_what_its_own_pipeline_gives(kind: str, tmp_path: Path) -> None:
    tokenizer = wordpiece()
    if kind == "roberta":  # which is told no types
        tokenizer.model_input_names = ["input_ids", "attention_mask"]
    folder = saved(tmp_path / "reward", encoder(kind, tokenizer), tokenizer)
    reward = TextReward.load(folder, torch.device("cpu"))
    assert reward.reading.name == "pair"
    prompts = [*PLAIN, *CHATS]
    expected = pipeline_of_pairs(folder, prompts, RESPONSES * 2)
    assert len({round(one, 3) for one in expected}) > 3
    assert reward(prompts, RESPONSES * 2) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "qwen2"])
@pytest.mark.parametrize("pads", [True, False])
def test_a_decoder_with_a_template_gives_what_its_own_pipeline_gives(
    architecture: str, pads: bool, tmp_path: Path
) -> None:
    tokenizer = bpe_tokenizer("chatml", vocabulary=350)
    model = reward_model(architecture, vocabulary=len(tokenizer))
    model.config.pad_token_id = tokenizer.pad_token_id if pads else None
    if not pads:
        tokenizer.pad_token = None
    folder = saved(tmp_path / "reward", model, tokenizer)
    own = AutoModelForSequenceClassification.from_pretrained(folder)
    reads = AutoTokenizer.from_pretrained(folder)
    expected = []
    for prompt, response in zip(CHATS, RESPONSES, strict=True):
        turns = [{"role": one.role, "content": one.content} for one in prompt.messages]
        turns.append({"role": "assistant", "content": response})
        ids = reads.apply_chat_template(turns, return_tensors="pt", return_dict=False)
        with torch.no_grad():
            expected.append(float(own(input_ids=ids).logits[0, 0]))
    reward = TextReward.load(folder, torch.device("cpu"))
    assert reward.reading.name == "template"
    assert reward(CHATS, RESPONSES) == pytest.approx(expected, abs=1e-5)


def test_a_plain_prompt_is_one_user_turn_to_a_template() -> None:
    tokenizer = bpe_tokenizer("chatml")
    model = reward_model("llama", vocabulary=len(tokenizer))
    reward = TextReward(model, tokenizer, reading=reading_of(model, tokenizer, "template"))
    turns = [ChatPrompt([Message("user", prompt)]) for prompt in PLAIN]
    assert reward(PLAIN, RESPONSES) == reward(turns, RESPONSES)


def test_how_a_model_reads_is_found_from_its_folder_and_can_be_said(tmp_path: Path) -> None:
    tokenizer = bpe_tokenizer("chatml")
    model = reward_model("llama", vocabulary=len(tokenizer))
    folder = saved(tmp_path / "reward", model, tokenizer)
    assert TextReward.load(folder).reading.name == "template"
    assert TextReward.load(folder, reading="response_end").reading.name == "response_end"
    save_normalisation(folder, Normalisation(gain=2.0, bias=1.0, samples=4))
    ours = TextReward.load(folder)
    assert ours.reading.name == "response_end"
    assert ours(CHATS, RESPONSES) == pytest.approx(
        [2 * raw + 1 for raw in ours.raw(CHATS, RESPONSES)]
    )
    bare = saved(tmp_path / "bare", model, bpe_tokenizer(None))
    assert TextReward.load(bare).reading.name == "response_end"


def test_batches_and_padding_change_no_score(tmp_path: Path) -> None:
    tokenizer = wordpiece()
    folder = saved(tmp_path / "reward", encoder("bert", tokenizer), tokenizer)
    whole = TextReward.load(folder)(PLAIN, RESPONSES)
    one_by_one = TextReward.load(folder, batch_size=1)(PLAIN, RESPONSES)
    assert whole == pytest.approx(one_by_one, abs=1e-5)
    assert TextReward.load(folder)([], []) == []


def test_a_text_that_is_too_long_is_counted_and_never_cut(tmp_path: Path) -> None:
    tokenizer = wordpiece()
    folder = saved(tmp_path / "reward", encoder("bert", tokenizer, positions=32), tokenizer)
    reward = TextReward.load(folder)
    with pytest.raises(RewardError, match=r"2 of 3 responses .* 32 positions \(response 1: ") as no:
        reward(PLAIN, ["short", "stone " * 40, "blue " * 50])
    assert "\n" not in str(no.value)


def test_a_few_responses_longer_as_text_than_as_drawn_lose_their_last_tokens_and_are_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One byte that is no UTF-8 comes back as three, so that what had room when drawn has none."""
    tokenizer = bpe_tokenizer("chatml")
    model = causal_reward_model(tokenizer)
    reward = TextReward(model, tokenizer)
    most = max_positions(model)
    assert most is not None
    prompt = PLAIN[0]
    asked = len(encode_prompts(tokenizer, [prompt])[0])
    broken = "\ufffd" * (most - asked - 1)
    responses = ["stone", "blue", "It may be", broken]
    with caplog.at_level(logging.WARNING):
        found = reward([prompt] * 4, responses)
    assert found[:3] == pytest.approx(reward([prompt] * 3, responses[:3]), abs=1e-6)
    (line,) = [one.getMessage() for one in caplog.records]
    assert line.startswith(f"1 of 4 responses are longer as text than the reward model's {most}")
    (whole,) = reward.reading.encode([prompt], [broken])
    ids = [*whole.prompt, *whole.response[: most - asked - 1], whole.response[-1]]
    assert len(ids) == most
    with torch.no_grad():
        alone = float(model(input_ids=torch.tensor([ids])).logits[0, 0])
    assert found[3] == pytest.approx(alone, abs=1e-5)
    with pytest.raises(RewardError, match=f"1 of 3 responses with their prompts .* {most} posit"):
        reward([prompt] * 3, responses[1:])  # more than a few: another model or shorter responses
    with pytest.raises(RewardError, match="1 of 4 responses"):
        reward([*[prompt] * 3, f"{prompt} " * 40], [*responses[:3], "stone"])


def test_positions_leave_out_those_that_an_architecture_keeps_for_itself() -> None:
    tokenizer = wordpiece()
    assert max_positions(encoder("bert", tokenizer)) == 96
    assert max_positions(encoder("roberta", tokenizer)) == 96 - int(tokenizer.pad_token_id) - 1
    assert max_positions(reward_model("gpt2")) == 96


def test_an_encoder_without_a_head_becomes_a_reward_model_with_a_new_one(tmp_path: Path) -> None:
    tokenizer = wordpiece()
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=24, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=64,
    )  # fmt: skip
    folder = saved(tmp_path / "encoder", build(BertModel, config), tokenizer)
    made: list[Any] = [reward_model_from(folder, seed) for seed in (1, 1, 2)]
    one, same, other = made
    assert torch.equal(one.classifier.weight, same.classifier.weight)
    assert not torch.equal(one.classifier.weight, other.classifier.weight)
    assert one.classifier.weight.shape == (1, 16)
    assert not one.classifier.bias.any()
    assert len(set(TextReward(one, tokenizer)(PLAIN, RESPONSES))) == 3


def test_a_tokenizer_larger_than_the_model_is_refused(tmp_path: Path) -> None:
    tokenizer = bpe_tokenizer()
    folder = saved(tmp_path / "reward", reward_model("llama", vocabulary=390), tokenizer)
    with pytest.raises(TokenizerUnfit, match="400 tokens and the model 390 embeddings"):
        TextReward.load(folder)


def test_an_encoder_has_no_place_for_a_suffix() -> None:
    tokenizer = wordpiece()
    with pytest.raises(ConfigError, match=r"reward\.suffix = ' Good\?'.*\(pair\)"):
        reading_of(encoder("bert", tokenizer), tokenizer, suffix=" Good?")
