"""The loop on a toy: what it leaves behind, that it changes nothing twice, and that it goes on."""

import json
import re
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.toy_loop import make_toy, outcome
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from assent.config.loop import LoopSettings
from assent.config.ppo import PpoSettings
from assent.errors import AssentError, ConfigError, DataError, NewerSchema, ProjectBusy
from assent.rounds.loop import loop_status, run_loop
from assent.rounds.material import distinct
from assent.rounds.single import run_stage
from assent.rounds.trajectory import point_steps
from assent.rounds.workspace import open_workspace
from assent.store import Project, StoredPrompt, backup_project, check_project
from assent.store.identity import canonical_json, sha256_hex
from assent.types import PromptKind, SilentProgress

SILENT = SilentProgress()


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy project whose loop has run; tests that change it take a copy."""
    root = make_toy(tmp_path_factory.mktemp("loop") / "project")
    run_loop(root, rounds=None, progress=SILENT)
    return root


@pytest.fixture(scope="module")
def summary(done: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((done / "summary.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture
def copied(done: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(done, tmp_path / "copy"))


def test_the_summary_holds_what_it_promises(summary: dict[str, Any]) -> None:
    assert {"seed", "size", "annotator", "seconds"} <= summary.keys()
    assert summary["seconds"]["total"] > 0
    (one,) = summary["rounds"]
    assert one["judgements"] == 60
    assert {"path", "accuracy", "ci", "n", "baselines"} <= one["reward_model"].keys()
    assert {"longest", "most confident", "agrees most"} == one["reward_model"]["baselines"].keys()
    policy = {"path", "kl_nats", "proxy_mean", "gold_mean", "steps", "beta"}
    assert policy <= one["policy"].keys()
    point = {
        "round",
        "step",
        "kl_nats",
        "proxy_mean",
        "gold_mean",
        "accuracy_easy",
        "accuracy_hard",
        "idk_unknowable",
        "bluff",
        "sycophancy",
        "length",
        "entropy_nats",
        "grammar_mass",
        "kl_to_optimum_nats",
    }
    assert [found["step"] for found in summary["trajectory"]] == [0, 1, 2]
    assert all(point <= found.keys() for found in summary["trajectory"])
    assert {"round", "step", "rule", "path"} <= summary["promoted"].keys()


def test_the_first_point_is_the_reference_and_training_leaves_it(
    done: Path, summary: dict[str, Any]
) -> None:
    assert summary["trajectory"][0]["kl_nats"] == pytest.approx(0, abs=1e-9)
    with Project.open(done) as project:
        weights = {one.path: one.weights_sha256 for one in project.store.model_versions()}
    assert len({weights[point["path"]] for point in summary["trajectory"]}) == 3


def test_every_path_is_relative_and_loads_in_transformers(
    done: Path, summary: dict[str, Any]
) -> None:
    policies = [point["path"] for point in summary["trajectory"]]
    policies += [summary["promoted"]["path"], summary["rounds"][0]["policy"]["path"]]
    for path in policies:
        assert not Path(path).is_absolute()
        AutoModelForCausalLM.from_pretrained(done / path)
    AutoTokenizer.from_pretrained(done / policies[-1])
    reward = AutoModelForSequenceClassification.from_pretrained(
        done / summary["rounds"][0]["reward_model"]["path"], num_labels=1
    )
    assert reward.config.num_labels == 1


def test_a_round_has_twelve_points_or_more_by_default() -> None:
    updates, points = PpoSettings().updates, LoopSettings().points_per_round
    steps = point_steps(updates, points)
    assert len(steps) >= 12
    assert steps == sorted(set(steps))
    assert (steps[0], steps[-1]) == (0, updates)


@pytest.mark.parametrize(("updates", "points"), [(1, 2), (4, 4), (13, 13), (60, 2), (200, 30)])
def test_points_are_as_many_as_asked_for_with_start_and_end(updates: int, points: int) -> None:
    steps = point_steps(updates, points)
    assert len(steps) == min(points, updates + 1)
    assert (steps[0], steps[-1]) == (0, updates)


def test_the_check_finds_nothing_in_a_project_or_in_its_backup(done: Path, tmp_path: Path) -> None:
    with Project.open(done) as project:
        assert check_project(project) == []
        made = backup_project(project, tmp_path / "backup")
        events = project.store.events()
    with Project.open(made) as backup:
        assert check_project(backup) == []
        assert backup.store.events() == events


def test_running_again_changes_nothing(copied: Path, done: Path) -> None:
    run_loop(copied, rounds=None, progress=SILENT)
    assert outcome(copied) == outcome(done)


def test_the_status_says_what_is_done_and_what_comes_next(done: Path, tmp_path: Path) -> None:
    new = make_toy(tmp_path / "new")
    before = loop_status(new)
    assert (before["runs"], before["events"]) == ({}, 0)
    assert before["next"] == f"assent loop run {new}"
    after = loop_status(done)
    assert set(after["runs"].values()) == {"done"}
    assert list(after["runs"]) == ["pretrain", "sft", "round-1-reward", "round-1-ppo"]
    assert after["next"] == f"complete: assent report {done}"


def test_a_second_round_goes_on_from_the_first(copied: Path, done: Path) -> None:
    before = outcome(done)
    settings = copied / "assent.toml"
    text = settings.read_text(encoding="utf-8")
    settings.write_text(re.sub(r"(?m)^rounds = 1$", "rounds = 2", text), encoding="utf-8")
    assert loop_status(copied)["next"] == f"assent loop run {copied}"
    summary = run_loop(copied, rounds=None, progress=SILENT)
    assert [one["judgements"] for one in summary["rounds"]] == [60, 120]
    assert summary["rounds"][0] == before["summary"]["rounds"][0]
    assert summary["trajectory"][:3] == before["summary"]["trajectory"]
    after = outcome(copied)
    assert after["events"][: len(before["events"])] == before["events"]
    assert loop_status(copied)["next"] == f"complete: assent report {copied}"
    with Project.open(copied) as project:
        assert check_project(project) == []
        second = next(s for s in project.store.snapshots() if s.name == "round-2")
        # The promotion after round one asked in between; its judgements train nothing.
        assert Counter(p.round for p in project.store.judged_pairs(second.id)) == {1: 60, 2: 60}
        by_name = {version.name: version for version in project.store.model_versions()}
        assert by_name["round-2-ppo"].parent_id == by_name["round-1-ppo"].id
        # The reference stays the SFT policy in every round.
        run = project.store.run("round-2-ppo")
        assert run.parents["reference"] == by_name["sft"].id


def test_every_judgement_of_the_promotion_is_counted_and_trains_nothing(
    done: Path, summary: dict[str, Any]
) -> None:
    with Project.open(done) as project:
        store = project.store
        purpose = {one.id: one.purpose for one in store.comparisons()}
        splits = {prompt.id: prompt.split for prompt in store.prompts()}
        prompt = {one.id: one.prompt_id for one in store.comparisons()}
        judged = Counter(
            purpose[event.comparison_id].partition("-of-")[0]
            for event in store.events()
            if event.comparison_id
        )
        for snapshot in store.snapshots():
            found = {purpose[p.comparison_id] for p in store.judged_pairs(snapshot.id)}
            if snapshot.name.startswith("round-"):
                assert found == {"reward"}
    assert judged == {
        "reward": 60,
        "promotion-look-up": summary["promoted"]["comparisons"],
        "promotion-no-look-up": summary["promoted_without_lookup"]["comparisons"],
    }
    assert summary["promoted"]["lookups"] == summary["promoted"]["comparisons"] > 0
    assert summary["promoted"]["comparisons"] <= 16
    assert summary["promoted_without_lookup"]["lookups"] == 0
    asked_of = {
        ("reward" if what == "reward" else "promotion", splits[prompt[id_]])
        for id_, what in purpose.items()
    }
    assert asked_of == {("reward", "train"), ("promotion", "validation")}


def test_the_promoted_policy_leads_back_to_the_judgements(
    done: Path, summary: dict[str, Any]
) -> None:
    with Project.open(done) as project:
        store = project.store
        promoted = next(v for v in store.model_versions() if v.path == summary["promoted"]["path"])
        links = store.lineage(promoted.id)
        stages = {link.version.stage for link in links}
        snapshots = [link.snapshot for link in links if link.snapshot]
        assert {"checkpoint", "sft", "pretrain", "reward"} <= stages
        assert {one.name for one in snapshots} == {"round-1"}
        assert len(store.judged_pairs(snapshots[0].id)) == 60
    assert [link["id"] for link in summary["lineage"]] == [link.version.id for link in links]


def stage(
    root: Path, name: str, overrides: list[str] | None = None, *, resume: bool = False
) -> dict[str, Any]:
    return run_stage(
        root, name, config=[], overrides=overrides or [], resume=resume, progress=SILENT
    )


def writing_commands(root: Path) -> list[Callable[[], object]]:
    """What changes a project."""
    return [
        lambda: run_loop(root, rounds=None, progress=SILENT),
        lambda: stage(root, "sft"),
    ]


def test_each_stage_runs_by_itself_with_settings_of_its_own(copied: Path) -> None:
    fine = stage(copied, "sft", ["sft.optimiser.lr=0.002"])
    reward = stage(copied, "reward")
    policy = stage(copied, "ppo", ["ppo.updates=1"])
    assert [made["run"] for made in (fine, reward, policy)] == ["sft-1", "reward-1", "ppo-1"]
    assert stage(copied, "sft")["run"] == "sft-2"
    for made in (fine, reward, policy):
        assert (copied / made["model"] / "config.json").is_file()
        assert (copied / made["metrics"]).is_file()
    with Project.open(copied) as project:
        assert check_project(project) == []
        versions = {version.name: version for version in project.store.model_versions()}
        assert project.store.run("sft-1").settings["optimiser"]["lr"] == 0.002
        assert project.store.run("ppo-1").parents == {
            "reference": versions["sft-1"].id,
            "reward_model": versions["reward-1"].id,
        }
    # Experiments beside the loop do not change where it stands.
    assert loop_status(copied)["next"] == f"complete: assent report {copied}"


def test_all_problems_of_overrides_are_told_at_once_and_nothing_is_begun(copied: Path) -> None:
    before = outcome(copied)
    with pytest.raises(ConfigError) as told:
        stage(copied, "ppo", ["ppo.updatez=1", "ppo.discount=7", "sft.epochs=none"])
    for path in ("ppo.updatez", "ppo.discount", "sft.epochs"):
        assert path in str(told.value)
    assert outcome(copied) == before


def test_there_is_nothing_to_resume_in_a_project_that_is_done(copied: Path) -> None:
    with pytest.raises(DataError, match="no unfinished ppo run to resume") as told:
        stage(copied, "ppo", resume=True)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("name", "command"), [("sft", "assent loop run"), ("ppo", "assent train sft")]
)
def test_a_stage_that_lacks_what_it_starts_from_names_the_command(
    tmp_path: Path, name: str, command: str
) -> None:
    root = make_toy(tmp_path / "new")
    with pytest.raises(DataError, match=command):
        stage(root, name)


def test_a_stage_that_was_stopped_is_named_with_the_command_that_resumes_it(copied: Path) -> None:
    class Stops(SilentProgress):
        def task(self, name: str, total: int, done: int = 0) -> Any:
            if name != "sample pairs":
                raise KeyboardInterrupt
            return super().task(name, total, done)

    with pytest.raises(KeyboardInterrupt):
        run_stage(copied, "sft", config=[], overrides=[], resume=False, progress=Stops())
    assert loop_status(copied)["next"] == f"goes on with sft-1: assent train sft {copied} --resume"
    assert stage(copied, "sft", resume=True)["run"] == "sft-1"
    assert loop_status(copied)["next"] == f"complete: assent report {copied}"


def test_an_unknown_annotator_in_the_settings_is_one_line(tmp_path: Path) -> None:
    root = make_toy(tmp_path / "new", {"world": {"annotator": "nobody"}})
    with pytest.raises(ConfigError, match="'nobody'; choose from flawed, unbiased") as told:
        run_loop(root, rounds=None, progress=SILENT)
    assert "\n" not in str(told.value)


def test_a_project_of_a_newer_version_is_one_line_and_untouched(copied: Path) -> None:
    settings = copied / "assent.toml"
    text = settings.read_text(encoding="utf-8")
    newer = text.replace("schema_version = 1", "schema_version = 99")
    settings.write_text(newer, encoding="utf-8")
    acts = writing_commands(copied)
    acts.append(lambda: loop_status(copied))
    for act in acts:
        with pytest.raises(NewerSchema, match="schema_version is 99") as told:
            act()
        assert "\n" not in str(told.value)
    assert settings.read_text(encoding="utf-8") == newer


def test_a_project_that_another_process_works_on_is_left_alone(copied: Path) -> None:
    with Project.open(copied) as project, project.writing():
        for act in writing_commands(copied):
            with pytest.raises(ProjectBusy, match="is working on this project"):
                act()
        # Looking is allowed.
        assert loop_status(copied)["next"].startswith("complete")


def test_a_folder_that_was_stored_before_a_kill_is_found_again(copied: Path) -> None:
    """Between storing a model and recording its version nothing is left in the run's folder."""
    folder = copied / "runs" / "odd" / "model"
    folder.mkdir(parents=True)
    (folder / "weights").write_text("mine")
    with open_workspace(copied, SILENT) as workspace:
        assert workspace.kept(copied / "nowhere", "sft", "odd") is None
        stored = workspace.kept(folder, "sft", "odd")
        assert stored is not None
        assert not folder.exists()
        assert workspace.kept(folder, "sft", "odd") == stored


