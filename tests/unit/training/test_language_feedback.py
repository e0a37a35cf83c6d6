"""ILF picks by the judge, learns people's own words as they are, and says what it lacks."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from assent.config.language_feedback import IlfSettings
from assent.errors import DataError
from assent.models.kept_answers import KeptAnswers
from assent.models.requests import REFINE, USES_CRITICISM, Asking, Choice
from assent.training.language_feedback import FILE, Criticised, refine
from assent.types import SilentProgress, Unanswered

SILENT = SilentProgress()
ONE = Criticised(id="1", prompt="How many?", response=" Three.", criticism="Say of what.")
TWO = Criticised(
    id="2", prompt="Who?", response=" Me.", criticism="Be polite.", refinement=" It is I."
)


class Scripted:
    """Writes by rule, and chooses by rule."""

    identity: ClassVar[dict[str, Any]] = {}
    batch, draws_together = 8, False

    def __init__(self, texts: Sequence[Any] = (), good: Any = None) -> None:
        self.texts, self.good, self.asked = list(texts), good, list[str]()

    def write(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Any]:
        del seeds
        self.asked += prompts
        return [self.texts.pop(0) for _ in prompts]

    def choose(
        self, prompts: Sequence[str], options: Sequence[str], seeds: Sequence[int]
    ) -> list[Any]:
        del seeds
        assert tuple(options) == ("Yes", "No")
        self.asked += prompts
        return [self.good(prompt) for prompt in prompts]


def shares(prompt: str) -> list[float]:
    """The more pigs, the better it takes up the criticism."""
    good = 0.1 + 0.3 * prompt.partition("<new_response>")[2].count("pigs")
    return [good, 1 - good]


def improved(
    criticised: Sequence[Criticised],
    texts: Sequence[Any],
    folder: Path,
    good: Any = shares,
    **given: Any,
) -> tuple[Any, Scripted, Scripted]:
    refiner, judge = Scripted(texts), Scripted(good=good)
    found = refine(
        criticised,
        Asking(refiner, REFINE, "text"),
        Asking(judge, USES_CRITICISM, "text"),
        Choice(),
        IlfSettings.model_validate({"refinements": 3, **given}),
        folder,
        KeptAnswers(folder, "this"),
        seed=0,
        progress=SILENT,
    )
    return found, refiner, judge


def test_the_refinement_that_the_judge_scores_highest_is_learned_without_the_criticism(
    tmp_path: Path,
) -> None:
    texts = ["Three.", "Three pigs.", "Three pigs, pigs."]
    found, refiner, judge = improved([ONE], texts, tmp_path)
    (demonstration,) = found.demonstrations
    assert (demonstration.prompt, demonstration.response) == ("How many?", " Three pigs, pigs.")
    assert all(part in refiner.asked[0] for part in ("How many?", " Three.", "Say of what."))
    # The one that only repeats the response was not judged.
    assert len(judge.asked) == 2
    assert found.figures["refinements_written"] == 3
    assert found.figures["score_mean_of_picked"] == pytest.approx(0.7)
    assert found.figures["score_mean_of_all"] == pytest.approx(0.55)
    (line,) = (tmp_path / FILE).read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["written_by"] == "model"


def test_a_persons_own_refinement_is_learned_and_nobody_is_asked(tmp_path: Path) -> None:
    found, refiner, judge = improved([TWO], [], tmp_path / "own")
    assert [one.response for one in found.demonstrations] == [" It is I."]
    assert found.improvements[0].written_by == "person"
    assert refiner.asked == judge.asked == []
    found, refiner, _ = improved([TWO], ["a pigs", "b", "c"], tmp_path / "not", people_refine=False)
    assert [one.response for one in found.demonstrations] == [" a pigs"]
    assert len(refiner.asked) == 3


def test_equal_refinements_are_judged_once_and_a_low_score_is_left_out(tmp_path: Path) -> None:
    found, _, judge = improved([ONE, TWO], ["pigs", "pigs ", " pigs"], tmp_path, least_score=0.3)
    assert len(judge.asked) == 1
    assert len(found.improvements) == 2
    with pytest.raises(DataError, match=r"none of 1 criticisms .* none scored .* = 0\.9"):
        improved([ONE], ["pigs", "b", "c"], tmp_path / "high", least_score=0.9)


def test_answers_of_no_use_are_left_out_and_counted(tmp_path: Path) -> None:
    def half(prompt: str) -> Any:
        return Unanswered("nonsense", "?") if "(b)" in prompt else shares(prompt)

    found, _, _ = improved(
        [ONE], ["a pigs", "pigs pigs (b)", Unanswered("late")], tmp_path, half,
        usable={"max_unusable_share": 0.5},
    )  # fmt: skip
    assert [one.response for one in found.demonstrations] == [" a pigs"]
    assert found.figures["refinements_late"] == found.figures["judgements_nonsense"] == 1


def test_criticism_without_a_response_is_named(tmp_path: Path) -> None:
    empty = Criticised(id="7", prompt="Who?", response=" ", criticism="You say nothing.")
    with pytest.raises(DataError, match=r"criticism 7 is of an empty response \('You say"):
        improved([ONE, empty], [], tmp_path)
    with pytest.raises(DataError, match="there is no criticism to learn from"):
        improved([], [], tmp_path)


def test_refinements_that_all_repeat_the_response_are_nothing_to_learn(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="3 were written, 0 said something new"):
        improved([ONE], ["Three.", " Three.", "Three. "], tmp_path)


@pytest.mark.parametrize(
    ("key", "template"),
    [("refine_request", "{prompt} {response}"), ("judge_request", "{prompt} {criticism}")],
)
def test_a_request_without_a_place_it_needs_is_refused(key: str, template: str) -> None:
    with pytest.raises(ValueError, match="the request has no place for"):
        IlfSettings.model_validate({key: template})
