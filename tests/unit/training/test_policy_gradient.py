"""RLOO, GRPO and their kin: groups kept right, refused in one line, learned from, the same by
every road."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training_fixtures import (
    PROMPTS,
    TOKENIZER,
    interrupt_at,
    optimiser,
    same_weights,
    small_policy,
    weights_of,
)
from transformers import AutoModelForCausalLM, PreTrainedModel

from assent.config.lora import LoraSettings
from assent.config.metrics import METRICS
from assent.config.policy_gradient import GrpoSettings, PolicyGradientSettings
from assent.config.ppo import FixedKl, PpoSettings, SamplingSettings
from assent.errors import AssentError, DataError, ModelError, RewardError, SelfCheckFailed
from assent.models.sampling import Rollouts
from assent.models.scoring import score
from assent.training.policy_gradient import PolicyGradient, train_policy_gradient
from assent.training.ppo import Ppo
from assent.training.run_folder import RunFolder

GROUPED = [prompt for prompt in PROMPTS[:4] for _ in range(2)]
REWARDS = [0.5, -1.0, 2.0, 0.0, 1.5, -0.5, 1.0, 0.25]


def settings_of(advantage: str = "rloo", **given: object) -> PolicyGradientSettings:
    """Four prompts, two responses each, of at most six letters."""
    defaults: dict[str, object] = {
        "updates": 4,
        "prompts_per_update": 4,
        "samples_per_prompt": 2,
        "advantage": advantage,
        "sampling": SamplingSettings(max_new_tokens=6),
        "kl": FixedKl(coef=0.1),
        "optimiser": optimiser(),
    }
    cls = GrpoSettings if "grpo" in advantage else PolicyGradientSettings
    return cls.model_validate(defaults | given)


def small(advantage: str = "rloo", **given: object) -> PolicyGradient:
    return PolicyGradient(
        small_policy(), small_policy(), TOKENIZER, settings_of(advantage, **given), seed=0
    )


def share_of_a(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    del prompts
    return [response.count("a") / max(len(response), 1) for response in responses]


def run(
    folder: Path, settings: PolicyGradientSettings | None = None, **given: Any
) -> PreTrainedModel:
    reward = given.pop("reward", share_of_a)
    return train_policy_gradient(
        small_policy(), small_policy(), TOKENIZER, PROMPTS, reward, settings or settings_of(),
        RunFolder(folder), seed=0, **given,
    )  # fmt: skip


def metrics(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


KINDS = ["rloo", "grpo", "dr_grpo", "reinforce"]


@pytest.mark.parametrize("advantage", KINDS)
def test_each_raises_its_reward_and_pays_for_kl(advantage: str, tmp_path: Path) -> None:
    ends = {}
    for coef in (0.01, 0.4):
        settings = settings_of(
            advantage, updates=30, prompts_per_update=8, samples_per_prompt=4,
            kl=FixedKl(coef=coef), optimiser=optimiser(schedule="constant"),
        )  # fmt: skip
        run(tmp_path / str(coef), settings)
        seen = metrics(tmp_path / str(coef))
        assert {name for line in seen for name in line} - {"step"} <= set(METRICS)
        ends[coef] = {
            name: sum(line[name] for line in seen[-5:]) / 5
            for name in ("reward/proxy_mean", "policy/kl_nats")
        }
        start = sum(line["reward/proxy_mean"] for line in seen[:3]) / 3
    assert ends[0.01]["reward/proxy_mean"] > start + 0.4
    assert 0 < ends[0.4]["policy/kl_nats"] < ends[0.01]["policy/kl_nats"]


def test_what_a_run_writes(tmp_path: Path) -> None:
    notes = []

    def on_point(update: int, policy: PreTrainedModel) -> str:
        assert not policy.training
        notes.append(update)
        return f"at {update}"

    trained = run(tmp_path, points=(0, 2, 4), on_point=on_point)
    assert notes == [0, 2, 4]
    lines = metrics(tmp_path)
    assert [line["data/episodes"] for line in lines] == [8, 16, 24, 32]
    assert lines[0]["policy/ratio_deviation"] < 1e-4
    assert "policy/ratio_deviation" not in lines[1]
    last = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert same_weights(weights_of(last), weights_of(trained))
    for point, model in ((0, small_policy()), (4, trained)):
        kept = AutoModelForCausalLM.from_pretrained(tmp_path / f"checkpoints/step-{point:06d}")
        assert same_weights(weights_of(kept), weights_of(model))


def test_each_prompt_of_an_update_is_asked_as_often_as_its_group_has_members(
    tmp_path: Path,
) -> None:
    batches: list[list[str]] = []

    def reward(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
        batches.append(list(prompts))
        return share_of_a(prompts, responses)

    run(tmp_path, reward=reward)
    for batch in batches:
        assert batch[0::2] == batch[1::2]
        assert len(set(batch)) == 4
    asked = [prompt for batch in batches for prompt in batch[0::2]]
    assert sorted(asked) == sorted(PROMPTS * 2)


def drawn(texts: list[str], learner: PolicyGradient) -> Rollouts:
    """Rollouts as if the policy had drawn these letters and the end."""
    from assent.models.tokens import rows_of

    rows = rows_of(TOKENIZER, GROUPED, texts)
    with torch.no_grad():
        logprobs = score(learner.policy, rows, temperature=1.0).logprobs
    return Rollouts(rows, logprobs, torch.ones(len(texts), dtype=torch.bool))


def test_the_same_texts_by_either_road_are_the_same_step_to_the_last_bit() -> None:
    texts = ["ab", "hgfe", "c", "", "bad", "face", "dd", "aah"]
    one, other = small(), small()
    learned = one.learn(drawn(texts, one), REWARDS)
    assert other.step(GROUPED, texts, REWARDS) == learned
    assert same_weights(weights_of(one.policy), weights_of(other.policy))
    assert not same_weights(weights_of(one.policy), weights_of(small_policy()))


@pytest.mark.parametrize("advantage", ["rloo", "grpo", "dr_grpo"])
def test_identical_rewards_in_every_group_move_nothing_and_are_counted(advantage: str) -> None:
    """No gradient, no NaN, no step to the last bit; being cut off would be another reward."""
    learner = small(
        advantage, kl=FixedKl(coef=0.0), missing_eos={"penalty": 0.0, "mode": "subtract"}
    )
    before = weights_of(learner.policy)
    figures = learner.learn(learner.rollout(PROMPTS[:4]), [0.1] * 8)
    assert figures["reward/undecided_share"] == 1
    assert figures["optim/grad_norm"] == 0
    assert all(math.isfinite(value) for value in figures.values())
    assert same_weights(weights_of(learner.policy), before)
    figures = learner.learn(learner.rollout(PROMPTS[:4]), [0.1, 0.2, *[0.1] * 6])
    assert figures["reward/undecided_share"] == 0.75
    assert figures["optim/grad_norm"] > 0


def gradient(learner: PolicyGradient, rewards: list[float], texts: list[str]) -> torch.Tensor:
    """Of one step, read off Adam's first moment."""
    learner.step(GROUPED, texts, rewards)
    moments = [learner.optimiser.state[p]["exp_avg"].flatten() for p in learner.optimiser.state]
    return torch.cat(moments).double() / 0.1


