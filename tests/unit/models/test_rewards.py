"""A reward model's score is read where it belongs, survives saving, and rewards are checked."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.unit.models.architectures import causal_lm, reward_model

from assent.config.files import whole_folder
from assent.errors import NotAModel, RewardError
from assent.models.checkpoints import save_model
from assent.models.loading import load_tokenizer, reward_model_from, score_head
from assent.models.reading import raw_outputs
from assent.models.rewards import (
    NORMALISATION_FILE,
    READING_FILE,
    Normalisation,
    TextReward,
    checked_rewards,
    save_normalisation,
    save_suffix,
)
from assent.models.tokens import encode, encode_responses, join, rows_of
from assent.objectives.masks import right_pad
from assent.types import RewardFunction
from assent.worlds.almanac import World, answers, build_tokenizer

TOKENIZER = build_tokenizer()
SUFFIX = "\nA reader remarks:"
PAD = TOKENIZER.pad_token_id
ASKED = World(1).prompts("test")[:12]
PROMPTS = [prompt.text for prompt in ASKED]
RESPONSES = [
    answers(prompt.fact.attribute)[21 * number].text for number, prompt in enumerate(ASKED)
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A reward model as a stage leaves it, made from a saved policy."""
    policy = tmp_path / "policy"
    with whole_folder(policy) as aside:
        save_model(aside, causal_lm("llama", vocabulary=len(TOKENIZER)), TOKENIZER)
    with whole_folder(tmp_path / "reward") as aside:
        save_model(aside, reward_model_from(policy, seed=4), TOKENIZER)
    return tmp_path / "reward"


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "qwen2"])
def test_raw_scores_are_hugging_faces_own_on_right_padded_rows(architecture: str) -> None:
    model = reward_model(architecture, vocabulary=len(TOKENIZER))
    model.config.pad_token_id = PAD
    reward = TextReward(model, TOKENIZER, batch_size=5)
    whole = [
        prompt + response
        for prompt, response in zip(
            encode(TOKENIZER, PROMPTS), encode_responses(TOKENIZER, RESPONSES), strict=True
        )
    ]
    padded = right_pad(whole, PAD)
    with torch.no_grad():
        theirs = model(input_ids=padded.tokens, attention_mask=padded.mask.long()).logits[:, 0]
    ours = torch.tensor(reward.raw(PROMPTS, RESPONSES))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-5)
    assert theirs.std() > 0.01, "scores must differ for this to say anything"


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_the_score_is_read_at_the_last_real_token_even_if_it_is_pad(architecture: str) -> None:
    model = reward_model(architecture)
    prompts, responses = [[5, 6, 7, 8], [9]], [[3, 0], [4, 1, 0, 2, 0]]
    with torch.no_grad():
        together = raw_outputs(model, join(prompts, responses, pad_id=0)).squeeze(1)
        for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
            hidden = model.base_model(input_ids=torch.tensor([prompt + response]))
            alone = score_head(model)(hidden.last_hidden_state[0, -1])
            torch.testing.assert_close(together[row : row + 1], alone, rtol=0, atol=2e-5)


def test_scores_do_not_depend_on_the_batch_they_are_in() -> None:
    model = reward_model("llama", vocabulary=len(TOKENIZER))
    together = TextReward(model, TOKENIZER).raw(PROMPTS, RESPONSES)
    apart = TextReward(model, TOKENIZER, batch_size=1).raw(PROMPTS, RESPONSES)
    assert together == pytest.approx(apart, abs=1e-5)
    assert TextReward(model, TOKENIZER).raw([], []) == []


def test_bfloat16_scores_stay_near_and_come_back_in_float32() -> None:
    model = reward_model("llama", vocabulary=len(TOKENIZER))
    rows = rows_of(TOKENIZER, PROMPTS, RESPONSES)
    with torch.no_grad():
        precise, rough = raw_outputs(model, rows), raw_outputs(model, rows, "bfloat16")
    assert rough.dtype == torch.float32
    spread = precise.std().item()
    assert 0 < (rough - precise).abs().max().item() < 0.2 * spread


