"""PPO-ptx: its gradient is the sum of its parts (O14), and it holds on to the text."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training_fixtures import (
    PROMPTS,
    TOKENIZER,
    count_of_a,
    interrupt_at,
    optimiser,
    ppo_settings,
    same_weights,
    small_policy,
    weights_of,
)
from torch import Tensor
from transformers import PreTrainedModel

from assent.config.lora import LoraSettings
from assent.config.ppo import PretrainingMixSettings
from assent.errors import CannotResume, DataError
from assent.models.tokens import encode_responses
from assent.objectives.language_loss import sft_loss
from assent.objectives.masks import right_pad
from assent.training.ppo import Ppo, train_ppo
from assent.training.pretraining_mix import PretrainingMix
from assent.training.run_folder import RunFolder

TEXTS = ["hgfedcba", "abcd", "bbbb", "cd", "efefefef", "a"]
REWARDS = [0.5, -1.0, 2.0, 0.0, 1.5, -0.5, 1.0, 0.25]
RESPONSES = ["ab", "hgfe", "c", "", "bad", "face", "dd", "aah"]


def mixed(coef: float, **given: object) -> dict[str, Any]:
    return {"pretraining": PretrainingMixSettings(coef=coef, batch_size=4), **given}


def first_gradient(policy: PreTrainedModel, **given: object) -> Tensor:
    """Of the policy's weights in the first step of PPO, read off Adam's first moment."""
    settings = ppo_settings(
        epochs=1, minibatches=1, optimiser=optimiser(max_grad_norm=1e9), **given
    )
    ppo = Ppo(policy, small_policy(), TOKENIZER, settings, seed=0, pretraining=TEXTS)
    ppo.step(PROMPTS, RESPONSES, REWARDS)
    moments = [ppo.optimiser.state[p]["exp_avg"].flatten() for p in policy.parameters()]
    return torch.cat(moments).double() / 0.1


def language_gradient(policy: PreTrainedModel, texts: Sequence[str]) -> Tensor:
    """Of the mean loss over the tokens of the texts, by one plain pass."""
    padded = right_pad(encode_responses(TOKENIZER, texts), 0)
    logits = policy(input_ids=padded.tokens, attention_mask=padded.mask.long()).logits
    torch.autograd.backward(sft_loss(logits, padded.tokens, padded.mask))
    gradients = []
    for parameter in policy.parameters():
        assert parameter.grad is not None
        gradients.append(parameter.grad.flatten())
    return torch.cat(gradients).double()


@pytest.mark.parametrize("coef", [0.5, 27.8])
@pytest.mark.parametrize("size", [None, 3])
def test_o14_the_gradient_is_the_sum_of_its_parts(coef: float, size: int | None) -> None:
    settings = ppo_settings(**mixed(coef))
    mix = PretrainingMix(small_policy(), TOKENIZER, TEXTS, settings, seed=0)
    # What is learned in the first step: four of the six texts, drawn by the seed.
    plain = first_gradient(small_policy(), micro_batch_size=size)
    both = first_gradient(small_policy(), **mixed(coef, micro_batch_size=size))

    policy = small_policy()
    mix.policy = policy
    nats = mix.add_gradient(0)
    alone = torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None])
    assert (both - plain - alone.double()).norm() / both.norm() < 1e-5
    assert alone.norm() > 0.1 * coef

    learned = [
        text
        for text, example in zip(TEXTS, mix.examples, strict=True)
        if example.tokens in [mix.examples[n].tokens for n in drawn_first()]
    ]
    expected = coef * language_gradient(small_policy(), learned)
    assert (alone.double() - expected).norm() / expected.norm() < 1e-5
    assert nats > 0


def drawn_first() -> list[int]:
    from assent.training.batches import endless_batch

    return endless_batch(len(TEXTS), 4, 0, 0, "ppo", "pretraining")


def train(folder: Path, *, texts: Sequence[str] = TEXTS, **given: Any) -> PreTrainedModel:
    reference = None if "lora" in given else small_policy()
    progress = given.pop("progress", None)
    return train_ppo(
        small_policy(), reference, TOKENIZER, PROMPTS, count_of_a, ppo_settings(**given),
        RunFolder(folder), seed=0, pretraining=texts, progress=progress,
    )  # fmt: skip


def losses(folder: Path) -> list[float]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line["loss/pretraining_nats"] for line in lines]


def text_loss(policy: PreTrainedModel) -> float:
    padded = right_pad(encode_responses(TOKENIZER, TEXTS), 0)
    with torch.no_grad():
        logits = policy(input_ids=padded.tokens, attention_mask=padded.mask.long()).logits
        return float(sft_loss(logits, padded.tokens, padded.mask))


def test_the_mix_learns_text_that_plain_ppo_forgets(tmp_path: Path) -> None:
    long: dict[str, Any] = {"updates": 15, "rollouts_per_update": 16}
    start = text_loss(small_policy())
    plain = text_loss(train(tmp_path / "plain", **long))
    kept = text_loss(train(tmp_path / "kept", **mixed(1.0, **long)))
    assert plain > start + 0.2
    assert kept < start
    logged = losses(tmp_path / "kept")
    assert logged[-1] < logged[0]


@pytest.mark.parametrize("lora", [False, True])
def test_a_run_cut_short_goes_on_to_the_same_bits(lora: bool, tmp_path: Path) -> None:
    given = mixed(1.0, updates=5, **({"lora": LoraSettings(rank=2)} if lora else {}))
    whole = train(tmp_path / "whole", **given)
    for step in (2, 4):
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "cut", **given, progress=interrupt_at(step))
    again = train(tmp_path / "cut", **given)
    assert same_weights(weights_of(again), weights_of(whole))
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")


def test_a_run_does_not_go_on_with_other_texts(tmp_path: Path) -> None:
    given = mixed(1.0)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, **given, progress=interrupt_at(2))
    with pytest.raises(CannotResume, match="other data"):
        train(tmp_path, **given, texts=TEXTS[1:])


def test_without_the_setting_texts_change_nothing(tmp_path: Path) -> None:
    one, other = train(tmp_path / "one"), train(tmp_path / "other", texts=())
    assert same_weights(weights_of(one), weights_of(other))


@pytest.mark.parametrize("texts", [(), [""], ["", ""]])
def test_no_text_is_one_line_that_names_the_setting(texts: Sequence[str], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"ppo\.pretraining\.texts") as raised:
        train(tmp_path, **mixed(1.0), texts=texts)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "metrics.jsonl").exists()


def test_long_texts_are_cut_into_stretches_and_only_the_last_ends() -> None:
    settings = ppo_settings(pretraining=PretrainingMixSettings(max_tokens=3))
    mix = PretrainingMix(
        small_policy(), TOKENIZER, ["abcdefg", "ab", "abcdefghabc"], settings, seed=0
    )
    lengths = [len(one.tokens) for one in mix.examples]
    assert lengths == [3, 3, 2, 3, 3, 3, 3, 3]
    eos = int(TOKENIZER.eos_token_id)
    assert [one.tokens[-1] == eos for one in mix.examples] == [
        False, False, True, True, False, False, False, True,
    ]  # fmt: skip