STEP: dict[str, object] = {
    "optimiser": optimiser(max_grad_norm=1e6, schedule="constant"),
    "kl": FixedKl(coef=0.0),
}
TEXTS = ["ab", "hgfe", "c", "", "bad", "face", "dd", "aah"]


def by_hand(weights: list[float], texts: list[str]) -> torch.Tensor:
    """Gradient of -sum over responses of weight times log-probability."""
    from assent.models.tokens import rows_of

    policy = small_policy()
    logprobs = score(policy, rows_of(TOKENIZER, GROUPED, texts), temperature=1.0).logprobs
    torch.autograd.backward(-(torch.tensor(weights) * logprobs.sum(1)).sum())
    return torch.cat(
        [p.grad.flatten() for p in policy.parameters() if p.grad is not None]
    ).double()  # fmt: skip


LENGTHS = [len(text) + 1 for text in TEXTS]
GAPS = [REWARDS[at] - REWARDS[at ^ 1] for at in range(8)]
"""Of each response to the other of its pair."""


@pytest.mark.parametrize(
    ("advantage", "given", "weights"),
    [
        ("rloo", {}, [gap / (8 * 6) for gap in GAPS]),
        ("dr_grpo", {}, [gap / 2 / (8 * 6) for gap in GAPS]),
        ("rloo", {"aggregation": "token"}, [gap / sum(LENGTHS) for gap in GAPS]),
        (
            "grpo",
            {},
            [(1 if g > 0 else -1) / 2**0.5 / (8 * n) for g, n in zip(GAPS, LENGTHS, strict=True)],
        ),
        (
            "reinforce",
            {},
            [(one - sum(REWARDS) / 8) * 8 / 7 / (8 * 6) for one in REWARDS],
        ),
    ],
)
def test_the_gradient_is_the_formula_of_the_paper(
    advantage: str, given: dict[str, object], weights: list[float]
) -> None:
    found = gradient(small(advantage, **STEP, **given), REWARDS, TEXTS)
    expected = by_hand(weights, TEXTS)
    assert expected.norm() > 1e-3
    assert (found - expected).norm() / expected.norm() < 1e-4


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("advantage", ["rloo", "grpo"])
def test_micro_batches_have_the_gradient_of_the_whole(size: int, advantage: str) -> None:
    given = STEP | {"kl": FixedKl(coef=0.2)}
    whole = gradient(small(advantage, **given), REWARDS, TEXTS)
    parts = gradient(small(advantage, **given, micro_batch_size=size), REWARDS, TEXTS)
    assert (parts - whole).norm() / whole.norm() < 1e-5


