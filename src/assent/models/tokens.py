"""Texts to padded rows: prompts end and responses begin in the same column.

Prompt and response are tokenised apart, in training, in RL and for the reward model alike, so a
response has the same tokens everywhere. Special tokens are never added by the tokenizer: a chat
template writes its own, and a second BOS would shift everything.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from assent.objectives.masks import left_pad, right_pad


class Rows(NamedTuple):
    """Prompts padded on the left and responses on the right, side by side."""

    tokens: Int[Tensor, "batch seq"]
    mask: Bool[Tensor, "batch seq"]
    """True on real tokens, of prompt and response."""
    prompt_width: int
    """Columns of the prompts, padding included; responses begin here."""
    response_mask: Bool[Tensor, "batch response"]
    """True on response tokens, for the columns from `prompt_width` on."""

    @property
    def responses(self) -> Int[Tensor, "batch response"]:
        """The response columns."""
        return self.tokens[:, self.prompt_width :]

    def to(self, device: torch.device) -> "Rows":
        """The same rows on a device."""
        return Rows(
            self.tokens.to(device),
            self.mask.to(device),
            self.prompt_width,
            self.response_mask.to(device),
        )

    def select(self, rows: Sequence[int] | Tensor) -> "Rows":
        """Some of the rows, padding unchanged."""
        index = torch.as_tensor(rows, device=self.tokens.device)
        return Rows(
            self.tokens[index], self.mask[index], self.prompt_width, self.response_mask[index]
        )


def encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of texts as they stand, nothing added."""
    if not texts:
        return []
    ids: list[list[int]] = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    return ids


def encode_responses(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    finished: Sequence[bool] | None = None,
) -> list[list[int]]:
    """Token ids of responses, each ended by one eos unless it was cut off (`finished` False)."""
    ends = [True] * len(texts) if finished is None else list(finished)
    eos = tokenizer.eos_token_id
    return [
        [*ids, eos] if end and (not ids or ids[-1] != eos) else ids
        for ids, end in zip(encode(tokenizer, texts), ends, strict=True)
    ]


def join(prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]], pad_id: int) -> Rows:
    """Rows from token ids; a prompt or response may be empty."""
    left, right = left_pad(prompts, pad_id), right_pad(responses, pad_id)
    return Rows(
        torch.cat([left.tokens, right.tokens], dim=1),
        torch.cat([left.mask, right.mask], dim=1),
        left.tokens.shape[1],
        right.mask,
    )


def rows_of(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    responses: Sequence[str],
    finished: Sequence[bool] | None = None,
) -> Rows:
    """Rows from texts."""
    return join(
        encode(tokenizer, prompts),
        encode_responses(tokenizer, responses, finished),
        int(tokenizer.pad_token_id),
    )


def decode_responses(
    tokenizer: PreTrainedTokenizerBase,
    tokens: Int[Tensor, "batch seq"],
    mask: Bool[Tensor, "batch seq"],
) -> list[str]:
    """The texts of sampled responses, without their end token."""
    kept = [row[keep].tolist() for row, keep in zip(tokens, mask, strict=True)]
    texts: list[str] = tokenizer.batch_decode(kept, skip_special_tokens=True)
    return texts
