r"""How reward models read a prompt and a response: one way a kind of model.

response_end  prompt, response, suffix, end token; the score is read at the end token. What Assent
              trains on decoders; prompt and response are tokenised as the policy's are. A suffix
              such as "\nIs this right?" brings the model to where it weighs the response; there
              is none unless `reward.suffix` names one.
template      the whole conversation through the model's own chat template, as other projects'
              reward models expect it; a plain prompt is one user turn.
pair          [CLS] prompt [SEP] response [SEP] with token types: encoders of the BERT kind.
"""

import logging
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assent.errors import ConfigError, RewardError
from assent.models.chat import has_template, render_turns
from assent.models.loading import max_positions, require_fit, score_head
from assent.models.states import autocast, states_at, trunk_of
from assent.models.tokens import Rows, encode, encode_prompts, encode_responses, join
from assent.objectives.masks import last_index, right_pad
from assent.types import ChatPrompt, Message

_log = logging.getLogger(__name__)

ReadingName = Literal["response_end", "template", "pair"]


class Read(NamedTuple):
    """One prompt and response as tokens."""

    prompt: list[int]
    response: list[int]
    types: list[int] | None = None
    """Token types over both, where the model has them."""
    after: int = 1
    """How many of the response's tokens nobody said: the suffix and the end."""

    @property
    def length(self) -> int:
        """Tokens of both."""
        return len(self.prompt) + len(self.response)


@runtime_checkable
class Reading(Protocol):
    """Turns texts into tokens and tokens into scores."""

    name: ReadingName

    def encode(self, prompts: Sequence[str], responses: Sequence[str]) -> list[Read]:
        """Tokens of each prompt with its response."""
        ...

    def scores(
        self, model: PreTrainedModel, reads: Sequence[Read], precision: str = "float32"
    ) -> Float[Tensor, " batch"]:
        """One raw score each; the caller decides on gradients."""
        ...


@runtime_checkable
class HeadReading(Reading, Protocol):
    """A reading that knows every output of a model, not only the first."""

    def outputs(
        self, model: PreTrainedModel, reads: Sequence[Read], precision: str = "float32"
    ) -> Float[Tensor, "batch output"]:
        """All outputs of each text: `scores` is the first of them."""
        ...


class ResponseEnd:
    """Read as Assent's own reward models are trained: the score stands at the end token."""

    name: ReadingName = "response_end"

    def __init__(self, tokenizer: PreTrainedTokenizerBase, suffix: str = "") -> None:
        require_fit(tokenizer)
        self.tokenizer = tokenizer
        self.suffix = encode(tokenizer, [suffix])[0] if suffix else []

    def encode(self, prompts: Sequence[str], responses: Sequence[str]) -> list[Read]:
        """Every response is taken to have ended."""
        asked = encode_prompts(self.tokenizer, prompts)
        said = encode_responses(self.tokenizer, responses, prompts=prompts)
        after = 1 + len(self.suffix)
        return [
            Read(prompt, [*response[:-1], *self.suffix, response[-1]], after=after)
            for prompt, response in zip(asked, said, strict=True)
        ]

    def scores(
        self, model: PreTrainedModel, reads: Sequence[Read], precision: str = "float32"
    ) -> Float[Tensor, " batch"]:
        """Of a model with one output."""
        return self.outputs(model, reads, precision).squeeze(1)

    def outputs(
        self, model: PreTrainedModel, reads: Sequence[Read], precision: str = "float32"
    ) -> Float[Tensor, "batch output"]:
        """Prompts are padded on the left and responses on the right."""
        return raw_outputs(model, self._rows(reads).to(model.device), precision)

    def states(
        self, model: PreTrainedModel, reads: Sequence[Read], precision: str = "float32"
    ) -> Float[Tensor, "batch hidden"]:
        """The last hidden state of each text, from which its score is read."""
        return last_states(model, self._rows(reads).to(model.device), precision)

    def _rows(self, reads: Sequence[Read]) -> Rows:
        return join(
            [one.prompt for one in reads],
            [one.response for one in reads],
            int(self.tokenizer.pad_token_id),
        )


class WholeTemplate:
    """Read as the model's own pipeline does: its template over all turns, its own forward pass."""

    name: ReadingName = "template"

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer

    def encode(self, prompts: Sequence[str], responses: Sequence[str]) -> list[Read]:
        """The rendered conversation as it stands; the template writes its own special tokens."""
        texts = []
        for prompt, response in zip(prompts, responses, strict=True):
            turns = (
                prompt.messages
                if isinstance(prompt, ChatPrompt)
                else (Message("user", str(prompt)),)
            )
            whole = (*turns, Message("assistant", response))
            texts.append(render_turns(self.tokenizer, whole, add_generation_prompt=False))
        return [Read([], ids) for ids in encode(self.tokenizer, texts)]

    def scores(
        self, model: PreTrainedModel, reads: Sequence[Read], precision: str = "float32"
    ) -> Float[Tensor, " batch"]:
        """The first output."""
        return self.outputs(model, reads, precision)[:, 0]

    def outputs(
        self, model: PreTrainedModel, reads: Sequence[Read], precision: str = "float32"
    ) -> Float[Tensor, "batch output"]:
        """Padded on the right; one by one where the model names no pad token."""
        return _classified(model, reads, model.config.pad_token_id, precision)


