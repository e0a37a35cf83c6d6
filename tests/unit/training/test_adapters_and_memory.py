"""Adapters, a value model of its own, micro-batches, and memory that runs out."""

import platform
import resource
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training_fixtures import (
    PROMPTS,
    TOKENIZER,
    count_of_a,
    optimiser,
    ppo_settings,
    same_weights,
    small_policy,
    small_reward_model,
    weights_of,
)
from tests.unit.models.architectures import causal_lm
from transformers import AutoModelForCausalLM, PreTrainedModel

from assent.config.lora import LoraSettings
from assent.config.ppo import SeparateValue, SharedValue
from assent.config.reward import RewardSettings
from assent.config.sft import SftSettings
from assent.errors import ConfigError, ModelError, OutOfMemory
from assent.models.rewards import Normalisation, TextReward
from assent.models.scoring import score
from assent.models.tokens import rows_of
from assent.models.value_model import ValueModel
from assent.training import language
from assent.training.memory import enable_recomputing, memory_advice, recomputing
from assent.training.ppo import Ppo, train_ppo
from assent.training.reward import train_reward
from assent.training.run_folder import RunFolder
from assent.training.sft import train_sft
from assent.types import Demonstration, PreferencePair

LORA = LoraSettings(rank=4, alpha=8)
SHOWN = [Demonstration(prompt=one, response=one[::-1] + "a") for one in PROMPTS]
PAIRS = [PreferencePair(prompt=one, chosen="a" + one, rejected="hh") for one in PROMPTS]
REWARDS = [0.5, -1.0, 2.0, 0.0, 1.5, -0.5, 1.0, 0.25]


def lora_ppo(**given: object) -> Ppo:
    return Ppo(small_policy(), None, TOKENIZER, ppo_settings(lora=LORA, **given), seed=0)


def test_with_an_adapter_the_reference_is_the_policy_with_it_off() -> None:
    ppo, untouched = lora_ppo(), small_policy()
    for _ in range(2):
        rollouts = ppo.rollout(PROMPTS)
        figures = ppo.learn(rollouts, REWARDS)
    assert figures["policy/kl_nats"] != 0
    rows = rollouts.rows
    with torch.no_grad():
        expected = score(untouched, rows, temperature=1.0).logprobs
        now = score(ppo.policy, rows, temperature=1.0).logprobs
    assert (ppo.actors.reference_logprobs([rows]) - expected).abs().max() < 1e-6
    assert (now - expected).abs().max() > 1e-3


def test_a_copy_as_the_reference_trains_the_same_adapter() -> None:
    """Switching off costs no second model and changes no step (but for the order of sums)."""
    settings = ppo_settings(lora=LORA)
    off = Ppo(small_policy(), None, TOKENIZER, settings, seed=0)
    copy = Ppo(small_policy(), small_policy(), TOKENIZER, settings, seed=0)
    for ppo in (off, copy):
        for _ in range(3):
            rollouts = ppo.rollout(PROMPTS)
            ppo.learn(rollouts, count_of_a(PROMPTS, ppo.texts(rollouts)))
    one, other = weights_of(off.policy), weights_of(copy.policy)
    for name, weight in one.items():
        torch.testing.assert_close(weight, other[name], rtol=0, atol=1e-6)


def test_without_an_adapter_there_must_be_a_reference() -> None:
    with pytest.raises(ModelError, match="without an adapter"):
        Ppo(small_policy(), None, TOKENIZER, ppo_settings(), seed=0)


def trained(stage: str, folder: Path, **given: object) -> PreTrainedModel:
    """A stage of a few steps; batches of eight."""
    run = RunFolder(folder)
    if stage == "sft":
        sft = SftSettings.model_validate(
            {"epochs": 3, "batch_size": 8, "optimiser": optimiser(), **given}
        )
        return train_sft(small_policy(), TOKENIZER, SHOWN, sft, run, seed=0)
    if stage == "reward":
        settings = RewardSettings.model_validate(
            {"epochs": 3, "batch_size": 8, "optimiser": optimiser(), **given}
        )
        model = small_reward_model(folder.parent / "base")
        return train_reward(model, TOKENIZER, PAIRS, None, settings, run, seed=0).model
    reference = None if "lora" in given else small_policy()
    ppo = ppo_settings(updates=3, minibatches=1, **given)
    return train_ppo(small_policy(), reference, TOKENIZER, PROMPTS, count_of_a, ppo, run, seed=0)


