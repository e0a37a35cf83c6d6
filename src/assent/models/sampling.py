"""Draw responses from a policy: the whole distribution at one temperature, nothing cut off it.

Top-k and nucleus sampling are left out on purpose: RL scores the distribution it samples from, and
a truncated one shows as negative KL. Log-probabilities are kept as drawn, so that PPO can check
that it recomputes the same.

A prompt that is asked several times is read once, and a response that has ended leaves the batch.
Every row has a random number of its own at every step, whether it is still written or not, so what
a row says does not depend on when the others end.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from transformers import PreTrainedModel

from assent.models.cache import can_drop_rows, new_cache
from assent.models.tokens import Rows
from assent.objectives.logprobs import draw_tokens, tempered_logprobs
from assent.objectives.masks import left_pad, position_ids

WORTH_DROPPING = 0.75
"""Of the rows in the batch, the share still being written at which the others are taken out."""


class Rollouts(NamedTuple):
    """Sampled responses, with the log-probabilities they were drawn at."""

    rows: Rows
    logprobs: Float[Tensor, "batch response"]
    """Of each drawn token at the sampling temperature, float32; 0 after the end."""
    finished: Bool[Tensor, " batch"]
    """True where the response ended itself; False where it was cut off."""


@torch.no_grad()
def sample(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    eos_id: int | Sequence[int],
    pad_id: int,
    max_new_tokens: int,
    temperature: float,
    generator: torch.Generator,
) -> Rollouts:
    """One response to each prompt.

    Args:
        model: a causal LM; it is read in evaluation mode, dropout off.
        prompts: token ids, none empty; equal ones are read once.
        eos_id: the token that ends a response, or several of which each does; it is part of it.
        pad_id: fills the rectangle; never looked at.
        max_new_tokens: longest response, end token included.
        temperature: > 0; divides the logits.
        generator: on the model's device; the only source of randomness.

    Returns:
        Rollouts on the model's device, as wide as the longest response.
    """
    device = model.device
    asked = [tuple(prompt) for prompt in prompts]
    number = {prompt: place for place, prompt in enumerate(dict.fromkeys(asked))}
    which = torch.tensor([number[prompt] for prompt in asked], device=device)
    padded = left_pad(list(number), pad_id)
    ends = torch.tensor([eos_id] if isinstance(eos_id, int) else list(eos_id), device=device)
    with _evaluating(model):
        flight = _Flight(model, padded.tokens.to(device), padded.mask.to(device), which)
        count = len(asked)
        written = torch.full((count, max_new_tokens), pad_id, device=device)
        logprobs = torch.zeros(count, max_new_tokens, device=device)
        response_mask = torch.zeros(count, max_new_tokens, dtype=torch.bool, device=device)
        finished = torch.zeros(count, dtype=torch.bool, device=device)
        step = 0
        for step in range(max_new_tokens):
            scores = tempered_logprobs(flight.logits, temperature=temperature)
            uniform = torch.rand(count, dtype=torch.float64, generator=generator, device=device)
            choice = draw_tokens(scores, uniform[flight.rows])
            writing, rows = flight.writing, flight.rows[flight.writing]
            written[rows, step] = choice[writing]
            logprobs[rows, step] = scores.gather(1, choice[:, None]).squeeze(1)[writing]
            response_mask[rows, step] = True
            ended = torch.isin(choice, ends) & writing
            finished[flight.rows[ended]] = True
            if bool(finished.all()) or step + 1 == max_new_tokens:
                break
            flight.advance(torch.where(writing, choice, pad_id), ended)
    width = step + 1
    tokens, mask = padded.tokens.to(device)[which], padded.mask.to(device)[which]
    response_mask = response_mask[:, :width].contiguous()
    rows_of_all = Rows(
        torch.cat([tokens, written[:, :width]], dim=1),
        torch.cat([mask, response_mask], dim=1),
        tokens.shape[1],
        response_mask,
    )
    return Rollouts(rows_of_all, logprobs[:, :width].contiguous(), finished)


class _Flight:
    """The rows that are being written, and what the model remembers of them."""

    logits: Tensor
    """Of the next token of each row."""

    def __init__(self, model: PreTrainedModel, tokens: Tensor, mask: Tensor, which: Tensor) -> None:
        self._model, self._cache = model, new_cache(model)
        self._may_drop = can_drop_rows(self._cache)
        self.rows = torch.arange(len(which), device=which.device)
        """Which response each row of the batch is."""
        self.writing = torch.ones(len(which), dtype=torch.bool, device=which.device)
        """False for a row that has ended and is still in the batch, as padding."""
        repeated = len(tokens) < len(which)
        if repeated and not self._may_drop:
            tokens, mask = tokens[which], mask[which]
        self._positions = position_ids(mask)
        self._mask = mask
        self._forward(tokens)
        if repeated and self._may_drop:
            self._select(which)

    def advance(self, choice: Tensor, ended: Tensor) -> None:
        """Give the drawn tokens to the model; rows that have ended leave once it is worth it."""
        self._mask = torch.cat([self._mask, self.writing[:, None]], dim=1)
        self._positions = self._positions[:, -1:] + 1
        self.writing = self.writing & ~ended
        left = self.writing.nonzero().squeeze(1)
        if self._may_drop and len(left) <= WORTH_DROPPING * len(self.writing):
            self.rows, self.writing, choice = self.rows[left], self.writing[left], choice[left]
            self._select(left, with_logits=False)
        # Finished rows go on as padding: their columns are masked for the row itself.
        self._forward(choice[:, None])

    def _select(self, rows: Tensor, *, with_logits: bool = True) -> None:
        self._cache.batch_select_indices(rows)
        self._mask, self._positions = self._mask[rows], self._positions[rows]
        if with_logits:
            self.logits = self.logits[rows]

    def _forward(self, tokens: Tensor) -> None:
        output = self._model(
            input_ids=tokens,
            attention_mask=self._mask.long(),
            position_ids=self._positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self.logits = output.logits[:, -1]


@contextmanager
def _evaluating(model: PreTrainedModel) -> Iterator[None]:
    was_training = model.training
    model.train(mode=False)
    try:
        yield
    finally:
        model.train(was_training)
