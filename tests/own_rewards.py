"""Rewards by import path, as a user would name them."""

from collections.abc import Sequence


def brevity(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """Shorter is better."""
    assert len(prompts) == len(responses)
    return [-float(len(response)) for response in responses]


def length(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """Longer is better."""
    return [-one for one in brevity(prompts, responses)]