@pytest.mark.parametrize("stage", ["sft", "reward", "ppo"])
def test_what_a_stage_with_an_adapter_leaves_is_an_ordinary_model(
    stage: str, tmp_path: Path
) -> None:
    model = trained(stage, tmp_path / "run", lora=LORA)
    folder = tmp_path / "run" / "model"
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()
    if stage == "reward":
        plain: Any = TextReward.load(folder).model
    else:
        plain = AutoModelForCausalLM.from_pretrained(folder)
    mine, theirs = weights_of(model), weights_of(plain)
    assert mine.keys() == theirs.keys()
    for name, weight in mine.items():
        torch.testing.assert_close(theirs[name], weight, rtol=0, atol=1e-6, msg=name)
    before = weights_of(small_policy())
    changed = {name for name in before.keys() & mine.keys() if not before[name].equal(mine[name])}
    assert changed
    assert all("proj" in name for name in changed), "embeddings and norms are no linear layers"


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("stage", ["sft", "reward", "ppo"])
@pytest.mark.parametrize("change", [{"micro_batch_size": 1}, {"gradient_checkpointing": True}])
def test_eight_of_one_are_one_of_eight_and_recomputed_activations_change_nothing(
    stage: str, change: dict[str, object], lora: bool, tmp_path: Path
) -> None:
    """Lengths differ, so a mean of micro-batch means would be another step."""
    given: dict[str, object] = {"lora": LORA} if lora else {}
    if "gradient_checkpointing" in change:
        given["micro_batch_size"] = 4
    whole = weights_of(trained(stage, tmp_path / "whole", **given))
    other = weights_of(trained(stage, tmp_path / "other", **given, **change))
    start = weights_of(small_policy())
    moved = max((whole[name] - start[name]).abs().max() for name in start.keys() & whole.keys())
    assert moved > 1e-3
    for name, weight in whole.items():
        torch.testing.assert_close(other[name], weight, rtol=1e-4, atol=2e-6, msg=name)


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "qwen2", "mixtral"])
def test_recomputed_activations_leave_dropout_off(architecture: str) -> None:
    model = causal_lm(architecture, vocabulary=len(TOKENIZER), dropout=0.5)
    rows = rows_of(TOKENIZER, ["abc", "d"], ["ef", "gh"])

    def gradients() -> list[torch.Tensor]:
        loss = score(model, rows, temperature=1.0).logprobs.sum()
        return list(torch.autograd.grad(loss, list(model.parameters()), allow_unused=True))

    calls = [0]

    def count(*_: object) -> None:
        calls[0] += 1

    handle = model.get_submodule(
        "transformer.h.0.attn" if architecture == "gpt2" else "model.layers.0.self_attn"
    ).register_forward_hook(count)
    kept = gradients()  # by the model's own forward pass, which a hook asks for
    enable_recomputing(model)
    calls[0] = 0
    with recomputing(model, enabled=True):
        loss = score(model, rows, temperature=1.0).logprobs.sum()
    again = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    handle.remove()
    assert calls[0] == 2, "once forward, once again for the backward pass"
    assert not any(module.training for module in model.modules())
    for one, other in zip(kept, again, strict=True):
        torch.testing.assert_close(one, other)


