"""Recompute the log-probabilities of responses in one forward pass, with values where wanted.

Logits are computed at response tokens only, and nothing at padding; see `models.states`.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from assent.models.heads import ValueHead
from assent.models.states import autocast, head_of, states_at, trunk_of
from assent.models.token_logprobs import logprobs_of_tokens
from assent.models.tokens import Rows
from assent.objectives.logprobs import entropy_from_logits, token_logprobs
from assent.objectives.masks import position_ids, zero_outside

__all__ = [
    "Scored",
    "autocast",
    "before_responses",
    "chunks",
    "learned_logprobs",
    "score",
    "spread",
]


class Scored(NamedTuple):
    """One number a response token; 0 outside the response mask."""

    logprobs: Float[Tensor, "batch response"]
    """Of the tokens, at the given temperature, float32."""
    entropies: Float[Tensor, "batch response"] | None
    """Of the distribution each token was drawn from, in nats; detached; where asked for."""
    values: Float[Tensor, "batch response"] | None
    """Of the state before each token."""


def score(
    model: PreTrainedModel,
    rows: Rows,
    *,
    temperature: float,
    value_head: ValueHead | None = None,
    precision: str = "float32",
    entropies: bool = False,
) -> Scored:
    """Log-probabilities of the response tokens of each row, given what stands before them.

    Args:
        model: a causal LM; the caller decides on gradients.
        rows: prompts and responses; every row has a prompt token.
        temperature: the one the responses were sampled at; divides the logits.
        value_head: adds `values`.
        precision: "bfloat16" runs the trunk under autocast; log-softmax and values stay float32.
        entropies: adds `entropies`.
    """
    head = head_of(model)
    if head is None:
        return _score_plainly(model, rows, temperature, value_head, precision, entropies)
    states = states_at(trunk_of(model), rows, before_responses(rows), precision)
    with autocast(model.device, precision):
        logits: Tensor = head(states)
    tokens = rows.responses[rows.response_mask]
    logprobs = logprobs_of_tokens(logits, tokens, temperature=temperature)
    found = None
    if entropies:
        with torch.no_grad():
            found = spread(entropy_from_logits(logits.detach(), temperature=temperature), rows)
    values = None if value_head is None else spread(value_head(states[None]).squeeze(0), rows)
    return Scored(spread(logprobs, rows), found, values)


def learned_logprobs(
    model: PreTrainedModel,
    tokens: Int[Tensor, "batch seq"],
    mask: Bool[Tensor, "batch seq"],
    learn: Bool[Tensor, "batch seq"],
    *,
    precision: str = "float32",
) -> Float[Tensor, " learned"]:
    """Log-probabilities, in nats, of the tokens of whole texts that are to be learned.

    Args:
        model: a causal LM; the caller decides on gradients.
        tokens: texts, each a run of tokens.
        mask: True on them.
        learn: True on the tokens to learn; the first column counts for nothing, as nothing
            predicts it.
        precision: "bfloat16" runs the trunk under autocast.

    Returns:
        One number a token, row after row; their negative sum is that of `objectives.sft_loss`.
    """
    picks = torch.zeros_like(mask)
    picks[:, :-1] = learn[:, 1:]
    head = head_of(model)
    with autocast(model.device, precision):
        if head is None:
            logits: Tensor = model(
                input_ids=tokens,
                attention_mask=mask.long(),
                position_ids=position_ids(mask),
                use_cache=False,
            ).logits[picks]
        else:
            rows = Rows(tokens, mask, 0, mask)
            logits = head(states_at(trunk_of(model), rows, picks, precision))
    return logprobs_of_tokens(logits, tokens[:, 1:][learn[:, 1:]], temperature=1.0)


def before_responses(rows: Rows) -> Tensor:
    """The positions whose state each response token is drawn from, as a mask over the rows.

    Their order, row after row, is that of the response tokens.
    """
    picks = torch.zeros_like(rows.mask)
    width = rows.response_mask.shape[1]
    picks[:, rows.prompt_width - 1 : rows.prompt_width - 1 + width] = rows.response_mask
    return picks


def spread(figures: Float[Tensor, " token"], rows: Rows) -> Float[Tensor, "batch response"]:
    """One figure a response token, row after row, as a rectangle; 0 outside the responses."""
    zeros = figures.new_zeros(rows.response_mask.shape)
    return zeros.masked_scatter(rows.response_mask, figures)


def _score_plainly(
    model: PreTrainedModel,
    rows: Rows,
    temperature: float,
    value_head: ValueHead | None,
    precision: str,
    entropies: bool,
) -> Scored:
    """By the model's own forward pass, for models that are more than a trunk and a linear head."""
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
    found = None
    if entropies:
        with torch.no_grad():
            found = entropy_from_logits(logits.detach(), temperature=temperature)
            found = zero_outside(found, rows.response_mask)
    values = None
    if value_head is not None:
        before = output.hidden_states[-1][:, -(width + 1) : -1]
        values = zero_outside(value_head(before), rows.response_mask)
    return Scored(zero_outside(logprobs, rows.response_mask), found, values)


def chunks(count: int, size: int | None) -> Iterator[slice]:
    """Slices that cover `range(count)`, each of at most `size` (all in one if None)."""
    step = size or max(count, 1)
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))
