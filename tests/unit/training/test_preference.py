"""Learning from pairs: the losses on a real model's tokens, what is left out, and what is kept."""

import json
import logging
import re
from collections.abc import Sequence
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
from transformers import AutoModelForCausalLM

from assent.config.lora import LoraSettings
from assent.config.preference import DpoSettings
from assent.errors import CannotResume, DataError, ModelError
from assent.models import states
from assent.models.tokens import encode_prompts, encode_responses
from assent.training.points import Stop
from assent.training.preference import train_preference
from assent.training.run_folder import RunFolder
from assent.types import PreferencePair


def planted(count: int, seed: int = 0) -> list[PreferencePair]:
    """Whoever says more a's is chosen."""
    chance = torch.Generator().manual_seed(seed)

    def word(low: int) -> str:
        length = int(torch.randint(low, 6, (1,), generator=chance))
        places = torch.randint(1, len(LETTERS), (length,), generator=chance).tolist()
        return "".join(LETTERS[place] for place in places)

    return [
        PreferencePair(prompt=word(1), chosen="a" + word(1), rejected=word(2)) for _ in range(count)
    ]


def settings(**given: Any) -> DpoSettings:
    defaults = {"batch_size": 8, "epochs": 1, "optimiser": optimiser()}
    return DpoSettings.model_validate(defaults | given)


def train(
    folder: Path, pairs: Sequence[PreferencePair], given: DpoSettings | None = None, **more: Any
) -> torch.nn.Module:
    return train_preference(
        small_policy(), small_policy(), TOKENIZER, pairs, given or settings(), RunFolder(folder),
        seed=0, **more,
    )  # fmt: skip


def metrics(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def logprob(model: Any, prompt: str, response: str) -> tuple[float, int]:
    """Of one response, read by itself without padding."""
    (asked,), (said,) = encode_prompts(TOKENIZER, [prompt]), encode_responses(TOKENIZER, [response])
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([asked + said])).logits[0].double()
    scored = logits.log_softmax(-1)[len(asked) - 1 : -1]
    return float(scored[range(len(said)), said].sum()), len(said)


LOSSES: dict[str, dict[str, float | str | bool]] = {
    "dpo": {"kind": "dpo", "beta": 0.3},
    "cdpo": {"kind": "dpo", "beta": 0.3, "label_smoothing": 0.2},
    "robust": {"kind": "robust", "beta": 0.3, "flip_rate": 0.2},
    "ipo": {"kind": "ipo", "beta": 0.3},
    "ipo sums": {"kind": "ipo", "beta": 0.3, "per_token": False},
    "hinge": {"kind": "hinge", "beta": 0.3},
    "simpo": {"kind": "simpo", "beta": 2.0, "target_margin": 0.5},
}


def expected_loss(name: str, own: Any, frozen: Any, pair: PreferencePair) -> float:
    """In plain floats, from log-probabilities of single unpadded rows."""
    given = LOSSES[name]
    beta = float(given["beta"])
    (won, won_tokens), (lost, lost_tokens) = (
        logprob(own, pair.prompt, text) for text in (pair.chosen, pair.rejected)
    )
    if name != "simpo":
        won -= logprob(frozen, pair.prompt, pair.chosen)[0]
        lost -= logprob(frozen, pair.prompt, pair.rejected)[0]
    if name in ("simpo", "ipo"):
        won, lost = won / won_tokens, lost / lost_tokens
    logit = torch.tensor(beta * (won - lost), dtype=torch.float64)
    kept, flipped = -logit.sigmoid().log(), -(-logit).sigmoid().log()
    if name.startswith("ipo"):
        return float((logit / beta - 1 / (2 * beta)) ** 2)
    return float(
        {
            "dpo": kept,
            "cdpo": 0.8 * kept + 0.2 * flipped,
            "robust": (0.8 * kept - 0.2 * flipped) / 0.6,
            "hinge": (1 - logit).clamp(min=0),
            "simpo": -(logit - 0.5).sigmoid().log(),
        }[name]
    )


@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_is_that_of_whole_responses_read_one_by_one(name: str, tmp_path: Path) -> None:
    """Padding, masks, the end token and the reference are where a loss goes wrong unseen."""
    pairs = planted(5, seed=4)
    own, frozen = small_policy(1), small_policy(2)
    expected = sum(expected_loss(name, own, frozen, pair) for pair in pairs) / len(pairs)
    train_preference(
        own, frozen, TOKENIZER, pairs, settings(loss=LOSSES[name]), RunFolder(tmp_path), seed=0
    )
    (line,) = metrics(tmp_path)
    assert line["loss/preference"] == pytest.approx(expected, abs=2e-5)
    if name in ("dpo", "cdpo"):
        begun = small_policy(1)
        ratios = [
            [
                0.3 * (logprob(begun, p.prompt, text)[0] - logprob(frozen, p.prompt, text)[0])
                for text in (p.chosen, p.rejected)
            ]
            for p in pairs
        ]
        won, lost = torch.tensor(ratios).T
        assert line["implicit_reward/chosen_mean"] == pytest.approx(float(won.mean()), abs=2e-5)
        assert line["implicit_reward/rejected_mean"] == pytest.approx(float(lost.mean()), abs=2e-5)
        assert line["implicit_reward/margin_mean"] == pytest.approx(
            float((won - lost).mean()), abs=2e-5
        )
        assert line["implicit_reward/accuracy"] == pytest.approx(float((won > lost).float().mean()))


