"""Criticism and principles, whole: from a project to a policy, a judge, a reward model and PPO."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.own_project import make_own
from tests.scripted_endpoint import Endpoint, scripted
from tests.toy_loop import make_toy
from transformers import AutoModelForCausalLM

from assent.collect.judging import BY_MODEL
from assent.errors import DataError, JudgeUnfit, WriterError
from assent.models.kept_answers import FILE
from assent.rounds.loop import run_loop
from assent.rounds.model_judging import judge_newest
from assent.rounds.planning import plan_stage
from assent.rounds.single import run_stage
from assent.store import NewCriticism, NewResponse, Project, check_project
from assent.types import ProgressTask, Prompt, SilentProgress

SILENT = SilentProgress()
FILLER = ", as is well known"


def stage(root: Path, name: str, *overrides: str, resume: bool = False) -> dict[str, Any]:
    return run_stage(
        root, name, config=[], overrides=list(overrides), resume=resume, progress=SILENT
    )


def judge(root: Path, count: int, *overrides: str) -> dict[str, Any]:
    return judge_newest(root, count, files=(), overrides=overrides, progress=SILENT)


def sound(root: Path) -> bool:
    with Project.open(root) as project:
        return check_project(project) == []


def by_rule(prompt: str) -> str:
    """Plays critic, reviser and judge: what is worth the most is an answer without fillers."""
    if "Answer A or B" in prompt:
        first, second = (_between(prompt, tag) for tag in ("response_a", "response_b"))
        return "A" if (first.count(FILLER), first) <= (second.count(FILLER), second) else "B"
    if "Write nothing but your criticism" in prompt:
        return f"It says {prompt.count(FILLER)} things that help nobody."
    return _between(prompt, "response").replace(FILLER, "") or "I do not know."


def _between(text: str, tag: str) -> str:
    return text.partition(f"<{tag}>\n")[2].partition(f"\n</{tag}>")[0]


def over(section: str, settings: dict[str, Any]) -> list[str]:
    return [f"{section}.{key}={json.dumps(value)}" for key, value in settings.items()]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy project whose loop has run; tests take a copy."""
    root = make_toy(
        tmp_path_factory.mktemp("language") / "project",
        {"ilf": {"refinements": 2, "sft": {"batch_size": 16}}, "constitutional": {"prompts": 24}},
    )
    run_loop(root, rounds=None, progress=SILENT)
    return root


@pytest.fixture
def copied(toy: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(toy, tmp_path / "copy"))


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with scripted(by_rule) as found:
        yield found


def lines_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_the_worlds_annotators_criticise_and_the_policy_learns_refinements(copied: Path) -> None:
    found = stage(copied, "ilf", "ilf.usable.max_unusable_share=1")
    assert found["run"] == "ilf-1"
    assert found["learned"] > 0
    AutoModelForCausalLM.from_pretrained(copied / found["model"])
    with Project.open(copied) as project:
        criticisms = project.store.criticisms()
        (critic,) = [one for one in project.store.annotators() if one.name == "flawed-critic"]
        made = project.store.model_versions()[-1]
        assert project.store.run("ilf-1").status == "done"
    assert critic.kind == "simulated"
    assert {one.text for one in criticisms} <= {"right.", "wrong.", "humble."}
    assert len(criticisms) == found["criticisms"] > 0
    assert (made.stage, made.name) == ("ilf", "ilf-1")
    assert sound(copied)


def test_a_constitution_judged_pairs_a_reward_model_and_ppo_by_an_endpoint(
    copied: Path, endpoint: Endpoint
) -> None:
    constitution = copied / "mine.txt"
    constitution.write_text("Leave out what helps nobody.\n", encoding="utf-8")
    mine = [
        "constitutional.principles=mine.txt",
        *over("constitutional.writer", endpoint.settings()),
        *over("constitutional.judge", endpoint.settings()),
    ]
    revised = stage(copied, "constitutional", *mine)
    assert revised["revised"] == 24
    for one in lines_of(copied / "runs/constitutional-1/revisions.jsonl"):
        (step,) = one["steps"]
        assert step["principle"] == "Leave out what helps nobody."
        assert step["revision"] == f" {one['response'].replace(FILLER, '').strip()}"
    before = len(endpoint.asked)
    report = judge(copied, 40, *mine)
    assert (report["judged"], report["unusable"], report["inconsistent_share"]) == (40, 0, 0)
    assert report["first_shown_share"] == 0.5
    assert len(endpoint.asked) == before + 80
    with Project.open(copied) as project:
        store = project.store
        (annotator,) = [one for one in store.annotators() if one.kind == "model"]
        assert annotator.name == report["judge"]
        assert annotator.parameters["model"] == "scripted"
        assert len(store.comparisons(purpose=BY_MODEL)) == 40
        people = store.snapshots()
    rewarded = stage(copied, "reward", "reward.judges=model")
    stage(copied, "reward")
    with Project.open(copied) as project:
        store = project.store
        new = {one.name: one for one in store.snapshots() if one not in people}
        by_model, by_people = (
            next(one for name, one in new.items() if name.startswith(run))
            for run in ("reward-1", "reward-2")
        )
        assert by_model.purposes == (BY_MODEL,)
        pairs = store.judged_pairs(by_model.id)
        assert {pair.annotator_id for pair in pairs} == {annotator.id}
        assert annotator.id not in {pair.annotator_id for pair in store.judged_pairs(by_people.id)}
        reference = store.run("reward-1").parents["reference"]
        assert store.model_version(reference).stage == "constitutional"
    assert rewarded["run"] == "reward-1"
    policy = stage(copied, "ppo")
    AutoModelForCausalLM.from_pretrained(copied / policy["model"])
    assert sound(copied)


