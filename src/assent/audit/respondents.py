"""A Hugging Face model as a respondent: samples and log-probabilities in batches."""

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, pairwise

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assent.audit.questions import Logprobs, Reply, Samples
from assent.errors import DataError
from assent.models.candidates import Candidates
from assent.models.sampling import sample
from assent.models.scoring import score
from assent.models.tokens import (
    decode_responses,
    encode_prompts,
    encode_responses,
    end_ids,
    join,
)
from assent.objectives.seeds import generator

SAMPLES_AT_ONCE = 512
TREE_FROM = 64
"""Answers to a prompt from which packing them as a tree pays."""
TOKENS_AT_ONCE = 1 << 14
"""Of a batch to score, padding included: about 4 GB of logits at a vocabulary of 65,000."""


class HuggingFaceRespondent:
    """A causal LM that answers an audit's questions.

    Args:
        model: read in evaluation mode.
        tokenizer: its own.
        identity: a hash of both.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, identity: str
    ) -> None:
        model.train(mode=False)
        self._model, self._tokenizer, self._identity = model, tokenizer, identity
        self._positions = int(getattr(model.config, "max_position_embeddings", 0) or 1 << 30)

    @property
    def identity(self) -> str:
        """A hash of weights and tokenizer."""
        return self._identity

    def sample(self, prompts: Sequence[str], ask: Samples, seed: int) -> list[Reply]:
        """`ask.count` responses to each prompt; the same seed and prompts give the same.

        Raises:
            DataError: a prompt and its response would be longer than the model reads.
        """
        ids = encode_prompts(self._tokenizer, prompts)
        for prompt, tokens in zip(prompts, ids, strict=True):
            self._require_fit(prompt, len(tokens), ask.max_new_tokens)
        asked = [tokens for tokens in ids for _ in range(ask.count)]
        parts: list[tuple[str, float, int, bool]] = []
        for start in range(0, len(asked), SAMPLES_AT_ONCE):
            rollouts = sample(
                self._model,
                asked[start : start + SAMPLES_AT_ONCE],
                eos_id=end_ids(self._tokenizer, self._model),
                pad_id=int(self._tokenizer.pad_token_id),
                max_new_tokens=ask.max_new_tokens,
                temperature=ask.temperature,
                generator=generator(seed, start, device=self._model.device),
            )
            rows = rollouts.rows
            parts += zip(
                decode_responses(self._tokenizer, rows.responses, rows.response_mask),
                rollouts.logprobs.double().sum(1).tolist(),
                rows.response_mask.sum(1).tolist(),
                rollouts.finished.tolist(),
                strict=True,
            )
        return [
            _reply(parts[start : start + ask.count]) for start in range(0, len(parts), ask.count)
        ]

    @torch.no_grad()
    def logprobs(
        self, prompts: Sequence[str], answers: Sequence[Sequence[str]], ask: Logprobs
    ) -> list[Reply]:
        """The log-probability of every answer to each prompt, in nats.

        Rows of about equal length share a batch; many answers that end are packed as a tree.

        Raises:
            DataError: a prompt has no tokens, or it and an answer are longer than the model reads.
        """
        if ask.ends and answers and min(len(texts) for texts in answers) >= TREE_FROM:
            return self._enumerated(prompts, answers, ask)
        flat = [(number, text) for number, texts in enumerate(answers) for text in texts]
        before = encode_prompts(self._tokenizer, prompts)
        after = encode_responses(
            self._tokenizer,
            [text for _, text in flat],
            [ask.ends] * len(flat),
            prompts=[prompts[number] for number, _ in flat],
        )
        for number, said in zip((number for number, _ in flat), after, strict=True):
            self._require_fit(prompts[number], len(before[number]), len(said))
        found: list[tuple[str, float, int, bool]] = [("", 0.0, 0, False)] * len(flat)
        lengths = [len(before[flat[row][0]]) + len(after[row]) for row in range(len(flat))]
        for rows in _batches(lengths):
            batch = join(
                [before[flat[row][0]] for row in rows],
                [after[row] for row in rows],
                int(self._tokenizer.pad_token_id),
            ).to(self._model.device)
            totals = score(self._model, batch, temperature=ask.temperature).logprobs.double().sum(1)
            for row, total in zip(rows, totals.tolist(), strict=True):
                found[row] = (flat[row][1], total, len(after[row]), ask.ends)
        ends = accumulate((len(texts) for texts in answers), initial=0)
        return [_reply(found[start:end]) for start, end in pairwise(ends)]

    def _enumerated(
        self, prompts: Sequence[str], answers: Sequence[Sequence[str]], ask: Logprobs
    ) -> list[Reply]:
        lengths = {
            texts: [len(ids) for ids in encode_responses(self._tokenizer, texts)]
            for texts in {tuple(one) for one in answers}
        }
        found: list[Reply] = []
        before = encode_prompts(self._tokenizer, prompts)
        for prompt, ids, texts in zip(prompts, before, answers, strict=True):
            self._require_fit(prompt, len(ids), max(lengths[tuple(texts)]))
        every = Candidates(self._tokenizer, prompts, answers)
        for texts, row in zip(answers, every.logprobs(self._model, ask.temperature), strict=True):
            found.append(
                Reply(
                    texts=tuple(texts),
                    logprobs=tuple(row.tolist()),
                    tokens=tuple(lengths[tuple(texts)]),
                    finished=(True,) * len(texts),
                )
            )
        return found

    def _require_fit(self, prompt: str, before: int, after: int) -> None:
        if not before:
            message = f"the prompt {prompt[:60]!r} has no tokens"
            raise DataError(message)
        if before + after > self._positions:
            message = (
                f"the prompt {prompt[:60]!r} has {before} tokens and its response up to {after}, "
                f"and the model reads {self._positions}; ask for shorter responses "
                "(audits.max_new_tokens), or shorten the item"
            )
            raise DataError(message)


class LazyRespondent:
    """A model that is loaded when it is first asked: a result that is there needs none.

    Args:
        identity: a hash of weights and tokenizer.
        load: opens it.
    """

    def __init__(self, identity: str, load: Callable[[], HuggingFaceRespondent]) -> None:
        self._identity, self._load = identity, load
        self._loaded: HuggingFaceRespondent | None = None

    @property
    def identity(self) -> str:
        """A hash of weights and tokenizer."""
        return self._identity

    def sample(self, prompts: Sequence[str], ask: Samples, seed: int) -> list[Reply]:
        """As `HuggingFaceRespondent.sample`."""
        return self._model().sample(prompts, ask, seed)

    def logprobs(
        self, prompts: Sequence[str], answers: Sequence[Sequence[str]], ask: Logprobs
    ) -> list[Reply]:
        """As `HuggingFaceRespondent.logprobs`."""
        return self._model().logprobs(prompts, answers, ask)

    def _model(self) -> HuggingFaceRespondent:
        if self._loaded is None:
            self._loaded = self._load()
        return self._loaded


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Row numbers in batches of about `TOKENS_AT_ONCE`, rows of like length together."""
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: lengths[row]):
        if batch and (len(batch) + 1) * lengths[row] > TOKENS_AT_ONCE:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _reply(parts: Sequence[tuple[str, float, int, bool]]) -> Reply:
    texts, logprobs, tokens, finished = zip(*parts, strict=True)
    return Reply(texts=texts, logprobs=logprobs, tokens=tokens, finished=finished)
