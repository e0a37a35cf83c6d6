"""Settings of learning from language: from people's criticism, and from a constitution."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from assent.config.base import Fraction, PositiveInt, Settings
from assent.config.sft import SftSettings
from assent.config.writers import LocalWriter, UsableSettings, WriterSource


def _with(*wanted: str) -> AfterValidator:
    def check(template: str) -> str:
        for name in wanted:
            if f"{{{name}}}" not in template:
                message = f"the request has no place for {{{name}}}"
                raise ValueError(message)
        return template

    return AfterValidator(check)


class IlfSettings(Settings):
    """Learning from people's criticism of responses (ILF, Scheurer et al. 2023)."""

    refiner: WriterSource = LocalWriter()
    """Who writes refinements; the policy itself if nothing is named."""
    judge: WriterSource = LocalWriter()
    """Who says which refinement takes up the criticism; the policy itself if nothing is named."""
    refinements: PositiveInt = 4
    """Refinements written for each criticism, of which the judge picks one."""
    people_refine: bool = True
    """A better response that the critic wrote is learned as it is, and nobody is asked."""
    least_score: Fraction = 0.0
    """A picked refinement that the judge gives less than this is left out."""
    refine_request: Annotated[str, _with("prompt", "response", "criticism")] | None = None
    """What the refiner is asked, with the places {prompt}, {response}, {criticism}."""
    judge_request: Annotated[str, _with("prompt", "refinement")] | None = None
    """What the judge is asked, with the places {prompt}, {response}, {criticism}, {refinement}."""
    good_words: tuple[str, ...] = Field(default=("Yes",), min_length=1)
    """What the judge says of a refinement that takes up the criticism."""
    bad_words: tuple[str, ...] = Field(default=("No",), min_length=1)
    """What it says of the others; the score is the share of the good words."""
    usable: UsableSettings = UsableSettings()
    """When too many answers are of no use."""
    sft: SftSettings = SftSettings()
    """How the policy learns the picked refinements."""


class ConstitutionalSettings(Settings):
    """Learning from principles (Constitutional AI, Bai et al. 2022)."""

    principles: str | None = Field(default=None, min_length=1)
    """The constitution: a TOML file, or a text file with a principle a line; one of helpfulness,
    honesty and harmlessness if left out."""
    writer: WriterSource = LocalWriter()
    """Who criticises and revises; the policy itself if nothing is named."""
    prompts: PositiveInt = 256
    """Training prompts that are answered and revised; all where there are fewer."""
    revisions: PositiveInt = 1
    """Rounds of critique and revision, each by a principle drawn anew."""
    critique_request: Annotated[str, _with("prompt", "response")] | None = None
    """What is asked for a critique: the places {prompt}, {response}, {request}."""
    revision_request: Annotated[str, _with("prompt", "response", "critique")] | None = None
    """What is asked for a revision: the places {prompt}, {response}, {critique}, {request}."""
    judge: WriterSource = LocalWriter()
    """Who judges pairs; the policy itself if nothing is named."""
    asks: Literal["pairs", "alone"] | None = None
    """pairs: which of two is better, in both orders. alone: whether each is good. Pairs if left
    out, but alone where a model of the embedded world judges."""
    compare_request: Annotated[str, _with("prompt", "first", "second")] | None = None
    """What is asked of a pair: the places {prompt}, {first}, {second}, {request}; the answer is A
    or B."""
    approve_request: Annotated[str, _with("prompt", "response")] | None = None
    """What is asked of a response alone: the places {prompt}, {response}, {request}."""
    good_words: tuple[str, ...] = Field(default=("Yes",), min_length=1)
    """What is said of a good response, asked alone."""
    bad_words: tuple[str, ...] = Field(default=("No",), min_length=1)
    """What is said of others."""
    comparisons: PositiveInt = 256
    """Pairs that `assent judge` draws and has judged."""
    labels: Literal["soft", "hard", "consistent"] = "soft"
    """soft: the probability, averaged over both orders, is kept and learned. hard: the side it
    favours. consistent: the same, and no verdict where the two orders disagree."""
    usable: UsableSettings = UsableSettings()
    """When too many answers are of no use."""
    sft: SftSettings = SftSettings()
    """How the policy learns the revisions."""