def test_without_settings_the_world_judges_in_its_own_words(copied: Path) -> None:
    report = judge(copied, 12)
    assert report["judged"] == 12
    assert report["first_shown_share"] is None
    again = judge(copied, 12)
    assert (copied / "runs").joinpath(f"judge-2-{again['judge'][-8:]}").is_dir()


class Interrupting:
    """Progress that is stopped by Ctrl-C once a named bar has moved so far."""

    def __init__(self, bar: str, after: int) -> None:
        self.bar, self.after = bar, after

    def task(self, name: str, total: int, done: int = 0) -> AbstractContextManager[ProgressTask]:
        del total
        moved = [done]

        def advance(steps: int = 1, note: str = "") -> None:
            del note
            moved[0] += steps
            if name == self.bar and moved[0] >= self.after:
                raise KeyboardInterrupt

        task: ProgressTask = SimpleNamespace(advance=advance)
        return nullcontext(task)


@pytest.mark.parametrize(
    ("name", "stops"),
    [("ilf", (("refine", 40), ("judge", 40), ("ilf", 2))),
     ("constitutional", (("respond", 10), ("revise 1", 10), ("constitutional", 2)))],
)  # fmt: skip
def test_a_stage_that_is_stopped_again_and_again_comes_to_the_same_bits(
    toy: Path, tmp_path: Path, name: str, stops: tuple[tuple[str, int], ...]
) -> None:
    given = [f"{name}.{key}" for key in (
        "usable.max_unusable_share=1", "sft.batch_size=8", "sft.checkpoint_every=1",
    )]  # fmt: skip
    small = {"ilf": ("refiner", "judge"), "constitutional": ("writer",)}[name]
    given += [f"{name}.{who}.batch_size=10" for who in small]
    whole, torn = (Path(shutil.copytree(toy, tmp_path / way)) for way in ("whole", "torn"))
    stage(whole, name, *given)
    for number, (bar, after) in enumerate(stops):
        with pytest.raises(KeyboardInterrupt):
            run_stage(
                torn, name, config=[], overrides=given, resume=number > 0,
                progress=Interrupting(bar, after),
            )  # fmt: skip
    stage(torn, name, *given, resume=True)
    weights = []
    for root in (whole, torn):
        with Project.open(root) as project:
            weights.append(project.store.model_versions()[-1].weights_sha256)
    assert weights[0] == weights[1]
    folders = [root / f"runs/{name}-1" for root in (whole, torn)]
    assert lines_of(folders[0] / FILE) == lines_of(folders[1] / FILE)
    assert (folders[0] / "report.json").read_bytes() == (folders[1] / "report.json").read_bytes()
    steps = [[one["step"] for one in lines_of(folder / "metrics.jsonl")] for folder in folders]
    assert steps[0] == steps[1] != []


def test_an_endpoint_that_goes_down_in_the_middle_is_not_asked_again(copied: Path) -> None:
    left = [30]

    def mortal(prompt: str) -> str | int:
        left[0] -= 1
        return by_rule(prompt) if left[0] >= 0 else 503

    with scripted(mortal) as endpoint:
        mine = over("constitutional.writer", endpoint.settings(parallel=1))
        with pytest.raises(WriterError, match=r"answered 503, once in all"):
            stage(copied, "constitutional", *mine)
        kept = lines_of(copied / "runs/constitutional-1" / FILE)
        left[0] = 1000
        done = stage(copied, "constitutional", *mine, resume=True)
        assert done["run"] == "constitutional-1"
        # 24 critiques and 24 revisions, and the one that failed.
        assert len(endpoint.asked) == 49
        assert lines_of(copied / "runs/constitutional-1" / FILE)[: len(kept)] == kept


def test_a_judge_of_no_use_stops_and_another_one_can_follow(copied: Path) -> None:
    with scripted(lambda _: "I would rather not say.") as endpoint:
        mine = over("constitutional.judge", endpoint.settings())
        with pytest.raises(JudgeUnfit, match=r"nonsense .*'I would rather not say"):
            judge(copied, 20, *mine)
    with scripted(lambda _: "A") as endpoint:
        mine = over("constitutional.judge", endpoint.settings(model="other"))
        with pytest.raises(JudgeUnfit, match="shown first in 100%"):
            judge(copied, 20, *mine)
    with Project.open(copied) as project:
        events = project.store.events()
        judged = {one.id for one in project.store.comparisons(purpose=BY_MODEL)}
    assert not any(event.comparison_id in judged for event in events)
    with scripted(by_rule) as endpoint:
        mine = over("constitutional.judge", endpoint.settings(model="third"))
        assert judge(copied, 20, *mine)["judged"] == 20


