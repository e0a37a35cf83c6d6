"""Attention for training in bfloat16 on a CPU: two batched matrix products.

There the backward pass of torch's fused attention takes up to ten times as long as the products it
fuses (measured at 8 heads of 12 to 64 and lengths of 48 to 256). In float32, without gradients and
on other devices the fused one is faster, and is what runs.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "assent"


def use_fast_attention(model: PreTrainedModel) -> None:
    """Let a model on a CPU choose between the two; one with attention of its own keeps it."""
    if model.device.type == "cpu" and model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(NAME)


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **given: Any,  # noqa: ANN401
) -> tuple[Tensor, None]:
    """What transformers calls for each layer: responses of [batch, seq, heads, width]."""
    is_rough = query.dtype == torch.bfloat16 or torch.is_autocast_enabled("cpu")
    if is_rough and not dropout and torch.is_grad_enabled() and query.requires_grad:
        return by_products(module, query, key, value, attention_mask, scaling), None
    found, _ = sdpa_attention_forward(
        module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **given
    )
    return found, None


def by_products(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scaling: float | None,
) -> Tensor:
    """softmax(Q K^T scaling) V, the softmax in float32.

    Args:
        module: of a decoder, where there is no mask: `is_causal` unless it says otherwise.
        query: [batch, heads, seq, width].
        key: [batch, key heads, keys, width]; each serves as many heads.
        value: as the keys.
        mask: [batch, 1, seq, keys], True or 0 where a key is seen; None for all before the query.
        scaling: of the products; 1 / sqrt(width) if left out.
    """
    shared = query.shape[1] // key.shape[1]
    if shared > 1:
        key, value = key.repeat_interleave(shared, 1), value.repeat_interleave(shared, 1)
    seq, keys = query.shape[2], key.shape[2]
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = torch.matmul(query * scale, key.transpose(2, 3))
    if mask is None and seq > 1 and getattr(module, "is_causal", True):
        mask = torch.ones(seq, keys, dtype=torch.bool, device=query.device).tril(keys - seq)
    if mask is not None and mask.dtype == torch.bool:
        scores = scores.masked_fill(~mask[..., :keys], torch.finfo(scores.dtype).min)
    elif mask is not None:
        scores = scores + mask[..., :keys]
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(value.dtype)
    return torch.matmul(weights, value).transpose(1, 2).contiguous()


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
