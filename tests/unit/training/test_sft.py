"""Fine-tuning and pretraining: the loss by definition, whatever the batches, and it is learned."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.training_fixtures import (
    LETTERS,
    TOKENIZER,
    interrupt_at,
    optimiser,
    same_weights,
    small_policy,
    weights_of,
)
from tests.unit.models.architectures import causal_lm, logprobs_alone
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from assent.config.pretraining import ModelShape, PretrainSettings
from assent.config.sft import SftSettings
from assent.errors import DataError, NonFinite, TokenizerUnfit
from assent.models.tokens import encode
from assent.training.pretrain import train_base
from assent.training.run_folder import RunFolder
from assent.training.sft import train_sft
from assent.types import Demonstration

WORDS = ["ab", "c", "dehg", "face", "hh", "bad", "g", "cabbage"[:5]]
SHOWN = [Demonstration(prompt=word, response=word[::-1] * 2) for word in WORDS]
EOS = int(TOKENIZER.eos_token_id)


def settings(**given: Any) -> SftSettings:
    return SftSettings.model_validate(
        {"epochs": 1, "batch_size": 8, "optimiser": optimiser(max_grad_norm=1e6)} | given
    )


def sft(
    folder: Path,
    given: SftSettings,
    shown: list[Demonstration] = SHOWN,
    model: PreTrainedModel | None = None,
) -> PreTrainedModel:
    return train_sft(model or small_policy(), TOKENIZER, shown, given, RunFolder(folder), seed=0)


def metrics(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "mixtral"])
@pytest.mark.parametrize("micro_batch_size", [None, 3])
def test_the_loss_is_the_mean_over_response_tokens_and_one_eos_each(
    architecture: str, micro_batch_size: int | None, tmp_path: Path
) -> None:
    """Row by row, unpadded, without a mask: no prompt token, no padding, no second eos."""
    model = causal_lm(architecture, vocabulary=len(TOKENIZER))
    logprobs = [
        logprob
        for one in SHOWN
        for logprob in logprobs_alone(
            model,
            encode(TOKENIZER, [one.prompt])[0],
            [*encode(TOKENIZER, [one.response])[0], EOS],
        )
    ]
    sft(tmp_path, settings(micro_batch_size=micro_batch_size), model=model)
    (line,) = metrics(tmp_path)
    assert line["loss/nll_nats"] == pytest.approx(-sum(logprobs) / len(logprobs), abs=2e-5)
    assert line["data/tokens"] == len(logprobs)
    assert line["data/examples"] == len(SHOWN)


def test_a_response_that_ends_itself_gets_no_second_eos(tmp_path: Path) -> None:
    ended = [Demonstration(prompt=one.prompt, response=one.response + "<eos>") for one in SHOWN]
    plain = sft(tmp_path / "plain", settings())
    same = sft(tmp_path / "ended", settings(), ended)
    assert same_weights(weights_of(plain), weights_of(same))


def gradient(folder: Path, given: SftSettings, shown: list[Demonstration]) -> torch.Tensor:
    """Of the first of two steps, read off Adam's first moment in the saved state."""
    twice = given.model_copy(update={"epochs": 2, "checkpoint_every": 1})
    with pytest.raises(KeyboardInterrupt):
        train_sft(
            small_policy(), TOKENIZER, shown, twice, RunFolder(folder), seed=0,
            progress=interrupt_at(2),
        )  # fmt: skip
    moments = load_file(folder / "state" / "step-000001" / "optimiser.safetensors")
    parts = [moments[name].flatten() for name in sorted(moments) if name.endswith("/exp_avg")]
    return torch.cat(parts).double()


@pytest.mark.parametrize("size", [1, 3, 5])
def test_micro_batches_have_the_gradient_of_the_whole_batch(size: int, tmp_path: Path) -> None:
    whole = gradient(tmp_path / "whole", settings(), SHOWN)
    parts = gradient(tmp_path / "parts", settings(micro_batch_size=size), SHOWN)
    assert whole.norm() > 1e-3
    assert (parts - whole).norm() / whole.norm() < 1e-6


def test_the_batch_of_one_row_more_padded_has_the_same_gradient(tmp_path: Path) -> None:
    """A long prompt widens the rectangle; dropped for its length, it leaves the rest as it was."""
    long = Demonstration(prompt="ab" * 30, response="a")
    whole = gradient(tmp_path / "whole", settings(), SHOWN)
    beside = gradient(tmp_path / "beside", settings(max_tokens=20), [*SHOWN, long])
    assert torch.equal(whole, beside)


