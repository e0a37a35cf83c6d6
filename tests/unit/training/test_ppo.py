"""One PPO update: the same by every road, refused or done whole, and wired as it should be."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from tests.training_fixtures import (
    PROMPTS,
    TOKENIZER,
    count_of_a,
    optimiser,
    ppo_settings,
    same_weights,
    small_policy,
    small_ppo,
    weights_of,
)

from assent.config.ppo import AdaptiveKl, FixedKl, MissingEos, SamplingSettings
from assent.errors import AssentError, DataError, ModelError, NonFinite, RewardError
from assent.models.sampling import Rollouts
from assent.models.scoring import score
from assent.models.tokens import encode, encode_responses, join
from assent.training.ppo import Ppo

if TYPE_CHECKING:
    from collections.abc import Sequence

REWARDS = [0.5, -1.0, 2.0, 0.0, 1.5, -0.5, 1.0, 0.25]


def marks(rollouts: Rollouts) -> list[bool]:
    return [bool(end) for end in rollouts.finished]


def drawn(ppo: Ppo, prompts: list[list[int]], responses: list[list[int]]) -> Rollouts:
    """Rollouts as if the policy had drawn these tokens."""
    pad, eos = int(TOKENIZER.pad_token_id), int(TOKENIZER.eos_token_id)
    rows = join(prompts, responses, pad)
    with torch.no_grad():
        logprobs = score(ppo.policy, rows, temperature=1.0).logprobs
    return Rollouts(rows, logprobs, torch.tensor([ids[-1] == eos for ids in responses]))


def test_step_on_texts_is_learn_on_rollouts() -> None:
    one, other = small_ppo(ppo_settings()), small_ppo(ppo_settings())
    prompts = encode(TOKENIZER, PROMPTS)
    for update in range(3):
        texts = ["ab", "hgfe", "c", "", "bad", "face", "dd", f"{'a' * update}h"]
        ends = [True] * 5 + [False] * 3
        rollouts = drawn(one, prompts, encode_responses(TOKENIZER, texts, ends))
        assert one.texts(rollouts) == texts
        assert marks(rollouts) == ends
        learned = one.learn(rollouts, REWARDS)
        stepped = other.step(PROMPTS, one.texts(rollouts), REWARDS, finished=marks(rollouts))
        assert stepped == learned
        assert same_weights(weights_of(one.policy), weights_of(other.policy))
        assert same_weights(weights_of(one.value_head), weights_of(other.value_head))
        assert one.reference is not None
        assert not same_weights(weights_of(one.policy), weights_of(one.reference))
        assert other.updates_done == update + 1


def test_a_loop_of_ones_own_raises_its_reward() -> None:
    settings = ppo_settings(updates=25, rollouts_per_update=32, kl=FixedKl(coef=0.01))
    ppo = small_ppo(settings)
    prompts = PROMPTS * 4
    seen = []
    for _ in range(settings.updates):
        rollouts = ppo.rollout(prompts)
        texts = ppo.texts(rollouts)
        rewards = count_of_a(prompts, texts)
        seen.append(sum(rewards) / len(rewards))
        ppo.step(prompts, texts, rewards, finished=marks(rollouts))
    assert sum(seen[-3:]) > sum(seen[:3]) + 3


NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"rewards": REWARDS[:-1]}, RewardError, "7 rewards for 8 responses"),
        ({"rewards": [*REWARDS, 1.0]}, RewardError, "9 rewards for 8 responses"),
        ({"rewards": []}, RewardError, "0 rewards for 8 responses"),
        ({"rewards": [*REWARDS[:3], NAN, *REWARDS[4:]]}, RewardError, "reward 3 is nan"),
        ({"rewards": [INFINITE, *REWARDS[1:]]}, RewardError, "reward 0 is inf"),
        ({"rewards": ["good"] * 8}, RewardError, "rewards must be numbers"),
        ({"rewards": [[1.0, 2.0]] * 8}, RewardError, "8 rewards for 8 responses"),
        ({"prompts": PROMPTS[:-1]}, DataError, "7 prompts, 8 responses"),
        ({"responses": ["a"] * 9}, DataError, "8 prompts, 9 responses"),
        ({"finished": [True] * 3}, DataError, "3 marks of having finished"),
        (
            {"responses": ["a"] * 7 + [""], "finished": [True] * 7 + [False]},
            DataError,
            "response 7 has no token",
        ),
        ({"prompts": [*PROMPTS[:2], "", *PROMPTS[3:]]}, DataError, "prompt 2 has no token"),
        (
            {"prompts": PROMPTS[:5], "responses": ["a"] * 5, "rewards": REWARDS[:5]},
            DataError,
            "5 responses do not split into ppo.minibatches = 2",
        ),
        ({"prompts": [], "responses": [], "rewards": []}, DataError, "0 prompts, 0 responses"),
    ],
)
def test_what_cannot_be_learned_from_is_one_line_and_changes_nothing(
    change: dict[str, Any], error: type[AssentError], says: str
) -> None:
    given: dict[str, Any] = {"prompts": PROMPTS, "responses": ["ab"] * 8, "rewards": REWARDS}
    given |= change
    ppo, untouched = small_ppo(ppo_settings()), small_ppo(ppo_settings())
    before = weights_of(ppo.policy)
    with pytest.raises(error, match=says) as raised:
        ppo.step(
            given["prompts"],
            given["responses"],
            given["rewards"],
            finished=given.get("finished"),
        )
    assert "\n" not in str(raised.value)
    assert same_weights(weights_of(ppo.policy), before)
    # And nothing is left behind for the next step.
    for one in (ppo, untouched):
        one.step(PROMPTS, ["ab"] * 8, REWARDS)
    assert same_weights(weights_of(ppo.policy), weights_of(untouched.policy))


def test_rewards_may_be_a_tensor_or_an_array() -> None:
    ppos = [small_ppo(ppo_settings()) for _ in range(3)]
    for ppo, rewards in zip(ppos, (REWARDS, torch.tensor(REWARDS), np.array(REWARDS)), strict=True):
        ppo.step(PROMPTS, ["ab"] * 8, rewards)  # type: ignore[arg-type]
        assert same_weights(weights_of(ppo.policy), weights_of(ppos[0].policy))


@pytest.mark.parametrize("rewards", [REWARDS[:-1], [*REWARDS[:-1], NAN]])
def test_learn_refuses_bad_rewards_too(rewards: list[float]) -> None:
    ppo = small_ppo(ppo_settings())
    rollouts = ppo.rollout(PROMPTS)
    before = weights_of(ppo.policy)
    with pytest.raises(RewardError):
        ppo.learn(rollouts, rewards)
    assert same_weights(weights_of(ppo.policy), before)


def test_a_step_refused_halfway_leaves_no_gradient_for_the_next() -> None:
    """Whatever gradient is lying about when a step begins is no part of it."""
    settings = ppo_settings(micro_batch_size=1)
    ppo, untouched = small_ppo(settings), small_ppo(settings)
    for parameter in ppo.policy.parameters():
        parameter.grad = torch.full_like(parameter, 100.0)
    for one in (ppo, untouched):
        one.step(PROMPTS, ["ab"] * 8, REWARDS)
    assert same_weights(weights_of(ppo.policy), weights_of(untouched.policy))


def test_a_loss_that_is_not_a_number_stops_before_the_weights_change() -> None:
    ppo = small_ppo(ppo_settings())
    with torch.no_grad():
        ppo.value_head.linear.bias.fill_(math.nan)
    before = weights_of(ppo.policy)
    with pytest.raises(NonFinite, match=r"ppo, step 1: .* nan") as raised:
        ppo.step(PROMPTS, ["ab"] * 8, REWARDS)
    assert "\n" not in str(raised.value)
    assert same_weights(weights_of(ppo.policy), before)


def test_policy_and_reference_must_be_two_models() -> None:
    policy = small_policy()
    with pytest.raises(ModelError, match="policy and reference must be two models"):
        Ppo(policy, policy, TOKENIZER, ppo_settings(), seed=0)


def test_the_reference_is_never_changed() -> None:
    ppo = small_ppo(ppo_settings())
    assert ppo.reference is not None
    before = weights_of(ppo.reference)
    for _ in range(2):
        ppo.learn(ppo.rollout(PROMPTS), REWARDS)
    assert same_weights(weights_of(ppo.reference), before)
    assert all(parameter.grad is None for parameter in ppo.reference.parameters())


def gradient(settings_given: dict[str, object], rollouts: Rollouts) -> torch.Tensor:
    """Of one minibatch, read off Adam's first moment."""
    settings = ppo_settings(
        epochs=1,
        minibatches=1,
        optimiser=optimiser(max_grad_norm=1e6, schedule="constant"),
        value_coef=0.5,
        **settings_given,
    )
    ppo = small_ppo(settings)
    with torch.no_grad():  # values that differ, or the value head has nothing to push into
        ppo.value_head.linear.weight.copy_(torch.linspace(-0.1, 0.1, 16)[None])
    ppo.learn(rollouts, REWARDS)
    moments = [ppo.optimiser.state[p]["exp_avg"].flatten() for p in ppo.optimiser.state]
    return torch.cat(moments).double()


