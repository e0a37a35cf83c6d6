"""The packed path of Llama-type trunks gives what their own forward pass gives."""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.unit.models.architectures import PAD, causal_lm, token_lists
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, LlamaModel, PreTrainedModel

from assent.config.lora import LoraSettings
from assent.models import kernels, packed_attention, states
from assent.models.llama import takes_packed
from assent.models.lora import add_adapter
from assent.models.packing import pack
from assent.models.scoring import before_responses
from assent.models.states import states_at, trunk_of
from assent.models.tokens import Rows, join
from assent.objectives.masks import last_index

RESPONSES = token_lists([6, 2, 1, 4, 20, 3, 9, 9, 5], seed=2)
APART = join(token_lists([1, 7, 3, 12, 2, 30, 4, 5, 8], seed=1), RESPONSES, PAD)
_ASKED = token_lists([17, 9, 26], seed=3)
SHARED = join([_ASKED[number % 3] for number in range(9)], RESPONSES, PAD)
WHOLE = Rows(APART.tokens, APART.mask, 0, APART.mask)


@pytest.fixture(autouse=True, params=["compiled", "torch"])
def operations(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything here holds with the compiled passes and without."""
    if request.param == "torch":
        monkeypatch.setattr(kernels, "kernels", lambda: None)
    elif kernels.kernels() is None:
        pytest.skip(f"no kernels here: {kernels.where_from()}")


def responses(rows: Rows) -> Tensor:
    return before_responses(rows)


def everything(rows: Rows) -> Tensor:
    return rows.mask


def ends(rows: Rows) -> Tensor:
    picks = torch.zeros_like(rows.mask)
    picks[torch.arange(len(picks)), last_index(rows.mask)] = True
    return picks


def one_row(rows: Rows) -> Tensor:
    picks = ends(rows)
    picks[1:] = False
    return picks


def trunk(key_heads: int = 4, *, pad: int | None = None, **given: Any) -> LlamaModel:
    config = LlamaConfig(
        vocab_size=23, hidden_size=32, intermediate_size=48, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=key_heads, max_position_embeddings=96,
        initializer_range=0.2, pad_token_id=pad, bos_token_id=None, eos_token_id=1, **given,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model: LlamaModel = LlamaModel(config).train(mode=False)
        for parameter in model.parameters():
            if parameter.dim() == 1:
                nn.init.uniform_(parameter, 0.5, 1.5)
    return model


def both(
    model: LlamaModel, rows: Rows, picks: Tensor, precision: str = "float32"
) -> tuple[list[Tensor], list[Tensor]]:
    """States and all gradients, packed and by the model's own forward pass."""
    weights = torch.linspace(-1, 2, int(picks.sum()) * 32).view(-1, 32)
    found = []
    for result in (
        states_at(model, rows, picks, precision),
        states._states_with_masks(model, rows, precision)[picks],
    ):
        gradients = torch.autograd.grad((result * weights).sum(), list(model.parameters()))
        found.append([result.detach(), *gradients])
    return found[0], found[1]


def furthest(ours: list[Tensor], theirs: list[Tensor]) -> float:
    """Largest difference, in units of the largest entry of its tensor."""
    return max(
        float((one - other).abs().max()) / max(float(other.abs().max()), 1e-6)
        for one, other in zip(ours, theirs, strict=True)
    )


@pytest.mark.parametrize("picks_of", [responses, everything, ends, one_row])
@pytest.mark.parametrize("rows", [APART, SHARED, WHOLE], ids=["apart", "shared", "whole"])
@pytest.mark.parametrize("key_heads", [4, 2])
def test_states_and_gradients_are_the_models_own(
    key_heads: int, rows: Rows, picks_of: Callable[[Rows], Tensor]
) -> None:
    model = trunk(key_heads)
    picks = picks_of(rows) if rows.prompt_width else picks_of(APART)
    ours, theirs = both(model, rows, picks)
    assert furthest(ours, theirs) < 1e-5
    with torch.no_grad():
        unlearned = states_at(model, rows, picks, "float32")
    torch.testing.assert_close(unlearned, theirs[0], rtol=0, atol=2e-5)


@pytest.mark.parametrize("key_heads", [4, 1])
def test_long_rows_take_the_fused_attention_and_agree(
    key_heads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_attention, "LONG", 1)
    ours, theirs = both(trunk(key_heads), WHOLE, WHOLE.mask)
    assert furthest(ours, theirs) < 1e-5


@pytest.mark.parametrize("rows", [APART, SHARED], ids=["apart", "shared"])
def test_in_bfloat16_it_is_as_near_to_float32_as_the_models_own_pass(rows: Rows) -> None:
    model, picks = trunk(), before_responses(rows)
    _, exact = both(model, rows, picks)
    ours, theirs = both(model, rows, picks, "bfloat16")
    assert furthest(theirs, exact) > 1e-4  # it is bfloat16
    assert furthest(ours, exact) < 1.5 * furthest(theirs, exact)


def test_the_pad_tokens_embedding_is_learned_as_little_as_in_the_model() -> None:
    ours, theirs = both(trunk(pad=5), APART, APART.mask)
    assert furthest(ours, theirs) < 1e-5
    assert not ours[1][5].any()


def test_a_prompt_is_read_once_and_padding_hardly() -> None:
    packed = pack(SHARED, before_responses(SHARED)).packed
    real = sum(map(len, _ASKED)) + sum(map(len, RESPONSES))
    assert real <= len(packed.tokens) <= real + 24 * len(packed.blocks)
    assert len(packed.tokens) < int(SHARED.mask.sum()) * 0.75
    assert packed.wanted is not None
    assert len(packed.wanted) == 3 + sum(len(one) - 1 for one in RESPONSES)


def test_long_rows_are_read_by_the_models_own_attention_which_keeps_no_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, picks = trunk(), before_responses(APART)
    expected = states_at(model, APART, picks, "float32")
    monkeypatch.setattr(states, "LONGEST", APART.tokens.shape[1] - 1)
    monkeypatch.setattr(states, "packed_states", None)
    found = states_at(model, APART, picks, "float32")
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)