def without_key(root: Path, run: str, key: str) -> None:
    """The record of a run as a version of before that setting existed wrote it."""
    with closing(sqlite3.connect(root / "assent.db")) as database, database:
        query = "SELECT settings FROM runs WHERE id = ?"
        settings = json.loads(database.execute(query, (run,)).fetchone()[0])
        del settings[key]
        text = canonical_json(settings)
        database.execute(
            "UPDATE runs SET settings = ?, settings_sha256 = ? WHERE id = ?",
            (text, sha256_hex(text), run),
        )


def test_runs_of_before_a_setting_existed_still_count(copied: Path) -> None:
    without_key(copied, "sft", "gradient_checkpointing")
    without_key(copied, "round-1-reward", "lora")
    summary = run_loop(copied, rounds=None, progress=SILENT)
    assert len(summary["rounds"]) == 1
    with Project.open(copied) as project:
        assert check_project(project) == []
        assert "gradient_checkpointing" not in project.store.run("sft").settings


def test_runs_of_other_settings_do_not_count(copied: Path) -> None:
    file = copied / "assent.toml"
    text = file.read_text(encoding="utf-8")
    changed = re.sub(r"(\[sft\](?:.|\n)*?\nepochs = )\d+", r"\g<1>9", text)
    assert changed != text
    file.write_text(changed, encoding="utf-8")
    with pytest.raises(AssentError, match=r"other settings \(epochs was \d and is 9\)"):
        run_loop(copied, rounds=None, progress=SILENT)


def test_a_refused_stage_is_recorded_as_failed_and_not_advised(copied: Path) -> None:
    nowhere = ["ppo.reward.kind=callable", "ppo.reward.function=nowhere:nothing"]
    with pytest.raises(AssentError, match="nowhere"):
        stage(copied, "ppo", nowhere)
    with Project.open(copied) as project:
        run = project.store.run("ppo-1")
        assert run.status == "failed"
        assert "nowhere" in str(run.problem)
        assert check_project(project) == []
    assert loop_status(copied)["next"].startswith("complete")
    assert stage(copied, "ppo", ["ppo.updates=1"])["run"] == "ppo-2"


def test_a_prompt_that_came_in_several_files_is_asked_once() -> None:
    def prompt(number: int, text: str, kind: PromptKind = "plain") -> StoredPrompt:
        return StoredPrompt(
            id=str(number), text=text, kind=kind, source=f"file-{number}", split="train", group="g"
        )

    given = [prompt(0, "Who?"), prompt(1, "What?"), prompt(2, "Who?"), prompt(3, "Who?", "user")]
    assert [prompt.id for prompt in distinct(given)] == ["0", "1", "3"]