def test_the_policy_learns_what_is_preferred_and_the_reference_stays(tmp_path: Path) -> None:
    policy, frozen = small_policy(), small_policy()
    before = weights_of(frozen)
    train_preference(
        policy, frozen, TOKENIZER, planted(64), settings(epochs=6), RunFolder(tmp_path), seed=0
    )
    lines = metrics(tmp_path)
    # It begins as its reference. Sums over a batch may be in another order there, so that pairs are
    # not told apart exactly, and how often either side is ahead says nothing.
    for name in ("chosen_mean", "rejected_mean", "margin_mean"):
        assert lines[0][f"implicit_reward/{name}"] == pytest.approx(0.0, abs=1e-6)
    assert lines[0]["loss/preference"] == pytest.approx(0.6931, abs=1e-3)
    assert lines[-1]["implicit_reward/accuracy"] > 0.9
    assert lines[-1]["data/examples"] == 6 * 64
    assert same_weights(before, weights_of(frozen))
    held_out = planted(40, seed=9)
    right = [
        logprob(policy, p.prompt, p.chosen)[0] - logprob(frozen, p.prompt, p.chosen)[0]
        > logprob(policy, p.prompt, p.rejected)[0] - logprob(frozen, p.prompt, p.rejected)[0]
        for p in held_out
    ]
    assert sum(right) > 34
    written = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert same_weights(weights_of(written), weights_of(policy))


def test_a_language_loss_on_chosen_responses_keeps_them_likely(tmp_path: Path) -> None:
    """RPO; the figure is per token of the whole batch."""
    pairs = planted(12, seed=5)
    train(tmp_path / "without", pairs, settings(epochs=8))
    train(tmp_path / "with", pairs, settings(epochs=8, nll_coef=1.0))
    without, kept = (metrics(tmp_path / name) for name in ("without", "with"))
    policy = small_policy()
    said = [logprob(policy, p.prompt, p.chosen) for p in pairs]
    train(tmp_path / "one", pairs, settings(batch_size=12))
    mean = -sum(one for one, _ in said) / sum(tokens for _, tokens in said)
    assert metrics(tmp_path / "one")[0]["loss/chosen_nll_nats"] == pytest.approx(mean, abs=1e-5)
    assert kept[-1]["policy/chosen_logprob_nats"] > without[-1]["policy/chosen_logprob_nats"]
    assert kept[-1]["policy/chosen_logprob_nats"] > kept[0]["policy/chosen_logprob_nats"]


def gradient(folder: Path, given: DpoSettings) -> torch.Tensor:
    """Of the first of two steps, read off Adam's first moment in the saved state."""
    twice = given.model_copy(update={"epochs": 2, "checkpoint_every": 1, "batch_size": 10})
    with pytest.raises(KeyboardInterrupt):
        train(folder, planted(10, seed=3), twice, progress=interrupt_at(2))
    moments = load_file(folder / "state" / "step-000001" / "optimiser.safetensors")
    parts = [moments[name].flatten() for name in sorted(moments) if name.endswith("/exp_avg")]
    return torch.cat(parts).double()


@pytest.mark.parametrize("size", [1, 3, 7])
def test_micro_batches_have_the_gradient_of_the_whole_batch(size: int, tmp_path: Path) -> None:
    whole = gradient(tmp_path / "whole", settings(nll_coef=0.5))
    parts = gradient(tmp_path / "parts", settings(nll_coef=0.5, micro_batch_size=size))
    assert whole.norm() > 1e-3
    assert (parts - whole).norm() / whole.norm() < 1e-5


