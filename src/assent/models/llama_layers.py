r"""The layers of a Llama-type trunk over packed tokens, with a backward pass written by hand.

For a small model on a CPU the time goes into many small operations rather than into products. Here
a layer is a dozen operations forward and two dozen backward: query, key and value are one product,
as are gate and up; the gains of the norms are folded into the weights behind them; the rotation of
queries and keys is one complex product; and the last layer is computed only where its states are
wanted, which for a response to a long prompt, or for a reward, is a small part. Sums are in another
order than in transformers' own forward pass, and nothing else differs.

Slots are positions of `packing.Packed`, all dense operations run over all of them at once:

.. math:: n = x / \mathrm{rms}(x), \quad x' = x + W_o\,\mathrm{attention}(W_{qkv} g_1 n), \quad
          x'' = x' + W_d (\mathrm{silu}(W_g g_2 n') \odot W_u g_2 n')
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from assent.models.kernels import kernels_for
from assent.models.packed_attention import Attended, attend, attend_backward
from assent.models.packing import Packed

WEIGHTS_A_LAYER = 9


class Shape(NamedTuple):
    """What of a model's configuration its layers depend on."""

    heads: int
    key_heads: int
    width: int
    """Of a head."""
    eps: float
    """Added to the mean square in a norm."""
    padding: int
    """Token whose embedding is never learned; -1 for none."""
    dtype: torch.dtype
    """Of products; the residual stream, norms and softmax stay in float32."""


class Layer(NamedTuple):
    """The weights of one layer, as transformers has them."""

    gain: Tensor
    query: Tensor
    key: Tensor
    value: Tensor
    out: Tensor
    second_gain: Tensor
    gate: Tensor
    up: Tensor
    down: Tensor


class Folded(NamedTuple):
    """The weights of one layer as they are multiplied: gains folded in, rotated pairs adjacent.

    Or the gradients of these.
    """

    query: Tensor
    key_value: Tensor
    out: Tensor
    gate_up: Tensor
    down: Tensor


class _Kept(NamedTuple):
    """What the backward pass of one layer needs."""

    normed: Tensor
    scale: Tensor
    attended: Attended
    mixed: Tensor
    second_normed: Tensor
    second_scale: Tensor
    gate_up: Tensor
    activated: Tensor


