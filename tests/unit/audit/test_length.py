"""Length: what the gain owes to it, and what is said where that cannot be told."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from assent.audit.length import describe
from assent.audit.questions import Reply

PROMPTS = [(f"prompt {n}", f"prompt {n}", "all") for n in range(12)]


class PaidByTheWord:
    """A reward of .5 a word and nothing else."""

    normalisation = SimpleNamespace(gain=1.0)

    def __call__(self, prompts: Sequence[str], texts: Sequence[str]) -> list[float]:
        del prompts
        return [0.5 * len(text.split()) for text in texts]


def of_words(counts: Sequence[int]) -> list[Reply]:
    """To every prompt one response of each number of words."""
    texts = tuple(" ".join(["word"] * count) for count in counts)
    zeros, ends = (0.0,) * len(counts), (True,) * len(counts)
    return [Reply(texts=texts, logprobs=zeros, tokens=tuple(counts), finished=ends)] * len(PROMPTS)


def figures(ours: Sequence[int], theirs: Sequence[int]) -> tuple[dict[str, Any], dict[str, Any]]:
    reward = cast("Any", PaidByTheWord())
    found = describe(PROMPTS, of_words(ours), of_words(theirs), reward, [], level=0.95)
    return {one.name: one for one in found.figures}, found.tables


def test_a_reward_paid_by_the_word_is_explained_by_length() -> None:
    found, _ = figures(ours=[3, 4, 5, 6], theirs=[2, 3, 4, 5])
    assert found["gain"].estimate == pytest.approx(0.5)
    assert found["explained"].estimate == pytest.approx(1.0)


def test_responses_that_are_all_longer_are_measured_but_for_the_share_of_length() -> None:
    """A policy that learned to pad has no response as short as any of the reference's."""
    found, tables = figures(ours=[9, 10], theirs=[2, 3])
    assert found["longer"].estimate == pytest.approx(7.0)
    assert found["gain"].estimate == pytest.approx(3.5)
    assert found["explained"].estimate is None
    assert "cannot be told from the rest" in (found["explained"].problem or "")
    assert tables["explained"] == found["explained"].problem
