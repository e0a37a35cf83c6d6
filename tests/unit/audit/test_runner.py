"""The runner: what fails is said and left out, what was done is not done again, pairs are pairs."""

import json
from collections.abc import Iterator, Mapping, Sequence
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
import torch

from assent.audit import runner
from assent.audit.figures import change, estimate, trend
from assent.audit.questions import Item, Logprobs, Question, Reply, Samples, require_items
from assent.audit.results import ITEMS_FILE, read_result
from assent.audit.runner import AuditRun, run_audit
from assent.audit.subject import Figure, ItemRecord, Scores, Subject
from assent.audit.suite import Setting, _Done, _uncompared, _verdicts
from assent.config.audit import AuditSettings
from assent.config.ppo import SamplingSettings
from assent.errors import AuditError, DataError, NotAuditable, StoreDamaged, UnlikeItems
from assent.store import Project
from assent.types import SilentProgress

SHARE = Figure(name="right", of="right", better="higher", what="Share right.")


class Arithmetic:
    """A small audit: sums whose answers are given, `spoilt` ones raising when scored."""

    name, version, title = "arithmetic", 1, "Can it add?"
    figures: Sequence[Figure] = (SHARE,)

    def __init__(self, items: Sequence[Item], spoilt: Sequence[str] = ()) -> None:
        self._items, self._spoilt = items, spoilt

    def items(self, subject: Subject) -> Sequence[Item]:
        del subject
        return self._items

    def ask(self, subject: Subject, item: Item, replies: Sequence[Reply]) -> Sequence[Question]:
        del subject
        if replies:
            return []
        answers = tuple(item.data["answers"])
        return [Question(prompt=item.data["prompt"], ask=Logprobs(ends=False), answers=answers)]

    def score(self, item: Item, replies: Sequence[Reply]) -> Scores:
        if item.id in self._spoilt:
            message = "the key is torn"
            raise RuntimeError(message)
        logprobs = replies[0].logprobs
        return {"right": float(logprobs[item.data["right"]] == max(logprobs))}

    def exact(self, subject: Subject, items: Sequence[Item]) -> Mapping[str, float]:
        del subject, items
        return {}

    def tables(self, records: Sequence[ItemRecord]) -> Mapping[str, Any]:
        return {"asked": len(records), "ratio": inf}


class Calculator:
    """Right on every sum but those in `wrong`; `broken` prompts come out as NaN or raise."""

    identity = "calculator"

    def __init__(
        self, wrong: Sequence[str] = (), broken: Mapping[str, object] | None = None
    ) -> None:
        self._wrong, self._broken = wrong, broken or {}
        self.prompts: list[str] = []

    def sample(self, prompts: Sequence[str], ask: Samples, seed: int) -> list[Reply]:
        raise NotImplementedError

    def logprobs(
        self, prompts: Sequence[str], answers: Sequence[Sequence[str]], ask: Logprobs
    ) -> list[Reply]:
        del ask
        for prompt in prompts:
            if isinstance(fault := self._broken.get(prompt), Exception):
                raise fault
        self.prompts += prompts
        return [
            Reply(
                texts=tuple(texts),
                logprobs=tuple(self._logprob(prompt, text) for text in texts),
                tokens=(1,) * len(texts),
                finished=(False,) * len(texts),
            )
            for prompt, texts in zip(prompts, answers, strict=True)
        ]

    def _logprob(self, prompt: str, text: str) -> float:
        if prompt in self._broken:
            return nan
        one, other = (int(part) for part in prompt.removesuffix(" =").split("+"))
        return -0.1 if (int(text) == one + other) != (prompt in self._wrong) else -2.0


def sums(count: int) -> list[Item]:
    return [
        Item(
            id=str(n),
            data={"prompt": f"{n}+{n} =", "answers": [f" {n + n}", f" {n + n + 1}"], "right": 0},
        )
        for n in range(count)
    ]


def subject(model: Calculator, **given: Any) -> Subject:
    return Subject(name="calculator", model=model, **given)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with Project.create(tmp_path / "project", "schema_version = 1\n") as one:
        yield one


def ran(audit: Arithmetic, model: Calculator | None = None, **given: Any) -> AuditRun:
    return run_audit(audit, subject(model or Calculator(), **given))