class PackedTrunk(torch.autograd.Function):
    """Normalised last hidden states, before the last norm's gain, at the slots wanted."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        packed: Packed,
        turns: Tensor,
        shape: Shape,
        embedding: Tensor,
        *weights: Tensor,
    ) -> Tensor:
        """States [wanted, hidden] from the weights of all layers, flat."""
        folded = [fold(layer, shape) for layer in layers_of(weights)]
        kept: list[_Kept] = []
        states, scale = _forward(packed, turns, shape, embedding, folded, kept)
        ctx.packed, ctx.turns, ctx.shape = packed, turns, shape
        # What is returned leads back to `ctx`: kept as it is, both would wait for the collector of
        # cycles, and the activations of dozens of steps with them.
        ctx.kept, ctx.states, ctx.scale, ctx.folded = kept, states.detach(), scale, folded
        ctx.save_for_backward(embedding, *weights)
        return states

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        """Gradients of the embedding and of every weight."""
        embedding, *weights = ctx.saved_tensors
        packed, shape, folded = ctx.packed, ctx.shape, ctx.folded
        angles = ctx.turns[packed.positions]
        flow = _norm_backward(gradient.contiguous(), ctx.states, ctx.scale)
        layers, found = layers_of(weights), []
        for number in reversed(range(len(layers))):
            picks = packed.wanted if number == len(layers) - 1 else None
            flow, of_layer = _layer_backward(
                flow, folded[number], ctx.kept[number], packed, angles, shape, picks
            )
            found.append(_unfold(layers[number], shape, of_layer))
        of_embedding = torch.ops.aten.embedding_dense_backward(
            flow, packed.tokens, len(embedding), shape.padding, False
        )
        of_weights = [weight for layer in reversed(found) for weight in layer]
        return None, None, None, of_embedding, *of_weights


@torch.no_grad()
def states_without_gradient(
    packed: Packed, turns: Tensor, shape: Shape, embedding: Tensor, folded: Sequence[Folded]
) -> Tensor:
    """The same states where nothing is to be learned."""
    return _forward(packed, turns, shape, embedding, folded, None)[0]


@torch.no_grad()
def remembering(
    packed: Packed, turns: Tensor, shape: Shape, embedding: Tensor, folded: Sequence[Folded]
) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """The states, and the keys and values of each layer."""
    remembered: list[tuple[Tensor, Tensor]] = []
    states, _ = _forward(packed, turns, shape, embedding, folded, None, remembered)
    return states, remembered


def layers_of(weights: tuple[Tensor, ...] | list[Tensor]) -> list[Layer]:
    """Flat weights by layer."""
    count = WEIGHTS_A_LAYER
    return [Layer(*weights[start : start + count]) for start in range(0, len(weights), count)]


def _forward(
    packed: Packed,
    turns: Tensor,
    shape: Shape,
    embedding: Tensor,
    folded: Sequence[Folded],
    kept: list[_Kept] | None,
    remembered: list[tuple[Tensor, Tensor]] | None = None,
) -> tuple[Tensor, Tensor]:
    """Normalised states at the slots wanted, and what they were multiplied by."""
    stream = torch.nn.functional.embedding(packed.tokens, embedding).float()
    angles = turns[packed.positions]
    for number, layer in enumerate(folded):
        picks = packed.wanted if number == len(folded) - 1 else None
        stream = _layer_forward(stream, layer, packed, angles, shape, picks, kept, remembered)
    return norm(stream, shape.eps, torch.float32)


def _layer_forward(
    stream: Tensor,
    folded: Folded,
    packed: Packed,
    turns: Tensor,
    shape: Shape,
    picks: Tensor | None,
    kept: list[_Kept] | None,
    remembered: list[tuple[Tensor, Tensor]] | None,
) -> Tensor:
    normed, scale = norm(stream, shape.eps, shape.dtype)
    key_value = normed @ folded.key_value.t()
    asking, residual, query_turns = normed, stream, turns
    if picks is not None:
        asking, residual, query_turns = normed[picks], stream[picks], turns[picks]
    query = turn(asking @ folded.query.t(), query_turns, shape.width)
    between = shape.key_heads * shape.width
    key = turn(key_value[:, :between], turns, shape.width)
    if remembered is not None:
        remembered.append((key, key_value[:, between:]))
    attended = attend(
        query,
        key,
        key_value[:, between:],
        packed,
        heads=shape.heads,
        key_heads=shape.key_heads,
        picked=picks is not None,
        keep=kept is not None,
    )
    mixed = attended.mixed
    after = residual + mixed @ folded.out.t()
    second_normed, second_scale = norm(after, shape.eps, shape.dtype)
    gate_up = second_normed @ folded.gate_up.t()
    activated = gated(gate_up)
    if kept is not None:
        mine = (normed, scale, attended, mixed)
        kept.append(_Kept(*mine, second_normed, second_scale, gate_up, activated))
    return after.add_(activated @ folded.down.t())


def _layer_backward(
    flow: Tensor,
    folded: Folded,
    kept: _Kept,
    packed: Packed,
    turns: Tensor,
    shape: Shape,
    picks: Tensor | None,
) -> tuple[Tensor, Folded]:
    """Gradient of the stream before a layer, and of the layer's folded weights."""
    dtype = shape.dtype
    rough = flow.to(dtype)
    of_down = rough.t() @ kept.activated
    through = rough @ folded.down
    of_gate_up = _gated_backward(through, kept.gate_up)
    of_gate_up_weight = of_gate_up.t() @ kept.second_normed
    flow = _norm_backward(
        of_gate_up @ folded.gate_up, kept.second_normed, kept.second_scale, before=flow
    )
    rough = flow.to(dtype)
    of_out = rough.t() @ kept.mixed
    of_query, of_key_value = attend_backward(
        rough @ folded.out, kept.attended, packed, picked=picks is not None
    )
    of_query = turn(of_query, turns if picks is None else turns[picks], shape.width, back=True)
    of_key = of_key_value[:, : shape.key_heads * shape.width]
    turned = turn(of_key, turns, shape.width, back=True)
    if turned is not of_key:
        of_key.copy_(turned)
    of_key_value = of_key_value.to(dtype)
    of_normed = of_key_value @ folded.key_value
    asked = of_query @ folded.query
    if picks is None:
        of_query_weight = of_query.t() @ kept.normed
        before = _norm_backward(of_normed, kept.normed, kept.scale, second=asked, before=flow)
    else:
        of_query_weight = of_query.t() @ kept.normed[picks]
        of_normed = of_normed.float()
        of_normed[picks] += asked
        before = _norm_backward(of_normed, kept.normed, kept.scale)
        before[picks] += flow
    of_key_value_weight = of_key_value.t() @ kept.normed
    weights = (of_query_weight, of_key_value_weight, of_out, of_gate_up_weight, of_down)
    return before, Folded(*weights)


