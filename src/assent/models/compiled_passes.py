"""What `rows.cpp` does, called with tensors; `kernels.py` compiles it and says if it is there."""

import ctypes
from pathlib import Path
from typing import Final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from assent.models.packing import Block

WIDEST: Final = 512
"""Of a head, in `Kernels.look_back`."""
FEW: Final = {torch.float32: 4, torch.bfloat16: 1}
"""Rows up to which `Kernels.thin_product` is faster than torch's."""


class Kernels:
    """The compiled functions. Matrices are contiguous, float32 or bfloat16, on the CPU."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        _share_threads(library)

    def norm(
        self, stream: Float[Tensor, "row hidden"], eps: float, dtype: torch.dtype
    ) -> tuple[Float[Tensor, "row hidden"], Float[Tensor, "row 1"]]:
        """The float32 stream over its root mean square, and what it was multiplied by."""
        count, wide = stream.shape
        stream = stream.contiguous()
        normed = torch.empty(count, wide, dtype=dtype)
        scales = torch.empty(count, 1)
        self._library.assent_norm(
            _half(normed), _at(stream), _size(count), _size(wide), ctypes.c_float(eps), _at(normed),
            _at(scales), _threads(),
        )  # fmt: skip
        return normed, scales

    def norm_backward(
        self,
        gradient: Float[Tensor, "row hidden"],
        normed: Float[Tensor, "row hidden"],
        scales: Float[Tensor, "row 1"],
        *,
        second: Float[Tensor, "row hidden"] | None = None,
        before: Float[Tensor, "row hidden"] | None = None,
    ) -> Float[Tensor, "row hidden"]:
        """Gradient before a norm, given that of its result; float32.

        Args:
            gradient: of the result.
            normed: the result.
            scales: as `norm` returned them.
            second: another gradient of the result, of the same kind.
            before: added to what is returned, and used up.
        """
        count, wide = gradient.shape
        into = torch.empty(count, wide) if before is None else before
        parts = [gradient, normed, scales, into, *([] if second is None else [second])]
        assert all(part.is_contiguous() for part in parts)
        assert second is None or second.dtype == gradient.dtype
        self._library.assent_norm_backward(
            _half(gradient), _half(normed), _at(gradient), _at(second), _at(normed), _at(scales),
            _at(before), _size(count), _size(wide), _at(into), _threads(),
        )  # fmt: skip
        return into

    def turn(
        self,
        states: Float[Tensor, "row wide"],
        turns: Tensor,
        width: int,
        *,
        back: bool = False,
    ) -> None:
        """Rotate the adjacent pairs of every head, in place.

        Args:
            states: rows that may stand further apart than they are wide.
            turns: complex, [row, width / 2].
            width: of a head.
            back: by the opposite angle.
        """
        assert states.stride(1) == 1
        assert turns.is_contiguous()
        self._library.assent_turn(
            _half(states), _at(states), _size(len(states)), _size(states.stride(0)),
            _size(states.shape[1]), _size(width), _at(turns),
            ctypes.c_float(-1.0 if back else 1.0), _threads(),
        )  # fmt: skip

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
            _half(states), _at(states), _size(states.stride(0)), *_rows(block, before),
            _size(heads), _size(key_heads), _size(width), _at(made), _threads(),
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
            _half(states), _half(into), _at(states),
            *_rows(block, block.before if looks_back else None), _size(heads), _size(key_heads),
            _size(states.shape[2]), _at(into), _size(into.stride(0)), _threads(),
        )  # fmt: skip

    def gated(self, gate_up: Float[Tensor, "row both"]) -> Float[Tensor, "row half"]:
        """silu(gate) * up."""
        assert gate_up.is_contiguous()
        count, wide = len(gate_up), gate_up.shape[1] // 2
        activated = gate_up.new_empty(count, wide)
        self._library.assent_gated(
            _half(gate_up), _at(gate_up), _size(count), _size(wide), _at(activated), _threads()
        )
        return activated

    def gated_backward(
        self, through: Float[Tensor, "row half"], gate_up: Float[Tensor, "row both"]
    ) -> Float[Tensor, "row both"]:
        """Gradient of gate and up, given that of `gated`."""
        assert through.is_contiguous()
        assert gate_up.is_contiguous()
        found = torch.empty_like(gate_up)
        self._library.assent_gated_backward(
            _half(gate_up), _at(through), _at(gate_up), _size(len(through)),
            _size(through.shape[1]), _at(found), _threads(),
        )  # fmt: skip
        return found

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
            _half(scores), _at(scores), _at(sees), _size(rows), _size(heads),
            _size(scores.shape[0] * scores.shape[1] // (rows * heads)), _size(keys), _threads(),
        )  # fmt: skip

    def softmax_backward_(
        self, flow: Float[Tensor, "group line key"], weights: Float[Tensor, "group line key"]
    ) -> None:
        """From the gradient of the weights that of the scores, in place."""
        assert flow.is_contiguous()
        assert weights.is_contiguous()
        keys = flow.shape[2]
        self._library.assent_softmax_backward(
            _half(flow), _at(flow), _at(weights), _size(flow.numel() // max(keys, 1)), _size(keys),
            _threads(),
        )  # fmt: skip

    def token_logprobs(
        self, logits: Float[Tensor, "row vocab"], tokens: Int[Tensor, " row"], temperature: float
    ) -> tuple[Float[Tensor, " row"], Float[Tensor, " row"]]:
        """Log-probability of one token a row, and the log of the sum over all."""
        assert logits.is_contiguous()
        assert tokens.is_contiguous()
        count, vocabulary = logits.shape
        picked, sums = torch.empty(count), torch.empty(count)
        self._library.assent_token_logprobs(
            _half(logits), _at(logits), _at(tokens), _size(count), _size(vocabulary),
            ctypes.c_float(temperature), _at(sums), _at(picked), _threads(),
        )  # fmt: skip
        return picked, sums

    def token_logprobs_backward(
        self,
        gradient: Float[Tensor, " row"],
        logits: Float[Tensor, "row vocab"],
        tokens: Int[Tensor, " row"],
        sums: Float[Tensor, " row"],
        temperature: float,
    ) -> Float[Tensor, "row vocab"]:
        """Gradient of the logits, in their kind."""
        found = torch.empty_like(logits)
        gradient = gradient.float().contiguous()
        self._library.assent_token_logprobs_backward(
            _half(logits), _at(logits), _at(tokens), _at(gradient), _at(sums), _size(len(logits)),
            _size(logits.shape[1]), ctypes.c_float(temperature), _at(found), _threads(),
        )  # fmt: skip
        return found

    def thin_product(
        self, states: Float[Tensor, "row wide"], weights: Float[Tensor, "out wide"]
    ) -> Float[Tensor, "row out"]:
        """Product of a few rows with weights transposed: reading the weights is all that counts."""
        assert states.dtype == weights.dtype
        states = states.contiguous()
        assert weights.is_contiguous()
        made = states.new_empty(len(states), len(weights))
        self._library.assent_thin_product(
            _half(states), _at(states), _size(len(states)), _size(states.shape[1]), _at(weights),
            _size(len(weights)), _at(made), _threads(),
        )  # fmt: skip
        return made

    def draw(
        self,
        logits: Float[Tensor, "row vocab"],
        uniforms: Float[Tensor, " row"],
        temperature: float,
    ) -> tuple[Int[Tensor, " row"], Float[Tensor, " row"]]:
        """A token a row, as `objectives.logprobs.draw_tokens` draws it, and its log-probability.

        The token is -1 where the logits are NaN or infinite.
        """
        assert uniforms.dtype == torch.float64
        logits, uniforms = logits.contiguous(), uniforms.contiguous()
        count, vocabulary = logits.shape
        tokens, logprobs = torch.empty(count, dtype=torch.long), torch.empty(count)
        self._library.assent_draw(
            _half(logits), _at(logits), _at(uniforms), _size(count), _size(vocabulary),
            ctypes.c_float(temperature), _at(tokens), _at(logprobs), _threads(),
        )  # fmt: skip
        return tokens, logprobs

    def look_back(
        self,
        states: Float[Tensor, "row wide"],
        turns: Tensor,
        positions: Int[Tensor, " row"],
        lengths: Int[Tensor, " row"],
        start: int,
        column: int,
        heads: int,
        keys: Float[Tensor, "row key_head column width"],
        values: Float[Tensor, "row key_head column width"],
    ) -> Float[Tensor, "row mixed"]:
        """What the newest token of each row sees, itself included; its key and value are written.

        Args:
            states: query, key and value of the token, side by side, not yet turned.
            turns: complex, [position, width / 2].
            positions: of the token in its text.
            lengths: columns of the row's prompt, at the left.
            start: the first column that is every row's own.
            column: where the token stands.
            heads: of the query.
            keys: of the kind of the states, written at `column`.
            values: as the keys.
        """
        rows, key_heads, room, width = keys.shape
        assert width <= WIDEST
        assert states.dtype == keys.dtype == values.dtype
        parts = (states, turns, positions, lengths, keys, values)
        assert all(part.is_contiguous() for part in parts)
        mixed = states.new_empty(rows, heads * width)
        self._library.assent_look_back(
            _half(states), _at(states), _at(turns), _at(positions), _at(lengths), _size(start),
            _size(column), _size(rows), _size(heads), _size(key_heads), _size(width), _size(room),
            _at(keys), _at(values), _at(mixed), _threads(),
        )  # fmt: skip
        return mixed


def _share_threads(library: ctypes.CDLL) -> None:
    """Let the kernels use the threads that torch has, where they are GNU OpenMP's."""
    file = Path(torch.__file__).parent / "lib" / "libgomp.so.1"
    if not file.is_file():
        return
    threads = ctypes.CDLL(str(file))
    library.assent_threads(
        threads.GOMP_parallel, threads.omp_get_thread_num, threads.omp_get_num_threads
    )


def _rows(block: Block, before: Tensor | None) -> tuple[object, ...]:
    """A block as the library wants it: `before` has to outlive the call."""
    assert before is None or before.is_contiguous()
    back = 0 if before is None else before.shape[1]
    numbers = _size(block.start), _size(block.rows), _size(block.width)
    return *numbers, _at(before), _size(back)


def _half(matrix: Tensor) -> int:
    return int(matrix.dtype == torch.bfloat16)


def _at(matrix: Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if matrix is None else matrix.data_ptr())


def _size(count: int) -> ctypes.c_int64:
    return ctypes.c_int64(count)


def _threads() -> int:
    return torch.get_num_threads()
