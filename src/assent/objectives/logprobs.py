"""Log-probabilities and entropies from logits, in float32 at least, at the sampling temperature.

A causal model's output at position t predicts the token at t + 1. The functions here take logits
*aligned* with what they predict: `logits[:, i]` is the distribution that `tokens[:, i]` was drawn
from. For a response after a prompt of width P that is `output[:, P - 1 : -1]`, also where a value
head reads the state before each response token. `next_token_logprobs` does the shift itself.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from assent.errors import NonFinite

_ELEMENTS = 2**18
"""Of logits worked on at a time: a megabyte in float32."""


def tempered_logprobs(
    logits: Float[Tensor, "*shape vocab"], *, temperature: float
) -> Float[Tensor, "*shape vocab"]:
    """Log-softmax of logits / temperature, in float32, or float64 if the logits are.

    Raises:
        ValueError: the temperature is not above zero.
    """
    _require_temperature(temperature)
    # bfloat16 logits carry about three digits: a log-softmax in them is off by 1e-2 nats.
    precise = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return torch.log_softmax(precise / temperature, dim=-1)


def _require_temperature(temperature: float) -> None:
    if not temperature > 0:
        message = f"temperature must be above 0, not {temperature}"
        raise ValueError(message)


def token_logprobs(
    logits: Float[Tensor, "*shape vocab"],
    tokens: Int[Tensor, "*shape"],
    *,
    temperature: float,
) -> Float[Tensor, "*shape"]:
    """Log-probability, in nats, of each token under the distribution it was sampled from.

    Args:
        logits: aligned with the tokens (see the module): one position before them in the output.
        tokens: the tokens to score; padding needs any valid id and its result means nothing.
        temperature: what the sampler divided its logits by. Use the same for the policy, the old
            policy and the reference: without it the importance ratio does not start at 1.

    Returns:
        float32 (float64 for float64 logits), with gradient.

    Source: Ziegler et al. 2019, `policy.py` of openai/lm-human-preferences (logits / temperature).
    """
    logprobs = tempered_logprobs(logits, temperature=temperature)
    return logprobs.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)


def lean_token_logprobs(
    logits: Float[Tensor, "token vocab"], tokens: Int[Tensor, " token"], *, temperature: float
) -> Float[Tensor, " token"]:
    """`token_logprobs` in less memory and time, for training: it has a first derivative only.

    One vocabulary-wide tensor in float32 is kept for the backward pass and nothing else of that
    size, and each part of it is worked on while it is in the processor's cache.
    """
    _require_temperature(temperature)
    picked: Tensor = _TokenLogprobs.apply(logits, tokens, temperature)  # type: ignore[no-untyped-call]
    return picked


class _TokenLogprobs(torch.autograd.Function):
    """`lean_token_logprobs`; keeps probabilities, of which the gradient is made."""

    @staticmethod
    def forward(ctx: FunctionCtx, logits: Tensor, tokens: Tensor, temperature: float) -> Tensor:
        precise = torch.promote_types(logits.dtype, torch.float32)
        keeps = logits.requires_grad
        probabilities = torch.empty_like(logits, dtype=precise) if keeps else None
        picked = torch.empty(len(logits), dtype=precise, device=logits.device)
        step = max(_ELEMENTS // max(logits.shape[-1], 1), 1)
        for start in range(0, len(logits), step):
            part = slice(start, start + step)
            work = logits[part].to(precise, copy=True)
            if temperature != 1:
                work /= temperature
            taken = work.gather(1, tokens[part, None]).squeeze(1)
            most = work.amax(dim=-1, keepdim=True)
            total = work.sub_(most).exp_().sum(dim=-1, keepdim=True)
            picked[part] = taken - (most + total.log()).squeeze(1)
            if probabilities is not None:
                torch.div(work, total, out=probabilities[part])
        if probabilities is not None:
            ctx.save_for_backward(probabilities, tokens)
        ctx.temperature, ctx.dtype = temperature, logits.dtype  # type: ignore[attr-defined]
        return picked

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None, None]:
        probabilities, tokens = ctx.saved_tensors  # type: ignore[attr-defined]
        scaled = gradient[:, None] / ctx.temperature  # type: ignore[attr-defined]
        result = probabilities * -scaled
        result.scatter_add_(1, tokens[:, None], scaled)
        return result.to(ctx.dtype), None, None  # type: ignore[attr-defined]


def next_token_logprobs(
    logits: Float[Tensor, "batch seq vocab"],
    tokens: Int[Tensor, "batch seq"],
    *,
    temperature: float,
) -> Float[Tensor, "batch seq-1"]:
    """`token_logprobs` of whole texts, the model's output as it comes: column t scores token t + 1.

    The first token of a text has no prediction, so the result is one column narrower.
    """
    return token_logprobs(logits[:, :-1], tokens[:, 1:], temperature=temperature)


def entropy_from_logits(
    logits: Float[Tensor, "*shape vocab"], *, temperature: float
) -> Float[Tensor, "*shape"]:
    r"""Entropy, in nats, of the tempered distribution at each position.

    .. math:: H = -\sum_v p_v \log p_v, \qquad p = \mathrm{softmax}(\mathrm{logits} / \tau)

    Between 0 and log(vocab); tokens forbidden by a logit of minus infinity add nothing. With
    gradient.
    """
    logprobs = tempered_logprobs(logits, temperature=temperature)
    # 0 log 0 is 0; the replacement also keeps the gradient of forbidden tokens finite.
    finite = logprobs.masked_fill(logprobs == -torch.inf, 0.0)
    return -(logprobs.exp() * finite).sum(dim=-1)


def draw_tokens(
    logprobs: Float[Tensor, "batch vocab"], uniforms: Float[Tensor, " batch"]
) -> Int[Tensor, " batch"]:
    r"""Draw one token a row by the inverse of its distribution function.

    .. math:: y = \min \{ v : \sum_{w \le v} p_w > u \sum_w p_w \}

    One random number and one cumulative sum a row, where a draw by exponential races takes a random
    number for each token. The sum is in float64, so that nothing is cut off a large vocabulary.

    Args:
        logprobs: normalised or not; minus infinity is never drawn.
        uniforms: in [0, 1), float64, one a row.

    Returns:
        Token ids.

    Raises:
        NonFinite: a probability is NaN or infinite, or a row has none.

    Source: Devroye 1986, "Non-uniform random variate generation", section III.2.
    """
    summed = logprobs.exp().cumsum(dim=-1, dtype=torch.float64)
    whole = summed[:, -1:]
    if not bool(((whole > 0) & torch.isfinite(whole)).all()):
        message = (
            "the policy's probabilities are NaN or infinite, so no token can be drawn from them; "
            "its training diverged: lower the learning rate and go on from an earlier checkpoint"
        )
        raise NonFinite(message)
    # u * whole may round up to the whole, beyond which there is no token.
    below = torch.nextafter(whole, torch.zeros_like(whole))
    wanted = torch.minimum(uniforms[:, None] * whole, below)
    return torch.searchsorted(summed, wanted, right=True).squeeze(1)
