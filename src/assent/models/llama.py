"""Which models take the packed path, and the path itself: states of a Llama-type trunk.

A trunk qualifies that is transformers' own `LlamaModel` in every part, its weights in float32, on a
CPU. With an adapter, another activation, biases, gradient checkpointing or hooks it is read by its
own forward pass, as any other model is. For writing, its weights may be in bfloat16 too.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import LlamaModel, PreTrainedModel
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaRMSNorm

from assent.models.llama_layers import (
    Folded,
    PackedTrunk,
    Shape,
    fold,
    layers_of,
    states_without_gradient,
)
from assent.models.packing import Packed


def takes_packed(trunk: PreTrainedModel) -> bool:
    """Whether `packed_states` reads this trunk as its own forward pass does."""
    return _is_llama(trunk, torch.float32)


def is_written_packed(trunk: PreTrainedModel) -> bool:
    """Whether `llama_decoding` writes with this trunk."""
    return _is_llama(trunk, torch.float32, torch.bfloat16)


def _is_llama(trunk: PreTrainedModel, *dtypes: torch.dtype) -> bool:
    model: Any = trunk
    if type(model) is not LlamaModel or model.device.type != "cpu":
        return False
    config: Any = trunk.config
    if config.hidden_act != "silu" or any(layer.gradient_checkpointing for layer in model.layers):
        return False
    if (model.training and config.attention_dropout) or any(
        module._forward_hooks or module._forward_pre_hooks for module in model.modules()
    ):
        return False
    return type(model.norm) is LlamaRMSNorm and all(
        type(layer) is LlamaDecoderLayer and _is_plain(layer, dtypes) for layer in model.layers
    )


def _is_plain(layer: nn.Module, dtypes: tuple[torch.dtype, ...]) -> bool:
    parts = _linears(layer)
    return all(type(part) is nn.Linear for part in parts) and all(
        part.bias is None and part.weight.dtype in dtypes for part in parts
    )


def _linears(layer: Any) -> list[Any]:  # noqa: ANN401
    attention, mlp = layer.self_attn, layer.mlp
    return [
        attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj,
        mlp.gate_proj, mlp.up_proj, mlp.down_proj,
    ]  # fmt: skip


def packed_states(
    trunk: PreTrainedModel, packed: Packed, precision: str
) -> Float[Tensor, "wanted hidden"]:
    """Last hidden states at the wanted slots, float32.

    Args:
        trunk: one that `takes_packed`; the caller decides on gradients.
        packed: see `packing.pack`.
        precision: "bfloat16" computes products in it; everything else stays in float32.
    """
    model: Any = trunk
    shape, weights = shape_of(trunk, precision), weights_of(trunk)
    embedding = model.embed_tokens.weight
    turns = turns_of(trunk, int(packed.positions.max()) + 1)
    is_learning = torch.is_grad_enabled() and any(
        weight.requires_grad for weight in (embedding, *weights)
    )
    if is_learning:
        apply: Any = PackedTrunk.apply
        states: Tensor = apply(packed, turns, shape, embedding, *weights)
    else:
        folded = folded_weights(trunk, shape)
        states = states_without_gradient(packed, turns, shape, embedding, folded)
    gain: Tensor = model.norm.weight
    return states * gain


@torch.no_grad()
def folded_weights(trunk: PreTrainedModel, shape: Shape) -> list[Folded]:
    """The weights of each layer as they are multiplied."""
    return [fold(layer, shape) for layer in layers_of(weights_of(trunk))]


def shape_of(trunk: PreTrainedModel, precision: str) -> Shape:
    """What the layers of a trunk that `takes_packed` depend on."""
    model: Any = trunk
    config: Any = trunk.config
    padding = model.embed_tokens.padding_idx
    return Shape(
        heads=config.num_attention_heads,
        key_heads=config.num_key_value_heads,
        width=model.layers[0].self_attn.head_dim,
        eps=config.rms_norm_eps,
        padding=-1 if padding is None else padding,
        dtype=torch.bfloat16 if precision == "bfloat16" else torch.float32,
    )


def weights_of(trunk: PreTrainedModel) -> list[Tensor]:
    """The weights of all layers, flat, each layer's in the order of `llama_layers.Layer`."""
    model: Any = trunk
    weights: list[Tensor] = []
    for layer in model.layers:
        query, key, value, out, gate, up, down = (part.weight for part in _linears(layer))
        gains = layer.input_layernorm.weight, layer.post_attention_layernorm.weight
        weights += [gains[0], query, key, value, out, gains[1], gate, up, down]
    return weights


@torch.no_grad()
def turns_of(trunk: PreTrainedModel, positions: int) -> Tensor:
    """[position, width / 2], the complex number that each pair of a head is multiplied by."""
    model: Any = trunk
    every = torch.arange(positions, device=trunk.device)[None]
    cosine, sine = model.rotary_emb(torch.empty(0, device=trunk.device), every)
    half = cosine.shape[-1] // 2
    return torch.complex(cosine[0, :, :half], sine[0, :, :half])
