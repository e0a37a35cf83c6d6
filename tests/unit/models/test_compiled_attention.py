"""Attention in one compiled pass against its definition: every query over every slot."""

import ctypes
import platform
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from assent.models import kernels as module
from assent.models.compiled_attention import CompiledAttention, Sight
from assent.models.compiled_passes import Kernels
from assent.models.packing import Block, Packed, lay_out

KINDS = [torch.float32, torch.bfloat16]


@pytest.fixture(scope="module", params=["this processor", "x86-64-v2", "x86-64-v3"])
def fast(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> CompiledAttention:
    """As it is compiled for this processor, and for older ones, whose code runs on it too."""
    found = module.kernels()
    if found is None:
        pytest.skip(f"attention is not compiled here: {module.where_from()}")
    if request.param == "this processor":
        return found.attention
    if platform.machine() != "x86_64":
        pytest.skip("this processor is of another kind")
    compiled = tmp_path_factory.mktemp("older") / "rows.so"
    compile_for(request.param, "-O1", "-shared", "-fPIC", "-o", str(compiled))
    return Kernels(ctypes.CDLL(str(compiled))).attention


def compile_for(processor: str, *flags: str) -> None:
    command = ["c++", f"-march={processor}", "-std=c++17", "-fno-exceptions", "-fno-rtti"]
    done = subprocess.run(
        [*command, *flags, str(module.SOURCE)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(platform.machine() != "x86_64", reason="names processors of another kind")
@pytest.mark.parametrize("processor", ["x86-64-v4", "cooperlake", "sapphirerapids"])
def test_it_can_be_compiled_for_processors_that_this_one_may_not_be(processor: str) -> None:
    if module.kernels() is None:
        pytest.skip(f"nothing is compiled here: {module.where_from()}")
    compile_for(processor, "-fsyntax-only")


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


class Case(NamedTuple):
    """A block of `rows` rows of `width`, which follow 9 slots that some look back at."""

    rows: int
    width: int
    heads: int
    key_heads: int
    head_width: int
    back: int = 0
    masked: bool = False
    wanted: bool = False

    def packed(self) -> Packed:
        draw = np.random.default_rng(0)
        start, places = 9, self.back + self.width
        before = visible = None
        if self.back or self.masked:
            sees = np.concatenate(
                [
                    np.ones((self.rows, self.width, self.back), np.bool_),
                    np.broadcast_to(
                        np.tri(self.width, dtype=np.bool_), (self.rows, self.width, self.width)
                    ),
                ],
                axis=2,
            )
            if self.masked:
                sees &= draw.random(sees.shape) < 0.6
                sees[:, :, self.back :] |= np.eye(self.width, dtype=np.bool_)
            visible = torch.from_numpy(sees)
        if self.back:
            before = torch.from_numpy(draw.integers(0, start, (self.rows, self.back)))
        block = Block(start, self.rows, self.width, before, visible)
        assert visible is None or visible.shape[2] == places
        slots = start + self.rows * self.width
        wanted = None
        if self.wanted:
            wanted = start + np.flatnonzero(draw.random(slots - start) < 0.3)
        nothing = torch.zeros(slots, dtype=torch.long)
        return lay_out(nothing, nothing, [Block(0, 1, start), block], wanted)


CASES = [
    Case(3, 7, 2, 2, 16),
    Case(2, 16, 4, 2, 32),
    Case(1, 1, 3, 1, 8),
    Case(2, 33, 2, 2, 12),
    Case(2, 65, 2, 1, 64),
    Case(4, 9, 4, 2, 16, back=5),
    Case(4, 21, 2, 2, 32, back=37),
    Case(2, 20, 2, 2, 6, masked=True),
    Case(3, 12, 4, 1, 16, back=6, masked=True),
    Case(5, 18, 2, 2, 16, wanted=True),
    Case(5, 18, 4, 2, 24, back=4, masked=True, wanted=True),
]


def sees_of(block: Block, slots: int, queries: Tensor) -> Tensor:
    """[query, slot]: how often a query sees a slot; a prompt's may stand there twice."""
    counts = torch.zeros(slots, slots)
    for row in range(block.rows):
        own = block.start + row * block.width + torch.arange(block.width)
        seen = own if block.before is None else torch.cat([block.before[row], own])
        for i, slot in enumerate(own):
            if block.visible is None:
                counts[slot, own[: i + 1]] = 1
            else:
                counts[slot].index_add_(
                    0, seen[block.visible[row, i]], torch.ones(len(seen))[block.visible[row, i]]
                )
    return counts[queries]


def by_definition(
    query: Tensor, key: Tensor, value: Tensor, counts: Tensor, heads: int, key_heads: int
) -> Tensor:
    """[query, heads * width]; a slot seen twice weighs twice."""
    shared = heads // key_heads
    q = query.view(len(query), heads, -1)
    k, v = (
        one.reshape(len(one), key_heads, -1).repeat_interleave(shared, 1) for one in (key, value)
    )
    scores = torch.einsum("qhw,shw->hqs", q, k) + counts.log()
    return torch.einsum("hqs,shw->qhw", scores.softmax(-1), v).flatten(1)


def draws(case: Case, dtype: torch.dtype) -> tuple[Packed, Tensor, Tensor, Tensor]:
    packed = case.packed()
    slots = len(packed.tokens)
    asking = slots if packed.wanted is None else len(packed.wanted)
    source = torch.Generator().manual_seed(1)
    query, flow = (
        torch.randn(asking, case.heads * case.head_width, generator=source) for _ in range(2)
    )
    key_value = torch.randn(slots, 2 * case.key_heads * case.head_width, generator=source)
    return packed, query.mul(case.head_width**-0.5).to(dtype), key_value.to(dtype), flow.to(dtype)


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("case", CASES)
def test_a_block_is_attended_to_as_defined(
    fast: CompiledAttention, threads: int, case: Case, dtype: torch.dtype
) -> None:
    if not fast.attends(dtype, case.head_width):
        pytest.skip(f"not compiled for {dtype}")
    packed, query, key_value, flow = draws(case, dtype)
    block, between = packed.blocks[1], case.key_heads * case.head_width
    queries = torch.arange(len(packed.tokens)) if packed.wanted is None else packed.wanted
    mine = queries >= block.start
    q, k, v = (
        one.double().requires_grad_()
        for one in (query, key_value[:, :between], key_value[:, between:])
    )
    counts = sees_of(block, len(packed.tokens), queries[mine]).double()
    wanted = by_definition(q[mine], k, v, counts, case.heads, case.key_heads)
    gradients = torch.autograd.grad(wanted, (q, k, v), flow[mine].double())

    sight = Sight(
        query, key_value[:, :between], key_value[:, between:], block, case.heads, case.key_heads,
        picked=packed.wanted is not None,
    )  # fmt: skip
    mixed = torch.full_like(query, 7)
    weights = fast.attend(sight, mixed, keep=True)
    assert weights is not None
    alone = torch.full_like(query, 7)
    assert fast.attend(sight, alone, keep=False) is None
    assert torch.equal(alone, mixed)
    assert (mixed[~mine] == 7).all()  # another block's
    tolerance = 2e-6 if dtype == torch.float32 else 2**-7
    near(mixed[mine], wanted.detach(), tolerance)

    of_query = torch.zeros_like(query)
    kind = torch.float32 if case.back else dtype
    of_key_value = torch.zeros(key_value.shape, dtype=kind)
    of_key, of_value = of_key_value[:, :between], of_key_value[:, between:]
    fast.attend_backward(flow, sight, weights, of_query, of_key, of_value)
    for found, exactly in zip((of_query, of_key, of_value), gradients, strict=True):
        near(found, exactly, 2 * tolerance)
    computed_again = torch.zeros_like(query), torch.zeros_like(of_key_value)
    fast.attend_backward(
        flow, sight, None, computed_again[0], computed_again[1][:, :between],
        computed_again[1][:, between:],
    )  # fmt: skip
    assert torch.equal(computed_again[0], of_query)
    assert torch.equal(computed_again[1], of_key_value)
    if threads == 2:
        torch.set_num_threads(1)
        again = torch.full_like(query, 7)
        fast.attend(sight, again, keep=False)
        assert torch.equal(again, mixed)
        of_query_again, of_key_value_again = torch.zeros_like(query), torch.zeros_like(of_key_value)
        fast.attend_backward(
            flow, sight, weights, of_query_again,
            of_key_value_again[:, :between], of_key_value_again[:, between:],
        )  # fmt: skip
        assert torch.equal(of_query_again, of_query)
        assert torch.equal(of_key_value_again, of_key_value)


def near(found: Tensor, wanted: Tensor, tolerance: float) -> None:
    """Entry by entry, next to the largest."""
    scale = float(wanted.abs().max())
    assert float((found.double() - wanted).abs().max()) <= tolerance * scale


def test_scores_far_apart_leave_one_key_and_no_nan(fast: CompiledAttention) -> None:
    query = torch.full((4, 16), 1e3)
    key_value = torch.zeros(4, 32)
    key_value[:, :16] = torch.tensor([-1e3, 0.0, 1e3, -1e3])[:, None]
    key_value[:, 16:] = torch.arange(4.0)[:, None]
    sight = Sight(query, key_value[:, :16], key_value[:, 16:], Block(0, 1, 4), 1, 1, picked=False)
    mixed = torch.empty(4, 16)
    fast.attend(sight, mixed, keep=False)
    assert mixed[:, 0].tolist() == [0.0, 1.0, 2.0, 2.0]


def test_what_is_not_a_number_stays_none(fast: CompiledAttention) -> None:
    """A model that has come apart must not look sound."""
    query, key_value = torch.ones(20, 16), torch.ones(20, 32)
    query[3] = float("nan")
    key_value[17, 16:] = float("nan")
    sight = Sight(query, key_value[:, :16], key_value[:, 16:], Block(0, 1, 20), 1, 1, picked=False)
    mixed = torch.empty(20, 16)
    fast.attend(sight, mixed, keep=False)
    assert mixed[3].isnan().all()
    assert mixed[17:].isnan().all()


def test_widths_that_are_too_wide_or_odd_are_left_to_torch(fast: CompiledAttention) -> None:
    assert not fast.attends(torch.float32, 7)
    assert not fast.attends(torch.float32, 514)
