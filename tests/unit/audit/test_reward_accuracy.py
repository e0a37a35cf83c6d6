"""Accuracy against held-out judgements, ties half, beside rules that read no content."""

from collections.abc import Sequence

import pytest

from assent.audit.reward_accuracy import baseline_accuracies, longest, reward_accuracy
from assent.types import PreferencePair

PAIRS = [
    PreferencePair(prompt="a", chosen="long enough", rejected="short"),
    PreferencePair(prompt="a", chosen="tiny", rejected="rather long"),
    PreferencePair(prompt="b", chosen="same", rejected="size"),
    PreferencePair(prompt="c", chosen="longer", rejected="less"),
]


def by_length(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    del prompts
    return [float(len(text)) for text in responses]


def test_a_win_counts_one_a_tie_half_and_a_loss_nothing() -> None:
    found = reward_accuracy(by_length, PAIRS)
    assert found.accuracy == (1 + 0 + 0.5 + 1) / 4
    assert found.n == 4


def test_the_interval_holds_the_accuracy_and_is_over_prompts() -> None:
    found = reward_accuracy(by_length, PAIRS)
    assert 0 <= found.ci[0] <= found.accuracy <= found.ci[1] <= 1
    # Ten copies of one prompt's pairs are one prompt still: the interval hardly narrows.
    copied = reward_accuracy(by_length, PAIRS * 10)
    assert copied.ci == pytest.approx(found.ci, abs=0.01)
    apart = [
        PreferencePair(prompt=str(n), chosen=p.chosen, rejected=p.rejected)
        for n, p in enumerate(PAIRS * 10)
    ]
    spread = reward_accuracy(by_length, apart)
    assert spread.ci[1] - spread.ci[0] < (found.ci[1] - found.ci[0]) / 1.5


def test_a_reward_that_knows_the_judge_is_right_always_and_its_opposite_never() -> None:
    chosen = {pair.chosen for pair in PAIRS}

    def knows(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
        del prompts
        return [float(text in chosen) for text in responses]

    def opposes(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
        return [-score for score in knows(prompts, responses)]

    assert reward_accuracy(knows, PAIRS).as_dict() == {"accuracy": 1.0, "ci": [1.0, 1.0], "n": 4}
    assert reward_accuracy(opposes, PAIRS).accuracy == 0


def test_baselines_are_measured_on_the_same_pairs() -> None:
    found = baseline_accuracies({"longest": longest, "none": lambda _prompt, _text: 0.0}, PAIRS)
    assert found["longest"] == reward_accuracy(by_length, PAIRS)
    assert found["none"].accuracy == 0.5
    assert found["none"].n == 4


def test_a_rule_sees_the_prompt_of_its_pair() -> None:
    seen = []

    def rule(prompt: str, response: str) -> float:
        seen.append((prompt, response))
        return 0.0

    baseline_accuracies({"rule": rule}, PAIRS)
    assert set(seen) == {
        (pair.prompt, text) for pair in PAIRS for text in (pair.chosen, pair.rejected)
    }
