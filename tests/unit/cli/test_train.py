"""`assent train`, `init` and `loop` on the command line: what they print before and after."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.own_project import judge, make_own, save_base

from assent.cli.interrupts import Interrupted
from assent.cli.main import main
from assent.cli.train import resume_command
from assent.store import Project


def assent(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> str:
    with pytest.raises(SystemExit) as ended:
        main(words)
    out = capsys.readouterr()
    assert ended.value.code == status, out.err
    return " ".join((out.out or out.err).split())


def as_json(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    with pytest.raises(SystemExit):
        main([*words, "--json"])
    return json.loads(capsys.readouterr().out)


def test_going_on_repeats_the_settings_that_the_run_was_begun_with() -> None:
    said = resume_command(
        "ppo", Path("my project"), [Path("a.toml")], ["ppo.kl.coef=0.3", "ppo.updates=5"]
    )
    assert said == (
        "assent train ppo 'my project' -c a.toml --set ppo.kl.coef=0.3 --set ppo.updates=5 --resume"
    )


def test_ctrl_c_names_the_command_with_its_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("assent.rounds.single.run_stage", stopped)
    said = assent(capsys, "train", "ppo", str(tmp_path), "--set", "ppo.updates=5", status=130)
    assert said.endswith(f"go on with: assent train ppo {tmp_path} --set ppo.updates=5 --resume")
    assert issubclass(Interrupted, Exception)


def test_init_plan_and_pause_as_a_user_meets_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("".join(f"Say {n}.\n" for n in range(80)))
    base, root = save_base(tmp_path / "base"), tmp_path / "own"
    said = assent(capsys, "init", str(root), "--model", str(base), "--prompts", str(prompts))
    assert "prompts: " in said
    assert f"next: assent loop run {root}" in said
    plan = as_json(capsys, "train", "ppo", str(root), "--set", "ppo.updates=7", "--plan")
    (stage,) = plan["stages"]
    assert stage["schedule"]["optimiser_steps"] == 7 * 2 * 2
    assert stage["schedule"]["rollouts"] == 7 * 64
    parts = {key: size for key, size in stage["memory_bytes"].items() if key != "total"}
    assert set(parts) == {"weights", "gradients", "adam", "activations", "logits", "kv_cache"}
    assert stage["memory_bytes"]["total"] <= sum(parts.values())
    assert not (root / "runs" / "ppo-1").exists()
    assert "optimiser steps" in assent(capsys, "loop", "run", str(root), "--plan")
    again = assent(capsys, "init", str(root), "--model", str(base), status=2)
    assert "is not empty" in again


def test_a_pause_ends_with_status_zero_and_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "own"
    make_own(root)
    said = assent(capsys, "loop", "run", str(root))
    assert "Round 1 waits for judgements of people: 0 of 24 are there" in said
    assert f"`assent loop run {root}`" in said
    judge(root, 7)
    found = as_json(capsys, "loop", "status", str(root))
    assert (found["waiting"]["judgements"], found["waiting"]["open"]) == (7, 17)


def test_plans_of_a_loop_name_what_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.toy_loop import make_toy

    root = make_toy(tmp_path / "toy")
    plan = as_json(capsys, "loop", "run", str(root), "--rounds", "2", "--plan")
    assert [one["stage"] for one in plan["stages"]] == [
        "pretrain", "sft", "round-1-reward", "round-1-ppo", "round-2-reward", "round-2-ppo",
    ]  # fmt: skip
    by_name = {one["stage"]: one["schedule"] for one in plan["stages"]}
    assert by_name["pretrain"]["optimiser_steps"] == 20
    assert by_name["round-2-reward"]["judgements"] == 2 * by_name["round-1-reward"]["judgements"]
    assert (root / "summary.json").exists() is False


def test_a_plan_counts_the_judgements_that_later_rounds_add(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "own"
    make_own(root)
    with Project.open(root) as project:
        project.store.take_snapshot("round-1")  # of nothing: a round that was begun
    plan = as_json(capsys, "loop", "run", str(root), "--rounds", "3", "--plan")
    judged = [one["schedule"].get("judgements") for one in plan["stages"]]
    assert judged == [0, None, 24, None, 48, None]
