"""A Llama-type causal LM that writes: one token a row at a time, keys and values remembered.

The operations are those of `llama_layers` with one query a row. Gains are folded into the weights
once for all tokens, prompts are read packed, and attention is two batched products, which on a CPU
take less than half of the time of torch's fused attention where there is a single query.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from assent.models.llama import folded_weights, shape_of, turns_of
from assent.models.llama_layers import norm, remembering, turn
from assent.models.packing import pack
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
        self, model: PreTrainedModel, head: nn.Module, prompts: Rows, which: Int[Tensor, " row"]
    ) -> None:
        """Read the prompts.

        Args:
            model: with a trunk that `takes_packed`.
            head: its output layer.
            prompts: each once, padded on the left.
            which: of each row, the number of its prompt.
        """
        trunk: Any = model.base_model
        self._trunk, self._head, self._shape = trunk, head, shape_of(trunk, "float32")
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
        self.logits = head(states * trunk.norm.weight)[which]
        self._filled = int(lengths.max())
        along = torch.arange(self._filled)
        columns = (prompts.mask.shape[1] - lengths[:, None] + along).clamp(
            max=prompts.mask.shape[1] - 1
        )
        slots = packing.slots.gather(1, columns)[which]
        self._memories = [
            _Memory(*(self._by_head(one[slots]) for one in both)) for both in remembered
        ]
        self._hidden = (along >= lengths[which, None]) if lengths.min() < lengths.max() else None
        self._positions = lengths[which]

    def __len__(self) -> int:
        return len(self._positions)

    def select(self, rows: Int[Tensor, " kept"]) -> None:
        """Keep these rows, in this order; their logits are not kept up."""
        for memory in self._memories:
            memory.select(rows)
        self._positions = self._positions[rows]
        if self._hidden is not None:
            self._hidden = self._hidden[rows]

    def write(self, tokens: Int[Tensor, " row"], writing: Tensor) -> None:
        """Add a token to every row; what a row that has ended is given changes nothing."""
        del writing  # a row sees itself alone
        shape, column = self._shape, self._filled
        if int(self._positions.max()) >= len(self._turns):
            self._turns = turns_of(self._trunk, len(self._turns) * 2)
        turns = self._turns[self._positions]
        stream = nn.functional.embedding(tokens, self._trunk.embed_tokens.weight)
        asked, between = shape.heads * shape.width, shape.key_heads * shape.width
        for (together, one), memory in zip(self._folded, self._memories, strict=True):
            normed, _ = norm(stream, shape.eps, torch.float32)
            both = normed @ together.t()
            turned = turn(both[:, : asked + between], turns, shape.width)
            memory.make_room(column + 1)
            memory.key[:, :, column] = turned[:, asked:].view(len(tokens), shape.key_heads, -1)
            memory.value[:, :, column] = both[:, asked + between :].view(
                len(tokens), shape.key_heads, -1
            )
            stream = stream + self._seen(turned[:, :asked], memory) @ one.out.t()
            normed, _ = norm(stream, shape.eps, torch.float32)
            gate, up = (normed @ one.gate_up.t()).chunk(2, dim=1)
            stream.add_(nn.functional.silu(gate).mul_(up) @ one.down.t())
        self._filled += 1
        self._positions = self._positions + 1
        last, _ = norm(stream, shape.eps, torch.float32)
        self.logits = self._head(last * self._trunk.norm.weight)

    def _seen(self, query: Tensor, memory: _Memory) -> Tensor:
        """What the newest token of each row sees, itself included; [row, heads * width]."""
        shape, count, filled = self._shape, len(query), self._filled + 1
        room = memory.key.shape[2]
        key, value = (
            one.view(count * shape.key_heads, room, shape.width)[:, :filled]
            for one in (memory.key, memory.value)
        )
        asked = query.reshape(count * shape.key_heads, -1, shape.width)
        scores = torch.bmm(asked, key.transpose(1, 2))
        if self._hidden is not None:
            by_row = scores.view(count, -1, filled)[:, :, : self._hidden.shape[1]]
            by_row.masked_fill_(self._hidden[:, None], -torch.inf)
        return torch.bmm(torch.softmax(scores, dim=-1), value).view(count, -1)

    def _by_head(self, states: Tensor) -> Tensor:
        """[row, column, key head * width] to [row, key head, column, width], with room for more."""
        rows, columns, _ = states.shape
        shape = self._shape
        made = states.new_empty(rows, shape.key_heads, columns + MORE, shape.width)
        made[:, :, :columns] = states.view(rows, columns, shape.key_heads, -1).transpose(1, 2)
        return made
