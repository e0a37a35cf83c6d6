"""A PPO run: it learns, keeps its points, and stops in one line where the reward is wrong."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tests.training_fixtures import (
    PROMPTS,
    TOKENIZER,
    count_of_a,
    interrupt_at,
    optimiser,
    ppo_settings,
    same_weights,
    small_policy,
    weights_of,
)
from transformers import AutoModelForCausalLM, PreTrainedModel

from assent.config.metrics import METRICS
from assent.config.ppo import FixedKl, PpoSettings
from assent.errors import AssentError, DataError, RewardError
from assent.models.sampling import Rollouts
from assent.training.ppo import Ppo, train_ppo
from assent.training.run_folder import RunFolder
from assent.types import RewardFunction


def run(
    folder: Path,
    reward: RewardFunction = count_of_a,
    settings: PpoSettings | None = None,
    **given: object,
) -> PreTrainedModel:
    return train_ppo(
        small_policy(), small_policy(), TOKENIZER, PROMPTS, reward, settings or ppo_settings(),
        RunFolder(folder), seed=0, **given,  # type: ignore[arg-type]
    )  # fmt: skip


def metrics(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def share_of_a(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    del prompts
    return [response.count("a") / max(len(response), 1) for response in responses]


LEARNING = {"updates": 30, "rollouts_per_update": 32, "minibatches": 2}


def test_ppo_raises_its_reward_and_a_higher_price_of_kl_buys_less_kl(tmp_path: Path) -> None:
    ends = {}
    for coef in (0.02, 0.2):
        settings = ppo_settings(
            **LEARNING, kl=FixedKl(coef=coef), optimiser=optimiser(schedule="constant")
        )
        run(tmp_path / str(coef), share_of_a, settings)
        seen = metrics(tmp_path / str(coef))
        start = sum(line["reward/proxy_mean"] for line in seen[:5]) / 5
        ends[coef] = {
            name: sum(line[name] for line in seen[-5:]) / 5
            for name in ("reward/proxy_mean", "policy/kl_nats")
        }
        assert ends[coef]["reward/proxy_mean"] > start + 0.3
    assert ends[0.02]["reward/proxy_mean"] > 0.7
    assert 0 < ends[0.2]["policy/kl_nats"] < ends[0.02]["policy/kl_nats"] < 14
    # At the optimum the KL is worth its price: not more than the reward that it can buy.
    for coef, end in ends.items():
        assert coef * end["policy/kl_nats"] < 1


def test_what_a_run_writes(tmp_path: Path) -> None:
    notes: list[tuple[int, bool]] = []

    def on_point(update: int, policy: PreTrainedModel) -> str:
        notes.append((update, (tmp_path / f"checkpoints/step-{update:06d}").is_dir()))
        assert not policy.training
        return f"at {update}"

    trained = run(tmp_path, points=(4, 0, 2), on_point=on_point)
    assert notes == [(0, True), (2, True), (4, True)]
    lines = metrics(tmp_path)
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert [line["data/episodes"] for line in lines] == [8, 16, 24, 32]
    assert lines[0]["policy/ratio_deviation"] < 1e-4
    assert "policy/ratio_deviation" not in lines[1]
    assert {name for line in lines for name in line} - {"step"} <= set(METRICS)
    assert all(torch.isfinite(torch.tensor(list(line.values()))).all() for line in lines)
    assert not (tmp_path / "state").exists()
    last = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert same_weights(weights_of(last), weights_of(trained))
    for point, model in ((0, small_policy()), (4, trained)):
        kept = AutoModelForCausalLM.from_pretrained(tmp_path / f"checkpoints/step-{point:06d}")
        assert same_weights(weights_of(kept), weights_of(model))


def test_points_and_what_watches_them_change_nothing(tmp_path: Path) -> None:
    plain = run(tmp_path / "plain")
    pointed = run(tmp_path / "pointed", points=(1, 3))
    assert same_weights(weights_of(plain), weights_of(pointed))


def test_the_same_seed_repeats_a_run_and_another_seed_does_not(tmp_path: Path) -> None:
    torch.manual_seed(1)
    one = run(tmp_path / "one")
    torch.manual_seed(2)  # no draw may come from the global generator
    again = run(tmp_path / "again")
    assert same_weights(weights_of(one), weights_of(again))
    other = train_ppo(
        small_policy(), small_policy(), TOKENIZER, PROMPTS, count_of_a, ppo_settings(),
        RunFolder(tmp_path / "other"), seed=1,
    )  # fmt: skip
    assert not same_weights(weights_of(one), weights_of(other))


def test_every_prompt_is_asked_equally_often(tmp_path: Path) -> None:
    asked: Counter[str] = Counter()
    order: list[str] = []

    def reward(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
        asked.update(prompts)
        order.extend(prompts)
        return count_of_a(prompts, responses)

    # Six a time of eight prompts: batches run over the ends of passes.
    run(tmp_path, reward, ppo_settings(rollouts_per_update=6))
    assert asked == dict.fromkeys(PROMPTS, 3)
    passes = [order[start : start + 8] for start in (0, 8, 16)]
    assert all(sorted(one) == sorted(PROMPTS) for one in passes)
    assert passes[0] != passes[1]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ([1.0], "returned 1 values for 8 responses"),
        ([1.0] * 9, "returned 9 values for 8 responses"),
        ([1.0] * 7 + [float("nan")], "returned nan for response 7"),
        ([float("-inf")] + [1.0] * 7, "returned -inf for response 0"),
        (["good"] * 8, "must return one number a response"),
        (None, "must return one number a response"),
    ],
)
def test_a_wrong_reward_is_one_line_and_the_run_goes_on_with_a_right_one(
    wrong: Sequence[float] | None, says: str, tmp_path: Path
) -> None:
    calls = []

    def judge(prompts: Sequence[str], responses: Sequence[str]) -> Sequence[float]:
        calls.append(1)
        return count_of_a(prompts, responses) if len(calls) < 3 else wrong  # type: ignore[return-value]

    with pytest.raises(RewardError, match=f"the reward judge {says}") as raised:
        run(tmp_path / "cut", judge)
    assert "\n" not in str(raised.value)
    assert [line["step"] for line in metrics(tmp_path / "cut")] == [1, 2]
    mended = run(tmp_path / "cut")
    assert same_weights(weights_of(mended), weights_of(run(tmp_path / "whole")))


@pytest.mark.parametrize(
    ("prompts", "says"), [([], "at least one prompt"), (["a", ""], "prompt 1 has no token")]
)
def test_prompts_that_are_missing_or_empty_are_one_line(
    prompts: list[str], says: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=says) as raised:
        train_ppo(
            small_policy(), small_policy(), TOKENIZER, prompts, count_of_a, ppo_settings(),
            RunFolder(tmp_path), seed=0,
        )  # fmt: skip
    assert "\n" not in str(raised.value)


def test_a_policy_that_is_its_own_reference_is_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    policy = small_policy()
    with pytest.raises((AssentError, ValueError), match="two models"):
        train_ppo(
            policy, policy, TOKENIZER, PROMPTS, count_of_a, ppo_settings(),
            RunFolder(tmp_path / "run"), seed=0,
        )  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_a_run_that_goes_on_checks_itself_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, progress=interrupt_at(2))
    learned: list[Ppo] = []
    learn = Ppo.learn

    def watching(self: Ppo, rollouts: Rollouts, rewards: Sequence[float]) -> dict[str, float]:
        figures = learn(self, rollouts, rewards)
        learned.append(self)
        return figures

    monkeypatch.setattr(Ppo, "learn", watching)
    run(tmp_path)
    assert len(learned) == 2
    assert learned[0].self_check is not None
    assert learned[0].self_check.ratio_deviation < 1e-4
