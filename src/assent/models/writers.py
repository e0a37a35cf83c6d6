"""Models that write and choose: a causal LM in a folder, or any OpenAI-compatible endpoint.

What they write is untrusted text. Prompts are `types.ChatPrompt`s or plain texts to be continued;
`as_request` makes the one or the other of a text.
"""

import hashlib
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import httpx
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assent.config.writers import LocalWriter, OpenAiWriter
from assent.errors import WriterError, WriterLate
from assent.models.http_client import JsonServer
from assent.models.loading import load_causal_lm, load_tokenizer, max_positions
from assent.models.reward_http import as_json
from assent.models.sampling import sample
from assent.models.scoring import score
from assent.models.tokens import decode_responses, encode, encode_prompts, end_ids, join
from assent.objectives.seeds import generator
from assent.types import ChatPrompt, Message, Unanswered, Writer

MOST_LOGPROBS = 20
"""Alternatives to the first token that endpoints give."""
SAID = 80
"""Characters kept of an answer of no use."""

Answer = TypeVar("Answer")


def open_writer(
    source: LocalWriter | OpenAiWriter,
    *,
    own: Path | None,
    identity: Mapping[str, Any],
    device: torch.device,
    key: str,
) -> Writer:
    """The model that a setting names.

    Args:
        source: the setting.
        own: the project's model that a local writer without a path is.
        identity: what that model is called in provenance.
        device: where a local one runs.
        key: of the setting in assent.toml, for messages.

    Raises:
        WriterError: there is no model of the project to take.
        ConfigError, NotAModel, TokenizerUnfit: the one that is named cannot be used.
    """
    if isinstance(source, OpenAiWriter):
        return EndpointWriter(source, key=key)
    folder = source.path or own
    if folder is None:
        message = f"{key}: the project has no model for this yet; name one in {key}.path"
        raise WriterError(message)
    who = {"model": source.path} if source.path else dict(identity)
    return ModelWriter(load_causal_lm(folder, device), load_tokenizer(folder), source, who)


def as_request(text: str, form: str) -> str:
    """A text as a request: the only turn of a chat, or a text to be continued."""
    return ChatPrompt([Message("user", text)]) if form == "chat" else text


