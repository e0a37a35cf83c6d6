"""Texts to padded rows: prompts end and responses begin in the same column.

Prompt and response are tokenised apart, in training, in RL and for the reward model alike, so a
response has the same tokens everywhere, and a prompt's tokens are the beginning of the row's. A
prompt without a template begins with what the tokenizer puts before a text (a BOS), once; a chat
template writes its own, and a second BOS would shift everything.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assent.errors import DataError
from assent.models.chat import render, special_ids, turn_end, uses_template
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
    """Token ids of texts as they stand, nothing added.

    Raises:
        DataError: a text is no Unicode (it holds half of a surrogate pair); names it.
    """
    if not texts:
        return []
    plain = [str(text) for text in texts]
    try:
        ids: list[list[int]] = tokenizer(plain, add_special_tokens=False)["input_ids"]
    except (UnicodeEncodeError, TypeError) as error:
        for number, text in enumerate(plain):
            if _is_broken(text):
                message = f"text {number} holds half of a surrogate pair: {text[:60]!a}"
                raise DataError(message) from error
        raise
    return ids


def encode_prompts(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]) -> list[list[int]]:
    """Token ids of prompts, chats through the tokenizer's template.

    Raises:
        DataError: a prompt that the template refuses, or that is no Unicode.
    """
    ids = encode(tokenizer, [render(tokenizer, prompt) for prompt in prompts])
    before = leading_ids(tokenizer)
    if not before:
        return ids
    return [
        one if uses_template(tokenizer, prompt) or one[: len(before)] == before else [*before, *one]
        for prompt, one in zip(prompts, ids, strict=True)
    ]


def leading_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """What the tokenizer puts before a text of its own accord: a BOS, or nothing."""
    (alone,) = encode(tokenizer, ["a"])
    whole: list[int] = tokenizer("a")["input_ids"]
    for start in range(len(whole) - len(alone) + 1):
        if whole[start : start + len(alone)] == alone:
            return whole[:start]
    return []


def end_ids(
    tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel | None = None
) -> tuple[int, ...]:
    """The tokens that end a response: eos first, the chat template's, the model's own list.

    Of the model's generation config only tokens count that stand for no text: a configuration that
    was never told its tokenizer names an ordinary word.
    """
    ends = [int(tokenizer.eos_token_id)]
    ends.append(turn_end(tokenizer))
    config = getattr(model, "generation_config", None)
    listed = getattr(config, "eos_token_id", None)
    if listed is not None:
        special = special_ids(tokenizer)
        given = listed if isinstance(listed, list | tuple) else [listed]
        ends += [int(one) for one in given if int(one) in special]
    pad = tokenizer.pad_token_id
    return tuple(one for one in dict.fromkeys(ends) if one != pad)


def encode_responses(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    finished: Sequence[bool] | None = None,
    *,
    prompts: Sequence[str] | None = None,
) -> list[list[int]]:
    """Token ids of responses, each ended by one end token unless it was cut off.

    Args:
        tokenizer: its eos ends a response, its chat template's turn end one to a chat.
        texts: the responses.
        finished: False where a response was cut off; all ended if left out.
        prompts: what they answer; plain texts if left out.
    """
    ends = [True] * len(texts) if finished is None else list(finished)
    eos = int(tokenizer.eos_token_id)
    marks = [eos] * len(texts)
    if prompts is not None and any(uses_template(tokenizer, prompt) for prompt in prompts):
        of_turn = turn_end(tokenizer)
        marks = [of_turn if uses_template(tokenizer, prompt) else eos for prompt in prompts]
    return [
        [*ids, mark] if end and (not ids or ids[-1] != mark) else ids
        for ids, end, mark in zip(encode(tokenizer, texts), ends, marks, strict=True)
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
        encode_prompts(tokenizer, prompts),
        encode_responses(tokenizer, responses, finished, prompts=prompts),
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


def _is_broken(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