def norm(stream: Tensor, eps: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The stream over its root mean square, and what it was multiplied by."""
    fast = kernels_for(stream)
    if fast is not None:
        return fast.norm(stream, eps, dtype)
    square = torch.linalg.vector_norm(stream, dim=1, keepdim=True).square_()
    scale = square.div_(stream.shape[1]).add_(eps).rsqrt_()
    return (stream * scale).to(dtype), scale


def _norm_backward(
    gradient: Tensor,
    normed: Tensor,
    scale: Tensor,
    *,
    second: Tensor | None = None,
    before: Tensor | None = None,
) -> Tensor:
    """Gradient before a norm, given that of its result, or the two parts of it.

    Args:
        gradient: of the result.
        normed: the result.
        scale: what it was multiplied by.
        second: the other part.
        before: added to what is returned, and used up.
    """
    fast = kernels_for(gradient, normed)
    if fast is not None:
        return fast.norm_backward(gradient, normed, scale, second=second, before=before)
    flow = gradient.float() if second is None else gradient.float() + second.float()
    along = (flow * normed).mean(dim=1, keepdim=True)
    flow = torch.addcmul(flow, normed, along, value=-1.0).mul_(scale)
    return flow if before is None else before.add_(flow)


def turn(states: Tensor, turns: Tensor, width: int, *, back: bool = False) -> Tensor:
    """Rotate the adjacent pairs of every head by the angle of their position; may be in place.

    Args:
        states: [row, heads * width]; used up.
        turns: [row, width / 2], complex.
        width: of a head.
        back: by the opposite angle.
    """
    fast = kernels_for(states)
    if fast is not None:
        fast.turn(states, turns, width, back=back)
        return states
    apart = (len(states), states.shape[1] // width, width // 2, 2)
    pairs = torch.view_as_complex(states.float().reshape(apart))
    angles = turns.conj() if back else turns
    return torch.view_as_real(pairs * angles[:, None]).reshape(states.shape).to(states.dtype)


def gated(gate_up: Tensor) -> Tensor:
    """silu(gate) * up, the two side by side in each row."""
    fast = kernels_for(gate_up)
    if fast is not None:
        return fast.gated(gate_up)
    gate, up = gate_up.chunk(2, dim=1)
    return torch.nn.functional.silu(gate).mul_(up)


def _gated_backward(through: Tensor, gate_up: Tensor) -> Tensor:
    """Gradient of gate and up, given that of `gated`, which is used up."""
    fast = kernels_for(through, gate_up)
    if fast is not None:
        return fast.gated_backward(through, gate_up)
    gate, up = gate_up.chunk(2, dim=1)
    found = torch.empty_like(gate_up)
    half = gate.shape[1]
    torch.mul(through, torch.nn.functional.silu(gate), out=found[:, half:])
    found[:, :half] = torch.ops.aten.silu_backward(through.mul_(up), gate)
    return found


def fold(layer: Layer, shape: Shape) -> Folded:
    """Weights with the gain before them, queries scaled by 1 / sqrt(width), in `shape.dtype`."""
    layer = Layer(*(weight.float() for weight in layer))
    gain, second = layer.gain, layer.second_gain
    query = _adjacent(layer.query * (gain * shape.width**-0.5), shape.width)
    key_value = torch.cat([_adjacent(layer.key * gain, shape.width), layer.value * gain])
    gate_up = torch.cat([layer.gate * second, layer.up * second])
    return Folded(
        *(one.to(shape.dtype) for one in (query, key_value, layer.out, gate_up, layer.down))
    )


def _unfold(layer: Layer, shape: Shape, of: Folded) -> list[Tensor]:
    """Gradients of a layer's weights, in their order, from those of the folded ones."""
    of = Folded(*(one.float() for one in of))
    between = shape.key_heads * shape.width
    query = _apart(of.query, shape.width) * shape.width**-0.5
    key, value = _apart(of.key_value[:between], shape.width), of.key_value[between:]
    gate, up = of.gate_up.chunk(2)
    of_gain = (query * layer.query).sum(0) + (key * layer.key).sum(0) + (value * layer.value).sum(0)
    of_second = (gate * layer.gate).sum(0) + (up * layer.up).sum(0)
    gain, second = layer.gain, layer.second_gain
    return [
        of_gain, query * gain, key * gain, value * gain, of.out,
        of_second, gate * second, up * second, of.down,
    ]  # fmt: skip


def _adjacent(weight: Tensor, width: int) -> Tensor:
    """Rows of each head reordered so that the two that are rotated together stand together."""
    hidden = weight.shape[1]
    return weight.view(-1, 2, width // 2, hidden).transpose(1, 2).reshape(-1, hidden)


def _apart(weight: Tensor, width: int) -> Tensor:
    """The order before `_adjacent`."""
    hidden = weight.shape[1]
    return weight.view(-1, width // 2, 2, hidden).transpose(1, 2).reshape(-1, hidden)
