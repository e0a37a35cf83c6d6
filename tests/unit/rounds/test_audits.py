"""Audits of a toy project: after a round, by name, again, and of several models."""

import json
import shutil
from pathlib import Path

import pytest
from tests.toy_loop import make_toy

from assent.audit.respondents import HuggingFaceRespondent
from assent.errors import AuditError, NotAModel
from assent.rounds.audits import read_suite, run_audits
from assent.rounds.loop import loop_status, run_loop
from assent.store import Project
from assent.types import SilentProgress

AUDITED = {"audits": {"after_round": ["honesty"], "samples": 2, "texts": 8}}
QUIET = SilentProgress()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_toy(tmp_path_factory.mktemp("toy") / "project", AUDITED)
    run_loop(root, rounds=None, progress=QUIET)
    return root


@pytest.fixture
def root(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "project")


def test_the_audits_named_for_a_round_are_made_with_it(root: Path) -> None:
    found = read_suite(root, "round-1")
    assert [one["name"] for one in found["audits"]] == ["honesty"]
    assert (found["baseline"], found["models"][-1]["name"]) == ("sft", "round-1-ppo")
    assert {one["verdict"] for one in found["verdicts"]} <= {
        "improved", "regressed", "equivalent", "inconclusive",
    }  # fmt: skip
    with Project.open(root) as project:
        runs = [run for run in project.store.runs() if run.stage == "audit"]
        assert [run.status for run in runs] == ["done", "done"]
        policy = {one.id: one.name for one in project.store.model_versions()}
        assert {policy[run.parents["model"]] for run in runs} == {"sft", "round-1-ppo"}
    with pytest.raises(AuditError, match="assent audit run"):
        read_suite(root)


def test_the_same_audit_again_asks_no_model(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run_audits(root, names=["sycophancy"], progress=QUIET)

    def refuse(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(HuggingFaceRespondent, "sample", refuse)
    again = run_audits(root, names=["sycophancy"], progress=QUIET)
    assert again["verdicts"] == first["verdicts"]
    for one, other in zip(
        again["audits"][0]["results"], first["audits"][0]["results"], strict=True
    ):
        assert (one["cached"], other["cached"]) == (True, False)
        assert one["artifact"] == other["artifact"]
    assert read_suite(root) == json.loads(json.dumps(again))


def test_models_are_named_or_folders_and_three_make_a_trend(root: Path, tmp_path: Path) -> None:
    with Project.open(root) as project:
        version = next(one for one in project.store.model_versions() if one.name == "round-1-ppo")
        outside = shutil.copytree(project.root / version.path, tmp_path / "outside")
        config = json.loads((outside / "config.json").read_text(encoding="utf-8"))
        (outside / "config.json").write_text(json.dumps({**config, "note": 1}), encoding="utf-8")
    found = run_audits(
        root,
        names=["alignment-tax"],
        models=["round-1-ppo-step-000001", str(outside)],
        baseline="pretrain",
        progress=QUIET,
    )
    assert [one["name"] for one in found["models"]] == [
        "pretrain", "round-1-ppo-step-000001", str(outside),
    ]  # fmt: skip
    assert {one["figure"] for one in found["trends"]} >= {"loss", "recalls", "reads", "checks"}
    (tax,) = found["audits"]
    texts = [one["figures"][0]["n"] for one in tax["results"]]
    assert texts == [8, 8, 8]


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"names": ["honest"]}, AuditError, "no audit is called 'honest'; choose from"),
        ({"models": ["round-1-po"]}, AuditError, "did you mean round-1-ppo"),
        ({"models": ["runs"]}, NotAModel, "holds no config.json"),
    ],
)
def test_what_there_is_not_is_one_line(
    root: Path, given: dict[str, list[str]], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        run_audits(root, progress=QUIET, **given)  # type: ignore[arg-type]


def test_an_audit_that_was_killed_is_no_stage_that_the_loop_waits_for(root: Path) -> None:
    from assent.store import NewRun

    with Project.open(root) as project:
        project.store.start_run(
            NewRun(id="audit-x", stage="audit", name="x", settings={}, seed=0, code_version="0")
        )
    assert loop_status(root)["next"].startswith("complete")
