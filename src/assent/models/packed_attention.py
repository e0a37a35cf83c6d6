"""Attention over packed tokens, forward and backward, a block at a time.

Two batched products and a softmax: their backward pass is three products, which on a CPU at the
lengths of responses beats that of torch's fused attention (and by far in bfloat16). Long rows in
float32 take the fused one. It is the same with and without gradients, so that a policy and a
reference of equal weights give equal bits.

Where it is compiled (`attention.h`) one pass does it all, a row and head at a time in the caches,
and only for the keys that a query sees.
"""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from assent.models.compiled_attention import CompiledAttention, Sight
from assent.models.kernels import kernels_for
from assent.models.packing import Block, Packed

LONG = 320
"""Keys of a row from which weights take too much memory to be kept for the backward pass.

Where attention is not compiled, torch's fused one takes blocks of this width in float32."""


class _Part(NamedTuple):
    """Of one block, what the backward pass needs; [row * key head, query, width] and the like."""

    query: Tensor
    key: Tensor
    value: Tensor
    weights: Tensor | None
    fused: tuple[Tensor, Tensor] | None
    """Result and log of the sums, where the fused attention ran."""


class _Compiled(NamedTuple):
    """Of one block that was attended to in one pass, what the backward pass needs."""

    passes: CompiledAttention
    sight: Sight
    weights: Tensor | None
    """None if they are to be computed again."""


