"""What `attention.h` does, called with tensors: attention of one block, forward and backward."""

import ctypes
from typing import Final, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from assent.models.compiled_arguments import at, block_rows, half, size, threads
from assent.models.packing import Block

_WIDEST: Final = 256
"""Of a head."""
_LINES, _LANES = 8, 16
"""Queries and places of a row's weights come in whole multiples of these."""


class CompiledAttention:
    """The compiled functions, where the processor has what they need. Tensors are on the CPU."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def attends(self, dtype: torch.dtype, width: int) -> bool:
        """Whether `attend` is there for numbers of this kind and heads of this width."""
        if width > _WIDEST or width % 2:
            return False
        return bool(self._library.assent_attends(int(dtype == torch.bfloat16)))

    def attend(
        self, sight: "Sight", mixed: Float[Tensor, "query wide"], *, keep: bool
    ) -> Float[Tensor, "line question place"] | None:
        """softmax(Q K^T) V of one block, written into `mixed`.

        Args:
            sight: of a kind and width that it `attends`.
            mixed: as the queries are.
            keep: return the weights, which `attend_backward` computes again otherwise.
        """
        assert mixed.stride() == sight.query.stride()
        weights = sight.room_for_weights() if keep else None
        self._library.assent_attend(*sight.arguments(), at(weights), at(mixed), threads())
        return weights

    def attend_backward(
        self,
        flow: Float[Tensor, "query wide"],
        sight: "Sight",
        weights: Float[Tensor, "line question place"] | None,
        of_query: Float[Tensor, "query wide"],
        of_key: Float[Tensor, "slot narrow"],
        of_value: Float[Tensor, "slot narrow"],
    ) -> None:
        """Gradients of one block's queries, keys and values, given that of `mixed`.

        Those of the rows' own slots are written, those of slots that they look back at are added.
        """
        assert flow.stride() == of_query.stride() == sight.query.stride()
        assert of_key.stride() == of_value.stride()
        assert of_key.dtype == of_value.dtype
        assert of_key.stride(1) == 1
        into, stride = (of_key, of_value), of_key.stride(0)
        looks_back = sight.block.before is not None
        if looks_back:
            # Rows may share what they see, so each has a place of its own before they are added up.
            groups = sight.block.rows * sight.key_heads
            shape = (groups, sight.places, sight.query.shape[1] // sight.heads)
            into, stride = (of_key.new_empty(shape), of_key.new_empty(shape)), 0
        self._library.assent_attend_backward(
            *sight.arguments(), at(weights), at(flow), at(of_query), at(into[0]), at(into[1]),
            size(stride), half(into[0]), int(looks_back), threads(),
        )  # fmt: skip
        if looks_back:
            heads = sight.key_heads
            for whole, apart in zip((of_key, of_value), into, strict=True):
                self.by_row_(whole, apart, sight.block, heads, heads, looks_back=True)

    def by_head(
        self,
        states: Float[Tensor, "slot wide"],
        block: Block,
        heads: int,
        key_heads: int,
        *,
        looks_back: bool = False,
    ) -> Float[Tensor, "group line width"]:
        """A block's rows by key head: [row * key head, heads of each * place, width].

        Args:
            states: of all slots, which may stand further apart than they are wide.
            block: whose rows.
            heads: of the states.
            key_heads: that they belong to.
            looks_back: the slots that the rows look back at come first.
        """
        assert states.stride(1) == 1
        width, before = states.shape[1] // heads, block.before if looks_back else None
        places = block.width + (0 if before is None else before.shape[1])
        made = states.new_empty(block.rows * key_heads, heads // key_heads * places, width)
        self._library.assent_by_head(
            half(states), at(states), size(states.stride(0)), *block_rows(block, before),
            size(heads), size(key_heads), size(width), at(made), threads(),
        )  # fmt: skip
        return made

    def by_row_(
        self,
        into: Float[Tensor, "slot wide"],
        states: Float[Tensor, "group line width"],
        block: Block,
        heads: int,
        key_heads: int,
        *,
        looks_back: bool = False,
    ) -> None:
        """Back again: the rows' own slots are written, those they look back at are added to."""
        assert into.stride(1) == 1
        states = states.contiguous()
        self._library.assent_by_row(
            half(states), half(into), at(states),
            *block_rows(block, block.before if looks_back else None), size(heads), size(key_heads),
            size(states.shape[2]), at(into), size(into.stride(0)), threads(),
        )  # fmt: skip

    def softmax_(
        self,
        scores: Float[Tensor, "group line key"],
        visible: Bool[Tensor, "row query key"] | None,
        rows: int,
        heads: int,
    ) -> None:
        """Softmax of every line, in place.

        Args:
            scores: groups are rows times key heads, lines the heads of each times the queries.
            visible: which keys each query sees; without it query i sees the keys up to i.
            rows: how many.
            heads: of the queries.
        """
        assert scores.is_contiguous()
        keys = scores.shape[2]
        sees = None if visible is None else visible.contiguous()
        self._library.assent_softmax(
            half(scores), at(scores), at(sees), size(rows), size(heads),
            size(scores.shape[0] * scores.shape[1] // (rows * heads)), size(keys), threads(),
        )  # fmt: skip

    def softmax_backward_(
        self, flow: Float[Tensor, "group line key"], weights: Float[Tensor, "group line key"]
    ) -> None:
        """From the gradient of the weights that of the scores, in place."""
        assert flow.is_contiguous()
        assert weights.is_contiguous()
        keys = flow.shape[2]
        self._library.assent_softmax_backward(
            half(flow), at(flow), at(weights), size(flow.numel() // max(keys, 1)), size(keys),
            threads(),
        )  # fmt: skip


class Sight(NamedTuple):
    """Queries, keys and values of which those of one block are attended to."""

    query: Float[Tensor, "query wide"]
    """Of all slots, or of those wanted if `picked`; scaled."""
    key: Float[Tensor, "slot narrow"]
    """Of all slots; rows may stand further apart than they are wide, as the values' do."""
    value: Float[Tensor, "slot narrow"]
    block: Block
    heads: int
    key_heads: int
    """Each serves as many queries' heads."""
    picked: bool
    """The queries are those of `block.picked`."""

    def arguments(self) -> tuple[object, ...]:
        """What both passes begin with; the tensors have to outlive the call."""
        for one in (self.query, self.key, self.value):
            assert one.stride(1) == 1
            assert one.dtype == self.query.dtype
        assert self.key.stride(0) == self.value.stride(0)
        numbers = real = None
        visible = self.block.visible
        if self.picked:
            assert self.block.picked is not None
            numbers, real, visible = self.block.picked
        assert all(one is None or one.is_contiguous() for one in (numbers, real, visible))
        width = self.query.shape[1] // self.heads
        return (
            half(self.query), at(self.query), size(self.query.stride(0)), at(self.key),
            at(self.value), size(self.key.stride(0)), *block_rows(self.block, self.block.before),
            size(self.queries), at(numbers), at(real), at(visible), size(self.heads),
            size(self.key_heads), size(width),
        )  # fmt: skip

    @property
    def queries(self) -> int:
        """Of a row."""
        if not self.picked:
            return self.block.width
        assert self.block.picked is not None
        return self.block.picked.numbers.shape[1]

    @property
    def places(self) -> int:
        """That the queries of a row may see."""
        back = 0 if self.block.before is None else self.block.before.shape[1]
        return back + self.block.width

    def room_for_weights(self) -> Tensor:
        """[row * head, question, place], both rounded up to what the library works in."""
        queries = self.queries + -self.queries % _LINES
        places = self.places + -self.places % _LANES
        return self.query.new_empty(self.block.rows * self.heads, queries, places)