class ModelWriter:
    """A causal LM of this process."""

    draws_together = True

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        settings: LocalWriter,
        identity: Mapping[str, Any],
    ) -> None:
        self._model, self._tokenizer, self._settings = model, tokenizer, settings
        told = ("form", "temperature", "max_new_tokens", "stop")
        self._identity = {
            "kind": "local",
            **identity,
            **{name: settings.model_dump(mode="json")[name] for name in told},
        }

    @property
    def identity(self) -> Mapping[str, Any]:
        """The model and how it samples."""
        return self._identity

    @property
    def batch(self) -> int:
        """Prompts a forward pass."""
        return self._settings.batch_size

    def write(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[str | Unanswered]:
        """One sample a prompt; prompts that leave no room are not asked."""
        settings, tokenizer = self._settings, self._tokenizer
        ids = encode_prompts(tokenizer, prompts)
        asked = [at for at, one in enumerate(ids) if self._fits(len(one), settings.max_new_tokens)]
        answers: list[str | Unanswered] = [Unanswered("too_long")] * len(prompts)
        if not asked:
            return answers
        rollouts = sample(
            self._model,
            [ids[at] for at in asked],
            eos_id=end_ids(tokenizer, self._model),
            pad_id=int(tokenizer.pad_token_id),
            max_new_tokens=settings.max_new_tokens,
            temperature=settings.temperature,
            generator=generator(*seeds, "write", device=self._model.device),
        )
        rows = rollouts.rows
        texts = decode_responses(tokenizer, rows.responses, rows.response_mask)
        for at, text in zip(asked, texts, strict=True):
            answers[at] = cut(text, settings.stop)
        return answers

    @torch.no_grad()
    def choose(
        self,
        prompts: Sequence[str],
        options: Sequence[str],
        seeds: Sequence[int],
    ) -> list[list[float] | Unanswered]:
        """The model's probabilities of the options, made to sum to 1; nothing is drawn."""
        del seeds
        tokenizer = self._tokenizer
        ids = encode_prompts(tokenizer, prompts)
        words = {
            form: encode(tokenizer, [option if form else f" {option}" for option in options])
            for form in (True, False)
        }
        longest = max(len(one) for found in words.values() for one in found)
        asked = [at for at, one in enumerate(ids) if self._fits(len(one), longest)]
        answers: list[list[float] | Unanswered] = [Unanswered("too_long")] * len(prompts)
        if not asked:
            return answers
        is_chat = [isinstance(prompts[at], ChatPrompt) for at in asked]
        rows = join(
            [ids[at] for at in asked for _ in options],
            [tokens for chat in is_chat for tokens in words[chat]],
            int(tokenizer.pad_token_id),
        ).to(self._model.device)
        logprobs = score(self._model, rows, temperature=1.0).logprobs.double().sum(1)
        shares = torch.softmax(logprobs.view(len(asked), len(options)), dim=1).tolist()
        for at, share in zip(asked, shares, strict=True):
            answers[at] = share
        return answers

    def _fits(self, length: int, room: int) -> bool:
        most = max_positions(self._model)
        return most is None or length + room <= most


class EndpointWriter:
    """A model behind an OpenAI-compatible endpoint."""

    draws_together = False

    def __init__(
        self,
        settings: OpenAiWriter,
        *,
        key: str = "writer",
        transport: httpx.BaseTransport | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Open no connection yet; see `JsonServer` for the arguments and what it raises."""
        self._settings = settings
        self._server = JsonServer(
            settings,
            noun="the endpoint",
            key=key,
            error=WriterError,
            late=WriterLate,
            transport=transport,
            pause=pause,
        )

    @property
    def identity(self) -> Mapping[str, Any]:
        """The endpoint, the model's name there, and what it is asked with."""
        told = ("kind", "model", "form", "temperature", "max_new_tokens", "stop", "logprobs")
        plain = self._settings.model_dump(mode="json")
        return {
            **{name: plain[name] for name in told},
            "url": self._settings.url.partition("?")[0],
        }

    @property
    def batch(self) -> int:
        """Requests under way at a time."""
        return self._settings.parallel

    def write(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[str | Unanswered]:
        """One text a prompt.

        Raises:
            WriterError: the endpoint cannot be reached, refuses, or answers something else.
        """

        def ask(prompt: str, seed: int) -> str | Unanswered:
            found = self._ask(
                prompt,
                {
                    "max_tokens": self._settings.max_new_tokens,
                    "temperature": self._settings.temperature,
                    "seed": seed % 2**31,
                },
            )
            if isinstance(found, Unanswered):
                return found
            text = cut(_text_of(found), self._settings.stop)
            return text if text.strip() else Unanswered("nonsense", "no text")

        return self._all(ask, prompts, seeds)

    def choose(
        self, prompts: Sequence[str], options: Sequence[str], seeds: Sequence[int]
    ) -> list[list[float] | Unanswered]:
        """Probabilities off the first token, or all of it on the option that the text names.

        Raises:
            WriterError: as `write`.
        """

        def ask(prompt: str, seed: int) -> list[float] | Unanswered:
            extra: dict[str, Any] = {
                "max_tokens": self._settings.max_choice_tokens,
                "temperature": 0.0,
                "seed": seed % 2**31,
            }
            if self._settings.logprobs:
                chat = isinstance(prompt, ChatPrompt)
                extra |= (
                    {"logprobs": True, "top_logprobs": MOST_LOGPROBS}
                    if chat
                    else {"logprobs": MOST_LOGPROBS}
                )
            found = self._ask(prompt, extra)
            if isinstance(found, Unanswered):
                return found
            if self._settings.logprobs:
                shares = _first_token_shares(found, options)
                if shares is not None:
                    return shares
            text = _text_of(found)
            place = read_option(text, options)
            if place is None:
                return Unanswered("nonsense", " ".join(text[:SAID].split()))
            return [float(number == place) for number in range(len(options))]

        return self._all(ask, prompts, seeds)

    def _all(
        self,
        ask: Callable[[str, int], Answer],
        prompts: Sequence[str],
        seeds: Sequence[int],
    ) -> list[Answer]:
        with ThreadPoolExecutor(self._settings.parallel) as pool:
            return list(pool.map(ask, prompts, seeds))

    def _ask(self, prompt: str, extra: Mapping[str, Any]) -> dict[str, Any] | Unanswered:
        """The first choice of the endpoint's answer."""
        chat = isinstance(prompt, ChatPrompt)
        base, mark, query = self._settings.url.partition("?")
        base, query = base.rstrip("/"), mark + query
        body: dict[str, Any] = {"model": self._settings.model, **extra}
        body["messages" if chat else "prompt"] = as_json(prompt)
        if self._settings.stop:
            body["stop"] = list(self._settings.stop)
        try:
            answer = self._server.post(
                body, f"{base}/chat/completions{query}" if chat else f"{base}/completions{query}"
            )
        except WriterLate as error:
            return Unanswered("late", str(error)[:SAID])
        try:
            found = answer["choices"][0]  # type: ignore[index]
            _text_of(found)
        except (TypeError, KeyError, IndexError) as error:
            message = (
                f"{self._server.called} answers nothing like chat/completions: "
                f"{str(answer)[:SAID]!a}"
            )
            raise WriterError(message) from error
        return dict(found)


def cut(text: str, stops: Sequence[str]) -> str:
    """The text before the first of the stops; what no database holds becomes a visible mark."""
    found = [at for stop in stops if stop and (at := text.find(stop)) >= 0]
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text[: min(found)] if found else text)


_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def read_option(text: str, options: Sequence[str]) -> int | None:
    """Which option a text names, or None where it names none or several.

    Read in this order: an option with nothing but signs around it, one that is said to be the
    answer, and the only one that occurs as a word. Single letters are read as they are written;
    longer options in any case.
    """
    forms = [re.escape(one) if len(one) == 1 else f"(?i:{re.escape(one)})" for one in options]
    for number, form in enumerate(forms):
        if re.fullmatch(rf"[\W_]*{form}[\W_]*", text):
            return number
    said = [
        (found.end(), number)
        for number, form in enumerate(forms)
        for found in re.finditer(
            rf"(?i:answer|choice|choose|prefer)(?i:\s+is)?[^\w\n]*(?i:response\s+)?[^\w\n]*{form}\b",
            text,
        )
    ]
    if said:
        return max(said)[1]
    words = [number for number, form in enumerate(forms) if re.search(rf"\b{form}\b", text)]
    return words[0] if len(words) == 1 else None


def identity_hash(identity: Mapping[str, Any]) -> str:
    """A short name for who writes, so that others with other parameters have another one."""
    told = repr(sorted((key, repr(value)) for key, value in identity.items()))
    return hashlib.sha256(told.encode()).hexdigest()[:8]


def _text_of(choice: Mapping[str, Any]) -> str:
    """The text of a choice of either endpoint; none is an empty one."""
    message = choice.get("message")
    text = message["content"] if isinstance(message, dict) else choice["text"]
    if text is None:
        return ""
    if not isinstance(text, str):
        raise TypeError(text)
    return text


def _first_token_shares(choice: Mapping[str, Any], options: Sequence[str]) -> list[float] | None:
    """Shares of the options among the alternatives to the first token; None where none occurs."""
    try:
        given = choice["logprobs"]
        if "content" in given:
            pairs = [(one["token"], one["logprob"]) for one in given["content"][0]["top_logprobs"]]
        else:
            pairs = list(given["top_logprobs"][0].items())
        mass = [
            math.fsum(math.exp(float(logprob)) for token, logprob in pairs if _is(token, option))
            for option in options
        ]
    except (TypeError, KeyError, IndexError, ValueError, AttributeError, OverflowError):
        return None
    total = math.fsum(mass)
    return [one / total for one in mass] if total > 0 and math.isfinite(total) else None


def _is(token: str, option: str) -> bool:
    return token.strip().casefold() == option.casefold()
