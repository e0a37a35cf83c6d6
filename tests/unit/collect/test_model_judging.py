"""A model judges in both orders; its bias is counted, and people's judgements stay apart."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from assent.collect.judging import BY_MODEL
from assent.collect.model_judging import (
    INCONSISTENT,
    ModelJudge,
    both_orders,
    from_alone,
    judge_by_model,
)
from assent.errors import JudgeUnfit
from assent.models.kept_answers import KeptAnswers
from assent.models.requests import APPROVE, COMPARE, Asking, Choice
from assent.store import NewComparison, NewJudgement, NewResponse, Project, Store
from assent.types import Principle, Prompt, SilentProgress, Unanswered

SILENT = SilentProgress()
COUNT = 30
PRINCIPLES = [
    Principle(name=name, critique="c", revision="r", compare=f"Choose by {name}.")
    for name in ("one", "two", "three")
]
Rule = Callable[[str, str], Any]
"""The texts shown first and second to what is answered."""


class Scripted:
    """Judges by what stands between the tags."""

    batch, draws_together = 7, False

    def __init__(self, rule: Rule) -> None:
        self.rule, self.identity, self.asked = rule, {"kind": "scripted"}, list[str]()

    def write(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Any]:
        raise NotImplementedError

    def choose(
        self, prompts: Sequence[str], options: Sequence[str], seeds: Sequence[int]
    ) -> list[Any]:
        del options, seeds
        self.asked += prompts
        return [
            self.rule(_between(one, "response_a"), _between(one, "response_b"))
            if "<response_a>" in one
            else self.rule(_between(one, "response"), "")
            for one in prompts
        ]


def _between(text: str, tag: str) -> str:
    return text.partition(f"<{tag}>\n")[2].partition(f"\n</{tag}>")[0]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Pairs of `good i` and `bad i`, either way round, to be judged by a model."""
    with Project.create(tmp_path / "project", "schema_version = 1\n") as project:
        store = project.store
        prompts = store.add_prompts([Prompt(text=f"prompt {n}") for n in range(COUNT)])
        for number, prompt in enumerate(prompts):
            texts = (f"good {number}", f"bad {number}")
            first, second = store.add_responses(
                [
                    NewResponse(prompt_id=prompt, text=text, origin="import")
                    for text in (texts if number % 3 else texts[::-1])
                ]
            )
            store.add_comparisons(
                [
                    NewComparison(
                        prompt_id=prompt,
                        first_response_id=first,
                        second_response_id=second,
                        shown_order="first_left",
                        purpose=BY_MODEL,
                    )
                ]
            )
        yield store


def judged(store: Store, rule: Rule, folder: Path, **given: Any) -> tuple[Any, Scripted]:
    writer = Scripted(rule)
    asking = Asking(writer, APPROVE if "words" in given else COMPARE, "text")
    judge = ModelJudge(
        annotator_id=store.add_annotator("judge", "model", {"kind": "scripted"}),
        asking=asking,
        principles=PRINCIPLES,
        **given,
    )
    report = judge_by_model(
        store, store.comparisons(purpose=BY_MODEL), judge, KeptAnswers(folder, "this"),
        seed=1, progress=SILENT,
    )  # fmt: skip
    return report, writer


def honest(first: str, second: str) -> list[float]:
    del second
    return [0.9, 0.1] if first.startswith("good") else [0.2, 0.8]


def test_both_orders_are_asked_and_averaged(store: Store, tmp_path: Path) -> None:
    report, writer = judged(store, honest, tmp_path)
    assert len(writer.asked) == 2 * COUNT
    assert report.judged == COUNT
    assert report.unusable == report.nonsense == report.late == 0
    assert report.first_shown_share == 0.5
    assert report.inconsistent_share == 0
    snapshot = store.take_snapshot("models", purposes=(BY_MODEL,))
    pairs = store.judged_pairs(snapshot.id)
    assert len(pairs) == COUNT
    for pair in pairs:
        better = pair.first if pair.verdict == "first" else pair.second
        assert better.startswith("good")
        # P(good) is 0.9 where it is shown first, 0.8 where second.
        assert pair.confidence == pytest.approx(0.85)
        assert pair.context["judge"]["principle"] in {"one", "two", "three"}
    assert {pair.context["judge"]["principle"] for pair in pairs} == {"one", "two", "three"}


def test_a_models_judgements_are_in_no_snapshot_of_peoples(store: Store, tmp_path: Path) -> None:
    judged(store, honest, tmp_path)
    people = store.take_snapshot("people")
    assert store.judged_pairs(people.id) == []
    (annotator,) = store.annotators()
    assert annotator.kind == "model"
    person = store.add_annotator("ada", "human")
    comparison = store.comparisons(purpose=BY_MODEL)[0]
    asked = store.add_comparisons(
        [
            NewComparison(
                prompt_id=comparison.prompt_id,
                first_response_id=comparison.first_response_id,
                second_response_id=comparison.second_response_id,
                shown_order="first_left",
            )
        ]
    )
    store.record_judgements(
        [
            NewJudgement(
                comparison_id=asked[0],
                annotator_id=person,
                verdict="first",
                idempotency_key="k",
            )
        ]
    )
    (pair,) = store.judged_pairs(store.take_snapshot("people again").id)
    assert pair.annotator_id == person
    assert len(store.judged_pairs(store.take_snapshot("m", purposes=(BY_MODEL,)).id)) == COUNT


