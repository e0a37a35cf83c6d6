"""Best-of-n and RAFT as a user meets them: stages of train, methods of the loop, and plans."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.own_project import make_own
from tests.toy_loop import make_toy
from transformers import AutoModelForCausalLM

from assent.config.sizes import SIZES, own_settings
from assent.errors import ConfigError, DataError
from assent.rounds.loop import run_loop
from assent.rounds.planning import plan_stage
from assent.rounds.single import run_stage
from assent.store import Project, check_project
from assent.types import SilentProgress

SILENT = SilentProgress()
SMALL: dict[str, Any] = {
    "prompts": 8,
    "n": 4,
    "sampling_batch": 4,
    "batch_size": 4,
    "sampling": {"max_new_tokens": 6},
}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("own") / "project"
    make_own(root, {"best_of_n": SMALL, "raft": SMALL | {"iterations": 2}})
    return root


def stage(root: Path, name: str, *overrides: str) -> dict[str, Any]:
    return run_stage(
        root, name, config=[], overrides=list(overrides), resume=False, progress=SILENT
    )


@pytest.mark.parametrize(("name", "episodes"), [("best-of-n", [32]), ("raft", [32, 64])])
def test_a_stage_of_a_project_of_ones_own_makes_an_ordinary_model(
    name: str, episodes: list[int], own: Path
) -> None:
    section = name.replace("-", "_")
    result = stage(
        own, name, f"{section}.reward.kind=callable",
        f"{section}.reward.function=tests.own_rewards:brevity",
    )  # fmt: skip
    assert result["run"] == f"{name}-1"
    AutoModelForCausalLM.from_pretrained(own / result["model"])
    lines = [json.loads(line) for line in (own / result["metrics"]).read_text().splitlines()]
    assert [line["data/episodes"] for line in lines if "data/episodes" in line] == episodes
    with Project.open(own) as project:
        (made,) = [one for one in project.store.model_versions() if one.stage == name]
        assert check_project(project) == []
    assert made.path == result["model"]


def test_a_stage_is_planned_with_all_that_it_draws(own: Path) -> None:
    once = plan_stage(own, "best-of-n", config=[], overrides=["best_of_n.keep=2"])
    assert once.schedule["rollouts"] == 32
    assert once.schedule["rollouts_at_once"] == 16
    assert once.schedule["learned"] == 16
    assert once.schedule["optimiser_steps"] == 2 * 4
    again = plan_stage(own, "raft", config=[], overrides=["raft.iterations=5"])
    assert again.schedule["rollouts"] == 160
    assert again.schedule["optimiser_steps"] == 5 * 2
    adapted = plan_stage(own, "raft", config=[], overrides=["raft.lora.rank=2"])
    assert adapted.memory.total < again.memory.total


def test_keeping_everything_is_refused_before_anything_starts(own: Path) -> None:
    with pytest.raises(ConfigError, match=r"keep \(1\) must be less than n \(1\)"):
        stage(own, "best-of-n", "best_of_n.n=1")


def test_without_a_reward_model_a_stage_names_the_command_that_makes_one(own: Path) -> None:
    with pytest.raises(DataError, match="assent train reward"):
        stage(own, "raft")


@pytest.mark.parametrize("size", SIZES)
def test_a_project_of_ones_own_draws_as_long_responses_as_ppo_does(size: str) -> None:
    settings = own_settings(size, {"base_model": "some/model"})
    for method in (settings.best_of_n, settings.raft):
        assert method.sampling == settings.ppo.sampling
        assert method.precision == settings.ppo.precision
        assert method.micro_batch_size is not None


@pytest.mark.parametrize("method", ["best-of-n", "raft"])
def test_the_loop_improves_the_policy_by_the_method_that_is_named(
    method: str, tmp_path: Path
) -> None:
    small = SMALL | {"sampling": {"max_new_tokens": 10}}
    root = make_toy(
        tmp_path / "toy",
        {
            "best_of_n": small, "raft": small | {"iterations": 2, "kl_coef": 0.1},
            "loop": {
                "method": method, "rounds": 1, "judgements_per_round": 60, "points_per_round": 3,
                "promotion": {"comparisons": 16, "candidates": 2},
            },
        },
    )  # fmt: skip
    summary = run_loop(root, rounds=None, progress=SILENT)
    with Project.open(root) as project:
        runs = {run.id: run.status for run in project.store.runs()}
        assert runs[f"round-1-{method}"] == "done"
        assert "round-1-ppo" not in runs
        assert check_project(project) == []
    assert [point["step"] for point in summary["trajectory"]][::2] == [0, 4]
    # Only a price on KL makes an optimum to be near to.
    has_optimum = summary["trajectory"][0]["kl_to_optimum_nats"] is not None
    assert has_optimum == (method == "raft")
