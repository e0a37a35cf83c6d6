"""Best-of-n and RAFT: what is kept is what is learned, and both learn."""

import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from tests.training_fixtures import (
    LETTERS,
    PROMPTS,
    TOKENIZER,
    count_of_a,
    optimiser,
    same_weights,
    small_policy,
    weights_of,
)
from transformers import AutoModelForCausalLM, PreTrainedModel

from assent.config.best_of import BestOfNSettings, RaftSettings
from assent.config.lora import LoraSettings
from assent.config.metrics import METRICS
from assent.config.ppo import MissingEos, SamplingSettings
from assent.errors import CannotResume, DataError, ModelError, RewardError
from assent.training.best_of import train_best_of
from assent.training.language import LanguagePlan, LearnedText, accumulate
from assent.training.points import Stop
from assent.training.run_folder import RunFolder
from assent.types import RewardFunction

SMALL: dict[str, object] = {
    "prompts": 8,
    "n": 4,
    "sampling_batch": 3,
    "batch_size": 4,
    "sampling": SamplingSettings(max_new_tokens=6),
    "optimiser": optimiser(),
}


AS_IT_IS = MissingEos(mode="subtract", penalty=0.0)


def once(**given: object) -> BestOfNSettings:
    return BestOfNSettings.model_validate(SMALL | {"epochs": 1} | given)


def raft(**given: object) -> RaftSettings:
    return RaftSettings.model_validate(SMALL | {"iterations": 3} | given)


def run(
    folder: Path,
    settings: BestOfNSettings,
    reward: RewardFunction = count_of_a,
    reference: PreTrainedModel | None = None,
    seed: int = 0,
    **given: object,
) -> PreTrainedModel:
    return train_best_of(
        small_policy(), reference or small_policy(), TOKENIZER, PROMPTS, reward, settings,
        RunFolder(folder), seed=seed, **given,  # type: ignore[arg-type]
    )  # fmt: skip


