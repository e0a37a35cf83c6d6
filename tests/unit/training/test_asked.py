"""Prompts that leave no room are counted and never cut; figures go by kind."""

import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.training_fixtures import (
    PROMPTS,
    TOKENIZER,
    count_of_a,
    ppo_settings,
    same_weights,
    small_policy,
    weights_of,
)
from transformers import PreTrainedModel

from assent.errors import DataError
from assent.training.asked import PromptMix, figures_by_kind, fitting_prompts
from assent.training.ppo import train_ppo
from assent.training.run_folder import RunFolder

POSITIONS = 64
"""Of `small_policy`; a letter is a token."""


def train(folder: Path, prompts: Sequence[str], mix: PromptMix | None = None) -> PreTrainedModel:
    return train_ppo(
        small_policy(), small_policy(), TOKENIZER, prompts, count_of_a, ppo_settings(updates=2),
        RunFolder(folder), seed=0, mix=mix,
    )  # fmt: skip


def metrics(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_prompt_fits_if_a_whole_response_does(caplog: pytest.LogCaptureFixture) -> None:
    model = small_policy()
    prompts = ["a" * (POSITIONS - 6), "b", "c" * (POSITIONS - 5), "d" * 200]
    with caplog.at_level(logging.WARNING):
        assert fitting_prompts(model, TOKENIZER, prompts, 6) == [0, 1]
    assert "2 of 4 prompts leave no room for a response of 6 tokens" in caplog.text
    assert "the model's 64 positions" in caplog.text
    assert "prompt 2, 59 tokens" in caplog.text


def test_nothing_is_said_where_all_fit(caplog: pytest.LogCaptureFixture) -> None:
    assert fitting_prompts(small_policy(), TOKENIZER, PROMPTS, 6) == list(range(len(PROMPTS)))
    assert not caplog.records


@pytest.mark.parametrize(
    ("prompts", "says"),
    [
        ([], "at least one prompt"),
        (["a", ""], "prompt 1 has no token"),
        (["a" * 60, "b" * 70], r"none of 2 prompts leaves room .*\(the shortest has 60\)"),
    ],
)
def test_prompts_that_cannot_be_asked_are_one_line(prompts: list[str], says: str) -> None:
    with pytest.raises(DataError, match=says) as raised:
        fitting_prompts(small_policy(), TOKENIZER, prompts, 6)
    assert "\n" not in str(raised.value)


def test_long_prompts_left_out_train_as_if_they_were_not_there(tmp_path: Path) -> None:
    without = train(tmp_path / "without", PROMPTS)
    among = train(tmp_path / "among", [*PROMPTS[:3], "a" * 100, *PROMPTS[3:], "b" * 60])
    assert same_weights(weights_of(without), weights_of(among))


def test_figures_by_kind_add_up_to_those_of_the_whole(tmp_path: Path) -> None:
    kinds = ["plain", "user", "user", "plain", "user", "user", "user", "few_shot"]
    plain = train(tmp_path / "one", PROMPTS)
    told = train(tmp_path / "other", PROMPTS, PromptMix(kinds=kinds))
    assert same_weights(weights_of(plain), weights_of(told))
    for line in metrics(tmp_path / "other"):
        for name in ("reward/proxy_mean", "policy/kl_nats", "policy/length_tokens"):
            # Eight rollouts an update are each of the eight prompts once.
            parts = {kind: line[f"{name}/{kind}"] * kinds.count(kind) / 8 for kind in set(kinds)}
            assert sum(parts.values()) == pytest.approx(line[name], abs=1e-6)
    assert not any(name.count("/") > 1 for name in metrics(tmp_path / "one")[0])


def test_a_kind_that_was_not_asked_has_no_figure() -> None:
    found = figures_by_kind(["user", "plain", "user"], {"reward/proxy_mean": [1.0, 4.0, 2.0]})
    assert found == {"reward/proxy_mean/plain": 4.0, "reward/proxy_mean/user": 1.5}
    assert not any(math.isnan(value) for value in found.values())


def test_a_choice_of_prompts_is_asked_by_update_and_among_those_that_fit(tmp_path: Path) -> None:
    calls: list[tuple[int, int, list[int]]] = []
    asked: list[list[str]] = []

    def choose(update: int, count: int, fitting: Sequence[int]) -> list[int]:
        calls.append((update, count, list(fitting)))
        return [fitting[(update + place) % 2] for place in range(count)]

    def reward(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
        asked.append(list(prompts))
        return count_of_a(prompts, responses)

    train_ppo(
        small_policy(), small_policy(), TOKENIZER, ["a", "b" * 100, "cd"], reward,
        ppo_settings(updates=2), RunFolder(tmp_path), seed=0, mix=PromptMix(choose=choose),
    )  # fmt: skip
    assert calls == [(0, 8, [0, 2]), (1, 8, [0, 2])]
    assert asked == [["a", "cd"] * 4, ["cd", "a"] * 4]
