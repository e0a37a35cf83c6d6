"""PPO's first minibatch reproduces what was sampled, or says in plain words what is wrong."""

import pytest
import torch
from tests.training_fixtures import (
    PROMPTS,
    TOKENIZER,
    ppo_settings,
    same_weights,
    small_policy,
    small_ppo,
    weights_of,
)
from tests.unit.models.architectures import ARCHITECTURES, causal_lm

from assent.config.ppo import SamplingSettings
from assent.errors import SelfCheckFailed
from assent.models.sampling import Rollouts
from assent.models.scoring import score
from assent.training.ppo import Ppo
from assent.training.self_check import SelfCheck, require_agreement

REWARDS = [float(number % 3) for number in range(len(PROMPTS))]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_in_float32_the_first_minibatch_is_reproduced(
    architecture: str, temperature: float
) -> None:
    """Prompts and responses of different lengths, dropout in the configuration."""
    settings = ppo_settings(sampling=SamplingSettings(max_new_tokens=24, temperature=temperature))
    policy = causal_lm(architecture, vocabulary=len(TOKENIZER), dropout=0.1)
    policy.train()
    reference = causal_lm(architecture, vocabulary=len(TOKENIZER), dropout=0.1)
    ppo = Ppo(policy, reference, TOKENIZER, settings, seed=0)
    rollouts = ppo.rollout(PROMPTS)
    assert len({int(length) for length in rollouts.rows.response_mask.sum(1)}) > 1
    ppo.learn(rollouts, REWARDS)
    check = ppo.self_check
    assert check is not None
    assert check.ratio_deviation < 1e-4
    assert 0 <= check.approximate_kl < 1e-6
    assert check.clip_fraction == 0


def test_only_the_first_minibatch_is_checked_and_it_is_the_first_of_all() -> None:
    ppo = small_ppo(ppo_settings())
    ppo.learn(ppo.rollout(PROMPTS), REWARDS)
    first = ppo.self_check
    ppo.learn(ppo.rollout(PROMPTS), REWARDS)
    assert ppo.self_check is first


def test_a_single_step_on_the_first_batch_has_ratio_one() -> None:
    ppo = small_ppo(ppo_settings(epochs=1, minibatches=1))
    figures = ppo.learn(ppo.rollout(PROMPTS), REWARDS)
    assert figures["policy/ratio_mean"] == pytest.approx(1, abs=1e-6)
    assert figures["policy/approx_kl_nats"] < 1e-10
    assert figures["policy/clip_fraction"] == 0
    assert figures["policy/kl_nats"] == pytest.approx(0, abs=1e-5)
    assert abs(figures["loss/policy"]) < 1e-5  # whitened advantages at ratio 1


def test_bfloat16_is_reported_and_near() -> None:
    ppo = Ppo(
        small_policy(spread=0.1),
        small_policy(spread=0.1),
        TOKENIZER,
        ppo_settings(precision="bfloat16"),
        seed=0,
    )
    rollouts = ppo.rollout(PROMPTS)
    with torch.no_grad():
        exact = score(ppo.policy, rollouts.rows, temperature=1.0).logprobs
    assert float((exact - rollouts.logprobs).abs().max()) > 1e-4  # it was bfloat16
    ppo.learn(rollouts, REWARDS)
    assert ppo.self_check is not None
    assert ppo.self_check.ratio_deviation < 0.05


def refusal(ppo: Ppo, rollouts: Rollouts) -> str:
    """What `learn` says; nothing may have changed."""
    before = weights_of(ppo.policy) | weights_of(ppo.value_head)
    with pytest.raises(SelfCheckFailed) as raised:
        ppo.learn(rollouts, REWARDS)
    assert same_weights(weights_of(ppo.policy) | weights_of(ppo.value_head), before)
    assert not ppo.optimiser.state
    assert (ppo.updates_done, ppo.episodes) == (0, 0)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_rollouts_of_another_temperature_are_refused() -> None:
    hot = small_ppo(ppo_settings(sampling=SamplingSettings(max_new_tokens=6, temperature=1.5)))
    said = refusal(small_ppo(ppo_settings()), hot.rollout(PROMPTS))
    assert "self-check failed" in said
    assert "sampling temperature" in said
    assert "below 0.0001 is right" in said


def test_rollouts_of_other_weights_are_refused() -> None:
    ppo = small_ppo(ppo_settings())
    rollouts = ppo.rollout(PROMPTS)
    with torch.no_grad():
        for parameter in ppo.policy.parameters():
            parameter.add_(0.05)
    assert "weights that changed between sampling and training" in refusal(ppo, rollouts)


def test_rows_that_do_not_belong_to_their_logprobs_are_refused() -> None:
    ppo = small_ppo(ppo_settings())
    rollouts = ppo.rollout(PROMPTS)
    swapped = rollouts._replace(rows=rollouts.rows.select([*list(range(1, len(PROMPTS))), 0]))
    assert "padding or position ids" in refusal(ppo, swapped)


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_padding_that_is_attended_to_is_refused(architecture: str) -> None:
    policy = causal_lm(architecture, vocabulary=len(TOKENIZER))
    reference = causal_lm(architecture, vocabulary=len(TOKENIZER))
    ppo = Ppo(policy, reference, TOKENIZER, ppo_settings(), seed=0)
    rollouts = ppo.rollout(PROMPTS)
    broken = rollouts.rows._replace(mask=torch.ones_like(rollouts.rows.mask))
    assert "padding or position ids" in refusal(ppo, rollouts._replace(rows=broken))


def test_dropout_that_is_on_in_training_is_refused() -> None:
    policy, reference = (
        causal_lm("gpt2", vocabulary=len(TOKENIZER), dropout=0.3) for _ in range(2)
    )
    ppo = Ppo(policy, reference, TOKENIZER, ppo_settings(), seed=0)
    rollouts = ppo.rollout(PROMPTS)
    policy.train()
    assert "dropout that is on" in refusal(ppo, rollouts)


def test_a_deviation_of_low_precision_is_told_from_a_wrong_distribution() -> None:
    small = SelfCheck(ratio_deviation=0.01, approximate_kl=1e-5, clip_fraction=0.0)
    with pytest.raises(SelfCheckFailed, match="low-precision arithmetic"):
        require_agreement(small, "float32")
    require_agreement(small, "bfloat16")
    large = small._replace(ratio_deviation=0.06)
    for precision in ("float32", "bfloat16"):
        with pytest.raises(SelfCheckFailed, match="another distribution"):
            require_agreement(large, precision)


@pytest.mark.parametrize(
    "change", [{"ratio_deviation": 1e-4}, {"approximate_kl": 1e-6}, {"clip_fraction": 0.01}]
)
def test_each_of_the_three_figures_must_be_right_in_float32(change: dict[str, float]) -> None:
    right = SelfCheck(ratio_deviation=9e-5, approximate_kl=9e-7, clip_fraction=0.0)
    require_agreement(right, "float32")
    with pytest.raises(SelfCheckFailed):
        require_agreement(right._replace(**change), "float32")


def test_what_is_not_a_number_is_no_agreement() -> None:
    nan = SelfCheck(ratio_deviation=float("nan"), approximate_kl=0.0, clip_fraction=0.0)
    for precision in ("float32", "bfloat16"):
        with pytest.raises(SelfCheckFailed):
            require_agreement(nan, precision)