@pytest.mark.parametrize("size", [1, 3, 7])
def test_micro_batches_have_the_gradient_of_the_whole_minibatch(size: int) -> None:
    rollouts = small_ppo(ppo_settings()).rollout(PROMPTS)
    whole = gradient({}, rollouts)
    parts = gradient({"micro_batch_size": size}, rollouts)
    assert whole.norm() > 1e-3
    assert (parts - whole).norm() / whole.norm() < 1e-6


def test_more_padding_changes_no_gradient() -> None:
    rollouts = small_ppo(ppo_settings()).rollout(PROMPTS)
    rows = rollouts.rows
    count, width = len(rows.tokens), rows.prompt_width
    junk = torch.full((count, 3), 5)
    none = torch.zeros((count, 3), dtype=torch.bool)
    wider = rows._replace(
        tokens=torch.cat([junk, rows.tokens, junk], dim=1),
        mask=torch.cat([none, rows.mask, none], dim=1),
        prompt_width=width + 3,
        response_mask=torch.cat([rows.response_mask, none], dim=1),
    )
    logprobs = torch.cat([rollouts.logprobs, torch.zeros(count, 3)], dim=1)
    whole = gradient({}, rollouts)
    padded = gradient({}, rollouts._replace(rows=wider, logprobs=logprobs))
    assert (padded - whole).norm() / whole.norm() < 1e-6


