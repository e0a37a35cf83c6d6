"""ILF: a person's criticism of a response becomes a better response, which the policy learns.

For each criticism a refiner writes several refinements of the response, a judge says of each
whether it takes the criticism up, and the policy is fine-tuned on the prompt and the refinement
that the judge scores highest, without the criticism.

    run/answers.jsonl        everything that refiner and judge said, as it came
    run/refinements.jsonl    what is learned: the criticism, the refinement, who wrote it, its score
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from assent.config.files import write_file
from assent.config.language_feedback import IlfSettings
from assent.errors import DataError
from assent.models.kept_answers import KeptAnswers, Question, unusable
from assent.models.requests import Asking, Choice, as_response
from assent.types import Demonstration, Progress, Unanswered

FILE = "refinements.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Criticised:
    """A response that somebody criticised."""

    id: str
    prompt: str
    response: str
    criticism: str
    refinement: str | None = None
    """The better response that the critic wrote, if any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Improvement:
    """A response to learn in place of a criticised one."""

    criticism: str
    """The id of the criticism."""
    prompt: str
    response: str
    written_by: Literal["person", "model"]
    score: float | None
    """The judge's share of good words, from 0 to 1; None for a person's own."""


@dataclass(frozen=True, slots=True)
class Refined:
    """What came of all criticisms."""

    improvements: list[Improvement]
    figures: dict[str, float]
    """Counts and shares, for the report of the run."""

    @property
    def demonstrations(self) -> list[Demonstration]:
        """What the policy learns."""
        return [
            Demonstration(prompt=one.prompt, response=one.response) for one in self.improvements
        ]


def refine(
    criticised: Sequence[Criticised],
    refiner: Asking,
    judge: Asking,
    words: Choice,
    settings: IlfSettings,
    folder: Path,
    kept: KeptAnswers,
    *,
    seed: int,
    progress: Progress,
) -> Refined:
    r"""Write, judge and pick refinements; nothing that was answered before is asked again.

    .. math:: y_1^* = \arg\max_{y_1 \in \{y_1^{(1)}, \dots, y_1^{(n)}\}}
              P(\text{good} | x, y_0, f, y_1), \qquad y_1^{(i)} \sim \pi(\cdot | x, y_0, f)

    with the prompt x, the response y_0, the criticism f, and P the share of the good words among
    all words that the judge may say. Refinements that only repeat the response are not judged, and
    equal ones are judged once; of equally good ones the first written is taken.

    Args:
        criticised: at least one.
        refiner: writes; its template has the places prompt, response, criticism.
        judge: chooses among the words; its template also has the place refinement.
        words: what the judge may say.
        settings: how many refinements, the least score, when to stop.
        folder: of the run.
        kept: the run's answers.
        seed: of every draw.
        progress: shows both steps.

    Raises:
        DataError: there is no criticism, one has no response, or no refinement is left to learn.
        JudgeUnfit: too many answers of one step are of no use.
        WriterError: refiner or judge cannot be reached; the answers so far are kept.

    Source: Scheurer et al. 2023, "Training language models with language feedback at scale"
    (arXiv 2303.16755), section 2 and algorithm 1.
    Differs: the judge may say several words of either kind; one prompt, not an ensemble of five.
    """
    require_criticised(criticised)
    by_hand = [one for one in criticised if settings.people_refine and one.refinement is not None]
    improvements = [
        Improvement(
            criticism=one.id, prompt=one.prompt, response=str(one.refinement),
            written_by="person", score=None,
        )
        for one in by_hand
    ]  # fmt: skip
    open_ones = [one for one in criticised if one not in by_hand]
    written = kept.ask(
        "refine",
        list(_refine_questions(open_ones, refiner, settings.refinements)),
        refiner.writer,
        seed=seed,
        max_unusable_share=settings.usable.max_unusable_share,
        progress=progress,
        key="ilf.usable.max_unusable_share",
    )
    candidates = {
        one.id: _candidates(one, written[at * settings.refinements :][: settings.refinements])
        for at, one in enumerate(open_ones)
    }
    judged = kept.ask(
        "judge",
        [
            judge.question(
                f"{one.id}/{number}",
                prompt=one.prompt,
                response=one.response,
                criticism=one.criticism,
                refinement=text,
            )
            for one in open_ones
            for number, text in enumerate(candidates[one.id])
        ],
        judge.writer,
        options=words.options,
        seed=seed,
        max_unusable_share=settings.usable.max_unusable_share,
        progress=progress,
        key="ilf.usable.max_unusable_share",
    )
    answers = iter(judged)
    scores: list[float] = []
    for one in open_ones:
        scored = [
            (words.share(answer), text)
            for text in candidates[one.id]
            if not isinstance(answer := next(answers), Unanswered)
        ]
        scores += [score for score, _ in scored]
        best = max(scored, key=lambda found: found[0], default=None)
        if best is not None and best[0] >= settings.least_score:
            improvements.append(
                Improvement(
                    criticism=one.id, prompt=one.prompt, response=best[1],
                    written_by="model", score=best[0],
                )
            )  # fmt: skip
    picked = [one.score for one in improvements if one.score is not None]
    figures: dict[str, float] = {
        "criticisms": len(criticised),
        "refined_by_people": len(by_hand),
        "refinements_written": sum(isinstance(one, str) for one in written),
        "refinements_judged": len(scores),
        **{f"refinements_{reason}": count for reason, count in unusable(written).items()},
        **{f"judgements_{reason}": count for reason, count in unusable(judged).items()},
        "learned": len(improvements),
        **({"score_mean_of_all": _mean(scores)} if scores else {}),
        **({"score_mean_of_picked": _mean(picked)} if picked else {}),
    }
    if not improvements:
        message = (
            f"none of {len(criticised)} criticisms gave a refinement to learn: "
            f"{int(figures['refinements_written'])} were written, {len(scores)} said something new "
            f"and were judged, none scored ilf.least_score = {settings.least_score:g}"
        )
        raise DataError(message)
    write_file(folder / FILE, "".join(json.dumps(asdict(one)) + "\n" for one in improvements))
    return Refined(improvements, figures)


def require_criticised(criticised: Sequence[Criticised]) -> None:
    """Refuse criticism that nothing can be learned from.

    Raises:
        DataError: there is none, or one is of an empty response; names it.
    """
    if not criticised:
        message = "there is no criticism to learn from; import some: assent data import DIR FILE"
        raise DataError(message)
    for one in criticised:
        if not one.response.strip():
            message = (
                f"criticism {one.id} is of an empty response ({one.criticism[:60]!a}); a criticism "
                "needs the response it is about"
            )
            raise DataError(message)


def _refine_questions(
    criticised: Sequence[Criticised], refiner: Asking, count: int
) -> Iterator[Question]:
    for one in criticised:
        for number in range(count):
            yield refiner.question(
                f"{one.id}/{number}",
                prompt=one.prompt,
                response=one.response,
                criticism=one.criticism,
            )


def _candidates(one: Criticised, written: Sequence[Any]) -> list[str]:
    """The different refinements that say something, and something else than before."""
    texts = [as_response(one.prompt, text) for text in written if isinstance(text, str)]
    old = one.response.strip()
    return list(dict.fromkeys(text for text in texts if text and text.strip() != old))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