def leaning(first: str, second: str) -> list[float]:
    """Mostly for the place: only for even numbers does it look at the texts."""
    if int(first.split()[1]) % 2:
        return [0.9, 0.1]
    return honest(first, second)


@pytest.mark.parametrize(("labels", "undecided"), [("consistent", 15), ("soft", 0), ("hard", 0)])
def test_orders_that_disagree_are_counted_and_no_verdict_where_that_is_asked(
    store: Store, tmp_path: Path, labels: Any, undecided: int
) -> None:
    report, _ = judged(store, leaning, tmp_path, labels=labels)
    assert report.inconsistent_share == 0.5
    assert report.first_shown_share == 0.75
    pairs = store.judged_pairs(store.take_snapshot("models", purposes=(BY_MODEL,)).id)
    assert sum(pair.verdict == "cannot_judge" for pair in pairs) == undecided
    assert sum(INCONSISTENT in pair.flags for pair in pairs) == 15
    assert all((pair.confidence is not None) == (labels == "soft") for pair in pairs)
    if labels == "soft":  # 0.9 for either place is no preference
        ties = [pair for pair in pairs if pair.verdict == "tie"]
        assert len(ties) == 15
        assert all(pair.confidence == pytest.approx(0.5) for pair in ties)


@pytest.mark.parametrize(("shares", "place"), [([1.0, 0.0], "first"), ([0.1, 0.9], "second")])
def test_a_judge_that_always_takes_one_place_stops_the_stage_early(
    store: Store, tmp_path: Path, shares: list[float], place: str
) -> None:
    with pytest.raises(JudgeUnfit, match=rf"shown {place} in 100% of 21 answers") as raised:
        judged(store, lambda *_: shares, tmp_path)
    assert "\n" not in str(raised.value)
    assert store.events() == []


def test_a_judge_that_says_the_same_of_every_response_stops_the_stage(
    store: Store, tmp_path: Path
) -> None:
    with pytest.raises(JudgeUnfit, match="says the same of all 21 responses"):
        judged(store, lambda *_: [0.7, 0.3], tmp_path, words=Choice())


def test_nonsense_above_the_stated_share_stops_and_below_it_is_counted(
    store: Store, tmp_path: Path
) -> None:
    def sometimes(first: str, second: str) -> Any:
        if int(first.split()[1]) % 10 == 3 and first.startswith("good"):
            return Unanswered("nonsense", "hum")
        return honest(first, second)

    report, _ = judged(store, sometimes, tmp_path / "some")
    assert (report.judged, report.unusable, report.nonsense) == (COUNT - 3, 3, 3)
    assert len(store.events()) == COUNT - 3
    with pytest.raises(JudgeUnfit, match=r"were nonsense .* at most 1% may be"):
        judged(store, sometimes, tmp_path / "none", max_unusable_share=0.01)


def test_judging_again_asks_nothing_and_records_nothing(store: Store, tmp_path: Path) -> None:
    report, _ = judged(store, honest, tmp_path)
    before = len(store.events())
    again, writer = judged(store, honest, tmp_path)
    assert again == report
    assert writer.asked == []
    assert len(store.events()) == before


def test_responses_judged_alone_have_no_order(store: Store, tmp_path: Path) -> None:
    report, _ = judged(
        store, lambda one, _: [0.8, 0.2] if one.startswith("good") else [0.3, 0.7], tmp_path,
        words=Choice(),
    )  # fmt: skip
    assert report.first_shown_share is None
    assert report.judged == COUNT
    for pair in store.judged_pairs(store.take_snapshot("models", purposes=(BY_MODEL,)).id):
        assert (pair.first if pair.verdict == "first" else pair.second).startswith("good")
        assert pair.confidence == pytest.approx(0.8 * 0.7 / (0.8 * 0.7 + 0.3 * 0.2))


def test_preferences_by_their_definitions() -> None:
    """Swapping the sides as stored turns the preference round; a place bias cancels."""
    for one, other in ((0.9, 0.6), (0.2, 0.9), (0.5, 0.5), (1.0, 0.0)):
        assert both_orders(one, other).first == pytest.approx(
            1 - both_orders(1 - other, 1 - one).first
        )
        assert from_alone(one, other).first == pytest.approx(1 - from_alone(other, one).first)
    assert both_orders(1.0, 0.0).first == 0.5
    assert not both_orders(1.0, 0.0).consistent
    assert both_orders(0.9, 0.6).consistent
    # Both certain: nothing says which.
    assert from_alone(1.0, 1.0).first == from_alone(0.0, 0.0).first == 0.5
    # Given that just one of two independent coins came up, which was it?
    outcomes = {(a, b): (0.7 if a else 0.3) * (0.4 if b else 0.6) for a in (0, 1) for b in (0, 1)}
    exact = outcomes[1, 0] / (outcomes[1, 0] + outcomes[0, 1])
    assert from_alone(0.7, 0.4).first == pytest.approx(exact)