class Attended(NamedTuple):
    """What each query saw."""

    mixed: Tensor
    """[query, heads * width]"""
    heads: int
    key_heads: int
    parts: list[_Part | _Compiled | None]
    """None for a block without queries; empty where nothing was kept."""


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    packed: Packed,
    *,
    heads: int,
    key_heads: int,
    picked: bool,
    keep: bool,
) -> Attended:
    """softmax(Q K^T) V of every block; queries come scaled.

    Args:
        query: [slot, heads * width], of the wanted slots alone if `picked`.
        key: [slot, key_heads * width], of all slots.
        value: as the keys.
        packed: which slots see which.
        heads: of the queries.
        key_heads: each serves as many queries' heads.
        picked: the queries are those of `packed.wanted`.
        keep: a backward pass will follow.
    """
    mixed = torch.empty_like(query)
    fast = _compiled(query, key, value, query.shape[1] // heads)
    parts: list[_Part | _Compiled | None] = []
    for block in packed.blocks:
        numbers = _numbers(block, picked=picked)
        if numbers is not None and not numbers.shape[1]:
            parts.append(None)
            continue
        if fast is not None:
            sight = Sight(query, key, value, block, heads, key_heads, picked)
            weights = fast.attend(sight, mixed, keep=keep and sight.places < LONG)
            if keep:
                parts.append(_Compiled(fast, sight, weights))
            continue
        q = _queries(query, block, heads, key_heads, numbers)
        k, v = (_seen(one, block, key_heads) for one in (key, value))
        weights = fused = None
        if _is_long(block, q, picked=picked):
            fused = _fused(q, k, v, block.rows, heads)
            result = fused[0]
        else:
            weights = _weights(q, k, block, heads, picked=picked)
            result = torch.bmm(weights, v)
        if keep:
            parts.append(_Part(q, k, v, weights, fused))
        _put(mixed, result, block, heads, key_heads, picked=picked)
    return Attended(mixed, heads, key_heads, parts)


def attend_backward(
    flow: Tensor, attended: Attended, packed: Packed, *, picked: bool
) -> tuple[Tensor, Tensor]:
    """Gradients of the query, and of key and value side by side, given that of `Attended.mixed`.

    Those of key and value are in float32 where blocks look back at each other.
    """
    heads, key_heads = attended.heads, attended.key_heads
    slots, between = len(packed.tokens), flow.shape[1] // heads * key_heads
    of_query = torch.empty_like(flow)
    looks_back = any(block.before is not None for block in packed.blocks)
    kind = torch.float32 if looks_back else flow.dtype
    make = torch.zeros if looks_back or picked else torch.empty
    of_key_value = make(slots, 2 * between, dtype=kind, device=flow.device)
    of_key, of_value = of_key_value[:, :between], of_key_value[:, between:]
    for block, part in zip(packed.blocks, attended.parts, strict=True):
        if part is None:
            continue
        if isinstance(part, _Compiled):
            passes, sight, weights = part
            passes.attend_backward(flow, sight, weights, of_query, of_key, of_value)
            continue
        numbers = _numbers(block, picked=picked)
        do = _queries(flow, block, heads, key_heads, numbers, nothing_at_padding=True)
        dq, dk, dv = _part_backward(do, part, block, heads)
        _put(of_query, dq, block, heads, key_heads, picked=picked)
        for whole, one in ((of_key, dk), (of_value, dv)):
            _add_seen(whole, one, block, key_heads)
    return of_query, of_key_value


def _part_backward(
    do: Tensor, part: _Part, block: Block, heads: int
) -> tuple[Tensor, Tensor, Tensor]:
    if part.fused is not None:
        return _fused_backward(do, part, block, heads)
    assert part.weights is not None
    weights = part.weights
    dv = torch.bmm(weights.transpose(1, 2), do)
    ds = torch.bmm(do, part.value.transpose(1, 2))
    fast = kernels_for(ds, weights)
    if fast is None:
        ds = torch.ops.aten._softmax_backward_data(ds, weights, -1, weights.dtype)
    else:
        fast.attention.softmax_backward_(ds, weights)
    return torch.bmm(ds, part.key), torch.bmm(ds.transpose(1, 2), part.query), dv


def _weights(q: Tensor, k: Tensor, block: Block, heads: int, *, picked: bool) -> Tensor:
    """[row * key head, query, key], each query's weights sum to one."""
    visible = _visible(block, picked=picked)
    fast = kernels_for(q, k)
    if fast is not None:
        scores = torch.bmm(q, k.transpose(1, 2))
        fast.attention.softmax_(scores, visible, block.rows, heads)
        return scores
    if visible is None:
        bias = _causal(block.width, q.shape[1] // block.width, q.dtype, q.device)
        scores = torch.baddbmm(bias.expand(len(q), -1, -1), q, k.transpose(1, 2))
    else:
        scores = torch.bmm(q, k.transpose(1, 2))
        by_head = scores.view(block.rows, heads, -1, k.shape[1])
        by_head.masked_fill_(~visible[:, None], torch.finfo(q.dtype).min)
    return torch.softmax(scores, dim=-1)


def _compiled(query: Tensor, key: Tensor, value: Tensor, width: int) -> CompiledAttention | None:
    fast = kernels_for(query, key, value)
    return fast.attention if fast and fast.attention.attends(query.dtype, width) else None


def _is_long(block: Block, query: Tensor, *, picked: bool) -> bool:
    plain = block.visible is None and not picked
    return plain and block.width >= LONG and query.dtype == torch.float32


def _fused(q: Tensor, k: Tensor, v: Tensor, rows: int, heads: int) -> tuple[Tensor, Tensor]:
    result, sums = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        *_whole(q, k, v, rows, heads), 0.0, True, scale=1.0
    )
    return result.reshape(len(q), -1, q.shape[2]), sums


def _fused_backward(
    do: Tensor, part: _Part, block: Block, heads: int
) -> tuple[Tensor, Tensor, Tensor]:
    assert part.fused is not None
    assert block.visible is None
    result, sums = part.fused
    q, k, v = _whole(part.query, part.key, part.value, block.rows, heads)
    dq, dk, dv = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
        do.view(q.shape), q, k, v, result.view(q.shape), sums, 0.0, True, scale=1.0
    )
    shared = heads * block.rows // len(part.key)
    dk, dv = (one.reshape(len(part.key), shared, -1, one.shape[-1]).sum(1) for one in (dk, dv))
    return dq.reshape(part.query.shape), dk, dv