def test_scores_are_the_same_after_save_and_load(folder: Path, tmp_path: Path) -> None:
    before = TextReward.load(folder)
    scores = before.raw(PROMPTS, RESPONSES)
    with whole_folder(tmp_path / "copy") as aside:
        save_model(aside, before.model, before.tokenizer)
        save_normalisation(aside, Normalisation.fit(scores))
    after = TextReward.load(tmp_path / "copy")
    assert after.raw(PROMPTS, RESPONSES) == pytest.approx(scores, abs=1e-5)
    assert not after.model.training
    assert max(scores) - min(scores) > 0.01


def test_a_suffix_is_kept_beside_the_model_and_read_before_the_end(folder: Path) -> None:
    plain = TextReward.load(folder).raw(PROMPTS, RESPONSES)
    save_suffix(folder, SUFFIX)
    save_normalisation(folder, Normalisation())
    after = TextReward.load(folder).raw(PROMPTS, RESPONSES)
    said = [response + SUFFIX for response in RESPONSES]
    (folder / READING_FILE).unlink()
    by_hand = TextReward.load(folder).raw(PROMPTS, said)
    assert after == pytest.approx(by_hand, abs=1e-6)
    assert max(abs(one - other) for one, other in zip(after, plain, strict=True)) > 1e-3


@pytest.mark.parametrize("content", ["{}", '{"suffix": 3}', "[", '["x"]'])
def test_a_damaged_suffix_is_named(folder: Path, content: str) -> None:
    (folder / READING_FILE).write_text(content, encoding="utf-8")
    with pytest.raises(NotAModel, match=r"reward_reading\.json names no suffix"):
        TextReward.load(folder)


def test_a_loaded_folder_gives_hugging_face_users_the_same_score(folder: Path) -> None:
    from transformers import pipeline

    scores = TextReward.load(folder).raw(PROMPTS[:3], RESPONSES[:3])
    classify = pipeline("text-classification", model=str(folder), device="cpu")
    texts = [p + r + TOKENIZER.eos_token for p, r in zip(PROMPTS[:3], RESPONSES[:3], strict=True)]
    theirs = [found["score"] for found in classify(texts, function_to_apply="none")]
    assert theirs == pytest.approx(scores, abs=1e-5)


def test_a_new_head_is_drawn_with_the_published_spread_and_by_its_seed(folder: Path) -> None:
    policy = folder.parent / "policy"
    first, again, other = (score_head(reward_model_from(policy, seed=s)) for s in (4, 4, 5))
    assert set(first.state_dict()) == {"weight"}, "without bias"
    assert torch.equal(first.weight, again.weight)
    assert not torch.equal(first.weight, other.weight)
    many = torch.cat([score_head(reward_model_from(policy, s)).weight for s in range(40)])
    # 640 draws: the standard error of their spread is 3 %.
    assert many.std().item() == pytest.approx((16 + 1) ** -0.5, rel=0.1)


def test_a_new_reward_model_knows_its_pad_token_though_the_policy_did_not(folder: Path) -> None:
    """Else Hugging Face reads every score at the last column, padding or not."""
    settings = folder.parent / "policy" / "config.json"
    without = {**json.loads(settings.read_text()), "pad_token_id": None}
    settings.write_text(json.dumps(without))
    assert reward_model_from(settings.parent, seed=4).config.pad_token_id == PAD


def test_a_new_reward_model_leaves_the_global_generator_alone(folder: Path) -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    reward_model_from(folder.parent / "policy", seed=9)
    assert torch.equal(torch.rand(1), expected)


def test_normalised_samples_have_mean_0_and_deviation_1() -> None:
    raw = [3.0, 4.5, -1.0, 7.25, 3.5]
    fitted = Normalisation.fit(raw)
    normalised = [fitted.gain * value + fitted.bias for value in raw]
    assert np.mean(normalised) == pytest.approx(0, abs=1e-12)
    assert np.std(normalised) == pytest.approx(1, abs=1e-12)
    assert fitted.gain > 0
    assert fitted.samples == 5
    assert Normalisation() == Normalisation(gain=1.0, bias=0.0, samples=0)


