"""A judge's probabilities reach the reward model's loss, and nobody else's confidence does."""

from pathlib import Path
from typing import Any

import pytest
from tests.training_fixtures import TOKENIZER, optimiser, small_reward_model

from assent.collect.preferences import training_examples
from assent.config.reward import RewardSettings
from assent.store import JudgedPair
from assent.training.reward import train_reward
from assent.training.run_folder import RunFolder
from assent.types import PreferencePair, RankedResponses


def pair(**given: Any) -> JudgedPair:
    return JudgedPair(
        event_id="e", seq=1, comparison_id="c", annotator_id="a", prompt_id="p", prompt="a",
        first="b", second="c", shown_order="first_left", verdict="second", strength=None, round=1,
        **given,
    )  # fmt: skip


def test_only_a_judging_models_confidence_is_a_probability() -> None:
    said = [
        pair(confidence=0.8, context={"judge": {"asked": "pairs"}}),
        pair(confidence=4.0),
        pair(context={"judge": {}}),
    ]
    found = training_examples(said, [], [], 0.0)
    assert [one.probability for one in found if isinstance(one, RankedResponses)] == [
        0.8,
        None,
        None,
    ]


def trained(folder: Path, probability: float | None) -> float:
    """How far ahead the winner is in the end."""
    settings = RewardSettings(epochs=80, batch_size=4, optimiser=optimiser(5e-3))
    pairs = [
        PreferencePair(prompt=one, chosen="a", rejected="b", probability=probability)
        for one in "cdef"
    ]
    reward = train_reward(
        small_reward_model(folder / "base"), TOKENIZER, pairs, None, settings,
        RunFolder(folder / "run"), seed=0,
    )  # fmt: skip
    ahead, behind = reward(["c", "c"], ["a", "b"])
    return ahead - behind


def test_a_reward_model_learns_how_likely_it_is_and_not_only_who_won(tmp_path: Path) -> None:
    assert trained(tmp_path / "soft", 0.6) == pytest.approx(0.405, abs=0.15)  # log(0.6 / 0.4)
    assert trained(tmp_path / "hard", None) > 2
