"""Log-probabilities of given tokens from logits: one sweep of compiled code, or torch's."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from assent.models.compiled_passes import Kernels
from assent.models.kernels import kernels_for
from assent.objectives.logprobs import lean_token_logprobs


def logprobs_of_tokens(
    logits: Float[Tensor, "row vocab"], tokens: Int[Tensor, " row"], *, temperature: float
) -> Float[Tensor, " row"]:
    """`objectives.logprobs.lean_token_logprobs`, compiled where there are kernels."""
    fast = kernels_for(logits)
    if fast is None or not temperature > 0:
        return lean_token_logprobs(logits, tokens, temperature=temperature)
    apply: Any = _TokenLogprobs.apply
    picked: Tensor = apply(fast, logits.contiguous(), tokens.contiguous(), temperature)
    return picked


def log_sums(logits: Float[Tensor, "row vocab"], temperature: float) -> Float[Tensor, " row"]:
    """Log of the sum of exp(logit / temperature) of each row, float32, without gradient."""
    fast = kernels_for(logits)
    if fast is None:
        return (logits.detach().float() / temperature).logsumexp(-1)
    nothing = torch.zeros(len(logits), dtype=torch.long)
    return fast.token_logprobs(logits.detach().contiguous(), nothing, temperature)[1]


class _TokenLogprobs(torch.autograd.Function):
    """Keeps the logits and the logs of their sums, of which the gradient is made."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        fast: Kernels,
        logits: Tensor,
        tokens: Tensor,
        temperature: float,
    ) -> Tensor:
        picked, sums = fast.token_logprobs(logits, tokens, temperature)
        ctx.save_for_backward(logits, tokens, sums)
        ctx.fast, ctx.temperature = fast, temperature
        return picked

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        logits, tokens, sums = ctx.saved_tensors
        found = ctx.fast.token_logprobs_backward(gradient, logits, tokens, sums, ctx.temperature)
        return None, found, None, None
