"""The audits of records on a project whose loop ran: they run, are reused, and reach the report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from tests.toy_loop import make_toy

from assent.audit.diversity import Diversity
from assent.audit.feedback_data import FeedbackData
from assent.audit.kl_accounting import KlAccounting
from assent.audit.length import Length
from assent.audit.models import default_baseline, find_model
from assent.audit.over_optimisation import OverOptimisation
from assent.audit.reward_model import RewardModel
from assent.audit.subject import AnyAudit, Subject
from assent.audit.suite import Setting, run_suite
from assent.audit.whose_values import WhoseValues
from assent.config.audit import AuditSettings
from assent.config.ppo import SamplingSettings
from assent.report import read_document, write_report
from assent.rounds.loop import run_loop
from assent.store import Project, check_project
from assent.types import SilentProgress
from assent.worlds.almanac import World

RECORD_AUDITS = (
    OverOptimisation(), KlAccounting(), RewardModel(), Diversity(), Length(), FeedbackData(),
    WhoseValues(),
)  # fmt: skip


def audited(root: Path, audits: Sequence[AnyAudit] = RECORD_AUDITS) -> dict[str, Any]:
    with Project.open(root) as project, project.writing():
        model = find_model(project, "round-1-ppo")
        return run_suite(
            Setting(
                project=project,
                settings=AuditSettings(samples=2),
                sampling=SamplingSettings(max_new_tokens=10),
                seed=5,
                world=World(0),
                device=torch.device("cpu"),
                progress=SilentProgress(),
            ),
            audits,
            [model],
            default_baseline(project, [model]),
        )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A toy project after its loop, and what the audits found."""
    root = make_toy(tmp_path_factory.mktemp("audited") / "toy")
    run_loop(root, rounds=None, progress=SilentProgress())
    return root, audited(root)


def result(found: dict[str, Any], audit: str, model: str = "round-1-ppo") -> dict[str, Any]:
    results = next(one["results"] for one in found["audits"] if one["name"] == audit)
    return next(one for one in results if one["model"] == model)


def test_every_audit_measures_the_policy_or_says_why_not(
    project: tuple[Path, dict[str, Any]],
) -> None:
    _, found = project
    for audit in RECORD_AUDITS:
        one = result(found, audit.name)
        assert one["status"] == "done", one
        for figure in one["figures"]:
            assert figure["estimate"] is not None or figure["problem"], figure
            low, high = figure["interval"] or (figure["estimate"], figure["estimate"])
            assert figure["estimate"] is None or low <= figure["estimate"] <= high, figure
    skipped = result(found, "reward-model", "sft")
    assert skipped["reason"] == "sft was trained with no reward model"


def test_an_audit_that_breaks_is_failed_and_takes_no_other_with_it(
    project: tuple[Path, dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Length):
        name = "broken"

        def measure(self, subject: Subject) -> NoReturn:
            del subject
            message = "no scores to divide"
            raise ValueError(message)

    found = audited(project[0], (Broken(), KlAccounting()))
    broken = result(found, "broken")
    assert broken["status"] == "failed"
    assert "ValueError: no scores to divide; please report it" in broken["reason"]
    assert result(found, "kl-accounting")["status"] == "done"
    assert "the audit broken of round-1-ppo broke" in caplog.text


def test_kl_is_sound_and_stored_samples_are_those_of_their_model(
    project: tuple[Path, dict[str, Any]],
) -> None:
    tables = result(project[1], "kl-accounting")["tables"]
    assert not [one for one in tables["causes"] if "sampling differ" in one["sign"]]
    exact = next(
        one for one in result(project[1], "kl-accounting")["figures"] if one["name"] == "exact"
    )
    assert exact["estimate"] >= tables["enumerated_lower_bound"] - 0.01


def test_both_ends_of_a_project_agree_on_what_was_judged(
    project: tuple[Path, dict[str, Any]],
) -> None:
    counts = result(project[1], "feedback-data")["tables"]["counts"]
    assert counts["judgements"] == 60
    assert counts["annotators"] == 2


def test_the_same_audits_again_are_read_and_the_store_is_whole(
    project: tuple[Path, dict[str, Any]],
) -> None:
    root, before = project
    again = audited(root)
    for audit in RECORD_AUDITS:
        one, other = result(before, audit.name), result(again, audit.name)
        assert other["cached"], audit.name
        assert one["figures"] == other["figures"]
    with Project.open(root) as opened:
        assert check_project(opened) == []


def test_the_report_holds_what_the_audits_found(project: tuple[Path, dict[str, Any]]) -> None:
    root, found = project
    write_report(root)
    document = read_document(root)
    assert {one["name"] for one in document["audits"]["audits"]} == {
        one["name"] for one in found["audits"]
    }
    assert document["datasheet"]["Collection"]["annotators"]["simulated"] >= 2
    # What chose a checkpoint taught nobody.
    assert document["datasheet"]["Uses"]["trained on it"] == {
        "round-1": ["round-1-reward", "round-1-ppo"]
    }
    assert list(document["datasheet"]["Preprocessing"]["snapshots trained on"]) == ["round-1"]
    assert document["datasheet"]["Preprocessing"]["snapshots that chose a checkpoint"] > 0
    purposes = document["datasheet"]["Collection"]["purposes"]
    assert {name.partition("-of-")[0] for name in purposes} == {
        "reward", "promotion-look-up", "promotion-no-look-up",
    }  # fmt: skip
    html = (root / "report" / "audits.html").read_text(encoding="utf-8")
    for audit in RECORD_AUDITS:
        assert f'id="audit-{audit.name}"' in html
