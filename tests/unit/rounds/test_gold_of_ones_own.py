"""Gold in a project of one's own: a program, a held-out reward model, or what people say."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.own_project import judge, make_own

from assent.audit.judged_gold import SOURCE
from assent.errors import ConfigError
from assent.report import write_report
from assent.rounds.audits import run_audits
from assent.rounds.loop import HALT_FILE, loop_status, run_loop
from assent.store import NewJudgement, Project, StoredComparison
from assent.types import Prompt, SilentProgress, Verdict

SILENT = SilentProgress()
LONGER = {"kind": "callable", "function": "tests.own_rewards:length"}
SHORTER = {"kind": "callable", "function": "tests.own_rewards:brevity"}
STOPS = {"stop_when_gold_falls": True, "responses_per_point": 30}


def go_on(root: Path, rounds: int | None = None) -> dict[str, Any]:
    return run_loop(root, rounds=rounds, progress=SILENT)


def say(root: Path, purpose: str, verdict: Callable[[StoredComparison], Verdict]) -> int:
    """Have a person judge all open comparisons whose purpose begins so."""
    with Project.open(root) as project:
        store = project.store
        person = store.add_annotator("cleo", "human")
        judged = {event.comparison_id for event in store.events()}
        asked = [
            one
            for one in store.comparisons()
            if one.purpose.startswith(purpose) and one.id not in judged
        ]
        store.record_judgements(
            [
                NewJudgement(
                    comparison_id=one.id,
                    annotator_id=person,
                    verdict=verdict(one),
                    idempotency_key=f"said-{one.id}",
                )
                for one in asked
            ]
        )
        return len(asked)


def newer_loses(_: StoredComparison) -> Verdict:
    return "second"


def newer_wins(_: StoredComparison) -> Verdict:
    return "first"


@pytest.fixture(scope="module")
def by_program(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """PPO is paid for length and gold is brevity, so more reward is less gold from the start."""
    root = tmp_path_factory.mktemp("program") / "own"
    make_own(root, {"ppo": {"reward": LONGER}, "audits": {"gold": SHORTER}, "loop": STOPS})
    go_on(root)
    judge(root, 24)
    return root, go_on(root)


def test_a_program_that_knows_gold_stops_a_round_that_makes_it_worse_and_the_report_says_why(
    by_program: tuple[Path, dict[str, Any]],
) -> None:
    root, summary = by_program
    assert [point["step"] for point in summary["trajectory"]] == [0, 1]  # of 0, 1, 2
    reason = summary["rounds"][0]["stopped"]
    assert "at step 1" in reason
    assert "their covariance is -" in reason
    page = write_report(root).read_text(encoding="utf-8")
    assert f"Round 1 was stopped: {reason}." in page
    assert f"Round 1 was stopped: {reason}." in (root / "report" / "report.md").read_text()


def test_points_and_their_gold_are_of_the_same_responses(
    by_program: tuple[Path, dict[str, Any]],
) -> None:
    root, summary = by_program
    for point in summary["trajectory"]:
        # Gold is minus the proxy here, response by response.
        assert point["gold_mean"] == pytest.approx(-point["proxy_mean"])
        low, high = point["gold_ci"]
        assert low <= point["gold_mean"] <= high
    kept = json.loads((root / "runs/round-1-ppo/points/step-000001.json").read_text())
    assert len(kept["gold"]) == len(kept["proxy"]) == len(kept["covariance"]) == 10
    assert all(value <= 0 for value in kept["covariance"])
    assert summary["fall"]["n"] == 10
    assert any("audits.gold (callable)" in sentence for sentence in summary["limits"])


def test_a_reward_model_that_was_held_out_is_gold_for_points_and_audit(tmp_path: Path) -> None:
    root = tmp_path / "own"
    make_own(root, {"loop": {"responses_per_point": 20}})
    go_on(root)
    judge(root, 24)
    first = go_on(root)
    assert "gold_mean" not in first["trajectory"][0]
    held_out = tmp_path / "gold"
    shutil.copytree(root / first["rounds"][0]["reward_model"]["path"], held_out)
    text = (root / "assent.toml").read_text()
    (root / "assent.toml").write_text(
        f'{text}\n[audits.gold]\nkind = "model"\npath = "{held_out}"\n'
    )
    waiting = go_on(root, rounds=2)
    assert waiting["waiting"]["round"] == 2
    judge(root, 24)
    second = go_on(root)
    golds = [point.get("gold_mean") for point in second["trajectory"] if point["round"] == 2]
    assert len(golds) == 3
    assert None not in golds
    found = run_audits(root, names=["over-optimisation"], progress=SILENT)
    (audit,) = found["audits"]
    result = audit["results"][-1]
    assert result["status"] == "done", result
    assert result["tables"]["source"] == "audits.gold (model)"
    assert result["tables"]["best_of_n"]["law"] == "best_of_n"
    again, changed = (audit_again(root, held_out, change) for change in (False, True))
    assert again["cached"]
    assert not changed["cached"]


def audit_again(root: Path, gold: Path, change: bool) -> Any:
    """The result of the policy, with another file in the folder of the gold model or not."""
    if change:
        (gold / "note.txt").write_text("other weights would come with other files")
    (audit,) = run_audits(root, names=["over-optimisation"], progress=SILENT)["audits"]
    return audit["results"][-1]


@pytest.fixture
def asked_after_a_round(tmp_path: Path) -> Path:
    """One round is done, and people are asked whether it made things better."""
    root = tmp_path / "own"
    make_own(root, {"loop": {"rounds": 2, "stop_when_gold_falls": True, "gold_comparisons": 24}})
    go_on(root)
    judge(root, 24)
    waiting = go_on(root)["waiting"]
    assert waiting["round"] == 2
    assert waiting["judgements"] == 0
    assert waiting["open"] == waiting["wanted"] > 8
    assert "Round 2 waits" in loop_status(root)["next"]
    return root


def test_the_loop_ends_where_people_prefer_what_was_there_before(asked_after_a_round: Path) -> None:
    root = asked_after_a_round
    with Project.open(root) as project:
        purpose = "gold-after-round-1/round-1-ppo"
        assert project.store.browser.asked_comparisons(purpose, 0) > 8
    count = say(root, "gold-after-round-1", newer_loses)
    summary = go_on(root)
    assert len(summary["rounds"]) == 1
    assert f"over {count} comparisons" in summary["rounds"][0]["stopped"]
    assert "win rate is 0.000 [0.000, " in summary["rounds"][0]["stopped"]
    assert summary["promoted"] is not None
    assert loop_status(root)["next"].startswith("stopped after round 1: people prefer")
    # No reward model learns from what was held out.
    with Project.open(root) as project:
        assert project.store.take_snapshot("now").event_count == 24
        assert not project.store.comparisons(purpose="reward", round=2)
    # Said again, it stays so; without the setting the loop goes on.
    assert go_on(root)["rounds"][0]["stopped"] == summary["rounds"][0]["stopped"]
    text = (root / "assent.toml").read_text()
    (root / "assent.toml").write_text(
        text.replace("stop_when_gold_falls = true", "stop_when_gold_falls = false")
    )
    assert go_on(root)["waiting"]["wanted"] == 24


def test_the_loop_goes_on_where_people_prefer_what_it_made(asked_after_a_round: Path) -> None:
    root = asked_after_a_round
    say(root, "gold-after-round-1", newer_wins)
    waiting = go_on(root)["waiting"]
    assert (waiting["round"], waiting["wanted"]) == (2, 24)
    assert not (root / "runs" / HALT_FILE).exists()


def test_where_a_model_judges_nobody_knows_gold_and_the_loop_says_so_at_once(
    tmp_path: Path,
) -> None:
    make_own(
        tmp_path / "own", {"reward": {"judges": "model"}, "loop": {"stop_when_gold_falls": True}}
    )
    with pytest.raises(ConfigError, match=r"nobody knows gold; set audits\.gold"):
        go_on(tmp_path / "own")


def test_held_out_judgements_of_checkpoints_are_gold_for_the_audit(tmp_path: Path) -> None:
    root = tmp_path / "own"
    make_own(root, {"loop": {"promotion": {"comparisons": 60, "candidates": 2}}})
    with Project.open(root) as project:
        project.store.add_prompts(
            [
                Prompt(text=f"Is Fernby {n} miles away?", kind="plain", split="validation")
                for n in range(20)
            ]
        )
    go_on(root)
    judge(root, 24)
    go_on(root)

    def audit() -> dict[str, Any]:
        (found,) = run_audits(root, names=["over-optimisation"], progress=SILENT)["audits"]
        result: dict[str, Any] = found["results"][-1]
        return result

    before = audit()
    assert before["status"] == "skipped"
    assert "0 prompts are judged at every checkpoint" in before["reason"]
    with Project.open(root) as project:
        purposes = {one.purpose for one in project.store.comparisons()} - {"reward"}
    last = max(purposes)
    assert last.endswith("step-000002")
    # The first checkpoint wins where it is asked about, the last loses.
    first = say(root, last.replace("step-000002", "step-000001"), newer_wins)
    say(root, last, newer_loses)
    found = audit()
    assert found["status"] == "done", found
    assert found["tables"]["source"] == SOURCE
    start, middle, end = found["tables"]["points"]
    assert (start["gold"], start["kl_nats"]) == (0.0, 0.0)
    assert 0 < first / 60 <= middle["gold"] <= 0.5
    assert -0.5 <= end["gold"] < -0.25
    figures = {one["name"]: one for one in found["figures"]}
    assert figures["gold_change"]["interval"][1] < 0
    assert figures["fall"]["estimate"] > 0.5
    assert "gold of any text" in figures["peak_best_of_n"]["problem"]