def test_a_share_is_counted_with_its_interval_and_the_exact_texts_are_kept() -> None:
    result = ran(Arithmetic(sums(40)), Calculator(wrong=["3+3 =", "7+7 ="])).result
    (figure,) = result.figures
    assert (figure.estimate, figure.n, figure.method) == (38 / 40, 40, "95 % Wilson")
    assert figure.interval == pytest.approx((0.8350, 0.9862), abs=1e-4)
    record = result.records[3]
    assert record.scores == {"right": 0.0}
    (asked,) = record.asked
    assert asked["prompt"] == "3+3 ="
    assert asked["answers"] == [" 6", " 7"]
    assert asked["reply"]["logprobs"] == [-2.0, -0.1]
    assert result.tables == {"asked": 40, "ratio": None}


def test_a_scorer_that_raises_fails_its_item_alone() -> None:
    result = ran(Arithmetic(sums(40), spoilt=["5"])).result
    assert result.failed == {"5": "RuntimeError: the key is torn"}
    (figure,) = result.figures
    assert (figure.estimate, figure.n) == (1.0, 39)
    assert figure.problem == "1 of 40 items failed and are left out"


@pytest.mark.parametrize("fault", [nan, ValueError("no such token")])
def test_a_model_that_fails_on_one_item_fails_it_alone(fault: object) -> None:
    result = ran(Arithmetic(sums(40)), Calculator(broken={"8+8 =": fault})).result
    assert list(result.failed) == ["8"]
    assert (str(fault) if isinstance(fault, Exception) else "nan") in result.failed["8"]
    assert result.figures[0].n == 39


def test_too_many_failures_are_a_failed_figure_and_never_a_zero() -> None:
    result = ran(Arithmetic(sums(40), spoilt=["5", "6", "7"])).result
    (figure,) = result.figures
    assert figure.estimate is None
    assert figure.problem is not None
    assert "3 of 40 items failed" in figure.problem
    assert "the key is torn" in figure.problem


def one(**data: Any) -> Item:
    return Item(id="one", data={"prompt": "1+1 =", "answers": [" 2", " 3"], "right": 0, **data})


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        (one(answers=[" 2", ""]), "answer 2 is empty"),
        (one(answers=[" 2", " 2"]), "there twice"),
        (one(answers=[" 2", " 22"]), "beginning of"),
        (one(answers=[]), "no answers"),
        (one(prompt=""), "prompt is empty"),
        (one(right=None), "TypeError"),
        (Item(id="one", data={"prompt": "1+1 =", "answers": [" 2", " 3"]}), "KeyError: 'right'"),
    ],
)
def test_an_item_that_cannot_be_asked_or_scored_says_why(item: Item, problem: str) -> None:
    result = ran(Arithmetic([item])).result
    assert problem in result.failed["one"]
    assert result.figures[0].estimate is None


def test_items_are_named_once_and_exact_repeats_are_counted_and_left_out() -> None:
    with pytest.raises(DataError, match="two items are called '0'"):
        ran(Arithmetic(sums(1) * 2))
    with pytest.raises(DataError, match="no items"):
        ran(Arithmetic([]))
    again = Item(id="again", data=sums(1)[0].data)
    result = ran(Arithmetic([*sums(3), again])).result
    assert (len(result.records), result.repeats) == (3, 1)


def test_a_cluster_in_two_strata_is_refused() -> None:
    torn = [Item(id=str(n), data={"n": n}, cluster="a", stratum=str(n)) for n in range(2)]
    with pytest.raises(DataError, match="two strata"):
        require_items("x", torn)


def test_a_single_item_has_a_wide_interval_and_all_equal_scores_are_no_certainty() -> None:
    (single,) = ran(Arithmetic(sums(1))).result.figures
    assert single.interval == pytest.approx((0.2065, 1.0), abs=1e-4)
    (equal,) = ran(Arithmetic(sums(30))).result.figures
    assert equal.interval is not None
    assert equal.interval[0] == pytest.approx(0.8865, abs=1e-4)