def test_a_constitution_without_principles_asks_nobody(copied: Path, endpoint: Endpoint) -> None:
    (copied / "empty.txt").write_text("# later\n", encoding="utf-8")
    mine = ["constitutional.principles=empty.txt"]
    mine += over("constitutional.writer", endpoint.settings())
    with pytest.raises(DataError, match="holds no principle"):
        stage(copied, "constitutional", *mine)
    assert endpoint.asked == []


@pytest.mark.parametrize("method", ["ilf", "constitutional"])
def test_the_loop_goes_round_with_a_method_that_learns_from_language(
    tmp_path: Path, method: str
) -> None:
    root = make_toy(
        tmp_path / "project",
        {
            "loop": {"method": method, "rounds": 1, "judgements_per_round": 40,
                     "points_per_round": 3, "promotion": {"comparisons": 8, "candidates": 2}},
            "ilf": {"refinements": 2, "sft": {"batch_size": 16},
                    "usable": {"max_unusable_share": 1}},
            "constitutional": {"prompts": 24, "sft": {"batch_size": 8}},
            "reward": {"judges": "model", "normalise_samples": 16, "batch_size": 16},
        },
    )  # fmt: skip
    summary = run_loop(root, rounds=None, progress=SILENT)
    (one,) = summary["rounds"]
    assert one["judgements"] == 40
    points = sorted((root / f"runs/round-1-{method}/points").glob("*.json"))
    assert len(points) == 3
    with Project.open(root) as project:
        (snapshot,) = [one for one in project.store.snapshots() if one.name == "round-1"]
        assert snapshot.purposes == (BY_MODEL,)
        assert project.store.comparisons(purpose="reward") == []
    assert run_loop(root, rounds=None, progress=SILENT)["rounds"] == summary["rounds"]


def criticised(root: Path, refinements: Sequence[str | None], source: str | None = None) -> None:
    """People's criticism of responses to training prompts, all or those of a file."""
    with Project.open(root) as project:
        store = project.store
        person = store.add_annotator("ada", "human")
        for number, (prompt, better) in enumerate(
            zip(
                [one for one in store.prompts("train") if source in (None, one.source)],
                refinements,
                strict=False,
            )
        ):
            (response,) = store.add_responses(
                [NewResponse(prompt_id=prompt.id, text="No idea.", origin="import")]
            )
            store.record_criticisms(
                [
                    NewCriticism(
                        response_id=response,
                        annotator_id=person,
                        text="Say where it is.",
                        refinement=better,
                        idempotency_key=f"criticism-{number}",
                    )
                ]
            )


def test_a_project_of_ones_own_learns_from_criticism_and_goes_on_with_what_it_began(
    tmp_path: Path,
) -> None:
    root = tmp_path / "own"
    make_own(root, {"ilf": {"refinements": 2, "sft": {"batch_size": 4}}})

    def reply(prompt: str) -> str:
        return "Yes" if "Answer Yes or No" in prompt else f"By the {prompt.count('Fernby')}th tree."

    with scripted(reply) as endpoint:
        mine = [*over("ilf.refiner", endpoint.settings()), *over("ilf.judge", endpoint.settings())]
        with pytest.raises(DataError, match="there is no criticism to learn from; import some"):
            stage(root, "ilf", *mine)
        criticised(root, [None] * 5 + ["By the bridge."] * 3)
        plan = plan_stage(root, "ilf", config=[], overrides=[])
        assert plan.schedule["criticisms"] == 8
        found = stage(root, "ilf", *mine, resume=True)
    assert found["refined_by_people"] == 3
    assert found["refinements_written"] == 10
    learned = lines_of(root / "runs/ilf-1/refinements.jsonl")
    assert sorted(one["response"] for one in learned) == sorted(
        ["By the bridge."] * 3 + [" By the 1th tree."] * 5
    )
    assert all(one["written_by"] in ("person", "model") for one in learned)


def test_criticism_of_prompts_that_another_file_brought_too_is_learned(tmp_path: Path) -> None:
    root = tmp_path / "own"
    make_own(root, {"ilf": {"sft": {"batch_size": 4}}})
    with Project.open(root) as project:
        mine = [one for one in project.store.prompts("train") if one.kind == "user"]
        project.store.add_prompts(
            [Prompt(text=one.text, kind="user", source="b.jsonl", split="train") for one in mine]
        )
    criticised(root, ["By the bridge."] * 3, source="b.jsonl")
    found = stage(root, "ilf")
    assert found["learned"] == 3
    assert "score_mean_of_all" not in found  # nobody was asked