def test_the_normalisation_is_kept_beside_the_model_and_applied(folder: Path) -> None:
    raw = TextReward.load(folder).raw(PROMPTS, RESPONSES)
    assert TextReward.load(folder)(PROMPTS, RESPONSES) == raw
    fitted = Normalisation.fit(raw)
    save_normalisation(folder, fitted)
    reward = TextReward.load(folder)
    assert reward.normalisation == fitted
    assert reward.raw(PROMPTS, RESPONSES) == raw
    normalised = reward(PROMPTS, RESPONSES)
    assert np.mean(normalised) == pytest.approx(0, abs=1e-9)
    assert np.std(normalised) == pytest.approx(1, abs=1e-9)
    assert isinstance(reward, RewardFunction)


@pytest.mark.parametrize("raw", [[1.5] * 4, [2.0], [math.nan, 1.0, 2.0]])
def test_scores_without_spread_are_refused(raw: list[float]) -> None:
    with pytest.raises(RewardError, match=f"all {len(raw)} reference samples") as caught:
        Normalisation.fit(raw)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "null",
        "[1]",
        '{"scale": 1}',
        '{"gain": 2}',
        '{"gain": "x", "bias": 0, "samples": 1}',
        '{"gain": NaN, "bias": 0, "samples": 1}',
        '{"gain": 0, "bias": 0, "samples": 1}',
        '{"gain": 1, "bias": Infinity, "samples": 1}',
        '{"gain": 1, "bias": null, "samples": 1}',
    ],
)
def test_a_damaged_normalisation_is_named(folder: Path, content: str) -> None:
    (folder / NORMALISATION_FILE).write_text(content)
    with pytest.raises(NotAModel, match=NORMALISATION_FILE) as caught:
        TextReward.load(folder)
    assert "\n" not in str(caught.value)


def returning(value: Any) -> Callable[[Sequence[str], Sequence[str]], Any]:
    def my_reward(prompts: Sequence[str], responses: Sequence[str]) -> Any:
        del prompts, responses
        return value

    return my_reward


@pytest.mark.parametrize(
    ("returned", "fault"),
    [
        ([1.0], "returned 1 values for 2 responses"),
        ([1.0, 2.0, 3.0], "returned 3 values for 2 responses"),
        ([1.0, math.nan], "returned nan for response 1: 'two\\\\nlines'"),
        ([-math.inf, 1.0], "returned -inf for response 0: 'one'"),
        (None, "one number a response"),
        (1.0, "one number a response"),
        (["good", "bad"], "'good' is text"),
        (["1", "2"], "'1' is text"),
        ("12", "'1' is text"),
        ([1j, 2], "one number a response"),
        ([[1.0], [2.0]], "one number a response"),
        ([10**400, 1], "too large"),
        (torch.zeros(2, 3), "one number a response"),
    ],
)
def test_what_a_reward_may_not_return_is_one_line(returned: object, fault: str) -> None:
    with pytest.raises(RewardError, match=fault) as caught:
        checked_rewards(returning(returned), ["p", "q"], ["one", "two\nlines"])
    assert "my_reward" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "returned",
    [[1, 2.5], (1.0, 2.5), np.array([1, 2.5]), torch.tensor([1, 2.5]), iter([1.0, 2.5])],
)
def test_any_sequence_of_numbers_is_a_reward(returned: object) -> None:
    assert checked_rewards(returning(returned), ["p", "q"], ["r", "s"]) == [1.0, 2.5]


def test_a_reward_object_is_named_by_its_class() -> None:
    class Grumpy:
        def __call__(self, prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
            return [math.nan for _ in zip(prompts, responses, strict=True)]

    with pytest.raises(RewardError, match="the reward Grumpy returned nan"):
        checked_rewards(Grumpy(), ["p"], ["r"])


def test_the_tokenizer_beside_a_reward_model_is_the_policys(folder: Path) -> None:
    assert load_tokenizer(folder).get_vocab() == TOKENIZER.get_vocab()
    settings = json.loads((folder / "config.json").read_text())
    assert settings["pad_token_id"] == PAD
    assert settings["architectures"] == ["LlamaForSequenceClassification"]
