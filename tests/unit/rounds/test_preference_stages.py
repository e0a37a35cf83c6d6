"""DPO and KTO on whole projects: in the loop, by themselves, and on what people marked."""

import json
import logging
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.own_project import judge, make_own
from tests.toy_loop import make_toy, outcome
from transformers import AutoModelForCausalLM

from assent.errors import CannotResume, DataError
from assent.rounds.loop import run_loop
from assent.rounds.planning import plan_loop, plan_stage
from assent.rounds.single import run_stage
from assent.store import NewRating, NewResponse, Project
from assent.types import SilentProgress

SILENT = SilentProgress()


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy project of two rounds of DPO that ask uncertain pairs."""
    root = make_toy(
        tmp_path_factory.mktemp("dpo") / "project",
        {
            "loop": {
                "method": "dpo", "rounds": 2, "pairs": "uncertain", "samples_per_prompt": 3,
            },
            "dpo": {"batch_size": 16, "sampling": {"max_new_tokens": 10}},
            "kto": {"batch_size": 16, "sampling": {"max_new_tokens": 10}},
        },
    )  # fmt: skip
    run_loop(root, rounds=None, progress=SILENT)
    return root


@pytest.fixture
def copied(done: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(done, tmp_path / "copy"))


def train(root: Path, stage: str, *overrides: str, resume: bool = False) -> dict[str, Any]:
    return run_stage(
        root, stage, config=[], overrides=list(overrides), resume=resume, progress=SILENT
    )


def lines(root: Path, run: str) -> list[dict[str, float]]:
    text = (root / "runs" / run / "metrics.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_two_rounds_of_dpo_go_through_with_points_measured_and_a_choice_made(done: Path) -> None:
    summary = json.loads((done / "summary.json").read_text(encoding="utf-8"))
    assert summary["promoted"] is not None
    assert [one["round"] for one in summary["rounds"]] == [1, 2]
    points = summary["trajectory"]
    assert points[0]["kl_nats"] == pytest.approx(0.0, abs=1e-6)
    assert points[2]["kl_nats"] > 0
    assert all("gold_mean" in point for point in points)
    # Two epochs' worth of pairs: round two learns from the judgements of both.
    first, second = lines(done, "round-1-dpo"), lines(done, "round-2-dpo")
    assert second[-1]["data/examples"] > 1.5 * first[-1]["data/examples"]
    assert first[0]["loss/preference"] == pytest.approx(0.6931, abs=1e-4), "begins as its reference"
    assert second[0]["loss/preference"] != pytest.approx(0.6931, abs=1e-6), "the reference is SFT's"


def test_the_second_round_goes_on_from_the_first_and_is_held_near_sft(done: Path) -> None:
    with Project.open(done) as project:
        runs = {run.id: run for run in project.store.runs()}
        versions = {version.id: version.name for version in project.store.model_versions()}
        second = next(v for v in project.store.model_versions() if v.name == "round-2-dpo")
    assert versions[str(second.parent_id)] == "round-1-dpo"
    assert versions[runs["round-2-dpo"].parents["reference"]] == "sft"
    assert "reward_model" not in runs["round-2-dpo"].parents, "DPO learned from judgements"


def test_running_the_loop_again_changes_nothing(copied: Path, done: Path) -> None:
    run_loop(copied, rounds=None, progress=SILENT)
    assert outcome(copied) == outcome(done)


def test_uncertain_pairs_are_nearer_in_the_reward_that_chose_them(done: Path) -> None:
    """In round two, of three responses the two that round one's reward model tells least apart."""
    from assent.models.rewards import TextReward

    with Project.open(done) as project:
        made = next(v for v in project.store.model_versions() if v.name == "round-1-reward")
        reward = TextReward.load(done / made.path)
        gaps = {}
        for number in (1, 2):
            asked = project.store.comparisons(purpose="reward", round=number)
            prompts = [one.prompt for one in asked]
            won = reward(prompts, [one.first for one in asked])
            lost = reward(prompts, [one.second for one in asked])
            apart = [abs(a - b) for a, b in zip(won, lost, strict=True)]
            gaps[number] = sum(apart) / len(apart)
    assert gaps[2] < 0.75 * gaps[1]


def test_each_stage_runs_by_itself_and_makes_a_model_anybody_loads(copied: Path) -> None:
    for stage in ("dpo", "kto"):
        result = train(copied, stage, f"{stage}.epochs=1")
        assert result["run"] == f"{stage}-1"
        AutoModelForCausalLM.from_pretrained(copied / result["model"])
        assert lines(copied, f"{stage}-1")[-1]["data/examples"] > 0


