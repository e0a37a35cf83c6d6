"""Attention as two products is torch's fused attention, and leaves no trace in a saved model."""

from pathlib import Path

import pytest
import torch
from tests.unit.models.architectures import PAD, causal_lm, token_lists
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from assent.models import attention
from assent.models.attention import NAME, by_products
from assent.models.scoring import score
from assent.models.tokens import join

ROWS = join(token_lists([3, 9, 5], seed=1), token_lists([6, 2, 11], seed=2), PAD)


@pytest.mark.parametrize("key_heads", [4, 2, 1])
@pytest.mark.parametrize("masked", ["causal", "bool", "bias"])
def test_it_is_fused_attention_to_rounding(key_heads: int, masked: str) -> None:
    torch.manual_seed(0)
    query = torch.randn(3, 4, 7, 8, requires_grad=True)
    key, value = (torch.randn(3, key_heads, 7, 8, requires_grad=True) for _ in range(2))
    seen = torch.rand(3, 1, 7, 7) > 0.4
    seen |= torch.eye(7, dtype=torch.bool)
    bias = torch.zeros(3, 1, 7, 7).masked_fill(~seen, torch.finfo(torch.float32).min)
    mask = {"causal": None, "bool": seen, "bias": bias}[masked]
    ours = by_products(nn.Module(), query, key, value, mask, None)
    theirs = scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=mask is None, enable_gqa=True
    ).transpose(1, 2)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    weight = torch.randn_like(ours)
    for one, other in zip(
        torch.autograd.grad((ours * weight).sum(), [query, key, value]),
        torch.autograd.grad((theirs * weight).sum(), [query, key, value]),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4)


def test_training_in_bfloat16_uses_it_and_gradients_stay_near_those_of_float32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[torch.Size] = []

    def counted(*given: object) -> torch.Tensor:
        found = by_products(*given)  # type: ignore[arg-type]
        calls.append(found.shape)
        return found

    monkeypatch.setattr(attention, "by_products", counted)
    model = causal_lm("qwen2", spread=0.15)
    gradients = []
    for precision in ("float32", "bfloat16"):
        model.zero_grad()
        torch.autograd.backward(
            score(model, ROWS, temperature=1.0, precision=precision).logprobs.sum()
        )
        gradients.append(
            torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        )
        assert bool(calls) == (precision == "bfloat16")
    similarity = torch.nn.functional.cosine_similarity(gradients[0], gradients[1], dim=0).item()
    assert similarity > 0.99
    calls.clear()
    with torch.no_grad():
        score(model, ROWS, temperature=1.0, precision="bfloat16")
    assert not calls, "without gradients the fused one is faster"


def test_a_saved_model_does_not_name_it(tmp_path: Path) -> None:
    model = causal_lm("qwen2")
    score(model, ROWS, temperature=1.0, precision="bfloat16")
    assert model.config._attn_implementation == NAME
    model.save_pretrained(tmp_path)
    assert NAME not in (tmp_path / "config.json").read_text()