def metrics(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def draws(folder: Path, batch: int = 1) -> list[dict[str, Any]]:
    file = folder / f"samples/batch-{batch:04d}.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()]


def share_of_a(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    del prompts
    return [response.count("a") / max(len(response), 1) for response in responses]


def test_raft_raises_its_reward_and_a_price_of_kl_buys_less_kl(tmp_path: Path) -> None:
    """Three seeds, as what the price leaves of the gain differs a lot from seed to seed."""
    gains: dict[float, list[float]] = {0.0: [], 0.3: []}
    for seed in range(3):
        kl = []
        for coef, found in gains.items():
            settings = raft(
                iterations=6, n=8, sampling_batch=8, batch_size=8, epochs=6, kl_coef=coef,
                optimiser=optimiser(schedule="constant"),
            )  # fmt: skip
            folder = tmp_path / f"{coef}-{seed}"
            run(folder, settings, share_of_a, seed=seed)
            seen = metrics(folder)[::6]
            found.append(seen[-1]["reward/proxy_mean"] - seen[0]["reward/proxy_mean"])
            kl.append(seen[-1]["policy/kl_nats"])
        assert kl[1] < kl[0]
    assert min(gains[0.0]) > 0.5
    assert min(gains[0.3]) > 0
    assert sum(gains[0.3]) / 3 > 0.1


def test_best_of_n_draws_once_from_the_policy_it_was_given(tmp_path: Path) -> None:
    run(tmp_path, once(epochs=5))
    lines = metrics(tmp_path)
    assert len(lines) == 5 * 2
    first = lines[0]
    # The policy is still the reference, so its samples have no KL.
    assert abs(first["policy/kl_nats"]) < 1e-5
    assert first["reward/proxy_mean/kept"] > first["reward/proxy_mean"]
    assert first["data/episodes"] == 32
    assert "reward/proxy_mean" not in lines[1]
    assert not (tmp_path / "samples/batch-0002.jsonl").exists()


def test_what_is_learned_is_the_best_of_each_prompt(tmp_path: Path) -> None:
    """The loss of the first step, with one batch of all that is kept, is that of those alone."""
    run(tmp_path, once(batch_size=8, missing_eos=AS_IT_IS))
    drawn = draws(tmp_path)
    groups = [drawn[start : start + 4] for start in range(0, 32, 4)]
    best = [max(group, key=lambda one: float(one["reward"])) for group in groups]
    nats, rewards = (sum(float(one[name]) for one in best) for name in ("entropy_nats", "reward"))
    tokens = sum(len(one["tokens"]) for one in best)
    first = metrics(tmp_path)[0]
    assert first["loss/nll_nats"] == pytest.approx(nats / tokens, rel=1e-4)
    assert first["data/tokens"] == tokens
    assert first["reward/proxy_mean/kept"] == pytest.approx(rewards / 8)


def test_the_next_iteration_draws_from_the_policy_as_it_is_by_then(tmp_path: Path) -> None:
    run(tmp_path, raft(optimiser=optimiser(lr=0.05)))
    lines = metrics(tmp_path)
    assert [("policy/kl_nats" in line) for line in lines] == [True, False] * 3
    assert abs(lines[0]["policy/kl_nats"]) < 1e-5 < lines[4]["policy/kl_nats"]
    assert draws(tmp_path, 1) != draws(tmp_path, 2)


def test_what_a_run_writes(tmp_path: Path) -> None:
    notes: list[int] = []

    def on_point(step: int, policy: PreTrainedModel) -> str:
        notes.append(step)
        assert not policy.training
        return f"at {step}"

    trained = run(tmp_path, raft(), points=(6, 0, 3), on_point=on_point)
    assert notes == [0, 3, 6]
    lines = metrics(tmp_path)
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert {name for line in lines for name in line} - {"step"} <= set(METRICS)
    assert all(torch.isfinite(torch.tensor(list(line.values()))).all() for line in lines)
    assert sorted(file.name for file in (tmp_path / "samples").iterdir()) == [
        f"batch-000{number}.jsonl" for number in (1, 2, 3)
    ]
    assert not (tmp_path / "state").exists()
    last = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert same_weights(weights_of(last), weights_of(trained))
    start = AutoModelForCausalLM.from_pretrained(tmp_path / "checkpoints/step-000000")
    assert same_weights(weights_of(start), weights_of(small_policy()))


def test_a_stop_at_a_point_ends_training_there(tmp_path: Path) -> None:
    run(tmp_path, raft(), points=(2,), on_point=lambda *_: Stop("enough"))
    assert [line["step"] for line in metrics(tmp_path)] == [1, 2]
    assert RunFolder(tmp_path).is_done


def test_a_global_seed_changes_nothing_and_the_run_s_own_does(tmp_path: Path) -> None:
    torch.manual_seed(1)
    one = weights_of(run(tmp_path / "one", raft()))
    torch.manual_seed(2)
    assert same_weights(one, weights_of(run(tmp_path / "again", raft())))
    other = train_best_of(
        small_policy(), small_policy(), TOKENIZER, PROMPTS, count_of_a, raft(),
        RunFolder(tmp_path / "other"), seed=1,
    )  # fmt: skip
    assert not same_weights(one, weights_of(other))


def test_micro_batches_change_nothing_but_rounding(tmp_path: Path) -> None:
    whole = weights_of(run(tmp_path / "whole", raft(optimiser=optimiser(lr=1e-3))))
    settings = raft(optimiser=optimiser(lr=1e-3), micro_batch_size=3)
    parts = weights_of(run(tmp_path / "parts", settings))
    for name, weight in whole.items():
        torch.testing.assert_close(parts[name], weight, rtol=0, atol=2e-4)


def test_a_reward_that_tells_nothing_apart_is_said_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        run(
            tmp_path,
            once(missing_eos=AS_IT_IS),
            lambda _, responses: [1.0] * len(responses),
        )
    assert "gives all 4 responses to each prompt the same score" in caplog.text
    first = metrics(tmp_path)[0]
    assert first["reward/undecided_share"] == 1
    assert all(torch.isfinite(torch.tensor(list(first.values()))))


def test_an_unfinished_response_ranks_by_what_it_costs(tmp_path: Path) -> None:
    learned = {}
    for penalty in (0.0, 100.0):
        cost = MissingEos(mode="subtract", penalty=penalty)
        run(tmp_path / str(penalty), once(n=16, missing_eos=cost))
        first = metrics(tmp_path / str(penalty))[0]
        assert 0 < first["policy/missing_eos_share"] < 1
        learned[penalty] = first["policy/length_tokens/kept"]
    assert learned[100.0] < learned[0.0], "what was cut off has six tokens, what ended has fewer"


def test_every_token_that_is_kept_counts_the_same_whatever_batch_it_is_in() -> None:
    """Batches are of like lengths; a mean over each would favour the short ones."""
    settings = once(optimiser=optimiser(lr=1e-9))
    examples = [LearnedText([3, *[4] * length], 1) for length in (1, 1, 2, 2, 40, 40, 41, 41)]
    tokens = sum(len(one.tokens) - 1 for one in examples)
    policy = small_policy()
    plan = LanguagePlan(
        stage="raft", batches=(), micro_batch_size=None, precision="float32", checkpoint_every=9,
        optimiser=settings.optimiser, seed=0,
    )  # fmt: skip
    for batch in ([0, 1, 2, 3], [4, 5, 6, 7]):
        loss, learned = accumulate(
            policy, TOKENIZER, examples, batch, plan, 0, normaliser=tokens / 2
        )
        alone, same = accumulate(small_policy(), TOKENIZER, examples, batch, plan, 0)
        assert alone == pytest.approx(loss), "what is logged is a mean over its tokens"
        assert learned == same
    whole = small_policy()
    accumulate(whole, TOKENIZER, examples, range(8), plan, 0)
    for parts, at_once in zip(policy.parameters(), whole.parameters(), strict=True):
        assert parts.grad is not None
        torch.testing.assert_close(parts.grad / 2, at_once.grad, rtol=1e-4, atol=1e-6)


def test_an_adapter_learns_and_its_reference_is_the_model_without_it(tmp_path: Path) -> None:
    policy = small_policy()
    trained = train_best_of(
        policy, None, TOKENIZER, PROMPTS, count_of_a, raft(lora=LoraSettings(rank=2)),
        RunFolder(tmp_path), seed=0,
    )  # fmt: skip
    lines = metrics(tmp_path)
    assert abs(lines[0]["policy/kl_nats"]) < 1e-5 < lines[4]["policy/kl_nats"]
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert same_weights(weights_of(merged), weights_of(trained))
    assert (tmp_path / "model/adapter").is_dir()


@pytest.mark.parametrize(("n", "keep"), [(1, 1), (4, 4), (4, 5)])
def test_keeping_everything_is_refused_with_both_numbers(n: int, keep: int) -> None:
    with pytest.raises(
        ValidationError, match=re.escape(f"keep ({keep}) must be less than n ({n})")
    ):
        once(n=n, keep=keep)


@pytest.mark.parametrize(
    ("prompts", "says"),
    [
        ([], "raft needs at least one prompt"),
        (["a", ""], "prompt 1 has no token"),
        ([LETTERS * 8], "lower raft.sampling.max_new_tokens or take shorter prompts"),
    ],
)
def test_prompts_that_cannot_be_asked_are_one_line(
    prompts: list[str], says: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=says) as raised:
        train_best_of(
            small_policy(), small_policy(), TOKENIZER, prompts, count_of_a, raft(),
            RunFolder(tmp_path / "run"), seed=0,
        )  # fmt: skip
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()


def test_a_reference_that_is_missing_or_the_policy_itself_is_refused(tmp_path: Path) -> None:
    policy = small_policy()
    for reference, says in ((None, "needs a reference"), (policy, "must be two models")):
        with pytest.raises(ModelError, match=says):
            train_best_of(
                policy, reference, TOKENIZER, PROMPTS, count_of_a, raft(),
                RunFolder(tmp_path / "run"), seed=0,
            )  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_a_reward_that_fails_halfway_leaves_what_was_drawn_for_the_next_try(
    tmp_path: Path,
) -> None:
    calls = []

    def judge(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
        calls.append(1)
        return count_of_a(prompts, responses) if len(calls) < 6 else [float("nan")] * len(responses)

    with pytest.raises(RewardError, match="returned nan"):
        run(tmp_path / "cut", raft(), judge)
    mended = run(tmp_path / "cut", raft())
    assert same_weights(weights_of(mended), weights_of(run(tmp_path / "whole", raft())))


@pytest.mark.parametrize("damage", ["cut short", "other prompts", "gone"])
def test_samples_that_the_policy_has_learned_from_are_never_drawn_again(
    damage: str, tmp_path: Path
) -> None:
    class Cut(Exception):
        pass

    def cut(step: int, _: PreTrainedModel) -> str:
        if step == 2:
            raise Cut
        return ""

    settings = once()
    with pytest.raises(Cut):
        run(tmp_path, settings, points=(1, 2), on_point=cut)
    file = tmp_path / "samples/batch-0001.jsonl"
    text = file.read_text()
    if damage == "cut short":
        file.write_text(text[: len(text) // 2])
    elif damage == "other prompts":
        file.write_text(text.replace('"prompt": ', '"prompt": 1'))
    else:
        file.unlink()
    with pytest.raises(CannotResume, match=re.escape(str(file))) as raised:
        run(tmp_path, settings, points=(1, 2))
    assert "\n" not in str(raised.value)
    file.write_text(text)
    run(tmp_path, settings, points=(1, 2))
    assert RunFolder(tmp_path).is_done
