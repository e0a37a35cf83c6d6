"""Answers on the disk: nothing is asked twice, and too many bad ones stop the run."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from assent.errors import CannotResume, JudgeUnfit, WriterError
from assent.models.kept_answers import FILE, KeptAnswers, Question
from assent.types import SilentProgress, Unanswered

QUESTIONS = [Question(str(number), f"prompt {number}") for number in range(10)]


class Scripted:
    """A writer that answers by rule and remembers what it was asked."""

    identity: ClassVar[dict[str, Any]] = {}
    batch = 4

    def __init__(self, rule: Any, *, together: bool = False) -> None:
        self.rule, self.draws_together, self.asked = rule, together, list[str]()

    def write(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Any]:
        assert len(set(seeds)) == len(prompts)
        self.asked += prompts
        return [self.rule(prompt) for prompt in prompts]

    def choose(
        self, prompts: Sequence[str], options: Sequence[str], seeds: Sequence[int]
    ) -> list[Any]:
        assert len(options) == 2
        return self.write(prompts, seeds)


def ask(kept: KeptAnswers, writer: Scripted, most: float = 0.2, **given: Any) -> list[Any]:
    return kept.ask(
        "step", QUESTIONS, writer, seed=1, max_unusable_share=most, progress=SilentProgress(),
        key="ilf.usable.max_unusable_share", **given,
    )  # fmt: skip


def away_after(count: int) -> Any:
    left = [count]

    def rule(prompt: str) -> str:
        left[0] -= 1
        if left[0] < 0:
            message = "the endpoint cannot be reached"
            raise WriterError(message)
        return prompt.upper()

    return rule


@pytest.mark.parametrize("together", [False, True])
def test_an_endpoint_that_went_away_is_not_asked_again_what_it_answered(
    tmp_path: Path, *, together: bool
) -> None:
    first = Scripted(away_after(8), together=together)
    with pytest.raises(WriterError):
        ask(KeptAnswers(tmp_path, "this"), first)
    second = Scripted(str.upper, together=together)
    assert ask(KeptAnswers(tmp_path, "this"), second) == [one.prompt.upper() for one in QUESTIONS]
    assert second.asked == [one.prompt for one in QUESTIONS[8:]]
    third = Scripted(str.upper)
    ask(KeptAnswers(tmp_path, "this"), third)
    assert third.asked == []


def test_a_line_that_a_kill_cut_off_is_asked_again(tmp_path: Path) -> None:
    whole = ask(KeptAnswers(tmp_path, "this"), Scripted(str.upper))
    file = tmp_path / FILE
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:6]) + lines[6][:9])
    again = Scripted(str.upper)
    assert ask(KeptAnswers(tmp_path, "this"), again) == whole
    assert again.asked == [one.prompt for one in QUESTIONS[5:]]
    assert [json.loads(line) for line in file.read_bytes().splitlines()]


def test_draws_of_one_call_are_repeated_as_a_whole(tmp_path: Path) -> None:
    ask(KeptAnswers(tmp_path, "this"), Scripted(str.upper, together=True))
    file = tmp_path / FILE
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:7]))  # six answers: the second call's last two are missing
    again = Scripted(str.upper, together=True)
    ask(KeptAnswers(tmp_path, "this"), again)
    assert again.asked == [one.prompt for one in QUESTIONS[4:]]


def test_answers_to_other_questions_are_refused(tmp_path: Path) -> None:
    KeptAnswers(tmp_path, "this")
    with pytest.raises(CannotResume, match="answers other questions"):
        KeptAnswers(tmp_path, "that")
    (tmp_path / FILE).write_text("[]\n", encoding="utf-8")
    with pytest.raises(CannotResume, match="cannot be read back"):
        KeptAnswers(tmp_path, "this")


def test_a_late_answer_is_asked_again_until_the_step_is_settled(tmp_path: Path) -> None:
    def late(prompt: str) -> Any:
        return Unanswered("late") if prompt.endswith("3") else away(prompt)

    away = away_after(7)
    with pytest.raises(WriterError):
        ask(KeptAnswers(tmp_path, "this"), Scripted(late))
    second = Scripted(lambda prompt: Unanswered("late") if "3" in prompt else "fine")
    answers = ask(KeptAnswers(tmp_path, "this"), second)
    assert second.asked == ["prompt 3", "prompt 8", "prompt 9"]
    assert answers[3] == Unanswered("late")
    third = Scripted(str.upper)
    assert ask(KeptAnswers(tmp_path, "this"), third) == answers
    assert third.asked == []


def test_too_many_bad_answers_stop_the_run_in_one_line_that_counts_them(tmp_path: Path) -> None:
    def bad(prompt: str) -> Any:
        kinds = {"1": Unanswered("nonsense", "hum"), "4": Unanswered("late")}
        return kinds.get(prompt[-1], "fine")

    with pytest.raises(JudgeUnfit) as raised:
        ask(KeptAnswers(tmp_path, "this"), Scripted(bad), most=0.1)
    assert str(raised.value) == (
        "step: 2 of 10 answers are of no use: 1 came too late, 1 were nonsense (the last: 'hum'); "
        "at most 10% may be (ilf.usable.max_unusable_share = 0.1)"
    )
    assert len(ask(KeptAnswers(tmp_path / "more", "this"), Scripted(bad), most=0.2)) == 10


def test_a_hopeless_endpoint_is_left_after_a_few_questions(tmp_path: Path) -> None:
    many = [Question(str(number), "x") for number in range(1000)]
    writer = Scripted(lambda _: Unanswered("nonsense"))
    with pytest.raises(JudgeUnfit):
        KeptAnswers(tmp_path, "this").ask(
            "step", many, writer, seed=0, max_unusable_share=0.5, progress=SilentProgress(), key="k"
        )
    assert len(writer.asked) == 20


def test_shares_come_back_as_they_were(tmp_path: Path) -> None:
    first = ask(KeptAnswers(tmp_path, "this"), Scripted(lambda _: [0.1, 0.9]), options=("a", "b"))
    again = ask(KeptAnswers(tmp_path, "this"), Scripted(str.upper), options=("a", "b"))
    assert first == again == [[0.1, 0.9]] * 10
