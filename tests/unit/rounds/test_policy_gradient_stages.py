"""RLOO and GRPO as a user meets them: stages of train, methods of the loop, and plans."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.own_project import make_own
from tests.toy_loop import make_toy
from transformers import AutoModelForCausalLM

from assent.errors import ConfigError, DataError, UnreadableFile
from assent.rounds.loop import run_loop
from assent.rounds.planning import plan_stage
from assent.rounds.pretraining_texts import texts_of
from assent.rounds.single import run_stage
from assent.store import Project, check_project
from assent.types import SilentProgress

SILENT = SilentProgress()
SMALL: dict[str, Any] = {
    "updates": 2,
    "prompts_per_update": 4,
    "samples_per_prompt": 2,
    "sampling": {"max_new_tokens": 6},
}
REWARD = "reward.kind=callable", "reward.function=tests.own_rewards:brevity"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("own") / "project"
    make_own(root, {"rloo": SMALL, "grpo": SMALL})
    return root


def stage(root: Path, name: str, *overrides: str) -> dict[str, Any]:
    return run_stage(
        root, name, config=[], overrides=list(overrides), resume=False, progress=SILENT
    )


def metrics(root: Path, result: dict[str, Any]) -> list[dict[str, float]]:
    return [json.loads(line) for line in (root / result["metrics"]).read_text().splitlines()]


@pytest.mark.parametrize("name", ["rloo", "grpo"])
def test_a_stage_of_a_project_of_ones_own_makes_an_ordinary_model(name: str, own: Path) -> None:
    result = stage(own, name, *(f"{name}.{one}" for one in REWARD))
    assert result["run"] == f"{name}-1"
    AutoModelForCausalLM.from_pretrained(own / result["model"])
    lines = metrics(own, result)
    assert [line["data/episodes"] for line in lines] == [8, 16]
    assert ("loss/kl" in lines[0]) == (name == "grpo")
    with Project.open(own) as project:
        (made,) = [one for one in project.store.model_versions() if one.stage == name]
        assert check_project(project) == []
    assert made.path == result["model"]


def test_a_stage_is_planned_with_its_groups(own: Path) -> None:
    plan = plan_stage(own, "grpo", config=[], overrides=["grpo.minibatches=2"])
    assert plan.schedule["samples_per_prompt"] == 2
    assert plan.schedule["rollouts"] == 16
    assert plan.schedule["optimiser_steps"] == 4
    assert plan.schedule["minibatch_size"] == 4
    ppo = plan_stage(own, "ppo", config=[], overrides=[])
    rloo = plan_stage(own, "rloo", config=[], overrides=[])
    assert "samples_per_prompt" not in ppo.schedule
    assert rloo.memory.adam < ppo.memory.adam, "no value head"


def test_the_plan_of_ppo_counts_the_texts_that_it_learns_beside(own: Path) -> None:
    plain = plan_stage(own, "ppo", config=[], overrides=[])
    mixed = plan_stage(own, "ppo", config=[], overrides=["ppo.pretraining.batch_size=64"])
    steps = mixed.schedule["optimiser_steps"]
    assert mixed.schedule["pretraining_texts"] == 64 * steps
    assert "pretraining_texts" not in plain.schedule
    assert mixed.memory.total >= plain.memory.total
    many = ["ppo.pretraining.batch_size=64", "ppo.micro_batch_size=64"]
    assert plan_stage(own, "ppo", config=[], overrides=many).memory.logits > mixed.memory.logits


def test_groups_of_one_are_refused_before_anything_starts(own: Path) -> None:
    with pytest.raises(ConfigError, match=r"samples_per_prompt is 1: with advantage = 'grpo'"):
        stage(own, "grpo", "grpo.samples_per_prompt=1")


def test_without_a_reward_model_a_stage_names_the_command_that_makes_one(own: Path) -> None:
    with pytest.raises(DataError, match="assent train reward"):
        stage(own, "rloo", "rloo.updates=1")
    with pytest.raises(DataError, match="assent train reward"):  # a sum that reads the round's own
        stage(own, "rloo", "rloo.reward.kind=sum", "rloo.reward.parts.learned.weight=1")


def test_a_program_and_another_price_are_summed_from_the_command_line(own: Path) -> None:
    part = "rloo.reward.parts"
    result = stage(
        own, "rloo", "rloo.reward.kind=sum", f"{part}.short.weight=2",
        f"{part}.short.source.kind=callable",
        f"{part}.short.source.function=tests.own_rewards:brevity",
    )  # fmt: skip
    for line in metrics(own, result):
        expected = 2 * line["reward/part_mean/short"]
        assert line["reward/proxy_mean"] == pytest.approx(expected, abs=1e-5)


def test_the_loop_improves_the_policy_by_the_method_that_is_named(tmp_path: Path) -> None:
    root = make_toy(
        tmp_path / "toy",
        {
            "rloo": SMALL | {"sampling": {"max_new_tokens": 10}},
            "loop": {
                "method": "rloo", "rounds": 1, "judgements_per_round": 60, "points_per_round": 3,
                "promotion": {"comparisons": 16, "candidates": 2},
            },
        },
    )  # fmt: skip
    summary = run_loop(root, rounds=None, progress=SILENT)
    with Project.open(root) as project:
        runs = {run.id: run.status for run in project.store.runs()}
        assert runs["round-1-rloo"] == "done"
        assert "round-1-ppo" not in runs
        assert check_project(project) == []
    assert [point["step"] for point in summary["trajectory"]] == [0, 1, 2]
    assert all("kl_to_optimum_nats" in point for point in summary["trajectory"])


def test_ppo_learns_a_file_of_texts_beside_its_reward(own: Path) -> None:
    (own / "texts.txt").write_text("What is the well of Fernby?\n\nThe inn is old.\n")
    given = (
        *(f"ppo.{one}" for one in REWARD),
        "ppo.pretraining.batch_size=2",
        "ppo.pretraining.texts=texts.txt",
    )
    lines = metrics(own, stage(own, "ppo", *given))
    assert all(line["loss/pretraining_nats"] > 0 for line in lines)
    with pytest.raises(ConfigError, match=r"ppo\.pretraining\.texts: name a file of texts"):
        stage(own, "ppo", *given[:3])


def test_texts_are_read_from_lines_and_from_columns(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n\n two \n")
    assert texts_of(tmp_path / "a.txt") == ["one", " two "]
    (tmp_path / "b.jsonl").write_text('{"text": "one\\ntwo"}\n{"text": "three", "n": 1}\n')
    assert texts_of(tmp_path / "b.jsonl") == ["one\ntwo", "three"]
    (tmp_path / "c.jsonl").write_text('{"text": "one"}\n{"words": "three"}\n')
    with pytest.raises(DataError, match="2: no column 'text' with a text"):
        texts_of(tmp_path / "c.jsonl")
    with pytest.raises(UnreadableFile, match=r"absent\.txt"):
        texts_of(tmp_path / "absent.txt")
