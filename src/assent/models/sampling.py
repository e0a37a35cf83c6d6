"""Draw responses from a policy: the whole distribution at one temperature, nothing cut off it.

Top-k and nucleus sampling are left out on purpose: RL scores the distribution it samples from, and
a truncated one shows as negative KL. Log-probabilities are kept as drawn, so that PPO can check
that it recomputes the same.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from assent.models.tokens import Rows
from assent.objectives.logprobs import tempered_logprobs
from assent.objectives.masks import left_pad, position_ids


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
        prompts: token ids, none empty.
        eos_id: the token that ends a response, or several of which each does; it is part of it.
        pad_id: fills the rectangle; never looked at.
        max_new_tokens: longest response, end token included.
        temperature: > 0; divides the logits.
        generator: on the model's device; the only source of randomness.

    Returns:
        Rollouts on the model's device, as wide as the longest response.
    """
    device = model.device
    padded = left_pad(prompts, pad_id)
    tokens, mask = padded.tokens.to(device), padded.mask.to(device)
    positions = position_ids(mask)
    cache = DynamicCache(config=model.config)
    alive = torch.ones(len(tokens), dtype=torch.bool, device=device)
    drawn: list[Tensor] = []
    logprobs: list[Tensor] = []
    alive_at: list[Tensor] = []
    ends = torch.tensor([eos_id] if isinstance(eos_id, int) else list(eos_id), device=device)
    step_tokens, step_positions, full_mask = tokens, positions, mask
    with _evaluating(model):
        for _ in range(max_new_tokens):
            output = model(
                input_ids=step_tokens,
                attention_mask=full_mask.long(),
                position_ids=step_positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            scores = tempered_logprobs(output.logits[:, -1], temperature=temperature)
            choice = torch.multinomial(scores.exp(), 1, generator=generator)
            taken = scores.gather(1, choice).squeeze(1)
            choice = torch.where(alive, choice.squeeze(1), pad_id)
            drawn.append(choice)
            logprobs.append(torch.where(alive, taken, torch.zeros_like(taken)))
            alive_at.append(alive)
            alive = alive & ~torch.isin(choice, ends)
            if not bool(alive.any()):
                break
            # Finished rows go on as padding: their columns are masked for the row itself.
            full_mask = torch.cat([full_mask, alive_at[-1][:, None]], dim=1)
            step_positions = step_positions[:, -1:] + 1
            step_tokens = choice[:, None]
    response_mask = torch.stack(alive_at, dim=1)
    rows = Rows(
        torch.cat([tokens, torch.stack(drawn, dim=1)], dim=1),
        torch.cat([mask, response_mask], dim=1),
        tokens.shape[1],
        response_mask,
    )
    return Rollouts(rows, torch.stack(logprobs, dim=1), ~alive)


@contextmanager
def _evaluating(model: PreTrainedModel) -> Iterator[None]:
    was_training = model.training
    model.train(mode=False)
    try:
        yield
    finally:
        model.train(was_training)