def test_pad_tokens_inside_a_response_are_tokens_like_others() -> None:
    """Drawn by the policy, they are learned from; a mask made from ids would lose them."""
    pad, eos = int(TOKENIZER.pad_token_id), int(TOKENIZER.eos_token_id)
    prompts = [[2, 3]] * 8
    responses = [[4, pad, pad, 5, eos], [pad, eos]] * 4
    ppo = small_ppo(ppo_settings())
    figures = ppo.learn(drawn(ppo, prompts, responses), REWARDS)
    assert ppo.self_check is not None
    assert ppo.self_check.ratio_deviation < 1e-4
    assert figures["policy/length_tokens"] == pytest.approx(3.5)


def captured(ppo: Ppo, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The batches that the epochs are given, which no public name shows."""
    seen: list[Any] = []
    epochs = ppo._epochs

    def watching(batch: Any) -> dict[str, float]:
        seen.append(batch)
        return epochs(batch)

    monkeypatch.setattr(ppo, "_epochs", watching)
    return seen


def test_the_score_lands_on_the_last_real_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """With gamma = lambda = 1, values 0 and no KL, each token's return is the score to come."""
    ppo = small_ppo(ppo_settings(discount=1.0, gae_lambda=1.0, kl=FixedKl(coef=0.0)))
    seen = captured(ppo, monkeypatch)
    rollouts = ppo.rollout(PROMPTS)
    mask = rollouts.rows.response_mask
    finished = rollouts._replace(finished=torch.ones(8, dtype=torch.bool))
    ppo.learn(finished, REWARDS)
    expected = torch.tensor(REWARDS)[:, None] * mask
    torch.testing.assert_close(seen[0].returns, expected)
    flat = expected[mask]
    whitened = (flat - flat.mean()) / (flat.var(unbiased=False) + 1e-8).sqrt()
    torch.testing.assert_close(seen[0].advantages[mask], whitened, rtol=1e-4, atol=1e-5)
    assert not seen[0].advantages[~mask].any()


def test_a_discounted_return_counts_tokens_up_to_the_last_real_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ppo = small_ppo(ppo_settings(discount=0.5, gae_lambda=1.0, kl=FixedKl(coef=0.0)))
    seen = captured(ppo, monkeypatch)
    ppo.step(["a", "ab"] * 4, ["bcd", "e"] * 4, REWARDS)
    rewards = torch.tensor(REWARDS)[:, None]
    tokens_after = torch.tensor([[3, 2, 1, 0], [1, 0, 0, 0]] * 4)
    mask = torch.tensor([[True] * 4, [True, True, False, False]] * 4)
    torch.testing.assert_close(seen[0].returns, rewards * 0.5**tokens_after * mask)


def test_the_kl_penalty_is_paid_token_by_token(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ppo_settings(discount=1.0, gae_lambda=1.0, kl=FixedKl(coef=0.3))
    ppo = Ppo(small_policy(1), small_policy(2), TOKENIZER, settings, seed=0)
    seen = captured(ppo, monkeypatch)
    rollouts = ppo.rollout(PROMPTS)

    assert ppo.reference is not None
    with torch.no_grad():
        reference = score(ppo.reference, rollouts.rows, temperature=1.0).logprobs
    kl = rollouts.logprobs - reference
    finished = rollouts._replace(finished=torch.ones(8, dtype=torch.bool))
    figures = ppo.learn(finished, [0.0] * 8)
    to_go = (-0.3 * kl).flip(1).cumsum(1).flip(1) * rollouts.rows.response_mask
    torch.testing.assert_close(seen[0].returns, to_go, rtol=1e-4, atol=1e-5)
    assert figures["policy/kl_nats"] == pytest.approx(float(kl.sum(1).mean()), abs=1e-5)
    assert figures["reward/kl_penalty_mean"] == pytest.approx(-0.3 * figures["policy/kl_nats"])
    assert figures["reward/total_mean"] == pytest.approx(
        figures["reward/kl_penalty_mean"], abs=1e-6
    )


@pytest.mark.parametrize(
    ("mode", "paid"),
    [
        ("replace", [-3.0] * 8),
        ("subtract", [reward - 3.0 for reward in REWARDS]),
    ],
)
def test_responses_that_are_cut_off_pay_the_penalty(
    mode: str, paid: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two tokens are too few for a policy that rarely ends."""
    settings = ppo_settings(
        discount=1.0,
        gae_lambda=1.0,
        kl=FixedKl(coef=0.0),
        sampling=SamplingSettings(max_new_tokens=2),
        missing_eos=MissingEos.model_validate({"mode": mode, "penalty": 3.0}),
    )
    ppo = small_ppo(settings)
    seen = captured(ppo, monkeypatch)
    rollouts = ppo.rollout(PROMPTS)
    cut = [not end for end in marks(rollouts)]
    assert any(cut)
    figures = ppo.learn(rollouts, REWARDS)
    assert figures["policy/missing_eos_share"] == pytest.approx(sum(cut) / len(cut))
    expected = [
        less if is_cut else reward for reward, less, is_cut in zip(REWARDS, paid, cut, strict=True)
    ]
    torch.testing.assert_close(seen[0].returns[:, 0], torch.tensor(expected))
    assert figures["reward/proxy_mean"] == pytest.approx(sum(REWARDS) / 8)
    assert figures["reward/total_mean"] == pytest.approx(sum(expected) / 8)


def test_rewards_beyond_the_clip_are_clipped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ppo_settings(discount=1.0, gae_lambda=1.0, kl=FixedKl(coef=0.0), reward_clip=1.0)
    ppo = small_ppo(settings)
    seen = captured(ppo, monkeypatch)
    figures = ppo.step(PROMPTS, ["ab"] * 8, REWARDS)
    assert figures["reward/clipped_share"] == 2 / 8
    assert seen[0].returns[:, 0].tolist() == [min(max(one, -1.0), 1.0) for one in REWARDS]
    assert figures["reward/proxy_mean"] == pytest.approx(sum(REWARDS) / 8)


def test_the_adaptive_controller_moves_after_each_batch_and_a_fixed_one_never() -> None:
    settings = ppo_settings(kl=AdaptiveKl(initial_coef=0.1, target_nats=6, horizon_episodes=100))
    ppo = small_ppo(settings)
    first = ppo.step(PROMPTS, ["ab"] * 8, REWARDS)
    second = ppo.step(PROMPTS, ["ba"] * 8, REWARDS)
    assert first["policy/kl_coef"] == 0.1
    # Policy and reference are equal at first: the KL is 0, far below the target.
    assert second["policy/kl_coef"] == pytest.approx(0.1 * (1 - 0.2 * 8 / 100))
    fixed = small_ppo(ppo_settings(kl=FixedKl(coef=0.2)))
    coefs = [fixed.step(PROMPTS, ["ab"] * 8, REWARDS)["policy/kl_coef"] for _ in range(2)]
    assert coefs == [0.2, 0.2]


def test_the_learning_rate_falls_over_the_optimiser_steps_of_all_updates() -> None:
    ppo = small_ppo(ppo_settings(updates=4, optimiser=optimiser(lr=0.01, schedule="linear")))
    rates: Sequence[float] = [ppo.step(PROMPTS, ["ab"] * 8, REWARDS)["optim/lr"] for _ in range(4)]
    # The last of the four steps of each update, of sixteen.
    assert rates == pytest.approx([0.01 * (1 - step / 16) for step in (3, 7, 11, 15)])