def test_a_value_model_of_its_own_leaves_the_policys_gradient_to_the_policy() -> None:
    """With values apart, the weight of their loss changes nothing of the policy's step."""

    def policy(value_coef: float, kind: dict[str, object]) -> dict[str, torch.Tensor]:
        settings = ppo_settings(value_coef=value_coef, value_model=kind)
        ppo = Ppo(small_policy(), small_policy(), TOKENIZER, settings, seed=0)
        ppo.step(PROMPTS, ["ab"] * 8, REWARDS)
        ppo.step(PROMPTS, ["ab"] * 8, REWARDS[::-1])
        return weights_of(ppo.policy)

    apart: dict[str, object] = {"kind": "separate", "start": "reference"}
    # In the second update the values differ, and with them the advantages: compare the first two.
    settings = ppo_settings(value_coef=0.0, value_model=apart, epochs=1, minibatches=1)
    none = Ppo(small_policy(), small_policy(), TOKENIZER, settings, seed=0)
    settings = settings.model_copy(update={"value_coef": 5.0})
    much = Ppo(small_policy(), small_policy(), TOKENIZER, settings, seed=0)
    for ppo in (none, much):
        ppo.step(PROMPTS, ["ab"] * 8, REWARDS)
    assert same_weights(weights_of(none.policy), weights_of(much.policy))
    assert not same_weights(policy(0.0, {"kind": "shared"}), policy(5.0, {"kind": "shared"}))


def test_a_value_model_learns_at_its_own_rate_and_predicts_the_reward() -> None:
    settings = ppo_settings(
        value_model=SeparateValue(start="reference", lr=2e-2), updates=15, value_clip_range=5.0,
        optimiser=optimiser(1e-6, schedule="constant"),
    )  # fmt: skip
    ppo = Ppo(small_policy(), small_policy(), TOKENIZER, settings, seed=0)
    said = ["abc", "h", "aaa", "gg", "ba", "ef", "caa", "d"]
    # ppo.step has texts said by somebody else: enough to see the values follow the rewards.
    figures = [ppo.step(PROMPTS, said, count_of_a(PROMPTS, said)) for _ in range(15)]
    assert figures[0]["value/explained_variance"] < 0.1
    assert figures[-1]["value/explained_variance"] > 0.8
    assert figures[-1]["optim/lr"] == 1e-6
    scales = {group.get("lr_scale"): group["lr"] for group in ppo.optimiser.param_groups}
    assert [scale is None for scale in scales] == [True, False]
    assert list(scales.values()) == pytest.approx([1e-6, 2e-2])


def test_the_head_on_a_shared_trunk_keeps_up_with_the_rewards_and_is_clipped_by_itself() -> None:
    """At the policy's own rate the head would lag, and its large gradient shrink the policy's."""
    said = ["abc", "h", "aaa", "gg", "ba", "ef", "caa", "d"]
    rewards = [3.0 + reward for reward in count_of_a(PROMPTS, said)]

    def run(lr_times: float) -> tuple[Ppo, list[dict[str, float]]]:
        settings = ppo_settings(
            value_model=SharedValue(lr_times=lr_times), updates=12, value_clip_range=5.0,
            optimiser=optimiser(2e-3, schedule="constant"),
        )  # fmt: skip
        ppo = Ppo(small_policy(), small_policy(), TOKENIZER, settings, seed=0)
        return ppo, [ppo.step(PROMPTS, said, rewards) for _ in range(12)]

    ppo, kept_up = run(10.0)
    _, lagging = run(1.0)
    assert kept_up[-1]["loss/value"] < 0.5 * lagging[-1]["loss/value"]
    assert kept_up[-1]["loss/value"] < 0.2 * kept_up[0]["loss/value"]
    groups = {group.get("lr_scale"): group["lr"] for group in ppo.optimiser.param_groups}
    assert list(groups) == [None, 10.0]
    assert groups[10.0] == pytest.approx(2e-2)
    head = {id(weight) for weight in ppo.value_head.parameters()}
    apart = [group for group in ppo.optimiser.param_groups if "lr_scale" in group]
    assert {id(weight) for group in apart for weight in group["params"]} == head