def test_a_copying_task_is_learned(tmp_path: Path) -> None:
    """Each letter of the prompt comes back as the one four places on in the alphabet."""
    words = [one + other for one in LETTERS[:4] for other in LETTERS[:4]]
    copies = [word.translate(str.maketrans("abcd", "efgh")) for word in words]
    shown = [
        Demonstration(prompt=word, response=copy) for word, copy in zip(words, copies, strict=True)
    ] * 4
    given = settings(epochs=60, batch_size=16, optimiser=optimiser(lr=5e-3, warmup_steps=10))
    model = sft(tmp_path, given, shown, small_policy(width=32, spread=0.15))
    seen = metrics(tmp_path)
    assert seen[0]["loss/nll_nats"] > 1.5
    # Two letters of four, guessed, and a sure end would be 2/3 ln 4 = 0.92 nats a token.
    assert sum(line["loss/nll_nats"] for line in seen[-8:]) / 8 < 0.1
    assert not model.training
    loaded: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert same_weights(weights_of(loaded), weights_of(model))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    written = [
        tokenizer.decode(
            loaded.generate(
                **tokenizer(word, return_tensors="pt", return_token_type_ids=False),
                max_new_tokens=6,
                do_sample=False,
            )[0][len(word) :]
        )
        for word in words
    ]
    assert written == [f"{copy}<eos>" for copy in copies]


def test_too_long_demonstrations_are_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        sft(tmp_path, settings(max_tokens=10))
    fitting = [one for one in SHOWN if len(one.prompt + one.response) + 1 <= 10]
    assert 0 < len(fitting) < len(SHOWN)
    assert f"{len(SHOWN) - len(fitting)} of 8 demonstrations are longer than 10 tokens" in (
        caplog.text
    )
    assert metrics(tmp_path)[0]["data/examples"] == len(fitting)


@pytest.mark.parametrize(("shown", "count"), [([], 0), (SHOWN, 8)])
def test_nothing_to_learn_from_is_one_line(
    shown: list[Demonstration], count: int, tmp_path: Path
) -> None:
    says = f"none of {count} demonstrations fits into sft.max_tokens = 2"
    with pytest.raises(DataError, match=says) as raised:
        sft(tmp_path, settings(max_tokens=2), shown)
    assert "\n" not in str(raised.value)


def test_a_tokenizer_whose_pad_is_eos_is_refused(tmp_path: Path) -> None:
    TOKENIZER.save_pretrained(tmp_path / "tokenizer")
    unfit = AutoTokenizer.from_pretrained(tmp_path / "tokenizer")
    unfit.pad_token = unfit.eos_token
    with pytest.raises(TokenizerUnfit):
        train_sft(small_policy(), unfit, SHOWN, settings(), RunFolder(tmp_path / "r"), seed=0)


def test_weights_that_are_not_numbers_stop_the_first_step_in_one_line(tmp_path: Path) -> None:
    model = small_policy()
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    with pytest.raises(NonFinite, match="sft, step 1: the loss is nan") as raised:
        sft(tmp_path, settings(), model=model)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "model").exists()


def test_bfloat16_learns_nearly_the_same(tmp_path: Path) -> None:
    for precision in ("float32", "bfloat16"):
        sft(tmp_path / precision, settings(precision=precision))
    precise, rough = (metrics(tmp_path / p)[0]["loss/nll_nats"] for p in ("float32", "bfloat16"))
    assert rough == pytest.approx(precise, rel=0.02)
    assert rough != precise


PRETRAIN = PretrainSettings(
    shape=ModelShape(hidden_size=16, intermediate_size=32, layers=1, heads=2, max_positions=16),
    steps=40,
    batch_size=4,
    checkpoint_every=10,
    optimiser=optimiser(lr=2e-2),
)


def test_pretraining_makes_the_same_model_for_a_seed_and_learns_whole_documents(
    tmp_path: Path,
) -> None:
    documents = ["abcdefgh", "abcd", "efgh"] * 3
    models = [
        train_base(documents, TOKENIZER, PRETRAIN, RunFolder(tmp_path / name), seed=seed)
        for name, seed in (("one", 0), ("again", 0), ("other", 1))
    ]
    assert same_weights(weights_of(models[0]), weights_of(models[1]))
    assert not same_weights(weights_of(models[0]), weights_of(models[2]))
    seen = metrics(tmp_path / "one")
    assert len(seen) == 40
    assert seen[-1]["loss/nll_nats"] < 0.7 < seen[0]["loss/nll_nats"]


@pytest.mark.parametrize(
    ("documents", "says"),
    [([], "at least one document"), (["ab", "a" * 16], "document 1 has 17 tokens")],
)
def test_documents_that_cannot_be_read_are_one_line(
    documents: list[str], says: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=says) as raised:
        train_base(documents, TOKENIZER, PRETRAIN, RunFolder(tmp_path), seed=0)
    assert "\n" not in str(raised.value)