def _whole(q: Tensor, k: Tensor, v: Tensor, rows: int, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """As torch's attention wants them: [row, head, query, width], keys for each head."""
    shared = heads * rows // len(k)
    if shared > 1:
        k, v = k.repeat_interleave(shared, 0), v.repeat_interleave(shared, 0)
    return (
        q.reshape(rows, heads, -1, q.shape[2]),
        k.view(rows, heads, -1, k.shape[2]),
        v.view(rows, heads, -1, v.shape[2]),
    )


def _numbers(block: Block, *, picked: bool) -> Tensor | None:
    if not picked:
        return None
    assert block.picked is not None
    return block.picked.numbers


def _visible(block: Block, *, picked: bool) -> Tensor | None:
    if not picked:
        return block.visible
    assert block.picked is not None
    return block.picked.visible


def _queries(
    states: Tensor,
    block: Block,
    heads: int,
    key_heads: int,
    numbers: Tensor | None,
    *,
    nothing_at_padding: bool = False,
) -> Tensor:
    """What a block's queries have, by head; `numbers` are those of the queries picked."""
    if numbers is None:
        fast = kernels_for(states)
        if fast is not None:
            return fast.attention.by_head(states, block, heads, key_heads)
        own = states[block.start : block.end].view(block.rows, -1, states.shape[1])
        return _by_head(own, heads, key_heads)
    asked = states[numbers]
    if nothing_at_padding:
        assert block.picked is not None
        asked *= block.picked.real[:, :, None]
    return _by_head(asked, heads, key_heads)


def _seen(states: Tensor, block: Block, key_heads: int) -> Tensor:
    """By head, what a block's rows look back at, and after it the rows themselves."""
    fast = kernels_for(states)
    if fast is not None:
        return fast.attention.by_head(states, block, key_heads, key_heads, looks_back=True)
    seen = states[block.start : block.end].view(block.rows, block.width, states.shape[1])
    if block.before is not None:
        back = torch.nn.functional.embedding(block.before, states)
        seen = torch.cat([back, seen], dim=1)
    return _by_head(seen, key_heads, key_heads)


def _add_seen(whole: Tensor, one: Tensor, block: Block, key_heads: int) -> None:
    """Add gradients of `_seen`, as `_by_head` has them, to those of all slots."""
    fast = kernels_for(whole, one)
    if fast is not None:
        # Blocks look back only, so that what stands before has been written by now.
        fast.attention.by_row_(whole, one, block, key_heads, key_heads, looks_back=True)
        return
    if block.before is None:
        _write(whole, one, block, key_heads, key_heads)
        return
    by_row, back = _by_row(one, block.rows, key_heads, key_heads), block.before.shape[1]
    whole[block.start : block.end] = by_row[:, back:].reshape(-1, whole.shape[1])
    whole[: block.start] += torch.ops.aten.embedding_dense_backward(
        by_row[:, :back].float(), block.before, block.start, -1, False
    )


def _put(
    whole: Tensor, one: Tensor, block: Block, heads: int, key_heads: int, *, picked: bool
) -> None:
    """Write what `_by_head` has of a block's queries into [query, heads * width] of all."""
    if not picked:
        _write(whole, one, block, heads, key_heads)
        return
    assert block.picked is not None
    by_row = _by_row(one, block.rows, heads, key_heads)
    whole[block.picked.numbers[block.picked.real]] = by_row[block.picked.real]


def _write(whole: Tensor, one: Tensor, block: Block, heads: int, key_heads: int) -> None:
    """Write what `_by_head` has of a block into its own slots."""
    fast = kernels_for(whole, one)
    if fast is not None:
        fast.attention.by_row_(whole, one, block, heads, key_heads)
        return
    by_row = _by_row(one, block.rows, heads, key_heads)
    whole[block.start : block.end] = by_row.reshape(-1, whole.shape[1])


def _by_head(states: Tensor, heads: int, key_heads: int) -> Tensor:
    """[row, query, head * width] to [row * key head, heads a key head * query, width]."""
    rows, count, wide = states.shape
    width, shared = wide // heads, heads // key_heads
    apart = states.reshape(rows, count, key_heads, shared, width).permute(0, 2, 3, 1, 4)
    return apart.reshape(rows * key_heads, shared * count, width)


def _by_row(states: Tensor, rows: int, heads: int, key_heads: int) -> Tensor:
    """Back again."""
    width, shared = states.shape[2], heads // key_heads
    apart = states.view(rows, key_heads, shared, -1, width).permute(0, 3, 1, 2, 4)
    return apart.reshape(rows, -1, heads * width)


@lru_cache(maxsize=256)
def _causal(width: int, shared: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """0 where a token sees, and next to minus infinity where it does not."""
    seen = torch.ones(width, width, dtype=torch.bool, device=device).tril()
    bias = torch.zeros(width, width, dtype=dtype, device=device)
    return bias.masked_fill_(~seen, torch.finfo(dtype).min).repeat(shared, 1)
