"""What `rows.cpp` does, called with tensors; `kernels.py` compiles it and says if it is there."""

import ctypes
from pathlib import Path
from typing import Final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from assent.models.compiled_arguments import at, half, size, threads
from assent.models.compiled_attention import CompiledAttention

WIDEST: Final = 512
"""Of a head, in `Kernels.look_back`."""
FEW: Final = {torch.float32: 4, torch.bfloat16: 1}
"""Rows up to which `Kernels.thin_product` is faster than torch's."""


class Kernels:
    """The compiled functions. Matrices are contiguous, float32 or bfloat16, on the CPU.

    Those that attention is made of are in `attention`.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self.attention = CompiledAttention(library)
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
            half(normed), at(stream), size(count), size(wide), ctypes.c_float(eps), at(normed),
            at(scales), threads(),
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
            half(gradient), half(normed), at(gradient), at(second), at(normed), at(scales),
            at(before), size(count), size(wide), at(into), threads(),
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
            half(states), at(states), size(len(states)), size(states.stride(0)),
            size(states.shape[1]), size(width), at(turns),
            ctypes.c_float(-1.0 if back else 1.0), threads(),
        )  # fmt: skip

    def gated(self, gate_up: Float[Tensor, "row both"]) -> Float[Tensor, "row half"]:
        """silu(gate) * up."""
        assert gate_up.is_contiguous()
        count, wide = len(gate_up), gate_up.shape[1] // 2
        activated = gate_up.new_empty(count, wide)
        self._library.assent_gated(
            half(gate_up), at(gate_up), size(count), size(wide), at(activated), threads()
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
            half(gate_up), at(through), at(gate_up), size(len(through)),
            size(through.shape[1]), at(found), threads(),
        )  # fmt: skip
        return found

    def token_logprobs(
        self, logits: Float[Tensor, "row vocab"], tokens: Int[Tensor, " row"], temperature: float
    ) -> tuple[Float[Tensor, " row"], Float[Tensor, " row"]]:
        """Log-probability of one token a row, and the log of the sum over all."""
        assert logits.is_contiguous()
        assert tokens.is_contiguous()
        count, vocabulary = logits.shape
        picked, sums = torch.empty(count), torch.empty(count)
        self._library.assent_token_logprobs(
            half(logits), at(logits), at(tokens), size(count), size(vocabulary),
            ctypes.c_float(temperature), at(sums), at(picked), threads(),
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
            half(logits), at(logits), at(tokens), at(gradient), at(sums), size(len(logits)),
            size(logits.shape[1]), ctypes.c_float(temperature), at(found), threads(),
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
            half(states), at(states), size(len(states)), size(states.shape[1]), at(weights),
            size(len(weights)), at(made), threads(),
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
            half(logits), at(logits), at(uniforms), size(count), size(vocabulary),
            ctypes.c_float(temperature), at(tokens), at(logprobs), threads(),
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
        rough = not self.attention.attends(states.dtype, width)
        assert states.dtype == keys.dtype == values.dtype
        parts = (states, turns, positions, lengths, keys, values)
        assert all(part.is_contiguous() for part in parts)
        mixed = states.new_empty(rows, heads * width)
        self._library.assent_look_back(
            half(states), at(states), at(turns), at(positions), at(lengths), size(start),
            size(column), size(rows), size(heads), size(key_heads), size(width), size(room),
            int(rough), at(keys), at(values), at(mixed), threads(),
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
