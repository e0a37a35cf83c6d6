"""Learning from marked responses: the baseline, the weights, and what is refused."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.training_fixtures import (
    TOKENIZER,
    interrupt_at,
    optimiser,
    same_weights,
    small_policy,
    weights_of,
)
from tests.unit.training.test_preference import logprob, metrics, planted

from assent.config.lora import LoraSettings
from assent.config.preference import KtoSettings
from assent.errors import DataError
from assent.objectives.seeds import permutation
from assent.training.kto import train_kto
from assent.training.run_folder import RunFolder
from assent.types import MarkedResponse


def marks(count: int, seed: int = 0) -> list[MarkedResponse]:
    """The planted pairs taken apart: whoever begins with an a is good."""
    return [
        MarkedResponse(prompt=pair.prompt, response=text, good=good)
        for pair in planted(count, seed)
        for text, good in ((pair.chosen, True), (pair.rejected, False))
    ]


def settings(**given: Any) -> KtoSettings:
    defaults = {"batch_size": 16, "epochs": 1, "optimiser": optimiser()}
    return KtoSettings.model_validate(defaults | given)


def train(
    folder: Path, marked: Sequence[MarkedResponse], given: KtoSettings | None = None, **more: Any
) -> torch.nn.Module:
    return train_kto(
        small_policy(), small_policy(), TOKENIZER, marked, given or settings(), RunFolder(folder),
        seed=0, **more,
    )  # fmt: skip


def test_the_loss_is_the_formula_on_responses_read_one_by_one(tmp_path: Path) -> None:
    marked = marks(4)[:-1]  # four good, three bad
    own, frozen = small_policy(1), small_policy(2)

    def ratio(prompt: str, response: str) -> float:
        return logprob(own, prompt, response)[0] - logprob(frozen, prompt, response)[0]

    # Each prompt's stranger is the response to the next other prompt in an order of the seed.
    order = permutation(len(marked), 0, "kto", "strangers")
    strangers = []
    for place, number in enumerate(order):
        others = order[place + 1 :] + order[:place]
        other = next(n for n in others if marked[n].prompt != marked[number].prompt)
        strangers.append(ratio(marked[number].prompt, marked[other].response))
    baseline = max(0.0, sum(strangers) / len(strangers))
    losses = []
    for one in marked:
        gain = torch.tensor(0.5 * (ratio(one.prompt, one.response) - baseline))
        # Bad ones weigh 4/3 in order to weigh the same as the good ones in all.
        losses.append(float(1 - gain.sigmoid() if one.good else (4 / 3) * (1 - (-gain).sigmoid())))
    train_kto(own, frozen, TOKENIZER, marked, settings(beta=0.5), RunFolder(tmp_path), seed=0)
    (line,) = metrics(tmp_path)
    assert line["policy/kl_baseline_nats"] == pytest.approx(baseline, abs=2e-5)
    assert line["loss/preference"] == pytest.approx(sum(losses) / len(losses), abs=2e-5)


def test_the_policy_learns_what_is_good_and_the_reference_stays(tmp_path: Path) -> None:
    frozen = small_policy()
    before = weights_of(frozen)
    policy = small_policy()
    train_kto(policy, frozen, TOKENIZER, marks(48), settings(epochs=6), RunFolder(tmp_path), seed=0)
    lines = metrics(tmp_path)
    assert lines[0]["loss/preference"] == pytest.approx(0.5, abs=1e-5), "it begins as its reference"
    assert lines[0]["policy/kl_baseline_nats"] == 0.0
    end = lines[-1]
    assert end["implicit_reward/chosen_mean"] - end["implicit_reward/rejected_mean"] > 0.2
    assert same_weights(before, weights_of(frozen))
    right = [
        logprob(policy, p.prompt, p.chosen)[0] - logprob(frozen, p.prompt, p.chosen)[0]
        > logprob(policy, p.prompt, p.rejected)[0] - logprob(frozen, p.prompt, p.rejected)[0]
        for p in planted(40, seed=9)
    ]
    assert sum(right) > 32


def gradient(folder: Path, given: KtoSettings) -> torch.Tensor:
    twice = given.model_copy(update={"epochs": 2, "checkpoint_every": 1, "batch_size": 20})
    with pytest.raises(KeyboardInterrupt):
        train_kto(
            small_policy(1), small_policy(2), TOKENIZER, marks(10), twice, RunFolder(folder),
            seed=0, progress=interrupt_at(2),
        )  # fmt: skip
    moments = load_file(folder / "state" / "step-000001" / "optimiser.safetensors")
    parts = [moments[name].flatten() for name in sorted(moments) if name.endswith("/exp_avg")]
    return torch.cat(parts).double()


@pytest.mark.parametrize("size", [1, 7])
def test_the_baseline_and_the_gradient_are_the_whole_batchs_however_it_is_split(
    size: int, tmp_path: Path
) -> None:
    whole = gradient(tmp_path / "whole", settings())
    parts = gradient(tmp_path / "parts", settings(micro_batch_size=size))
    assert whole.norm() > 1e-3
    assert (parts - whole).norm() / whole.norm() < 1e-5


def test_an_adapter_switched_off_is_the_reference(tmp_path: Path) -> None:
    lora = settings(lora=LoraSettings(rank=2))
    train_kto(small_policy(), None, TOKENIZER, marks(8), lora, RunFolder(tmp_path / "off"), seed=0)
    train(tmp_path / "own", marks(8), lora)
    lines = zip(metrics(tmp_path / "off"), metrics(tmp_path / "own"), strict=True)
    for one, other in lines:
        assert one["loss/preference"] == pytest.approx(other["loss/preference"], abs=1e-6)


@pytest.mark.parametrize(("good", "said"), [(True, "good"), (False, "bad")])
def test_responses_all_marked_alike_are_refused_in_one_line(
    good: bool, said: str, tmp_path: Path
) -> None:
    alike = [one for one in marks(6) if one.good is good]
    with pytest.raises(DataError, match=f"all 6 marked responses are {said}: KTO learns") as raised:
        train(tmp_path / "run", alike)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()


def test_none_is_refused_and_long_ones_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(DataError, match="none of 0 marked responses"):
        train(tmp_path / "none", [])
    long = MarkedResponse(prompt="a", response="b" * 20, good=True)
    with caplog.at_level(logging.WARNING):
        train(tmp_path / "run", [*marks(4), long], settings(max_tokens=15))
    assert "of 9 marked responses these were left out: 1 are longer than 15 tokens" in caplog.text
    assert metrics(tmp_path / "run")[-1]["data/examples"] == 8


def test_a_foreign_response_never_exceeds_the_room(tmp_path: Path) -> None:
    """A long prompt and another's long response would overrun a model's positions together."""
    texts = [("a" * 30, "b"), ("b", "c" * 30), ("c" * 30, "d"), ("d", "e" * 30)]
    marked = [
        MarkedResponse(prompt=prompt, response=response, good=number % 2 == 0)
        for number, (prompt, response) in enumerate(texts)
    ]
    train(tmp_path, marked, settings(max_tokens=40))
    assert json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])["step"] == 1
