"""What the first backward pass of an update is about is read once: before and for it at a time."""

from typing import Any

import pytest
import torch
from tests.training_fixtures import PROMPTS, TOKENIZER, ppo_settings, small_policy, weights_of

from assent.config.policy_gradient import PolicyGradientSettings
from assent.config.ppo import SamplingSettings, SeparateValue
from assent.models.scoring import Scored, score
from assent.training.actors import Ahead
from assent.training.policy_gradient import PolicyGradient
from assent.training.ppo import Ppo

REWARDS = [0.5, -1.0, 2.0, 0.0, 1.5, -0.5, 1.0, 0.25]
SAID = ["ab", "hgfe", "c", "bad", "face", "dd", "a", "ee"]
GROUPS = [prompt for prompt in PROMPTS[:4] for _ in range(2)]


def ppo(**given: object) -> Ppo:
    return Ppo(small_policy(), small_policy(), TOKENIZER, ppo_settings(**given), seed=0)


def gradient(**given: object) -> PolicyGradient:
    defaults = {
        "prompts_per_update": 4, "samples_per_prompt": 2, "updates": 4,
        "sampling": SamplingSettings(max_new_tokens=6),
    }  # fmt: skip
    settings = PolicyGradientSettings.model_validate(defaults | given)
    return PolicyGradient(small_policy(), small_policy(), TOKENIZER, settings, seed=0)


def learn(learner: Any, updates: int) -> list[dict[str, float]]:
    prompts = GROUPS if isinstance(learner, PolicyGradient) else PROMPTS
    return [learner.step(prompts, SAID, REWARDS) for _ in range(updates)]


CASES: list[tuple[Any, dict[str, object]]] = [
    (ppo, {}),
    (ppo, {"epochs": 3, "minibatches": 1}),
    (ppo, {"micro_batch_size": 3}),
    (ppo, {"value_model": SeparateValue(start="reference")}),
    (ppo, {"gradient_checkpointing": True}),
    (gradient, {"epochs": 2, "minibatches": 2}),
    (gradient, {"micro_batch_size": 2}),
]


@pytest.mark.parametrize(("make", "given"), CASES)
def test_reading_ahead_learns_what_reading_anew_learns(
    make: Any, given: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = make(**given)
    figures = learn(ahead, 3)
    monkeypatch.setattr(Ahead, "take", lambda *_: None)
    anew = make(**given)
    for one, other in zip(figures, learn(anew, 3), strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-6)
    expected = weights_of(anew.policy)
    for name, weight in weights_of(ahead.policy).items():
        torch.testing.assert_close(weight, expected[name], rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize(
    ("make", "given", "reads"),
    [
        # The reference, and the policy: once for its only step, or once for each of its four
        # halves and once for the half that is not the first.
        (gradient, {}, 1 + 1),
        (ppo, {"epochs": 2, "minibatches": 2}, 2 + 4 + 1),
    ],
)
def test_it_saves_a_reading(
    make: Any, given: dict[str, object], reads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner, calls = make(**given), [0]

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        return score(*args, **kwargs)

    monkeypatch.setattr("assent.training.actors.score", counted)
    learn(learner, 1)
    assert calls[0] == reads


def test_what_is_ahead_is_handed_out_once_and_to_its_own_rows_only() -> None:
    scored = Scored(torch.zeros(2, 3), None, None)
    assert Ahead([3, 1], scored).take([3, 1]) is scored
    assert Ahead([3, 1], scored).take([1, 3]) is None
    once = Ahead([0], scored)
    once.take([0])
    assert once.take([0]) is None, "by now the weights have moved"