def test_dpo_learns_from_pairs_that_the_reward_model_makes(
    copied: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        train(
            copied, "dpo", "dpo.pairs.kind=best_worst", "dpo.pairs.prompts=24",
            "dpo.pairs.samples=4",
        )  # fmt: skip
    pairs = [
        json.loads(line)
        for line in (copied / "runs" / "dpo-1" / "pairs.jsonl").read_text().splitlines()
    ]
    assert 0 < len(pairs) <= 24
    with Project.open(copied) as project:
        run = next(run for run in project.store.runs() if run.id == "dpo-1")
        version = next(v for v in project.store.model_versions() if v.name == "dpo-1")
        models = {one.id: one for one in project.store.model_versions()}
    reward = models[run.parents["reward_model"]]
    assert reward.name == "round-2-reward"
    assert version.snapshot_id == reward.snapshot_id
    from assent.models.rewards import TextReward

    judge_of = TextReward.load(copied / reward.path)
    prompts = [pair["prompt"] for pair in pairs]
    won = judge_of(prompts, [pair["chosen"] for pair in pairs])
    lost = judge_of(prompts, [pair["rejected"] for pair in pairs])
    assert all(one > other for one, other in zip(won, lost, strict=True))


def test_a_damaged_file_of_pairs_is_named(copied: Path) -> None:
    file = copied / "runs" / "dpo-1" / "pairs.jsonl"
    file.parent.mkdir()
    file.write_text('{"prompt": "a"}\n')
    with pytest.raises(CannotResume, match=re.escape(str(file))) as raised:
        train(copied, "dpo", "dpo.pairs.kind=best_worst")
    assert "\n" not in str(raised.value)


def test_the_plan_says_what_dpo_and_kto_will_take(copied: Path) -> None:
    plan = plan_stage(copied, "dpo", config=[], overrides=[]).as_dict()
    schedule = plan["schedule"]
    assert schedule["judgements"] == 120
    assert schedule["pairs_about"] == 102
    assert schedule["optimiser_steps"] == 7
    drawn = plan_stage(
        copied, "dpo", config=[], overrides=["dpo.pairs.kind=best_worst", "dpo.pairs.prompts=32"]
    )
    assert drawn.schedule["rollouts"] == 32 * 8
    marked = plan_stage(copied, "kto", config=[], overrides=[]).schedule
    assert marked["marked_about"] == 204
    free = plan_stage(copied, "dpo", config=[], overrides=["dpo.loss.kind=simpo"])
    assert free.memory.weights < plan["memory_bytes"]["weights"], "SimPO holds no reference"
    names = [one.name for one in plan_loop(copied, rounds=3)]
    assert names == ["round-3-reward", "round-3-dpo"]


def thumbs(root: Path, ups: int, downs: int) -> None:
    """Somebody marks responses by other people's models, single ones."""
    with Project.open(root) as project:
        store = project.store
        prompts = store.prompts("train")
        person = store.add_annotator("ada", "human")
        ids = store.add_responses(
            [
                NewResponse(
                    prompt_id=prompts[number % len(prompts)].id,
                    text="It is a good one." if number < ups else "No.",
                    origin="import",
                    index=number,
                )
                for number in range(ups + downs)
            ]
        )
        store.record_ratings(
            [
                NewRating(
                    response_id=id_,
                    annotator_id=person,
                    axes={"good": float(number < ups)},
                    lowest=0.0,
                    highest=1.0,
                    idempotency_key=f"thumb-{number}",
                )
                for number, id_ in enumerate(ids)
            ]
        )


def test_kto_learns_from_thumbs_in_a_project_of_ones_own(tmp_path: Path) -> None:
    root = tmp_path / "own"
    make_own(root, {"kto": {"batch_size": 8}})
    thumbs(root, 20, 10)
    result = train(root, "kto")
    found = lines(root, "kto-1")
    assert 0 < found[-1]["data/examples"] <= 30
    AutoModelForCausalLM.from_pretrained(root / result["model"])


def test_thumbs_that_are_all_up_are_refused_in_one_line(tmp_path: Path) -> None:
    root = tmp_path / "own"
    make_own(root)
    thumbs(root, 12, 0)
    with pytest.raises(DataError, match=r"all \d+ marked responses are good") as raised:
        train(root, "kto")
    assert "\n" not in str(raised.value)


def test_without_judgements_dpo_says_what_it_lacks(tmp_path: Path) -> None:
    root = tmp_path / "own"
    make_own(root)
    with pytest.raises(DataError, match="none of 0 judged pairs") as raised:
        train(root, "dpo")
    assert "collect judgements" in str(raised.value)


def test_a_round_of_dpo_waits_for_people_and_learns_from_them(tmp_path: Path) -> None:
    root = tmp_path / "own"
    make_own(root, {"loop": {"method": "dpo"}, "dpo": {"sampling": {"max_new_tokens": 6}}})
    assert "waiting" in run_loop(root, rounds=None, progress=SILENT)
    judge(root, 24)
    summary = run_loop(root, rounds=None, progress=SILENT)
    (one,) = summary["rounds"]
    assert one["policy"]["kl_nats"] is not None
    assert lines(root, "round-1-dpo")[-1]["data/examples"] > 0