def test_the_same_run_again_is_read_and_anything_else_is_made(project: Project) -> None:
    model = Calculator()
    first = ran(Arithmetic(sums(5)), model, project=project)
    again = ran(Arithmetic(sums(5)), model, project=project)
    assert (first.cached, again.cached) == (False, True)
    assert len(model.prompts) == 5
    assert again.result == first.result
    assert again.path == first.path
    other = ran(Arithmetic(sums(6)), model, project=project)
    level = ran(Arithmetic(sums(5)), model, project=project, settings=AuditSettings(level=0.9))
    assert not other.cached
    assert not level.cached
    run = project.store.run(first.run_id)
    assert (run.stage, run.status) == ("audit", "done")
    assert not [one for one in project.artifacts.find("audit") if project.artifacts.verify(one)]


def test_a_killed_run_goes_on_with_the_next_chunk_and_comes_to_the_same_artifact(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "CHUNK", 4)

    class Killed(BaseException):
        pass

    class Dies(Calculator):
        def logprobs(self, prompts: Any, answers: Any, ask: Any) -> list[Reply]:
            if len(self.prompts) == 8:
                raise Killed
            return super().logprobs(prompts, answers, ask)

    with pytest.raises(Killed):
        ran(Arithmetic(sums(20)), Dies(), project=project)
    model = Calculator()
    found = ran(Arithmetic(sums(20)), model, project=project)
    assert len(model.prompts) == 12
    with Project.create(tmp_path / "other", "schema_version = 1\n") as other:
        whole = ran(Arithmetic(sums(20)), Calculator(), project=other)
    assert found.path == whole.path  # which ends in the hash of what is in it
    assert not (project.root / "runs" / found.run_id / ITEMS_FILE).exists()


def test_a_result_that_was_damaged_is_not_believed(project: Project) -> None:
    found = ran(Arithmetic(sums(3)), project=project)
    assert found.path is not None
    file = project.root / found.path / ITEMS_FILE
    file.write_text(file.read_text(encoding="utf-8").replace('"cluster"', '"flock"'), "utf-8")
    with pytest.raises(StoreDamaged, match="no audit result"):
        read_result(project.root / found.path)
    with pytest.raises(StoreDamaged, match="was changed"):
        ran(Arithmetic(sums(3)), project=project)


class Silent:
    """A record audit of nothing."""

    name, version, title = "silent", 1, "Nothing to see."
    figures: Sequence[Figure] = (SHARE,)

    def inputs(self, subject: Subject) -> Mapping[str, Any]:
        del subject
        message = "there is no snapshot"
        raise NotAuditable(message)

    def measure(self, subject: Subject) -> Any:
        raise AssertionError(subject)


def test_an_audit_without_its_subject_is_skipped_and_leaves_no_run(project: Project) -> None:
    with pytest.raises(NotAuditable, match="no snapshot"):
        run_audit(Silent(), subject(Calculator(), project=project))
    assert project.store.runs() == []


def test_an_audit_reports_only_what_it_declared() -> None:
    class Chatty(Silent):
        def inputs(self, subject: Subject) -> Mapping[str, Any]:
            del subject
            return {}

        def measure(self, subject: Subject) -> Any:
            from assent.audit.subject import Estimate, Measured

            del subject
            return Measured(figures=[Estimate(name="other", estimate=1.0)])

    with pytest.raises(AuditError, match="'other', which it does not declare"):
        run_audit(Chatty(), subject(Calculator()))


def records(values: Sequence[float], start: int = 0) -> list[ItemRecord]:
    return [
        ItemRecord(
            id=str(start + n), cluster=str(start + n), stratum="all", data={}, scores={"right": v}
        )
        for n, v in enumerate(values)
    ]


def test_results_about_other_items_are_not_paired() -> None:
    with pytest.raises(UnlikeItems, match="only one of the two results has item '3'"):
        change(SHARE, records([1, 0, 1]), records([1, 0, 1, 0]), margin=0.1, level=0.95)
    other = [ItemRecord(id="0", cluster="0", stratum="all", data={"x": 1}, scores={"right": 1.0})]
    with pytest.raises(UnlikeItems, match="not the same"):
        change(SHARE, records([1]), other, margin=0.1, level=0.95)


