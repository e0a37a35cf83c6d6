"""What is said of feedback, on judgements few enough to count by hand."""

from dataclasses import replace

import numpy as np
import pytest

from assent.audit.evidence import Judged
from assent.audit.feedback_data import describe
from assent.audit.subject import Estimate, Measured
from assent.types import Verdict
from assent.worlds.almanac import World

ONE = Judged(
    event_id="e0",
    seq=0,
    comparison_id="c0",
    annotator_id="a",
    annotator="ann",
    prompt="What is it?",
    first="tea",
    second="coffee",
    shown_order="first_left",
    verdict="first",
    seconds=3.0,
    purpose="reward",
    round=1,
)


def judgement(number: int, annotator: str, prompt: str, verdict: Verdict) -> Judged:
    return replace(
        ONE,
        event_id=f"e{number}",
        seq=number,
        comparison_id=f"c{prompt}",
        annotator=annotator,
        prompt=prompt,
        verdict=verdict,
    )


def described(judged: list[Judged], **other: list[str]) -> Measured:
    return describe(
        judged,
        groups={one.prompt: one.prompt for one in judged},
        training=other.get("training", []),
        test=other.get("test", []),
        world=None,
        level=0.95,
    )


def figure(found: Measured, name: str) -> Estimate:
    return next(one for one in found.figures if one.name == name)


PANEL = [
    judgement(0, "ann", "p", "first"),
    judgement(1, "bob", "p", "first"),
    judgement(2, "ann", "q", "first"),
    judgement(3, "bob", "q", "second"),
    judgement(4, "ann", "r", "tie"),
]


def test_agreement_is_counted_on_what_two_people_judged() -> None:
    found = described(PANEL)
    agreement = figure(found, "agreement")
    assert agreement.estimate == 0.5
    assert agreement.clusters == 2
    # Coincidences of (0, 0) and (0, 1): observed 2 of 4 differ, expected 2 * 3 * 1 / (4 * 3).
    assert figure(found, "alpha").estimate == pytest.approx(1 - (2 / 4) / (6 / 12))
    rows = found.tables["rows"]["disagreements"]
    assert rows["count"] == 1
    assert rows["shown"][0]["prompt"] == "q"
    assert set(rows["shown"][0]["verdicts"]) == {"ann", "bob"}


def test_the_same_pair_the_other_way_round_is_the_same_question() -> None:
    turned = replace(
        judgement(5, "bob", "r", "second"), first="coffee", second="tea", comparison_id="other"
    )
    found = described([*PANEL[:4], judgement(4, "ann", "r", "first"), turned])
    # On r both chose tea.
    assert figure(found, "agreement").estimate == pytest.approx(2 / 3)


def test_without_overlap_agreement_is_missing_with_the_reason_and_not_zero() -> None:
    found = described([PANEL[0], PANEL[2], PANEL[4]])
    for name in ("alpha", "agreement"):
        assert figure(found, name).estimate is None
        assert "two annotators" in (figure(found, name).problem or "")
    assert figure(found, "self_agreement").problem == "no annotator judged the same pair twice"


def test_repeats_show_whether_an_annotator_keeps_to_what_was_said() -> None:
    again = [
        replace(judgement(9, "ann", "p", "second"), comparison_id="again"),
        replace(judgement(10, "ann", "q", "first"), comparison_id="again-q"),
    ]
    found = described([*PANEL, *again])
    assert figure(found, "self_agreement").estimate == 0.5
    changed = found.tables["rows"]["changed_their_mind"]["shown"]
    assert [row["events"] for row in changed] == [["e0", "e9"]]


def test_the_side_is_the_one_shown_and_ties_have_none() -> None:
    turned = replace(judgement(5, "ann", "s", "first"), shown_order="second_left")
    found = described([*PANEL, turned])
    # Left won on e0, e1, e2; right on e3 (second) and e5 (first, but shown right).
    assert figure(found, "left").estimate == pytest.approx(3 / 5)
    assert figure(found, "undecided").estimate == pytest.approx(1 / 6)


def test_times_are_missing_unless_they_were_kept() -> None:
    assert figure(described(PANEL), "seconds").estimate == 3.0
    untimed = described([replace(one, seconds=None) for one in PANEL])
    assert figure(untimed, "seconds").estimate is None
    assert "how long" in (figure(untimed, "seconds").problem or "")


def test_near_duplicates_and_contamination_come_with_their_rows() -> None:
    long = "please tell me what the name of the old stone bridge in fernby is"
    judged = [
        judgement(0, "ann", long, "first"),
        judgement(1, "ann", f"{long} today", "first"),
        judgement(2, "ann", "something else altogether", "second"),
    ]
    found = described(judged, training=[f"note that {long}"], test=[long, "never seen before"])
    assert figure(found, "repeated_prompts").estimate == pytest.approx(2 / 3)
    assert figure(found, "contaminated").estimate == 0.5
    assert found.tables["rows"]["contaminated"]["shown"] == [{"prompt": long}]
    assert found.tables["rows"]["near_duplicates"]["count"] == 1


def test_the_world_says_what_a_judge_can_check() -> None:
    world = World(0)
    prompts = world.prompts("train")
    judged = [judgement(n, "ann", prompt.text, "first") for n, prompt in enumerate(prompts)]
    found = describe(judged, groups={}, training=[], test=[], world=world, level=0.95)
    hidden = np.mean([prompt.fact.kind != "easy" for prompt in prompts])
    assert figure(found, "uncheckable").estimate == pytest.approx(hidden)


def test_each_annotator_has_a_line() -> None:
    lines = {one["annotator"]: one for one in described(PANEL).tables["annotators"]}
    assert lines["bob"]["judgements"] == 2
    assert lines["bob"]["left"] == 0.5
    assert lines["bob"]["agrees_with_others"] == 0.5
    assert lines["bob"]["compared_with_others"] == 2
    assert lines["ann"]["undecided"] == pytest.approx(1 / 3)
