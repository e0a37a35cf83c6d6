"""Settings of models that write or choose: one in a folder, or one behind an endpoint."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from assent.config.addresses import require_address
from assent.config.base import (
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Settings,
)


class LocalWriter(Settings):
    """A causal LM in a folder; it samples from its whole distribution and chooses by probability.

    The probability of an option is that of its tokens after the prompt, over the sum of all
    options' (Bai et al. 2022, section 4.1).
    """

    kind: Literal["local"] = "local"
    path: str | None = Field(default=None, min_length=1)
    """A Hugging Face folder or hub id; a model of the project if left out."""
    form: Literal["chat", "text"] = "chat"
    """chat: asked in a user's turn. text: the request is a text that the model continues."""
    temperature: PositiveFloat = 1.0
    """Divides the logits when it writes."""
    max_new_tokens: PositiveInt = 128
    """Longest text, end token included."""
    stop: tuple[str, ...] = ()
    """A text ends before the first of these."""
    batch_size: PositiveInt = 32
    """Prompts a forward pass; the draws of a pass belong together, so it changes results."""


class OpenAiWriter(Settings):
    """Any endpoint that speaks OpenAI's `chat/completions` or `completions`."""

    kind: Literal["openai"] = "openai"
    url: str
    """The base address, such as http://127.0.0.1:8000/v1, without user and password."""
    model: str = Field(min_length=1)
    """The name the endpoint knows the model by."""
    form: Literal["chat", "text"] = "chat"
    """chat: `chat/completions` with a user's turn. text: `completions` of a text."""
    token_variable: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")] | None = None
    """Environment variable that holds the bearer token; none is sent if left out."""
    temperature: NonNegativeFloat = 1.0
    """Sent with requests to write; choices are asked for at 0."""
    max_new_tokens: PositiveInt = 512
    """Sent as `max_tokens` with requests to write."""
    max_choice_tokens: PositiveInt = 16
    """Sent as `max_tokens` with choices that are read off the text."""
    stop: tuple[str, ...] = ()
    """A text ends before the first of these."""
    logprobs: bool = False
    """Read choices off the first token's log-probabilities; the endpoint must give them."""
    connect_seconds: PositiveFloat = 5.0
    """How long to wait for a connection."""
    read_seconds: PositiveFloat = 120.0
    """How long to wait for the answer to one request."""
    retries: NonNegativeInt = 4
    """How often a request is sent again after a time-out, a lost connection, a 429 or a 5xx."""
    parallel: PositiveInt = 8
    """Requests under way at a time."""

    @field_validator("url")
    @classmethod
    def _is_address(cls, url: str) -> str:
        return require_address(url, "http://127.0.0.1:8000/v1")


WriterSource = Annotated[LocalWriter | OpenAiWriter, Field(discriminator="kind")]
"""Which model writes or chooses."""


class UsableSettings(Settings):
    """When the answers of a model are too bad to go on with."""

    max_unusable_share: Fraction = 0.2
    """Stop where more answers than this are late, nonsense, or to prompts that do not fit."""
    max_one_side_share: Fraction = 0.95
    """Stop where a judge chooses the response shown first, or second, more often than this."""