def test_items_that_failed_for_one_model_are_left_out_of_the_pairs() -> None:
    torn = [*records([0, 0, 0, 0]), *records([1] * 20, start=4)]
    mended = [
        *[
            ItemRecord(id=one.id, cluster=one.id, stratum="all", data={}, failed="torn")
            for one in records([0, 0, 0, 0])
        ],
        *records([1] * 20, start=4),
    ]
    found = change(SHARE, mended, torn, margin=0.1, level=0.95)
    assert found is not None
    assert (found.difference, found.clusters) == (0.0, 20)


def test_yes_or_no_items_are_paired_by_mcnemar() -> None:
    ours, theirs = [1.0] * 30 + [0.0] * 10, [1.0] * 22 + [0.0] * 18
    found = change(SHARE, records(ours), records(theirs), margin=0.1, level=0.95)
    assert found is not None
    assert found.p_change == pytest.approx(2 * 0.5**8)


def test_a_trend_finds_the_slope_and_the_turn_of_paired_items() -> None:
    mean = Figure(name="right", of="right", kind="mean")
    base = torch.rand(60, generator=torch.Generator().manual_seed(1)).double() / 4
    noise = torch.Generator().manual_seed(2)
    hump = [
        records((base + lift + 0.02 * torch.randn(60, generator=noise).double()).tolist())
        for lift in (0.0, 0.3, 0.5, 0.4, 0.1)
    ]
    found = trend(mean, hump, range(5), level=0.95)
    assert found is not None
    assert found.turns
    assert found.bend < 0
    up = trend(mean, hump[:3], [0.0, 1.0, 2.0], level=0.95)
    assert up is not None
    assert up.slope == pytest.approx(0.25, abs=0.02)
    assert up.slope_interval.low > 0
    assert trend(mean, hump[:2], [0.0, 1.0], level=0.95) is None


def test_a_mean_has_a_bootstrap_over_clusters_within_strata() -> None:
    mean = Figure(name="right", of="right", kind="mean")
    rows = [
        ItemRecord(
            id=str(n), cluster=str(n // 2), stratum=str(n % 40 // 20), data={},
            scores={"right": (n * 37 % 101) / 100},
        )
        for n in range(40)
    ]  # fmt: skip
    found = estimate(mean, rows, level=0.95, most_failed=0.05, seed=1)
    assert found.clusters == 20
    assert "bootstrap over clusters within strata" in found.method
    assert found.interval is not None
    assert found.estimate is not None
    assert found.interval[0] < found.estimate < found.interval[1]
    assert found == estimate(mean, rows, level=0.95, most_failed=0.05, seed=1)


def test_a_baseline_with_other_items_gives_no_verdict_and_says_which_item() -> None:
    audit = Arithmetic(sums(5))
    runs = {
        "model": run_audit(audit, subject(Calculator())),
        "baseline": run_audit(Arithmetic(sums(4)), subject(Calculator())),
    }
    done = [_Done(audit, runs, {})]
    assert _verdicts(AuditSettings(), done, ["model"], "baseline") == []
    (found,) = _uncompared(done, ["model"], "baseline")
    assert found["audit"] == audit.name
    assert "only one of the two results has item '4'" in found["reason"]


def test_verdicts_of_a_suite_are_corrected_over_all_its_audits(project: Project) -> None:
    """Eight of forty more right: clear alone (p = .008), not among eight figures."""

    class Many(Arithmetic):
        figures = tuple(
            Figure(name=f"right-{n}", of="right", better="higher", what="") for n in range(8)
        )

    setting = Setting(
        project=project, settings=AuditSettings(), sampling=SamplingSettings(), seed=0,
        world=None, device=torch.device("cpu"), progress=SilentProgress(),
    )  # fmt: skip
    wrong = [f"{n}+{n} =" for n in range(8)]
    for audit, expected in ((Arithmetic, "improved"), (Many, "inconclusive")):
        runs = {
            "model": run_audit(audit(sums(40)), subject(Calculator())),
            "baseline": run_audit(audit(sums(40)), subject(Calculator(wrong))),
        }
        done = [_Done(audit(sums(40)), runs, {})]
        found = _verdicts(setting.settings, done, ["model"], "baseline")
        assert {one["verdict"] for one in found} == {expected}
        assert found[0]["p_change"] == pytest.approx(2 * 0.5**8)
        assert json.dumps(found)
