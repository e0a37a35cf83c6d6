"""How rows of tokens are laid out for a forward pass without padding or repeated prompts.

All tokens of a batch stand in one long run of slots. Attention alone has to know which belong
together: a block is a rectangle of rows of like length, and the rows of a block may look back at
slots before them, as the responses to one prompt do at the prompt that is read once for all.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int
from numpy.typing import NDArray
from torch import Tensor

from assent.models.tokens import Rows

ALL_WANTED = 0.7
"""Share of slots wanted from which the last layer is computed whole."""
LONGEST = 512
"""Columns of rows up to which they are packed: attention holds a weight for each pair of tokens."""
SPARE_TOKENS = 24
"""Padding that costs about as much as one more block, on a CPU."""


class Picked(NamedTuple):
    """Of a block, the queries that are wanted of the last layer, padded to a rectangle."""

    numbers: Int[Tensor, "row query"]
    """Which of all wanted slots; any number at padding."""
    real: Bool[Tensor, "row query"]
    visible: Bool[Tensor, "row query key"]


@dataclass(frozen=True, eq=False)
class Block:
    """Rows of equal width, padded at their ends."""

    start: int
    rows: int
    width: int
    before: Int[Tensor, "row prompt"] | None = None
    """Slots that every token of a row sees, beside its own row; where it is to be learned from,
    they stand before the block."""
    visible: Bool[Tensor, "row width key"] | None = None
    """Which of `before` and then of the row each token sees; None: all before it and itself."""
    picked: Picked | None = None

    @property
    def end(self) -> int:
        """The first slot behind it."""
        return self.start + self.rows * self.width


@dataclass(frozen=True, eq=False)
class Packed:
    """Tokens of a batch in slots, and the blocks they form."""

    tokens: Int[Tensor, " slot"]
    positions: Int[Tensor, " slot"]
    blocks: tuple[Block, ...]
    wanted: Int[Tensor, " wanted"] | None = None
    """Slots whose last states are wanted, each once, in order; all if None."""


class Packing(NamedTuple):
    """Rows in slots, and where the states that were asked for stand."""

    packed: Packed
    places: Int[Tensor, " pick"]
    """Of each pick, row after row: its number among the wanted slots."""
    slots: Int[Tensor, "batch seq"]
    """Of each real column of each row."""


def pack(rows: Rows, picks: Bool[Tensor, "batch seq"]) -> Packing:
    """Lay rows out; equal prompts stand once, and the responses to them look back at them.

    Args:
        rows: each a run of real tokens.
        picks: at which real tokens states are wanted.
    """
    layout = _Layout(rows)
    slots, every = layout.slots[picks.numpy()], torch.from_numpy(layout.slots)
    if len(slots) > ALL_WANTED * len(layout.tokens):
        return Packing(layout.packed(None), torch.from_numpy(slots), every)
    wanted, places = np.unique(slots, return_inverse=True)
    return Packing(layout.packed(wanted), torch.from_numpy(places), every)


def lay_out(
    tokens: Int[Tensor, " slot"],
    positions: Int[Tensor, " slot"],
    blocks: Sequence[Block],
    wanted: NDArray[np.int64] | None,
) -> Packed:
    """Tokens in slots, with what the last layer has to know of the slots wanted.

    Args:
        tokens: of all blocks, in their order.
        positions: of each token in its text.
        blocks: of the slots.
        wanted: slots whose states are wanted, each once, in order; all if None.
    """
    if wanted is None:
        return Packed(tokens, positions, tuple(blocks))
    picked = tuple(replace(block, picked=_picked(block, wanted)) for block in blocks)
    return Packed(tokens, positions, picked, torch.from_numpy(wanted))


class _Layout:
    """Slots handed out to rows."""

    def __init__(self, rows: Rows) -> None:
        self._given, mask = rows.tokens.numpy(), rows.mask.numpy()
        self.slots = np.zeros(mask.shape, dtype=np.int64)
        """Of each column of each row."""
        self._blocks: list[Block] = []
        self._tokens: list[NDArray[np.int64]] = []
        self._positions: list[NDArray[np.int64]] = []
        self._filled = 0
        starts, lengths = mask.argmax(1), mask.sum(1)
        prompt_width = rows.prompt_width
        prompts = _same_prompts(self._given, mask, prompt_width)
        if prompts is None:
            self._draw(np.arange(len(mask)), starts, lengths)
        else:
            asked = mask[:, :prompt_width].sum(1)
            self._draw(prompts.first, starts, asked)
            own = prompts.first[prompts.which]
            self.slots[:, :prompt_width] = self.slots[own, :prompt_width]
            self._draw_responses(prompt_width, asked, lengths - asked)
        self.tokens = np.concatenate(self._tokens)

    def packed(self, wanted: NDArray[np.int64] | None) -> Packed:
        """The layout, for some of its slots or for all."""
        positions = torch.from_numpy(np.concatenate(self._positions))
        return lay_out(torch.from_numpy(self.tokens), positions, self._blocks, wanted)

    def _draw(
        self, numbers: NDArray[np.int64], starts: NDArray[np.int64], lengths: NDArray[np.int64]
    ) -> None:
        """Rows from a column of their own on, in blocks of like length."""
        for group in alike(lengths[numbers].tolist(), SPARE_TOKENS):
            chosen = numbers[group]
            self._fill(chosen, starts[chosen], lengths[chosen], positions_from=None)

    def _draw_responses(
        self, start: int, asked: NDArray[np.int64], lengths: NDArray[np.int64]
    ) -> None:
        """What follows the prompts, each row looking back at its own."""
        some = np.flatnonzero(lengths)
        for group in alike(lengths[some].tolist(), SPARE_TOKENS):
            chosen = some[group]
            back, width = asked[chosen], int(lengths[chosen].max())
            columns = start - back[:, None] + np.arange(back.max())
            real = columns < start
            before = np.where(real, self.slots[chosen[:, None], np.minimum(columns, start - 1)], 0)
            own = np.broadcast_to(np.tri(width, dtype=np.bool_), (len(chosen), width, width))
            visible = np.concatenate(
                [np.broadcast_to(real[:, None], (len(chosen), width, real.shape[1])), own], axis=2
            )
            starts = np.full(len(chosen), start)
            self._fill(chosen, starts, lengths[chosen], back, before, visible)

    def _fill(
        self,
        chosen: NDArray[np.int64],
        starts: NDArray[np.int64],
        lengths: NDArray[np.int64],
        positions_from: NDArray[np.int64] | None,
        before: NDArray[np.int64] | None = None,
        visible: NDArray[np.bool_] | None = None,
    ) -> None:
        width = int(lengths.max())
        along = np.arange(width)
        columns = np.minimum(starts[:, None] + along, self._given.shape[1] - 1)
        self._tokens.append(self._given[chosen[:, None], columns].ravel())
        firsts = np.zeros(len(chosen), np.int64) if positions_from is None else positions_from
        self._positions.append((firsts[:, None] + along).ravel())
        inside = along < lengths[:, None]
        slots = self._filled + np.arange(len(chosen) * width).reshape(-1, width)
        self.slots[np.broadcast_to(chosen[:, None], inside.shape)[inside], columns[inside]] = slots[
            inside
        ]
        block = Block(self._filled, len(chosen), width)
        if before is not None and visible is not None:
            back, sight = torch.from_numpy(before), torch.from_numpy(visible)
            block = replace(block, before=back, visible=sight)
        self._blocks.append(block)
        self._filled += len(chosen) * width


class _Prompts(NamedTuple):
    """Which rows have a prompt in common."""

    first: NDArray[np.int64]
    """Of each prompt, the first row."""
    which: NDArray[np.int64]
    """Of each row, the number of its prompt."""


def _same_prompts(
    tokens: NDArray[np.int64], mask: NDArray[np.bool_], width: int
) -> _Prompts | None:
    """Rows by prompt; None if all differ."""
    if len(tokens) < 2 or not width:
        return None
    known: dict[bytes, int] = {}
    first: list[int] = []
    which = np.empty(len(tokens), np.int64)
    for number, (row, real) in enumerate(zip(tokens[:, :width], mask[:, :width], strict=True)):
        prompt = row[real].tobytes()
        if prompt not in known:
            known[prompt] = len(first)
            first.append(number)
        which[number] = known[prompt]
    if len(first) == len(tokens):
        return None
    return _Prompts(np.array(first), which)


def _picked(block: Block, wanted: NDArray[np.int64]) -> Picked:
    """The wanted slots of a block as a rectangle of queries."""
    low, high = np.searchsorted(wanted, (block.start, block.end))
    row, column = np.divmod(wanted[low:high] - block.start, block.width)
    counts = np.bincount(row, minlength=block.rows)
    most = int(counts.max(initial=0))
    place = np.arange(high - low) - np.repeat(np.cumsum(counts) - counts, counts)
    numbers = np.zeros((block.rows, most), np.int64)
    real = np.zeros((block.rows, most), np.bool_)
    columns = np.zeros((block.rows, most), np.int64)
    numbers[row, place], real[row, place] = np.arange(low, high), True
    columns[row, place] = column
    if block.visible is None:
        visible = np.tri(block.width, dtype=np.bool_)[columns]
    else:
        visible = block.visible.numpy()[np.arange(block.rows)[:, None], columns]
    return Picked(torch.from_numpy(numbers), torch.from_numpy(real), torch.from_numpy(visible))


def alike(lengths: Sequence[int], spare: int) -> list[list[int]]:
    """Rows in groups of like length, longest first, with at most `spare` tokens of padding each.

    Within a group the rows keep their order.
    """
    groups: list[list[int]] = []
    longest = padding = 0
    for number in sorted(range(len(lengths)), key=lambda n: (-lengths[n], n)):
        padding += longest - lengths[number]
        if not groups or padding > spare:
            groups.append([])
            longest, padding = lengths[number], 0
        groups[-1].append(number)
    return [sorted(group) for group in groups]