def test_activations_go_with_the_loss_and_wait_for_no_collector() -> None:
    model = trunk()
    gc.disable()
    try:
        found = states_at(model, APART, responses(APART), "float32")
        seen, nodes = [], [found.grad_fn]
        while nodes:
            node = nodes.pop()
            if node is not None:
                seen.append(node)
                nodes += [before for before, _ in node.next_functions]
        (packed,) = (one for one in seen if "PackedTrunk" in type(one).__name__)
        kept = weakref.ref(packed)
        torch.autograd.backward(found.sum())
        del found, seen, nodes, node, packed
        assert kept() is None
    finally:
        gc.enable()


def test_two_readings_are_the_same_to_the_last_bit() -> None:
    model = trunk()
    first, second = (both(model, SHARED, before_responses(SHARED))[0] for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("rope", ["linear", "llama3"])
def test_scaled_positions_are_the_models_own(rope: str) -> None:
    more = {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
    scaling = {
        "rope_type": rope, "rope_theta": 500.0, "factor": 4.0,
        **({"original_max_position_embeddings": 24, **more} if rope == "llama3" else {}),
    }  # fmt: skip
    ours, theirs = both(trunk(rope_parameters=scaling), APART, before_responses(APART))
    assert furthest(ours, theirs) < 1e-5


def adapted() -> PreTrainedModel:
    model = causal_lm("llama")
    add_adapter(model, LoraSettings(target_modules=("q_proj",)), seed=1)
    return trunk_of(model)


def hooked() -> PreTrainedModel:
    model = trunk()
    model.layers[1].register_forward_hook(lambda *_: None)
    return model


@pytest.mark.parametrize(
    "make",
    [
        adapted,
        hooked,
        lambda: trunk(attention_bias=True),
        lambda: trunk(mlp_bias=True),
        lambda: trunk(hidden_act="gelu"),
        lambda: trunk().bfloat16(),
        lambda: trunk(attention_dropout=0.1).train(),
        lambda: trunk_of(causal_lm("qwen2")),
        lambda: trunk_of(causal_lm("gpt2")),
        lambda: trunk_of(causal_lm("mixtral")),
    ],
)
def test_any_other_model_is_read_by_its_own_forward_pass(
    make: Callable[[], PreTrainedModel],
) -> None:
    assert not takes_packed(make())


def test_an_ordinary_llama_is_packed() -> None:
    assert takes_packed(trunk())
    assert takes_packed(trunk_of(causal_lm("llama")))
    assert takes_packed(LlamaForCausalLM(trunk().config).model)
