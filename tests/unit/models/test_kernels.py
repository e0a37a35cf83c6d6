"""The compiled passes against torch's own operations, and what happens where there are none."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tests.unit.models.architectures import PAD, causal_lm, token_lists
from torch import Tensor

from assent.models import kernels as module
from assent.models.compiled_passes import Kernels
from assent.models.packing import Block
from assent.models.sampling import Rollouts, sample
from assent.models.token_logprobs import logprobs_of_tokens
from assent.objectives.logprobs import draw_tokens, token_logprobs
from assent.objectives.seeds import generator

DTYPES = [torch.float32, torch.bfloat16]


@pytest.fixture(scope="module")
def fast() -> Kernels:
    found = module.kernels()
    if found is None:
        pytest.skip(f"no kernels here: {module.where_from()}")
    return found


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def normal(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def near(found: Tensor, wanted: Tensor, dtype: torch.dtype) -> None:
    """To rounding in float32; to half a unit in the last place of bfloat16, and rounding."""
    assert found.dtype == dtype
    tolerance = 2e-6 if dtype == torch.float32 else 2**-8
    scale = max(1.0, float(wanted.abs().max()))
    torch.testing.assert_close(
        found.float(), wanted.float(), rtol=tolerance, atol=tolerance * scale
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.usefixtures("two_threads")
def test_rows_by_head_and_back(fast: Kernels, dtype: torch.dtype, threads: int) -> None:
    torch.set_num_threads(threads)
    heads, key_heads, width, back = 4, 2, 6, 3
    shared = heads // key_heads
    slots = normal(40, 3 * heads * width, dtype=dtype)[:, 5 : 5 + heads * width]  # stands apart
    before = torch.randint(0, 8, (5, back), generator=torch.Generator().manual_seed(0))
    block = Block(start=10, rows=5, width=4, before=before)
    own = slots[10:30].reshape(5, 4, key_heads, shared, width)
    lone = own.permute(0, 2, 3, 1, 4).reshape(5 * key_heads, shared * 4, width)
    assert torch.equal(fast.attention.by_head(slots, block, heads, key_heads), lone)
    seen = torch.cat(
        [slots[before].reshape(5, back, heads, width), own.reshape(5, 4, heads, width)], 1
    )
    both = seen.permute(0, 2, 1, 3).reshape(5 * heads, back + 4, width)
    assert torch.equal(fast.attention.by_head(slots, block, heads, heads, looks_back=True), both)

    whole = torch.full((40, 2 * heads * width), 7.0)
    into = whole[:, : heads * width]
    fast.attention.by_row_(into, lone, block, heads, key_heads)
    assert torch.equal(into[10:30], slots[10:30].float())
    assert (whole[:10] == 7).all()
    assert (whole[30:] == 7).all()
    assert (whole[:, heads * width :] == 7).all()
    fast.attention.by_row_(into, both, block, heads, heads, looks_back=True)
    wanted = torch.full((10, heads * width), 7.0)
    wanted.index_add_(0, before.flatten(), slots[before].reshape(15, -1).float())
    torch.testing.assert_close(into[:10], wanted)
    assert torch.equal(into[10:30], slots[10:30].float())


@pytest.mark.parametrize("dtype", DTYPES)
def test_norm_and_its_gradient(fast: Kernels, dtype: torch.dtype) -> None:
    stream = normal(7, 37).requires_grad_()
    plain = stream * (stream.square().mean(1, keepdim=True) + 1e-5).rsqrt()
    normed, scales = fast.norm(stream.detach(), 1e-5, dtype)
    near(normed, plain.detach(), dtype)
    gradient, second, before = (normal(7, 37, dtype=dtype, seed=seed) for seed in (1, 2, 3))
    (wanted,) = torch.autograd.grad(plain, stream, gradient.float() + second.float())
    # Where products are in bfloat16 the result of the norm is kept in it, and the gradient of that
    # is taken; so the tolerance is bfloat16's though the result is float32.
    tolerance = 1e-5 if dtype == torch.float32 else 3e-2
    found = fast.norm_backward(
        gradient, normed, scales, second=second, before=before.float().clone()
    )
    torch.testing.assert_close(found, wanted + before.float(), rtol=tolerance, atol=tolerance)
    (wanted,) = torch.autograd.grad(
        stream * (stream.square().mean(1, keepdim=True) + 1e-5).rsqrt(), stream, gradient.float()
    )
    alone = fast.norm_backward(gradient, normed, scales)
    torch.testing.assert_close(alone, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
def test_turning_is_a_complex_product_and_turning_back_undoes_it(
    fast: Kernels, dtype: torch.dtype
) -> None:
    whole = normal(5, 40, dtype=dtype)
    states = whole[:, 8:32]
    turns = torch.polar(torch.ones(9, 4), normal(9, 4, seed=1))
    positions = torch.tensor([8, 0, 3, 3, 5])
    pairs = torch.view_as_complex(states.float().reshape(5, 3, 4, 2).contiguous())
    wanted = torch.view_as_real(pairs * turns[positions][:, None]).reshape(5, 24)
    before = whole.clone()
    fast.turn(states, turns[positions], 8)
    near(whole[:, 8:32], wanted, dtype)
    assert torch.equal(whole[:, :8], before[:, :8])
    assert torch.equal(whole[:, 32:], before[:, 32:])
    fast.turn(states, turns[positions], 8, back=True)
    near(whole, before, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_gated_product_and_its_gradient(fast: Kernels, dtype: torch.dtype) -> None:
    both = (normal(6, 2 * 21, dtype=dtype) * 4).requires_grad_()
    gate, up = both.float().chunk(2, dim=1)
    plain = torch.nn.functional.silu(gate) * up
    near(fast.gated(both.detach()), plain.detach(), dtype)
    flow = normal(6, 21, dtype=dtype, seed=1)
    (wanted,) = torch.autograd.grad(plain, both, flow.float())
    near(fast.gated_backward(flow, both.detach()), wanted, dtype)


def test_a_gate_far_from_zero_is_open_or_closed(fast: Kernels) -> None:
    found = fast.gated(torch.tensor([[-200.0, 200.0, 3.0, 3.0]]))
    assert found.tolist() == [[0.0, 600.0]]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("masked", [False, True])
def test_softmax_and_its_gradient(fast: Kernels, dtype: torch.dtype, masked: bool) -> None:
    rows, key_heads, shared, queries, keys = 2, 3, 2, 5, 9 if masked else 5
    scores = normal(rows * key_heads, shared * queries, keys, dtype=dtype) * 3
    if masked:
        visible = normal(rows, queries, keys, seed=1) > 0
        visible[1, 2] = False  # padding: what nobody sees is spread evenly
        seen = visible[:, None, None].expand(rows, key_heads, shared, queries, keys)
    else:
        visible = None
        seen = torch.ones(queries, keys, dtype=torch.bool).tril().expand(6, 2, queries, keys)
    plain = scores.float().reshape(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)
    wanted = plain.softmax(-1).reshape(scores.shape).requires_grad_()
    fast.attention.softmax_(scores, visible, rows, key_heads * shared)
    near(scores, wanted.detach(), dtype)
    flow = normal(*scores.shape, dtype=dtype, seed=2)
    by_hand = torch.ops.aten._softmax_backward_data(flow.float(), scores.float(), -1, torch.float32)
    fast.attention.softmax_backward_(flow, scores)
    near(flow, by_hand, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.usefixtures("fast")
def test_token_logprobs_and_their_gradient(dtype: torch.dtype, temperature: float) -> None:
    logits = (normal(11, 2500, dtype=dtype) * 5).requires_grad_()
    tokens = torch.arange(11) * 200
    wanted = token_logprobs(logits, tokens, temperature=temperature)
    found = logprobs_of_tokens(logits, tokens, temperature=temperature)
    torch.testing.assert_close(found, wanted, rtol=0, atol=2e-5)
    weights = normal(11, seed=1)
    (ours,) = torch.autograd.grad((found * weights).sum(), logits)
    (theirs,) = torch.autograd.grad((wanted * weights).sum(), logits)
    assert ours.dtype == dtype
    torch.testing.assert_close(ours, theirs, rtol=2**-8, atol=1e-6)


def test_a_logit_of_minus_infinity_has_no_gradient_and_is_never_drawn(fast: Kernels) -> None:
    logits = normal(4, 70)
    logits[:, ::2] = -torch.inf
    logits[2, 1:-1] = -torch.inf  # one token is left
    leaf = logits.clone().requires_grad_()
    tokens = torch.full((4,), 69)
    (found,) = torch.autograd.grad(logprobs_of_tokens(leaf, tokens, temperature=1.0).sum(), leaf)
    assert torch.equal(found[:, ::2], torch.zeros(4, 35))
    for uniform in (0.0, 0.3, 1 - 2**-53):
        drawn, _ = fast.draw(logits, torch.full((4,), uniform, dtype=torch.float64), 1.0)
        assert bool((drawn % 2 == 1).all())
        assert int(drawn[2]) == 69


@pytest.mark.parametrize("dtype", DTYPES)
def test_draws_are_those_of_the_distribution_function(fast: Kernels, dtype: torch.dtype) -> None:
    logits = normal(2000, 150, dtype=dtype) * 2
    uniforms = torch.rand(2000, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    uniforms[:2] = torch.tensor([0.0, 1 - 2**-53])
    logprobs = torch.log_softmax(logits.float() / 0.8, dim=1)
    wanted = draw_tokens(logprobs, uniforms)
    tokens, drawn_at = fast.draw(logits, uniforms, 0.8)
    # A number that falls within rounding of a boundary may go to its other side.
    assert int((tokens != wanted).sum()) <= 1
    torch.testing.assert_close(
        drawn_at, logprobs.gather(1, tokens[:, None]).squeeze(1), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_what_cannot_be_drawn_from_is_told(fast: Kernels, bad: float) -> None:
    logits = normal(3, 40)
    logits[1, 7] = bad
    tokens, _ = fast.draw(logits, torch.full((3,), 0.5, dtype=torch.float64), 1.0)
    assert int(tokens[1]) == -1
    assert int(tokens[0]) >= 0
    logits[1] = -torch.inf
    assert int(fast.draw(logits, torch.full((3,), 0.5, dtype=torch.float64), 1.0)[0][1]) == -1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("wide", [5, 64, 150])
def test_a_product_of_few_rows(fast: Kernels, dtype: torch.dtype, wide: int) -> None:
    states, weights = normal(3, wide, dtype=dtype), normal(37, wide, dtype=dtype, seed=1)
    near(fast.thin_product(states, weights), states.float() @ weights.float().t(), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [6, 16, 32])
def test_looking_back_is_attention_over_what_a_row_sees(
    fast: Kernels, dtype: torch.dtype, width: int
) -> None:
    rows, heads, key_heads, room, start, column = 3, 4, 2, 12, 5, 7
    states = normal(rows, (heads + 2 * key_heads) * width, dtype=dtype)
    keys, values = (normal(rows, key_heads, room, width, dtype=dtype, seed=s) for s in (1, 2))
    turns = torch.polar(torch.ones(9, width // 2), normal(9, width // 2, seed=3))
    positions, lengths = torch.tensor([7, 4, 5]), torch.tensor([5, 2, 3])
    turned = states.clone()
    asked, between = heads * width, key_heads * width
    fast.turn(turned[:, : asked + between], turns[positions], width)
    found = fast.look_back(states, turns, positions, lengths, start, column, heads, keys, values)
    near(keys[:, :, column], turned[:, asked : asked + between].view(rows, key_heads, -1), dtype)
    assert torch.equal(values[:, :, column], states[:, asked + between :].view(rows, key_heads, -1))
    columns = torch.arange(column + 1)
    seen = (columns < lengths[:, None]) | (columns >= start)
    query = turned[:, :asked].float().view(rows, heads, 1, width)
    of_head = torch.arange(heads) // (heads // key_heads)
    key, value = (one[:, of_head, : column + 1].float() for one in (keys, values))
    scores = (query @ key.transpose(2, 3)).masked_fill(~seen[:, None, None], -torch.inf)
    near(found, (scores.softmax(-1) @ value).reshape(rows, -1), dtype)


def draw(architecture: str, precision: str = "float32", longest: int = 30) -> Rollouts:
    prompts = token_lists([3, 9, 1, 9, 14, 2], seed=5)
    return sample(
        causal_lm(architecture), [*prompts, *prompts], eos_id=1, pad_id=PAD,
        max_new_tokens=longest, temperature=1.0, generator=generator("kernels", 0),
        precision=precision,
    )  # fmt: skip


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_model_writes_the_same_with_and_without(
    precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_kernels = draw("llama", precision)
    monkeypatch.setattr(module, "kernels", lambda: None)
    plain = draw("llama", precision)
    if precision == "float32":
        assert torch.equal(with_kernels.rows.tokens, plain.rows.tokens)
        torch.testing.assert_close(with_kernels.logprobs, plain.logprobs, rtol=0, atol=1e-5)
    else:
        same = with_kernels.rows.tokens[:, :20] == plain.rows.tokens[:, :20]
        assert float(same.float().mean()) > 0.7


@pytest.mark.usefixtures("two_threads")
def test_the_number_of_threads_changes_no_bit(fast: Kernels) -> None:
    stream, both = normal(300, 64), normal(300, 128, seed=1)
    logits, uniforms = normal(300, 500), torch.rand(300, dtype=torch.float64)

    def all_of_them() -> list[Tensor]:
        drawn = fast.draw(logits, uniforms, 1.0)
        return [*fast.norm(stream, 1e-5, torch.float32), fast.gated(both), *drawn]

    shared = all_of_them()
    torch.set_num_threads(1)
    assert all(torch.equal(*pair) for pair in zip(shared, all_of_them(), strict=True))


def in_a_process(told: str, **environment: str) -> str:
    """What a fresh process says of its kernels."""
    code = f"from assent.models import kernels; {told}; print(kernels.where_from())"
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, check=True,
        capture_output=True, text=True, timeout=120,
    ).stdout  # fmt: skip


def test_they_can_be_switched_off() -> None:
    assert "off" in in_a_process("assert kernels.kernels() is None", ASSENT_KERNELS="off")


def test_without_a_compiler_torch_does_it(tmp_path: Path) -> None:
    nothing = "kernels.importlib.util.find_spec = lambda _: None"
    told = in_a_process(f"{nothing}; assert kernels.kernels() is None", PATH=str(tmp_path))
    assert "no C++ compiler was found" in told
    assert "assent[kernels]" in told


def test_a_compiler_that_fails_is_told_and_torch_does_it(tmp_path: Path) -> None:
    broken = tmp_path / "c++"
    broken.write_text('#!/bin/sh\n[ "$1" = --version ] && exit 0\necho broken >&2\nexit 1\n')
    broken.chmod(0o755)
    told = in_a_process(
        "assert kernels.kernels() is None", PATH=f"{tmp_path}:/usr/bin:/bin",
        XDG_CACHE_HOME=str(tmp_path / "cache"),
    )  # fmt: skip
    assert "could not be compiled" in told
    assert "broken" in told
    assert not list((tmp_path / "cache").rglob("*.so"))


@pytest.mark.usefixtures("fast")
def test_compiled_code_is_loaded_only_from_a_folder_of_ones_own(tmp_path: Path) -> None:
    folder = tmp_path / "assent" / "kernels"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    told = in_a_process("assert kernels.kernels() is None", XDG_CACHE_HOME=str(tmp_path))
    assert "others may write" in told
    folder.chmod(0o700)
    told = in_a_process("assert kernels.kernels() is not None", XDG_CACHE_HOME=str(tmp_path))
    assert len(list(folder.glob("rows-*.so"))) == 1
    assert str(folder) in told
