"""A Llama-type causal LM that writes: one token a row at a time, keys and values remembered.

The operations are those of `llama_layers` with one query a row. Gains are folded into the weights
once for all tokens, and prompts are read packed. Attention is one compiled pass over what is
remembered, or two batched products, which on a CPU take less than half of the time of torch's fused
attention where there is a single query.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from assent.models.compiled_passes import FEW, WIDEST
from assent.models.kernels import kernels_for
from assent.models.llama import folded_weights, shape_of, turns_of
from assent.models.llama_layers import gated, norm, remembering, turn
from assent.models.packing import pack
from assent.models.states import autocast
from assent.models.tokens import Rows

MORE = 48
"""Columns of new room at least, when what is remembered has filled the old."""


class _Memory:
    """Keys and values of one layer, [row, key head, column, width]; some columns are free."""

    def __init__(self, key: Tensor, value: Tensor) -> None:
        self.key, self.value = key, value

    def make_room(self, columns: int) -> None:
        """Have at least as many columns."""
        held = self.key.shape[2]
        if columns > held:
            spare = max(columns, held + MORE, held * 3 // 2) - held
            self.key, self.value = (
                torch.cat([one, one.new_empty(*one.shape[:2], spare, one.shape[3])], dim=2)
                for one in (self.key, self.value)
            )

    def select(self, rows: Tensor) -> None:
        """Keep these rows, in this order."""
        self.key, self.value = self.key[rows], self.value[rows]


class LlamaWriter:
    """Rows that begin with prompts; see `sampling.Writer`."""

    logits: Float[Tensor, "row vocab"]

    def __init__(
        self,
        model: PreTrainedModel,
        head: nn.Module,
        prompts: Rows,
        which: Int[Tensor, " row"],
        precision: str,
    ) -> None:
        """Read the prompts.

        Args:
            model: with a trunk that `is_written_packed`.
            head: its output layer.
            prompts: each once, padded on the left.
            which: of each row, the number of its prompt.
            precision: "bfloat16" computes products in it; everything else stays in float32.
        """
        trunk: Any = model.base_model
        self._trunk, self._shape = trunk, shape_of(trunk, precision)
        self._head = _Head(head, trunk.norm.weight, self._shape.dtype)
        folded = folded_weights(trunk, self._shape)
        self._folded = [(torch.cat([one.query, one.key_value]), one) for one in folded]
        lengths = prompts.mask.sum(1)
        picks = torch.zeros_like(prompts.mask)
        picks[:, -1] = True
        packing = pack(prompts, picks)
        self._turns = turns_of(trunk, int(lengths.max()) + MORE)
        states, remembered = remembering(
            packing.packed, self._turns, self._shape, trunk.embed_tokens.weight, folded
        )
        states = states[packing.places]
        self.logits = self._head(states)[which]
        self._filled = int(lengths.max())
        along = torch.arange(self._filled)
        columns = (prompts.mask.shape[1] - lengths[:, None] + along).clamp(
            max=prompts.mask.shape[1] - 1
        )
        slots = packing.slots.gather(1, columns)[which]
        self._memories = [
            _Memory(*(self._by_head(one[slots]) for one in both)) for both in remembered
        ]
        self._first = self._filled
        self._lengths, self._positions = lengths[which], lengths[which]

    def __len__(self) -> int:
        return len(self._positions)

    def select(self, rows: Int[Tensor, " kept"]) -> None:
        """Keep these rows, in this order; their logits are not kept up."""
        for memory in self._memories:
            memory.select(rows)
        self._lengths, self._positions = self._lengths[rows], self._positions[rows]

    def write(self, tokens: Int[Tensor, " row"], writing: Tensor) -> None:
        """Add a token to every row; what a row that has ended is given changes nothing."""
        del writing  # a row sees itself alone
        shape, column = self._shape, self._filled
        if int(self._positions.max()) >= len(self._turns):
            self._turns = turns_of(self._trunk, len(self._turns) * 2)
        stream = nn.functional.embedding(tokens, self._trunk.embed_tokens.weight).float()
        for (together, one), memory in zip(self._folded, self._memories, strict=True):
            normed, _ = norm(stream, shape.eps, shape.dtype)
            memory.make_room(column + 1)
            mixed = self._look_back(_product(normed, together), memory)
            stream = stream + _product(mixed, one.out)
            normed, _ = norm(stream, shape.eps, shape.dtype)
            stream.add_(_product(gated(_product(normed, one.gate_up)), one.down))
        self._filled += 1
        self._positions = self._positions + 1
        last, _ = norm(stream, shape.eps, torch.float32)
        self.logits = self._head(last)

    def _look_back(self, states: Tensor, memory: _Memory) -> Tensor:
        """Remember the newest token's key and value; what it sees, itself included.

        Args:
            states: [row, (heads + 2 * key_heads) * width], its query, key and value.
            memory: of the layer.
        """
        shape, count, column = self._shape, len(states), self._filled
        fast = kernels_for(states)
        if fast is not None and shape.width <= WIDEST:
            return fast.look_back(
                states, self._turns, self._positions, self._lengths, self._first, column,
                shape.heads, memory.key, memory.value,
            )  # fmt: skip
        asked, between = shape.heads * shape.width, shape.key_heads * shape.width
        turned = turn(states[:, : asked + between], self._turns[self._positions], shape.width)
        memory.key[:, :, column] = turned[:, asked:].view(count, shape.key_heads, -1)
        memory.value[:, :, column] = states[:, asked + between :].view(count, shape.key_heads, -1)
        room = memory.key.shape[2]
        key, value = (
            one.view(count * shape.key_heads, room, shape.width)[:, : column + 1]
            for one in (memory.key, memory.value)
        )
        query = turned[:, :asked].reshape(count * shape.key_heads, -1, shape.width)
        scores = torch.bmm(query, key.transpose(1, 2))
        if int(self._lengths.min()) < self._first:
            hidden = torch.arange(self._first) >= self._lengths[:, None]
            by_row = scores.view(count, -1, column + 1)[:, :, : self._first]
            by_row.masked_fill_(hidden[:, None], -torch.inf)
        return torch.bmm(torch.softmax(scores, dim=-1), value).view(count, -1)

    def _by_head(self, states: Tensor) -> Tensor:
        """[row, column, key head * width] to [row, key head, column, width], with room for more."""
        rows, columns, _ = states.shape
        shape = self._shape
        made = states.new_empty(rows, shape.key_heads, columns + MORE, shape.width)
        made[:, :, :columns] = states.view(rows, columns, shape.key_heads, -1).transpose(1, 2)
        return made


def _product(states: Tensor, weights: Tensor) -> Tensor:
    """[row, out] from [row, wide] and [out, wide]."""
    if len(states) <= FEW.get(states.dtype, 0):
        fast = kernels_for(states, weights)
        if fast is not None:
            return fast.thin_product(states, weights)
    return states @ weights.t()


def _plain_weight(head: Any, dtype: torch.dtype) -> Tensor | None:  # noqa: ANN401
    """Of an output layer that only multiplies."""
    hooks = head._forward_hooks or head._forward_pre_hooks
    if not hooks and getattr(head, "bias", head) is None and type(head) is nn.Linear:
        weight: Tensor = head.weight.to(dtype)
        return weight
    return None


class _Head:
    """The output layer with the last norm's gain before it, in the precision of the products."""

    def __init__(self, head: nn.Module, gain: Tensor, dtype: torch.dtype) -> None:
        self._head, self._gain, self._dtype = head, gain, dtype
        self._weight: Tensor | None = _plain_weight(head, dtype)

    def __call__(self, normed: Tensor) -> Tensor:
        states = normed * self._gain
        if self._weight is not None:
            return _product(states.to(self._dtype), self._weight)
        with autocast(states.device, "bfloat16" if self._dtype == torch.bfloat16 else "float32"):
            logits: Tensor = self._head(states)
        return logits
