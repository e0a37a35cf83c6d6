"""Each format's small file, written by hand: what it is told to be, and every record in it."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.format_records import chat, exact

from assent.formats import (
    FORMATS,
    AnyRecord,
    ComparisonRecord,
    DemonstrationRecord,
    FeedbackRecord,
    Place,
    Problem,
    PromptRecord,
    RankingRecord,
    RatingRecord,
    UnpairedRecord,
    detect,
    inspect_file,
    read_file,
)

FOLDER = Path(__file__).parent / "formats"
FILES = {path.stem: path for path in FOLDER.iterdir()}

SKY, SNOW = "The sky is", chat("user: Snow?")
COLOUR, PET, HI = chat("user: Name a colour."), chat("user: Name a pet."), chat("user: Hi")
BIRD = "The fastest bird is"
SUMS = chat("user: 2 + 2?")
SUMS_TEXT = "2 + 2 ="

EXPECTED: dict[str, Sequence[AnyRecord | Problem]] = {
    "assent": [
        ComparisonRecord(
            prompt=chat("system: Be brief.", "user: Name a fruit."),
            responses=("Apple.", "A fruit is a seed-bearing structure."),
            verdict="both_bad",
            strength=4,
            margin=0.5,
            confidence=7,
            annotator="mira",
            note="odd",
            flags=("unsafe",),
            kind="user",
            source="kitchen",
            split="test",
            group="fruit",
            meta={"id": 9},
        ),
        RankingRecord(
            prompt=BIRD,
            responses=(" the falcon", " the swift", " the hen"),
            ranks=(0, 0, 1),
            annotator="mira",
        ),
        RatingRecord(prompt=BIRD, response=" the hen", axes={"truth": 0.0, "style": 0.5}),
        UnpairedRecord(prompt=BIRD, response=" the hen", good=False, annotator="otto"),
        FeedbackRecord(
            prompt=BIRD,
            response=" the hen",
            criticism="Hens hardly fly.",
            refinement=" the falcon",
        ),
        DemonstrationRecord(prompt=BIRD, response=" the falcon", annotator="otto"),
        PromptRecord(prompt="The slowest bird is", kind="few_shot", split="train"),
    ],
    "hh-rlhf": [
        ComparisonRecord(
            prompt=chat(
                "user: How long do I boil an egg?", "assistant: Soft or hard?", "user: Soft."
            ),
            responses=("Six minutes.", "An hour."),
            verdict="first",
        ),
        Problem(
            Place("hh-rlhf.jsonl", 2), "empty response", "column rejected is an empty response"
        ),
        Problem(
            Place("hh-rlhf.jsonl", 3),
            "the dialogues part before the last turn",
            "chosen and rejected answer different prompts: they differ before the last turn",
        ),
    ],
    "trl-preference": [
        ComparisonRecord(prompt=SKY, responses=(" blue.", " green."), verdict="first", strength=3),
        ComparisonRecord(
            prompt="Grass is",
            responses=(" green.", " blue."),
            verdict="first",
            margin=3.0,
            annotator="17",
            split="validation",
        ),
        ComparisonRecord(prompt="Snow is", responses=(" white.", " black."), verdict="first"),
    ],
    "trl-preference-chat": [
        ComparisonRecord(
            prompt=chat("user: What colour is the sky?"),
            responses=("Blue.", "Green."),
            verdict="first",
        ),
        ComparisonRecord(prompt=SNOW, responses=("White.", "Black."), verdict="first"),
        ComparisonRecord(
            prompt=chat("user: Grass?"), responses=("Green.", "Blue."), verdict="first"
        ),
    ],
    "trl-unpaired": [
        UnpairedRecord(prompt=SKY, response=" blue.", good=True),
        UnpairedRecord(prompt='The "sky" is', response=" green.\nVery green.", good=False),
    ],
    "trl-stepwise": [
        RatingRecord(prompt=SUMS_TEXT, response=" 2 + 2 is 4.", axes={"step": 1.0}),
        RatingRecord(prompt=SUMS_TEXT, response=" 2 + 2 is 4.\nSo it is 5.", axes={"step": 0.0}),
        RatingRecord(prompt=SUMS_TEXT, response=" 4.", axes={"step": 1.0}, annotator="mira"),
        Problem(
            Place("trl-stepwise.jsonl", 3),
            "steps and labels differ in number",
            "columns completions and labels hold 1 steps and 2 labels",
        ),
    ],
    "trl-unpaired-chat": [UnpairedRecord(prompt=SNOW, response="White.", good=True)],
    "trl-prompt-completion": [
        DemonstrationRecord(prompt=SKY, response=" blue."),
        DemonstrationRecord(prompt="Snow is", response=" white.", kind="plain"),
    ],
    "trl-prompt-completion-chat": [DemonstrationRecord(prompt=SNOW, response="White.")],
    "trl-prompts": [
        PromptRecord(prompt="2 + 2 =", kind="few_shot", meta={"answer": "4"}),
        PromptRecord(prompt="3 + 3 =", meta={"answer": "6"}),
    ],
    "trl-prompts-chat": [
        PromptRecord(
            prompt=chat("developer: Answer with a number.", "user: 2 + 2?"), meta={"answer": "4"}
        )
    ],
    "messages": [
        DemonstrationRecord(
            prompt=chat("system: Be brief.", "user: Snow?", "assistant: White.", "user: And soot?"),
            response="Black.",
        ),
        Problem(
            Place("messages.jsonl", 2),
            "no assistant turn",
            "column messages has no turn of the assistant to learn from",
        ),
    ],
    "sharegpt": [
        DemonstrationRecord(prompt=SNOW, response="White.", meta={"id": "c1"}),
        ComparisonRecord(
            prompt=chat("system: Be brief.", "user: Soot?"),
            responses=("Black.", "White."),
            verdict="first",
        ),
    ],
    "alpaca": [
        DemonstrationRecord(
            prompt=chat("user: Translate into French.\n\nbread"),
            response="pain",
            meta={"input": "bread"},
        ),
        DemonstrationRecord(
            prompt=chat("system: Be kind.", "user: Hi", "assistant: Hi.", "user: Say hello."),
            response="Hello.",
        ),
    ],
    "alpacafarm": [
        ComparisonRecord(
            prompt=COLOUR, responses=("Red.", "Dog."), verdict="first", annotator="gpt-x"
        ),
        ComparisonRecord(
            prompt=chat("user: Name a colour.\n\nwarm"),
            responses=("Blue.", "Red."),
            verdict="second",
            meta={"input": "warm"},
        ),
        ComparisonRecord(prompt=PET, responses=("Cat.", "Dog."), verdict="tie"),
        ComparisonRecord(prompt=PET, responses=("Cat.", "Cow."), verdict="first", margin=0.5),
    ],
    "self-instruct": [
        DemonstrationRecord(
            prompt=chat(f"user: Give the opposite.\n\n{given}"),
            response=opposite,
            group="t1",
            meta={"id": "t1", "name": "opposites", "input": given},
        )
        for given, opposite in (("hot", "cold"), ("wet", "dry"))
    ],
    "llmbar": [
        ComparisonRecord(prompt=COLOUR, responses=("Red.", "Dog."), verdict="first"),
        ComparisonRecord(prompt=PET, responses=("Red.", "Dog."), verdict="second"),
    ],
    "ultrafeedback": [
        RatingRecord(
            prompt=COLOUR,
            response="Red.",
            axes={"helpfulness": 5.0},
            source="made_up",
            meta={"model": "m1"},
        ),
        RatingRecord(
            prompt=COLOUR,
            response="Dog.",
            axes={"helpfulness": 1.0, "honesty": 2.0},
            source="made_up",
            meta={"model": "m2", "critique": "Not a colour."},
        ),
    ],
    "ultrafeedback-binarized": [
        ComparisonRecord(
            prompt=COLOUR,
            responses=("Red.", "Dog."),
            verdict="first",
            margin=6.5,
            meta={"prompt_id": "p1", "score_chosen": 8.5, "score_rejected": 2.0},
        )
    ],
    "arena": [
        ComparisonRecord(
            prompt=HI,
            responses=("Go.", "Hi!"),
            verdict="second",
            annotator="j1",
            meta={"question_id": "q1", "model_a": "x", "model_b": "y", "language": "English"},
        ),
        ComparisonRecord(
            prompt=HI,
            responses=("Hello.", "Hi!"),
            verdict="tie",
            annotator="j1",
            meta={"question_id": "q2", "model_a": "x", "model_b": "y"},
        ),
        ComparisonRecord(
            prompt=HI,
            responses=("No.", "Go."),
            verdict="both_bad",
            annotator="j2",
            meta={"question_id": "q3", "model_a": "x", "model_b": "y"},
        ),
        Problem(
            Place("arena.json", 4),
            "the chats part before the last turn",
            "conversation_a and conversation_b differ before the last turn, so the vote is not "
            "about two responses to one prompt",
        ),
    ],
    "openai-comparisons": [
        ComparisonRecord(
            prompt="SUBREDDIT: r/pets\n\nTITLE: Cat\n\nPOST: My cat sleeps all day.\n\nTL;DR:",
            responses=(" Cat sleeps.", " Dog barks."),
            verdict="first",
            confidence=8,
            annotator="w1",
            split="validation",
            group="t3_a",
            meta={"batch": "b3", "split": "valid1", "policies": ["sup1", "ref"]},
        ),
        ComparisonRecord(
            prompt="Article:\n\nThe bridge is open again.\n\nTL;DR:",
            responses=(" Bridge shut.", " Bridge open."),
            verdict="second",
            annotator="w2",
            split="train",
            group="n1",
            meta={"batch": "b3", "split": "train"},
        ),
    ],
    "oasst-trees": [
        RankingRecord(prompt=COLOUR, responses=("Red.", "Dog."), ranks=(0, 1), group="m1"),
        DemonstrationRecord(prompt=COLOUR, response="Red.", annotator="u3", group="m1"),
        PromptRecord(
            prompt=chat("user: Name a colour.", "assistant: Red.", "user: Another?"), group="m1"
        ),
        Problem(
            Place("oasst-trees.jsonl", 1),
            "deleted or not approved",
            "it is deleted or did not pass review",
        ),
    ],
    "oasst-messages": [
        RankingRecord(prompt=PET, responses=("Cat.", "Dog.", "Red."), ranks=(0, 0, 1), group="a1"),
        DemonstrationRecord(prompt=PET, response="Cat.", annotator="u2", group="a1"),
        DemonstrationRecord(prompt=PET, response="Dog.", annotator="u3", group="a1"),
        DemonstrationRecord(
            prompt=chat("user: Say hello."), response="Hello.", annotator="u4", group="b1"
        ),
    ],
    "verl-prompts": [
        PromptRecord(
            prompt=SUMS,
            source="sums",
            split="test",
            meta={
                "ability": "math",
                "reward_model": {"style": "rule", "ground_truth": "4"},
                "extra_info": {"split": "test", "index": 0},
            },
        )
    ],
    "openrlhf-sft": [DemonstrationRecord(prompt=SKY, response=" blue.")],
    "openrlhf-prompts": [PromptRecord(prompt="2 + 2 =", source="sums", meta={"label": "4"})],
    "question-answer": [
        DemonstrationRecord(prompt=chat("user: What is 2 + 2?"), response="2 + 2 = 4\n#### 4")
    ],
    "mt-bench": [
        PromptRecord(
            prompt=chat("user: Write a line about rain."),
            group="81",
            meta={
                "question_id": 81,
                "category": "writing",
                "turns": ["Write a line about rain.", "Make it rhyme."],
            },
        )
    ],
    "truthfulqa-judge": [
        RatingRecord(prompt=chat("user: Is snow white?"), response="Yes.", axes={"truth": 1.0}),
        RatingRecord(
            prompt=chat("user: Is snow white?"), response="I cannot say.", axes={"info": 0.0}
        ),
    ],
    "ilf": [
        FeedbackRecord(
            prompt="def double(x):\n",
            response="    return x + 1",
            criticism="It adds one; it should multiply by two.",
            refinement="    return 2 * x",
            annotator="w4",
            group="3",
            meta={"task_id": 3, "test": "assert double(2) == 4", "passed": True},
        )
    ],
}

SHARED = {"openrlhf-preference": "trl-preference"}
"""Formats whose files are another's: columns and meaning are the same."""


def test_every_format_has_a_file() -> None:
    assert {*FILES} | {*SHARED} == {*FORMATS}
    assert {*EXPECTED} == {*FILES}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_the_format_is_told_from_the_file(name: str) -> None:
    found = detect(FILES[name])
    assert (found.format.name, found.confidence) == (name, 1.0)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_every_record_is_read_as_it_stands(name: str) -> None:
    assert exact(read_file(FILES[name])) == exact(EXPECTED[name])


@pytest.mark.parametrize(("name", "other"), SHARED.items())
def test_a_format_with_the_columns_of_another_reads_its_files(name: str, other: str) -> None:
    assert exact(read_file(FILES[other], name)) == exact(EXPECTED[other])


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_the_columns_that_the_reference_names_are_those_of_the_file(name: str) -> None:
    """A column in a file is read, or known to be passed over."""
    passed_over = {"is_classification", "tstamp", "tree_state", "answer"}
    assert {*inspect_file(FILES[name]).unread} <= passed_over
