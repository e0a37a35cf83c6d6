"""Recompute the log-probabilities of responses in one forward pass, with values where wanted."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from assent.models.heads import ValueHead
from assent.models.tokens import Rows
from assent.objectives.logprobs import entropy_from_logits, token_logprobs
from assent.objectives.masks import position_ids, zero_outside


class Scored(NamedTuple):
    """One number a response token; 0 outside the response mask."""

    logprobs: Float[Tensor, "batch response"]
    """Of the tokens, at the given temperature, float32."""
    entropies: Float[Tensor, "batch response"]
    """Of the distribution each token was drawn from, in nats; detached."""
    values: Float[Tensor, "batch response"] | None
    """Of the state before each token."""


def score(
    model: PreTrainedModel,
    rows: Rows,
    *,
    temperature: float,
    value_head: ValueHead | None = None,
    precision: str = "float32",
) -> Scored:
    """Log-probabilities of the response tokens of each row, given what stands before them.

    Args:
        model: a causal LM; the caller decides on gradients.
        rows: prompts and responses; every row has a prompt token.
        temperature: the one the responses were sampled at; divides the logits.
        value_head: adds `values`.
        precision: "bfloat16" runs the trunk under autocast; log-softmax and values stay float32.
    """
    width = rows.response_mask.shape[1]
    with autocast(model.device, precision):
        output = model(
            input_ids=rows.tokens,
            attention_mask=rows.mask.long(),
            position_ids=position_ids(rows.mask),
            use_cache=False,
            output_hidden_states=value_head is not None,
            logits_to_keep=width + 1,
        )
    # The logits at a position predict the next one; the last predicts nothing we have.
    logits = output.logits[:, -(width + 1) : -1]
    logprobs = token_logprobs(logits, rows.responses, temperature=temperature)
    with torch.no_grad():
        entropies = entropy_from_logits(logits.detach(), temperature=temperature)
    values = None
    if value_head is not None:
        before = output.hidden_states[-1][:, -(width + 1) : -1]
        values = zero_outside(value_head(before), rows.response_mask)
    return Scored(
        zero_outside(logprobs, rows.response_mask),
        zero_outside(entropies, rows.response_mask),
        values,
    )


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """The context in which a forward pass runs at a precision."""
    if precision == "float32":
        return nullcontext()
    context: AbstractContextManager[None] = torch.autocast(device.type, dtype=torch.bfloat16)
    return context


def chunks(count: int, size: int | None) -> Iterator[slice]:
    """Slices that cover `range(count)`, each of at most `size` (all in one if None)."""
    step = size or max(count, 1)
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))