class PromptAndResponse:
    """Read as a pair of texts by an encoder."""

    name: ReadingName = "pair"

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer

    def encode(self, prompts: Sequence[str], responses: Sequence[str]) -> list[Read]:
        """The tokenizer's own pair of texts; a chat prompt as it reads without a template."""
        encode(self.tokenizer, [*prompts, *responses])  # refuses what is no Unicode
        if not prompts:
            return []
        found: Any = self.tokenizer(
            [str(prompt) for prompt in prompts], [str(response) for response in responses]
        )
        types = found.get("token_type_ids") or [None] * len(prompts)
        return [Read(ids, [], kinds) for ids, kinds in zip(found["input_ids"], types, strict=True)]

    def scores(
        self, model: PreTrainedModel, reads: Sequence[Read], precision: str = "float32"
    ) -> Float[Tensor, " batch"]:
        """The first output."""
        return self.outputs(model, reads, precision)[:, 0]

    def outputs(
        self, model: PreTrainedModel, reads: Sequence[Read], precision: str = "float32"
    ) -> Float[Tensor, "batch output"]:
        """Padded on the right."""
        return _classified(model, reads, self.tokenizer.pad_token_id, precision)


def reading_of(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    name: str = "auto",
    *,
    is_ours: bool = True,
    suffix: str = "",
) -> HeadReading:
    """How a model reads.

    Args:
        model: a sequence classifier.
        tokenizer: its own.
        name: one of the readings, or `auto`: `pair` for an encoder; for a decoder `response_end` if
            Assent trained it or it has no chat template, `template` if it has one.
        is_ours: Assent trained the model.
        suffix: text between a response and its end token; for `response_end` alone.

    Raises:
        ConfigError: there is a suffix, and the model reads in another way.
    """
    if name == "auto":
        if is_encoder(model):
            name = "pair"
        else:
            name = "response_end" if is_ours or not has_template(tokenizer) else "template"
    if name == "response_end":
        return ResponseEnd(tokenizer, suffix)
    if suffix:
        message = (
            f"reward.suffix = {suffix!r} stands between a response and its end token, and this "
            f"reward model reads otherwise ({name}); leave the suffix out or start from a causal LM"
        )
        raise ConfigError(message)
    kinds: dict[str, type[WholeTemplate | PromptAndResponse]] = {
        "template": WholeTemplate,
        "pair": PromptAndResponse,
    }
    return kinds[name](tokenizer)


def is_encoder(model: PreTrainedModel) -> bool:
    """Whether a classifier reads its score off a whole text rather than off the last token.

    transformers calls a decoder's linear head `score`, and an encoder's `classifier`.
    """
    return not hasattr(model, "score")


MOST_SHORTENED = 0.25
"""Share of the responses of one call that may be read without their ends."""


def with_room(model: PreTrainedModel, reads: Sequence[Read]) -> list[Read]:
    """The same texts, as far as the reward model has positions for them.

    A response can be longer as text than it was when it was drawn: bytes that are no UTF-8 come
    back as several tokens, and the end token and a suffix stand behind it. A few such responses are
    read without their last tokens, which the log says; a prompt never loses any.

    Raises:
        RewardError: they are more than `MOST_SHORTENED`, a prompt leaves no room, or this reading
            has prompt and response in one; counts them and says how long the longest is.
    """
    most = max_positions(model)
    lengths = [one.length for one in reads]
    if most is None or max(lengths, default=0) <= most:
        return list(reads)
    long = [number for number, length in enumerate(lengths) if length > most]
    shortened = {number: _shortened(reads[number], most) for number in long}
    first = f"response {long[0]}: {lengths[long[0]]} tokens"
    if len(long) > MOST_SHORTENED * len(reads) or None in shortened.values():
        message = (
            f"{len(long)} of {len(reads)} responses with their prompts are longer than the reward "
            f"model's {most} positions ({first}); leave out long prompts or lower "
            "ppo.sampling.max_new_tokens"
        )
        raise RewardError(message)
    _log.warning(
        "%d of %d responses are longer as text than the reward model's %d positions leave room for "
        "(%s) and were read without their last tokens",
        len(long), len(reads), most, first,
    )  # fmt: skip
    return [shortened.get(number) or one for number, one in enumerate(reads)]


def _shortened(read: Read, most: int) -> Read | None:
    """A response without its last tokens but with its end; None where that cannot be had."""
    kept = most - len(read.prompt) - read.after
    if not read.prompt or not read.response or kept < 1:
        return None
    said, end = read.response[: -read.after], read.response[-read.after :]
    return read._replace(response=[*said[:kept], *end])


def raw_outputs(
    model: PreTrainedModel, rows: Rows, precision: str = "float32"
) -> Float[Tensor, "batch output"]:
    """A decoder's scores at the last real token of each row, found by the mask, never by an id."""
    last = last_states(model, rows, precision)
    scores: Tensor = last.float() @ score_head(model).weight.float().T
    return scores


def last_states(
    model: PreTrainedModel, rows: Rows, precision: str = "float32"
) -> Float[Tensor, "batch hidden"]:
    """A decoder's last hidden states at the last real token of each row."""
    picks = torch.zeros_like(rows.mask)
    picks[torch.arange(len(picks), device=picks.device), last_index(rows.mask)] = True
    return states_at(trunk_of(model), rows, picks, precision)


def _classified(
    model: PreTrainedModel, reads: Sequence[Read], pad_id: int | None, precision: str
) -> Float[Tensor, "batch output"]:
    """The model's own forward pass over rows padded on the right."""
    if pad_id is None and len(reads) > 1:
        return torch.cat([_classified(model, [one], None, precision) for one in reads])
    padded = right_pad([[*one.prompt, *one.response] for one in reads], pad_id or 0)
    given = {"input_ids": padded.tokens, "attention_mask": padded.mask.long()}
    types = [one.types for one in reads if one.types is not None]
    if types:
        given["token_type_ids"] = right_pad(types, 0).tokens
    with autocast(model.device, precision):
        output = model(**{name: tensor.to(model.device) for name, tensor in given.items()})
    logits: Tensor = output.logits
    return logits.float()
