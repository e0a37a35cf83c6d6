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
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from assent.models.cache import can_drop_rows, new_cache
from assent.models.kernels import kernels_for
from assent.models.llama import is_written_packed
from assent.models.llama_decoding import LlamaWriter
from assent.models.states import autocast, head_of, trunk_of
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
    precision: str = "float32",
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
        precision: "bfloat16" computes the products of a float32 model in it, as `score` does.

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
        prompts_once = Rows(padded.tokens, padded.mask, 0, padded.mask).to(device)
        flight = _Flight(model, prompts_once, which, precision)
        count = len(asked)
        written = torch.full((count, max_new_tokens), pad_id, device=device)
        logprobs = torch.zeros(count, max_new_tokens, device=device)
        response_mask = torch.zeros(count, max_new_tokens, dtype=torch.bool, device=device)
        finished = torch.zeros(count, dtype=torch.bool, device=device)
        step = 0
        for step in range(max_new_tokens):
            uniform = torch.rand(count, dtype=torch.float64, generator=generator, device=device)
            choice, drawn_at = _draw(flight.logits, uniform[flight.rows], temperature)
            writing, rows = flight.writing, flight.rows[flight.writing]
            written[rows, step] = choice[writing]
            logprobs[rows, step] = drawn_at[writing]
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


@runtime_checkable
class Writer(Protocol):
    """Rows that begin with prompts and grow by a token at a time."""

    @property
    def logits(self) -> Float[Tensor, "row vocab"]:
        """Of the next token of each row."""
        ...

    def write(self, tokens: Int[Tensor, " row"], writing: Bool[Tensor, " row"]) -> None:
        """Add a token to every row; rows that are not writing have ended and only stand there."""
        ...

    def select(self, rows: Int[Tensor, " kept"]) -> None:
        """Keep these rows, in this order; their logits are not kept up."""
        ...


class _Flight:
    """The rows that are being written, and what the model remembers of them."""

    def __init__(
        self, model: PreTrainedModel, prompts: Rows, which: Tensor, precision: str
    ) -> None:
        self._writer, self._may_drop = _writer(model, prompts, which, precision)
        self.rows = torch.arange(len(which), device=which.device)
        """Which response each row of the batch is."""
        self.writing = torch.ones(len(which), dtype=torch.bool, device=which.device)
        """False for a row that has ended and is still in the batch, as padding."""

    @property
    def logits(self) -> Tensor:
        """Of the next token of each row."""
        return self._writer.logits

    def advance(self, choice: Tensor, ended: Tensor) -> None:
        """Give the drawn tokens to the model; rows that have ended leave once it is worth it."""
        before, self.writing = self.writing, self.writing & ~ended
        left = self.writing.nonzero().squeeze(1)
        if self._may_drop and len(left) <= WORTH_DROPPING * len(self.writing):
            self.rows, self.writing, choice = self.rows[left], self.writing[left], choice[left]
            before = before[left]
            self._writer.select(left)
        self._writer.write(choice, before)


def _draw(logits: Tensor, uniforms: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """A token a row, and the log-probability it was drawn at."""
    fast = kernels_for(logits)
    if fast is not None and temperature > 0:
        choice, drawn_at = fast.draw(logits, uniforms, temperature)
        if int(choice.min()) >= 0:
            return choice, drawn_at
    scores = tempered_logprobs(logits, temperature=temperature)
    choice = draw_tokens(scores, uniforms)
    return choice, scores.gather(1, choice[:, None]).squeeze(1)


def _writer(
    model: PreTrainedModel, prompts: Rows, which: Tensor, precision: str
) -> tuple[Writer, bool]:
    """What writes with this model, and whether rows may leave it."""
    trunk = trunk_of(model)
    if is_written_packed(trunk):
        head = head_of(model)
        if head is not None:
            kind = precision if model.dtype == torch.float32 else "bfloat16"
            return LlamaWriter(model, head, prompts, which, kind), True
    writer = _CachedWriter(model, prompts, which, precision)
    return writer, writer.may_drop


class _CachedWriter:
    """By the model's own forward pass and a cache of transformers' making."""

    logits: Tensor

    def __init__(
        self, model: PreTrainedModel, prompts: Rows, which: Tensor, precision: str
    ) -> None:
        self._model, self._cache, self._precision = model, new_cache(model), precision
        self.may_drop = can_drop_rows(self._cache)
        tokens, mask = prompts.tokens, prompts.mask
        repeated = len(tokens) < len(which)
        if repeated and not self.may_drop:
            tokens, mask = tokens[which], mask[which]
        self._positions, self._mask = position_ids(mask), mask
        self._forward(tokens)
        if repeated and self.may_drop:
            self.select(which)
            self.logits = self.logits[which]

    def write(self, tokens: Tensor, writing: Tensor) -> None:
        """Rows that have ended go on as padding: their columns are masked for the row itself."""
        self._mask = torch.cat([self._mask, writing[:, None]], dim=1)
        self._positions = self._positions[:, -1:] + 1
        self._forward(tokens[:, None])

    def select(self, rows: Tensor) -> None:
        """Keep these rows, in this order."""
        self._cache.batch_select_indices(rows)
        self._mask, self._positions = self._mask[rows], self._positions[rows]

    def _forward(self, tokens: Tensor) -> None:
        with autocast(tokens.device, self._precision):
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
