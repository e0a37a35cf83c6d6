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


def test_init_counts_prompts_that_are_too_long_for_the_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text(f"Say it.\n{'word ' * 400}\nSay that.\n")
    base, root = save_base(tmp_path / "base"), tmp_path / "own"
    said = assent(capsys, "init", str(root), "--model", str(base), "--prompts", str(prompts))
    assert "too long to be asked: 1; the model reads " in said
    with Project.open(root) as project:
        assert len(project.store.prompts()) == 3


def test_a_pause_ends_with_status_zero_and_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "own"
    make_own(root)
    said = assent(capsys, "loop", "status", str(root))
    assert said == f"runs: none yet comparisons: 0 events: 0 models: 1 next: assent loop run {root}"
    said = assent(capsys, "loop", "run", str(root))
    assert "Round 1 waits for judgements of people: 0 of 24 are there" in said
    assert f"`assent loop run {root}`" in said
    judge(root, 7)
    said = assent(capsys, "loop", "status", str(root))
    assert said.startswith("runs: none yet comparisons: 24 events: 7 models: 1 next: Round 1 waits")
    assert said.endswith(
        f"assent serve {root} assent data import {root} FILE assent loop run {root}"
    )
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


def test_a_loop_takes_settings_and_names_them_when_it_is_interrupted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, more = tmp_path / "own", tmp_path / "more.toml"
    make_own(root)
    more.write_text("[loop]\njudgements_per_round = 9\n")
    given = ["--set", "ppo.updates=7", "-c", str(more)]
    plan = as_json(capsys, "loop", "run", str(root), *given, "--rounds", "2", "--plan")
    by_name = {one["stage"]: one["schedule"] for one in plan["stages"]}
    assert by_name["round-2-reward"]["judgements"] == 2 * 9
    assert by_name["round-1-ppo"]["updates"] == 7
    said = assent(capsys, "loop", "run", str(root), *given)
    assert "Round 1 waits for judgements of people: 0 of 9 are there" in said

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("assent.rounds.loop.run_loop", stopped)
    said = assent(capsys, "loop", "run", str(root), *given, status=130)
    assert said.endswith(f"go on with: assent loop run {root} -c {more} --set ppo.updates=7")


def test_plans_leave_out_what_is_too_long_as_training_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, root = save_base(tmp_path / "base"), tmp_path / "own"
    rows = [{"prompt": f"Say {n}.", "completion": "Well."} for n in range(30)]
    rows += [{"prompt": f"Say {n}. " + "word " * 400, "completion": "Well."} for n in range(20)]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assent(capsys, "init", str(root), "--model", str(base))
    assent(capsys, "data", "import", str(root), str(file), "--split", "train")
    room = ["--set", "sft.max_tokens=100000"]  # the model's own positions are what is short
    for stage in ("ppo", "raft", "sft"):
        (plan,) = as_json(capsys, "train", stage, str(root), *room, "--plan")["stages"]
        assert plan["schedule"]["too_long"] == 20, stage
        assert plan["schedule"].get("longest_prompt_tokens", 0) < 60
        assert plan["schedule"].get("prompts", plan["schedule"].get("demonstrations")) == 30
    new = ["--set", "ppo.sampling.max_new_tokens=5000"]
    (plan,) = as_json(capsys, "train", "ppo", str(root), *new, "--plan")["stages"]
    assert plan["notes"] == ["no prompt leaves room for a response of 5000 tokens"]


def test_a_plan_counts_the_second_model_that_an_adapter_needs_after_round_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "own"
    make_own(root)

    def weights(*given: str) -> list[int]:
        plan = as_json(capsys, "loop", "run", str(root), "--rounds", "2", "--plan", *given)
        return [
            one["memory_bytes"]["weights"] for one in plan["stages"] if one["stage"].endswith("ppo")
        ]

    first, second = weights("--set", "ppo.lora.rank=2")
    whole = weights()
    assert first < second  # the policy of round one is not the reference any more
    assert whole[0] == whole[1]


def test_a_reward_model_of_a_models_judgements_without_any_points_to_the_judge(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "own"
    make_own(root)
    for judges in ("model", "both"):
        said = assent(
            capsys, "train", "reward", str(root), "--set", f"reward.judges={judges}", status=2
        )
        assert f"let one judge: assent judge {root}" in said


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