def test_kl_in_the_loss_by_k2_of_whole_responses_is_kl_in_the_reward_of_other_samples() -> None:
    """Both add beta times the KL of the response, one before comparing and one after."""
    policy, reference = small_policy(1), small_policy(2)
    settings = settings_of(
        kl=FixedKl(coef=0.3),
        kl_penalty={"kind": "loss", "estimator": "k2", "level": "sequence"},
    )
    learner = PolicyGradient(policy, reference, TOKENIZER, settings, seed=0)
    rollouts = learner.rollout(PROMPTS[:4])
    with torch.no_grad():
        kl = (rollouts.logprobs - score(reference, rollouts.rows, temperature=1.0).logprobs).sum(1)
    figures = learner.learn(rollouts, [0.0] * 8)
    assert figures["policy/kl_nats"] == pytest.approx(float(kl.mean()), abs=1e-4)
    expected = 0.3 * float((0.5 * kl.square()).mean()) / 6  # constant: the longest has six tokens
    assert figures["loss/kl"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"rewards": REWARDS[:-1]}, RewardError, "7 rewards for 8 responses"),
        ({"rewards": [*REWARDS[:3], float("nan"), *REWARDS[4:]]}, RewardError, "reward 3 is nan"),
        ({"prompts": GROUPED[:-1]}, DataError, "7 prompts, 8 responses"),
        (
            {"prompts": GROUPED[1:] + GROUPED[:1]},
            DataError,
            "response 1 answers another prompt than response 0; put the 2 responses",
        ),
        (
            {"prompts": GROUPED[:7], "responses": ["a"] * 7, "rewards": REWARDS[:7]},
            DataError,
            "7 responses are no whole groups of rloo.samples_per_prompt = 2",
        ),
        ({"prompts": ["", "", *GROUPED[2:]]}, DataError, "prompt 0 has no token"),
    ],
)
def test_what_cannot_be_learned_from_is_one_line_and_changes_nothing(
    change: dict[str, Any], error: type[AssentError], says: str
) -> None:
    given: dict[str, Any] = {"prompts": GROUPED, "responses": ["ab"] * 8, "rewards": REWARDS}
    given |= change
    learner = small()
    before = weights_of(learner.policy)
    with pytest.raises(error, match=says) as raised:
        learner.step(given["prompts"], given["responses"], given["rewards"])
    assert "\n" not in str(raised.value)
    assert same_weights(weights_of(learner.policy), before)


@pytest.mark.parametrize("advantage", ["rloo", "grpo", "dr_grpo"])
def test_one_sample_a_prompt_has_nobody_to_be_compared_with(advantage: str) -> None:
    with pytest.raises(ValueError, match="samples_per_prompt is 1: with advantage = "):
        settings_of(advantage, samples_per_prompt=1)
    assert settings_of("reinforce", samples_per_prompt=1).rollouts_per_update == 4


def test_reinforce_with_one_sample_a_prompt_runs(tmp_path: Path) -> None:
    run(tmp_path, settings_of("reinforce", samples_per_prompt=1))
    lines = metrics(tmp_path)
    assert all("reward/undecided_share" not in line for line in lines)
    assert all("reward/baseline" in line for line in lines)