def test_a_value_model_begins_as_the_normalised_reward_model(tmp_path: Path) -> None:
    model = small_reward_model(tmp_path / "policy")
    reward = TextReward(model, TOKENIZER, Normalisation(gain=3.0, bias=-0.7, samples=4))
    values = ValueModel.from_reward_model(model, reward.normalisation)
    rows = rows_of(TOKENIZER, ["abc", "d"], ["ef", "gh"])
    with torch.no_grad():
        found = values.values(rows)
    # The value before the last token is the score of the text up to there, were it to end there.
    for row, text in enumerate(["abcef", "dgh"]):
        ids = torch.tensor([TOKENIZER(text, add_special_tokens=False)["input_ids"]])
        with torch.no_grad():
            raw = float(model(input_ids=ids).logits[0, 0])
        assert float(found[row, 2]) == pytest.approx(3.0 * raw - 0.7, abs=1e-5)
    before = weights_of(model)
    settings = ppo_settings(value_model=SeparateValue())
    train_ppo(
        small_policy(), small_policy(), TOKENIZER, PROMPTS, reward, settings,
        RunFolder(tmp_path / "run"), seed=0,
    )  # fmt: skip
    assert same_weights(weights_of(model), before), "the reward model itself is a copy's origin"


def test_a_value_model_cannot_begin_as_a_reward_that_is_no_model_of_these_tokens(
    tmp_path: Path,
) -> None:
    with pytest.raises(ConfigError, match=r"set ppo.value_model.start = 'reference'"):
        train_ppo(
            small_policy(), small_policy(), TOKENIZER, PROMPTS, count_of_a,
            ppo_settings(value_model=SeparateValue()), RunFolder(tmp_path / "run"), seed=0,
        )  # fmt: skip
    assert not (tmp_path / "run").exists()


def full(text: str) -> Callable[..., Any]:
    def allocate(*_: object, **__: object) -> None:
        raise RuntimeError(text)

    return allocate


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nGPU 0 has"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: can't allocate"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes"),
        MemoryError(),
    ],
)
def test_memory_that_runs_out_says_what_to_change(error: Exception) -> None:
    with (
        pytest.raises(OutOfMemory) as raised,
        memory_advice("sft", micro_batch=64, device=torch.device("cpu")),
    ):
        raise error
    message = str(raised.value)
    assert "sft ran out of memory on cpu: set sft.micro_batch_size = 32 (now 64)" in message
    for advice in ("gradient_checkpointing = true", "precision = 'bfloat16'", "sft.lora.rank"):
        assert advice in message
    assert "\n" not in message


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library keeps its ways")
def test_large_blocks_that_are_freed_in_a_stage_are_not_asked_for_again() -> None:
    def pages_asked_for() -> float:
        """By the usual one of many blocks: now and then another allocation takes the free place."""
        asked = []
        for _ in range(9):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            torch.ones(2**24)  # 64 MB
            asked.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
        return statistics.median(asked)

    outside = pages_asked_for()
    with memory_advice("sft", micro_batch=8, device=torch.device("cpu")):
        inside = pages_asked_for()
    assert inside < outside / 4


def test_other_errors_pass_and_a_micro_batch_of_one_is_not_halved() -> None:
    with (
        pytest.raises(RuntimeError, match="shapes"),
        memory_advice("sft", micro_batch=2, device=torch.device("cpu")),
    ):
        full("shapes do not match")()
    with (
        pytest.raises(OutOfMemory, match=r"ppo.micro_batch_size is 1 already"),
        memory_advice("ppo", micro_batch=1, device=torch.device("cpu")),
    ):
        full("out of memory")()


def test_a_real_allocation_that_fails_ends_a_stage_with_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_much(*_: object, **__: object) -> torch.Tensor:
        return torch.empty(2**60, dtype=torch.uint8)

    with monkeypatch.context() as patched:
        patched.setattr(language, "learned_logprobs", too_much)
        with pytest.raises(OutOfMemory, match=r"set sft.micro_batch_size = 4 \(now 8\)"):
            trained("sft", tmp_path / "run")
    assert not RunFolder(tmp_path / "run").is_done
    left = {file.name for file in (tmp_path / "run").rglob("*") if file.is_file()}
    assert left <= {"settings.toml", "inputs.json", "metrics.jsonl"}
    trained("sft", tmp_path / "run", micro_batch_size=4, gradient_checkpointing=True)
    assert RunFolder(tmp_path / "run").is_done, "and goes on as it was told to"
