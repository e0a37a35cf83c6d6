"""The loop around one's own model: it waits for people, goes on, and says what it cannot know."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.own_project import judge, make_own
from transformers import AutoModelForCausalLM

from assent.collect.importing import import_file
from assent.config.load import load_settings
from assent.config.project import ProjectSettings
from assent.errors import DataError
from assent.report import write_report
from assent.report.summary import load_summary
from assent.rounds.audits import run_audits
from assent.rounds.loop import loop_status, run_loop
from assent.rounds.single import run_stage
from assent.store import NewDemonstration, Project, check_project
from assent.types import Prompt, SilentProgress

SILENT = SilentProgress()


def go_on(root: Path, rounds: int | None = None) -> dict[str, Any]:
    return run_loop(root, rounds=rounds, progress=SILENT)


def stage(root: Path, name: str, *overrides: str) -> dict[str, Any]:
    return run_stage(
        root, name, config=[], overrides=list(overrides), resume=False, progress=SILENT
    )


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """A project whose loop paused twice in round one, was judged, and went to its end."""
    root = tmp_path_factory.mktemp("own") / "project"
    make_own(root)
    said = [go_on(root)]
    judge(root, 10)
    said.append(go_on(root))
    judge(root, 14)
    said.append(go_on(root))
    return root, said


def test_the_loop_waits_for_people_and_says_how_many_are_missing(
    judged: tuple[Path, list[dict[str, Any]]],
) -> None:
    root, (first, second, done) = judged
    assert first["waiting"] | {"ways": []} == {
        "round": 1, "judgements": 0, "wanted": 24, "open": 24, "ways": [],
    }  # fmt: skip
    assert (second["waiting"]["judgements"], second["waiting"]["open"]) == (10, 14)
    assert first["waiting"]["ways"] == [
        f"assent serve {root}", f"assent data import {root} FILE", f"assent loop run {root}",
    ]  # fmt: skip
    assert first["rounds"] == first["trajectory"] == []
    assert "waiting" not in done
    with Project.open(root) as project:
        pairs = project.store.comparisons(purpose="reward")
        assert len(pairs) == 24  # asked once, whatever was run in between
        # All of them are tasks in the browser, and so is what promotes.
        assert project.store.browser.asked_comparisons("reward", 1) == 24
        promotion = {one.purpose for one in project.store.comparisons()} - {"reward"}
        assert promotion
        assert all(project.store.browser.asked_comparisons(name, 0) for name in promotion)
        assert check_project(project) == []


def test_what_is_waited_for_is_in_the_status_until_it_is_there(tmp_path: Path) -> None:
    make_own(tmp_path / "own")
    assert "waiting" not in loop_status(tmp_path / "own")
    go_on(tmp_path / "own")
    judge(tmp_path / "own", 5)
    status = loop_status(tmp_path / "own")
    assert status["waiting"]["judgements"] == 5
    assert "19 are missing; 19 comparisons are open" in status["next"]
    judge(tmp_path / "own", 19)
    assert loop_status(tmp_path / "own")["next"] == f"assent loop run {tmp_path / 'own'}"


def test_points_have_figures_with_intervals_and_by_kind_but_no_gold(
    judged: tuple[Path, list[dict[str, Any]]],
) -> None:
    root, (*_, summary) = judged
    assert [point["step"] for point in summary["trajectory"]] == [0, 1, 2]
    start, *later = summary["trajectory"]
    assert start["kl_nats"] == pytest.approx(0, abs=1e-6)
    for point in later:
        assert point["kl_nats"] > 0
    for point in summary["trajectory"]:
        assert "gold_mean" not in point
        for name in ("kl", "proxy", "length", "entropy"):
            low, high = point[f"{name}_ci"]
            mean = point.get(f"{name}_nats", point.get(f"{name}_mean", point.get(name)))
            assert low <= mean <= high
        kinds = point["by_kind"]
        assert sum(kinds[kind]["n"] for kind in kinds) == 8
        for name in ("kl_nats", "proxy_mean", "length", "entropy_nats"):
            mean = sum(one[name] * one["n"] for one in kinds.values()) / 8
            assert point[name] == pytest.approx(mean)
        AutoModelForCausalLM.from_pretrained(root / point["path"])
    assert summary["rounds"][0]["annotators"] == 2
    assert summary["rounds"][0]["by_people"] == summary["rounds"][0]["judgements"]
    assert summary["annotator"] == "people"


def test_too_few_held_out_judgements_promote_the_last_and_say_so(
    judged: tuple[Path, list[dict[str, Any]]],
) -> None:
    root, (*_, summary) = judged
    promoted = summary["promoted"]
    assert (promoted["step"], promoted["path"]) == (2, summary["last"]["path"])
    assert promoted["rule"].startswith("last: people have judged 0 of ")
    assert promoted["win_rate"] is None
    page = write_report(root).read_text(encoding="utf-8")
    assert "No gold" in page
    assert "by kind of prompt" in page


def test_enough_held_out_judgements_choose_by_them(tmp_path: Path) -> None:
    root = tmp_path / "own"
    make_own(root)
    go_on(root)
    judge(root, 24)
    go_on(root)
    asked = judge(root, 100, purpose="promotion")
    assert asked > 0
    summary = go_on(root)
    promoted = summary["promoted"]
    assert promoted["rule"].startswith("highest win rate against the reference")
    assert promoted["comparisons"] == asked
    assert promoted["win_rate_ci"][0] <= promoted["win_rate"] <= promoted["win_rate_ci"][1]
    # Held-out judgements choose; they are no part of what a reward model learns from.
    with Project.open(root) as project:
        taken = project.store.take_snapshot("now")
        assert taken.event_count == 24


def test_a_second_round_waits_again_and_is_remembered(
    judged: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    root = Path(shutil.copytree(judged[0], tmp_path / "copy"))
    waiting = go_on(root, rounds=2)
    assert waiting["waiting"]["round"] == 2
    assert waiting["waiting"]["judgements"] == 0
    assert [one["round"] for one in waiting["rounds"]] == [1]
    judge(root, 24)
    # A plain call goes on with the rounds that were asked for.
    done = go_on(root)
    assert [one["judgements"] for one in done["rounds"]] == [24, 48]
    assert [one["round"] for one in go_on(root)["rounds"]] == [1, 2]
    text = (root / "assent.toml").read_text(encoding="utf-8")
    assert re.search(r"(?m)^rounds = 2$", text)
    assert load_summary(root).waiting is None


def test_demonstrations_make_a_reference_of_their_own(tmp_path: Path) -> None:
    root = tmp_path / "own"
    make_own(root)
    with Project.open(root) as project:
        store = project.store
        writer = store.add_annotator("writer", "human")
        store.record_demonstrations(
            [
                NewDemonstration(
                    prompt_id=prompt.id,
                    text="The inn is red.",
                    annotator_id=writer,
                    idempotency_key=f"key-{prompt.id}",
                )
                for prompt in store.prompts()
            ]
        )
    go_on(root)
    with Project.open(root) as project:
        made = {version.name: version for version in project.store.model_versions()}
        assert made["sft"].parent_id == made["base"].id
        trained = len(project.store.prompts("train"))
    metrics = (root / "runs" / "sft" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    # Demonstrations for validation and test prompts are for measuring.
    assert json.loads(metrics[-1])["data/examples"] == trained


def test_stages_run_by_themselves_on_it(
    judged: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    root = Path(shutil.copytree(judged[0], tmp_path / "copy"))
    assert stage(root, "reward")["run"] == "reward-1"
    made = stage(root, "ppo", "ppo.updates=1")
    AutoModelForCausalLM.from_pretrained(root / made["model"])
    lines = (root / made["metrics"]).read_text(encoding="utf-8").splitlines()
    assert any(name.endswith("/user") for name in json.loads(lines[-1]))
    with pytest.raises(DataError, match="demonstrations"):
        stage(root, "sft")


def test_another_reward_needs_no_judgement(tmp_path: Path) -> None:
    root = tmp_path / "own"
    make_own(root)
    function = "tests.own_rewards:brevity"
    made = stage(root, "ppo", "ppo.reward.kind=callable", f"ppo.reward.function={function}")
    assert made["run"] == "ppo-1"
    with pytest.raises(DataError, match="has no reward model yet"):
        stage(root, "ppo")


def test_an_adapter_is_trained_and_written_as_a_whole_model(
    judged: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    root = Path(shutil.copytree(judged[0], tmp_path / "copy"))
    made = stage(root, "ppo", "ppo.lora.rank=2", "ppo.updates=1")
    AutoModelForCausalLM.from_pretrained(root / made["model"])
    assert (root / made["model"] / "adapter").is_dir()


def test_a_mix_of_kinds_is_kept_to_and_a_kind_without_prompts_is_refused(
    judged: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    root = Path(shutil.copytree(judged[0], tmp_path / "copy"))
    made = stage(root, "ppo", "ppo.updates=1", "prompts.mix.user=1.0")
    last = json.loads((root / made["metrics"]).read_text(encoding="utf-8").splitlines()[-1])
    # One is summed in float32 and the other in float64.
    assert last["reward/proxy_mean/user"] == pytest.approx(last["reward/proxy_mean"], rel=1e-5)
    with pytest.raises(DataError, match="no training prompt is of that kind"):
        stage(root, "ppo", "prompts.mix.few_shot=1.0")


def test_a_killed_snapshot_is_not_mistaken_for_a_later_runs(
    judged: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    """The process dies after the snapshot and before the run is recorded; more is judged then."""
    root = Path(shutil.copytree(judged[0], tmp_path / "copy"))
    with Project.open(root) as project:
        last = project.store.counts()["events"]
        project.store.take_snapshot(f"reward-1-at-{last}", up_to_seq=last)
        retracted = project.store.events()[0]
        project.store.retract(retracted.id, retracted.annotator_id, "undo-the-first")
    stage(root, "reward")
    with Project.open(root) as project:
        run = project.store.run("reward-1")
        assert run.snapshot_id is not None
        assert project.store.snapshot(run.snapshot_id).event_count == 23


@pytest.mark.parametrize("architecture", ["gpt2", "qwen2", "mixtral"])
def test_other_architectures_go_through_a_round(tmp_path: Path, architecture: str) -> None:
    root = tmp_path / "own"
    make_own(root, architecture=architecture)
    go_on(root)
    judge(root, 24)
    summary = go_on(root)
    AutoModelForCausalLM.from_pretrained(root / summary["promoted"]["path"])


def test_a_project_without_prompts_says_how_to_add_some(tmp_path: Path) -> None:
    from tests.own_project import save_base

    from assent.rounds.starting import init_project

    base = save_base(tmp_path / "base")
    init_project(tmp_path / "own", model=str(base), prompts=None, size="tiny", seed=0)
    with pytest.raises(DataError, match=r"assent data import .* FILE") as told:
        go_on(tmp_path / "own")
    assert "\n" not in str(told.value)
    settings = load_settings(ProjectSettings, [tmp_path / "own" / "assent.toml"])
    assert settings.world is None


def test_prompts_beyond_the_context_are_left_out_everywhere_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "own"
    make_own(root)
    with Project.open(root) as project:
        long = "Tell me about the inn. " * 400
        project.store.add_prompts(
            [
                Prompt(text=f"{long}{split}", split=split)
                for split in ("train", "validation", "test")
            ]
        )
    go_on(root)
    judge(root, 24)
    summary = go_on(root)
    assert len(summary["trajectory"]) == 3
    assert "1 of 41 prompts leave no room for a response" in caplog.text
    shown = [example["prompt"] for example in summary["examples"]]
    assert shown
    assert not any(prompt.startswith("Tell me") for prompt in shown)


def test_judged_pairs_beyond_the_context_are_left_out_of_every_measure_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Imported pairs are as long as they are; a held-out one once ended the loop at its summary."""
    root, file = tmp_path / "own", tmp_path / "pairs.jsonl"
    make_own(root)
    rows = [
        {"prompt": f"Why, {n}?", "chosen": "Stone. " * (60 if n % 3 else 1), "rejected": "Blue."}
        for n in range(90)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with Project.open(root) as project:
        import_file(project.store, file, split="train")
    summary = go_on(root)
    (first,) = summary["rounds"]
    assert 0 < first["reward_model"]["n"] < 20
    assert "held-out pairs are longer than the reward model reads and were left out" in caplog.text
    alone = stage(root, "reward")
    assert alone["n"] == first["reward_model"]["n"]
    assert alone["held_out_too_long"] > 0
    ran = run_audits(root, names=("reward-model", "whose-values"), progress=SILENT)
    assert [one["name"] for one in ran["audits"]] == ["reward-model", "whose-values"]
    assert "held-out judgements are longer than the reward model reads" in caplog.text