def test_recomputed_activations_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states, "takes_packed", lambda _: False)  # the one pass that can recompute
    plain = train(tmp_path / "plain", planted(10))
    again = train(tmp_path / "again", planted(10), settings(gradient_checkpointing=True))
    for one, other in zip(plain.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_an_adapter_switched_off_is_the_reference(tmp_path: Path) -> None:
    """Both ways the first step is the same: so the cached log-probabilities are the base's."""
    lora = settings(lora=LoraSettings(rank=2))
    pairs = planted(8)
    base = weights_of(small_policy())
    made = train_preference(
        small_policy(), None, TOKENIZER, pairs, lora, RunFolder(tmp_path / "off"), seed=0
    )
    train(tmp_path / "own", pairs, lora)
    assert metrics(tmp_path / "off")[0]["loss/preference"] == pytest.approx(0.6931, abs=1e-3)
    for one, other in zip(metrics(tmp_path / "off"), metrics(tmp_path / "own"), strict=True):
        assert one["loss/preference"] == pytest.approx(other["loss/preference"], abs=1e-6)
    assert not same_weights(base, weights_of(made)), "the adapter is merged in"
    written = AutoModelForCausalLM.from_pretrained(tmp_path / "off" / "model")
    for name, weight in weights_of(written).items():
        torch.testing.assert_close(weight, weights_of(made)[name], rtol=0, atol=1e-6)
    assert (tmp_path / "off" / "model" / "adapter" / "adapter_model.safetensors").exists()


def test_the_references_view_is_kept_and_computed_again_where_it_no_longer_fits(
    tmp_path: Path,
) -> None:
    pairs = planted(24)
    given = settings(checkpoint_every=1)
    run = RunFolder(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, pairs, given, progress=interrupt_at(2))
    file = tmp_path / "reference" / "logprobs.safetensors"
    before = file.read_bytes()
    stamp = file.stat().st_mtime_ns
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, pairs, given, progress=interrupt_at(3))
    assert file.stat().st_mtime_ns == stamp, "not computed again"
    file.write_bytes(before[:40])  # damaged
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, pairs, given, progress=interrupt_at(3))
    assert file.read_bytes() == before
    with pytest.raises(KeyboardInterrupt):
        train_preference(
            small_policy(), small_policy(7), TOKENIZER, pairs, given, run,
            seed=0, progress=interrupt_at(3),
        )  # fmt: skip
    assert file.read_bytes() != before, "another reference sees it otherwise"
    with pytest.raises(CannotResume, match="other data"):
        train(tmp_path, planted(24, seed=1), given)


def test_pairs_that_teach_nothing_are_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pairs = planted(6)
    odd = [
        PreferencePair(prompt="a", chosen="b" * 20, rejected="c"),
        PreferencePair(prompt="a", chosen="b", rejected="c" * 20),
        PreferencePair(prompt="a", chosen="bb", rejected="bb"),
        PreferencePair(prompt="", chosen="b", rejected="c"),
    ]
    with caplog.at_level(logging.WARNING):
        train(tmp_path / "run", [*pairs[:3], *odd, *pairs[3:]], settings(max_tokens=15))
    assert "of 10 judged pairs these were left out:" in caplog.text
    for reason in (
        "2 are longer than 15 tokens",
        "1 say the same on both sides",
        "1 have a prompt or response without a token",
    ):
        assert reason in caplog.text
    train(tmp_path / "without", pairs, settings(max_tokens=15))
    one, other = (
        load_file(tmp_path / name / "model" / "model.safetensors") for name in ("run", "without")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_an_empty_response_is_its_end_and_can_be_learned(tmp_path: Path) -> None:
    train(tmp_path, [PreferencePair(prompt="ab", chosen="", rejected="cc")] * 2)
    assert metrics(tmp_path)[0]["data/examples"] == 2


@pytest.mark.parametrize(
    ("pairs", "reason"),
    [
        ([], "there are none"),
        ([PreferencePair(prompt="a", chosen="b", rejected="b")], "1 say the same on both sides"),
    ],
)
def test_no_pair_to_learn_from_is_refused_in_one_line(
    pairs: list[PreferencePair], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=re.escape(reason)) as raised:
        train(tmp_path / "run", pairs)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()


def test_without_reference_or_adapter_it_is_refused_and_simpo_needs_none(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"without an adapter \(dpo.lora\) dpo needs a reference"):
        train_preference(
            small_policy(), None, TOKENIZER, planted(4), settings(), RunFolder(tmp_path / "a"),
            seed=0,
        )  # fmt: skip
    same = small_policy()
    with pytest.raises(ModelError, match="two models"):
        train_preference(
            same, same, TOKENIZER, planted(4), settings(), RunFolder(tmp_path / "b"), seed=0
        )
    train_preference(
        small_policy(), None, TOKENIZER, planted(4), settings(loss=LOSSES["simpo"]),
        RunFolder(tmp_path / "c"), seed=0,
    )  # fmt: skip
    assert (tmp_path / "c" / "model" / "model.safetensors").exists()


def test_points_are_kept_and_measured_and_one_can_end_the_run(tmp_path: Path) -> None:
    seen = []

    def on_point(step: int, model: torch.nn.Module) -> str:
        assert not model.training
        seen.append(step)
        return Stop("stopped: enough") if step == 2 else "gold 0.1"

    train(tmp_path, planted(32), points=lambda total: {0, total // 2, total}, on_point=on_point)
    assert seen == [0, 2]
    assert sorted(folder.name for folder in (tmp_path / "checkpoints").iterdir()) == [
        "step-000000", "step-000002",
    ]  # fmt: skip
    assert len(metrics(tmp_path)) == 2
    assert (tmp_path / "model" / "model.safetensors").exists()