def test_rollouts_of_other_weights_are_refused_by_the_stage_that_learns() -> None:
    learner = small("grpo")
    rollouts = learner.rollout(PROMPTS[:4])
    with torch.no_grad():
        for parameter in learner.policy.parameters():
            parameter.add_(0.05)
    with pytest.raises(SelfCheckFailed, match="GRPO's self-check failed"):
        learner.learn(rollouts, REWARDS)


def test_policy_and_reference_must_be_two_models() -> None:
    policy = small_policy()
    with pytest.raises(ModelError, match="two models"):
        PolicyGradient(policy, policy, TOKENIZER, settings_of(), seed=0)
    with pytest.raises(ModelError, match=r"without an adapter \(grpo.lora\) GRPO needs"):
        PolicyGradient(policy, None, TOKENIZER, settings_of("grpo"), seed=0)


@pytest.mark.parametrize("advantage", ["rloo", "grpo"])
def test_an_adapter_is_its_own_reference_and_ends_as_an_ordinary_model(
    advantage: str, tmp_path: Path
) -> None:
    settings = settings_of(advantage, lora=LoraSettings(rank=2))
    trained = train_policy_gradient(
        small_policy(), None, TOKENIZER, PROMPTS, share_of_a, settings, RunFolder(tmp_path), seed=0
    )
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    mine, theirs = weights_of(trained), weights_of(plain)
    for name, weight in mine.items():
        torch.testing.assert_close(theirs[name], weight, rtol=0, atol=1e-6, msg=name)
    assert (tmp_path / "model" / "adapter" / "adapter_model.safetensors").is_file()
    assert not same_weights(mine, weights_of(small_policy()))


def test_the_first_step_of_rloo_and_of_ppo_without_values_point_the_same_way() -> None:
    """Two methods, one gradient: in expectation they differ by baselines alone."""
    texts, same = ["ab", "hgfe"] * 4, REWARDS
    ppo_settings = PpoSettings.model_validate(
        {"epochs": 1, "minibatches": 1, "rollouts_per_update": 8, **STEP, "value_coef": 0.0}
    )
    ppo = Ppo(small_policy(), small_policy(), TOKENIZER, ppo_settings, seed=0)
    ppo.step(GROUPED, texts, same)
    names = {id(p): name for name, p in ppo.policy.named_parameters()}
    theirs = torch.cat(
        [state["exp_avg"].flatten() for p, state in ppo.optimiser.state.items() if id(p) in names]
    ).double()
    mine = gradient(small("rloo", **STEP), same, texts)
    assert torch.nn.functional.cosine_similarity(mine, theirs, dim=0) > 0.5


def test_interrupted_and_begun_again_the_baseline_goes_on(tmp_path: Path) -> None:
    settings = settings_of("reinforce", updates=6)
    run(tmp_path / "whole", settings)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", settings, progress=interrupt_at(3))
    run(tmp_path / "cut", settings)
    whole, cut = metrics(tmp_path / "whole"), metrics(tmp_path / "cut")
    assert [one["reward/baseline"] for one in whole] == [one["reward/baseline"] for one in cut]


@pytest.mark.parametrize(
    ("given", "coef"),
    [
        ({}, 0.1),
        ({"advantage": "grpo", "kl_penalty": {"kind": "reward"}}, 0.1),
        ({"kl": {"kind": "adaptive"}}, None),
        ({"kl_penalty": {"kind": "loss"}}, None),
        ({"kl_penalty": {"kind": "loss", "estimator": "k2", "level": "sequence"}}, 0.1),
        ({"aggregation": "sequence", "kl_penalty": {"kind": "reward", "level": "token"}}, None),
    ],
)
def test_the_optimum_has_a_coefficient_only_where_it_is_the_tilt(
    given: dict[str, Any], coef: float | None
) -> None:
    base = {"kl": {"kind": "fixed", "coef": 0.1}}
    assert PolicyGradientSettings.model_validate(base | given).kl_coef == coef


def test_aggregation_follows_the_paper_of_the_advantage_unless_it_is_given() -> None:
    followed = [settings_of(one).averaged_over for one in KINDS]
    assert followed == ["constant", "sequence", "constant", "constant"]
    assert settings_of("grpo", aggregation="token").averaged_over == "token"
