"""The memory that is planned is, within a stated factor, the memory that tensors take."""

import weakref
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
)

from assent.config.lora import LoraSettings
from assent.config.ppo import PpoSettings, SamplingSettings
from assent.models.lora import add_adapter
from assent.models.scoring import score
from assent.models.tokens import Rows
from assent.training.footprint import Work, footprint, memory_of, shape_of
from assent.training.ppo import Ppo
from assent.worlds.almanac import World, build_tokenizer

FACTOR = 1.5
"""As stated in the module."""


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of every tensor made while it is on, and the most there were at once."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for one in tree_iter(made):
            if isinstance(one, Tensor):
                self._see(one)
        return made

    def _see(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._sizes:
            self._sizes[key] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._gone, key)

    def _gone(self, key: int) -> None:
        self.now -= self._sizes.pop(key, 0)


def llama(vocabulary: int = 1000) -> LlamaForCausalLM:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=128,
            intermediate_size=344,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=256,
            tie_word_embeddings=True,
        )
    )


def gpt2() -> GPT2LMHeadModel:
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=1000, n_positions=256, n_embd=128, n_layer=4, n_head=4,
            bos_token_id=0, eos_token_id=0,
        )
    )  # fmt: skip


@pytest.mark.parametrize("make", [llama, gpt2])
@pytest.mark.parametrize(("rows", "tokens"), [(8, 64), (12, 128), (4, 200)])
def test_a_training_pass_takes_what_was_planned(make: Any, rows: int, tokens: int) -> None:
    model = make().eval()
    half = tokens // 2
    batch = Rows(
        torch.randint(0, 1000, (rows, tokens)),
        torch.ones(rows, tokens, dtype=torch.bool),
        half,
        torch.ones(rows, tokens - half, dtype=torch.bool),
    )
    with LiveBytes() as live:
        torch.autograd.backward(score(model, batch, temperature=1.0).logprobs.sum())
    planned = footprint(shape_of(model.config), 0, Work(rows=rows, tokens=tokens, scored=half))
    expected = planned.gradients + planned.activations + planned.logits
    assert live.peak / FACTOR < expected < live.peak * FACTOR


def test_a_whole_ppo_update_takes_what_was_planned() -> None:
    tokenizer = build_tokenizer()
    policy, reference = llama(len(tokenizer)), llama(len(tokenizer))
    settings = PpoSettings(
        updates=1,
        rollouts_per_update=32,
        minibatches=1,
        epochs=1,
        sampling=SamplingSettings(max_new_tokens=64),
    )
    # Equal prompts would be read once, and the plan does not count on that.
    every = [prompt.text for prompt in World(0).prompts("train")]
    prompts = [text for text in every if len(tokenizer(text)["input_ids"]) == 18][:32]
    ppo = Ppo(policy, reference, tokenizer, settings, seed=0)
    held = sum(4 * weight.numel() for one in (policy, reference) for weight in one.parameters())
    with LiveBytes() as live:
        rollouts = ppo.rollout(prompts)
        ppo.learn(rollouts, [float(n) for n in range(32)])
    width = rollouts.rows.tokens.shape[1]
    shape = shape_of(policy.config)
    work = Work(rows=32, tokens=width, scored=64, rollouts=32)
    planned = footprint(shape, shape.parameters, work, trained_besides=shape.hidden + 1)
    measured = held + live.peak
    assert measured / FACTOR < planned.total < measured * FACTOR


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mixtral"])
def test_the_shape_is_read_from_the_configuration_alone(kind: str) -> None:
    config: PretrainedConfig
    model: PreTrainedModel
    if kind == "mixtral":
        config = MixtralConfig(
            vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, num_local_experts=4,
            num_experts_per_tok=2, max_position_embeddings=64,
        )  # fmt: skip
        model = MixtralForCausalLM(config)
    else:
        model = llama() if kind == "llama" else gpt2()
        config = model.config
    shape = shape_of(config)
    assert shape.parameters == sum(weight.numel() for weight in model.parameters())
    if kind == "mixtral":
        assert shape.feed_forward == 2 * 48
    assert all(weight.is_meta is False for weight in model.parameters())


@pytest.mark.parametrize("make", [llama, gpt2])
def test_an_adapter_has_as_many_parameters_as_planned(make: Any) -> None:
    model = make()
    settings = LoraSettings(rank=3)
    shape = shape_of(model.config)
    add_adapter(model, settings, seed=0)
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    assert shape.adapter_parameters(settings) == trained


def test_what_saves_memory_lowers_the_estimate() -> None:
    shape = shape_of(llama().config)
    work = Work(rows=16, tokens=128, scored=64)
    plain = footprint(shape, shape.parameters, work)
    fewer = footprint(shape, shape.parameters, Work(rows=8, tokens=128, scored=64))
    again = Work(rows=16, tokens=128, scored=64, checkpointing=True)
    adapter = footprint(shape, 0, work, lora=LoraSettings())
    assert fewer.activations == plain.activations // 2
    assert footprint(shape, 0, again).activations < plain.activations / 2
    assert adapter.total < plain.total
    assert adapter.adam < plain.adam / 5
    assert plain.as_dict()["total"] == plain.total


def test_the_machine_says_how_much_it_has() -> None:
    found = memory_of(torch.device("cpu"))
    assert found is None or found > 2**28
