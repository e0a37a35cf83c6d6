"""Settings of where rewards come from: a model, a Python function, a server, or a sum of them."""

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from assent.config.addresses import require_address
from assent.config.base import (
    FiniteFloat,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Settings,
)
from assent.types import Aggregate


class StepSettings(Settings):
    """Rewards of the steps of a response, for a model that was trained on ratings of them."""

    separator: str = Field(default="\n", min_length=1)
    """What stands between two steps."""
    combine: Literal["min", "mean", "last"] = "min"
    """How the rewards of the steps become that of the response: the worst, their mean, the last."""


class ModelReward(Settings):
    """A reward model: the round's own, or any sequence classifier with one output."""

    kind: Literal["model"] = "model"
    path: str | None = Field(default=None, min_length=1)
    """A Hugging Face folder or hub id; the round's reward model if left out."""
    reading: Literal["auto", "response_end", "template", "pair"] = "auto"
    """How the model reads a prompt and a response; auto asks the folder (see `models.reading`)."""
    aggregate: Aggregate | None = None
    """How the rewards of an ensemble become one; as its folder says if left out."""
    uncertainty_coef: NonNegativeFloat | None = None
    """How much of an ensemble's variance or standard deviation is taken off; likewise."""
    steps: StepSettings | None = None
    """Score the text up to the end of each step, and combine them; the whole alone if left out."""
    batch_size: PositiveInt = 256
    """Responses a forward pass."""


class CallableReward(Settings):
    """A Python function of prompts and responses."""

    kind: Literal["callable"] = "callable"
    function: str
    """`module:function`; imported from where the command is run or from what is installed."""

    @field_validator("function")
    @classmethod
    def _is_import_path(cls, function: str) -> str:
        if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*", function):
            message = "give module:function, such as my_rewards:brevity"
            raise ValueError(message)
        return function


class HttpReward(Settings):
    """A server: POST {"prompts": [...], "responses": [...]} answers {"rewards": [...]}.

    A chat prompt is sent as its list of turns, {"role", "content"} each.
    """

    kind: Literal["http"] = "http"
    url: str
    """Where to post, http or https, without user and password."""
    token_variable: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")] | None = None
    """Environment variable that holds the bearer token; none is sent if left out."""
    connect_seconds: PositiveFloat = 5.0
    """How long to wait for a connection."""
    read_seconds: PositiveFloat = 120.0
    """How long to wait for the answer to one request."""
    retries: NonNegativeInt = 4
    """How often a request is sent again after a time-out, a lost connection, a 429 or a 5xx."""
    batch_size: PositiveInt = 256
    """Responses a request."""

    @field_validator("url")
    @classmethod
    def _is_address(cls, url: str) -> str:
        return require_address(url, "http://127.0.0.1:8000/rewards")


PartName = Annotated[str, Field(pattern=r"^[a-z_]+$")]


class RewardPart(Settings):
    """One reward of several."""

    weight: FiniteFloat = 1.0
    """What it is multiplied by; below 0 it is a price."""
    source: Annotated[ModelReward | CallableReward | HttpReward, Field(discriminator="kind")] = (
        ModelReward()
    )
    """Where it comes from."""


class SumReward(Settings):
    """The weighted sum of several rewards, such as a program's verdict beside a learned reward."""

    kind: Literal["sum"] = "sum"
    parts: dict[PartName, RewardPart] = Field(min_length=1)
    """Each by a name in small letters, under which its mean is logged (`reward/part_mean/NAME`)."""


RewardSource = Annotated[
    ModelReward | CallableReward | HttpReward | SumReward, Field(discriminator="kind")
]
"""Where rewards come from."""


def models_of(source: RewardSource) -> list[ModelReward]:
    """The reward models that a source reads: itself, or those among its parts."""
    parts = [part.source for part in source.parts.values()] if source.kind == "sum" else [source]
    return [one for one in parts if isinstance(one, ModelReward)]


def wants_own_model(source: RewardSource) -> bool:
    """Whether a source reads the round's own reward model: one that has no path."""
    return any(one.path is None for one in models_of(source))
