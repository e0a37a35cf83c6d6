"""Ask a writer many things and keep each answer on the disk, so that nothing is asked twice.

    answers.jsonl   first what it is about, then one line an answer, as it comes

A line that a kill cut off is dropped, and asked again. Answers that came too late are asked again
when a run goes on; once all of a step were asked it is settled, and stays as it is, so that what
was trained on afterwards cannot change.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assent.config.files import disk_errors
from assent.errors import CannotResume, JudgeUnfit
from assent.models.scoring import chunks
from assent.objectives.seeds import derive_seed
from assent.types import Progress, Unanswered, Writer

FILE = "answers.jsonl"
ENOUGH = 20
"""Answers before which no share of unusable ones is looked at."""


@dataclass(frozen=True, slots=True)
class Question:
    """One thing to ask; its key is what it is known by in the file."""

    key: str
    prompt: str


class KeptAnswers:
    """The answers of one run."""

    def __init__(self, folder: Path, about: str) -> None:
        """Open or begin the file.

        Args:
            folder: of the run.
            about: a hash of everything that the answers depend on.

        Raises:
            CannotResume: the file is about something else, or cannot be read back.
        """
        self._file = folder / FILE
        self._answers: dict[tuple[str, str], Any] = {}
        self._settled: set[str] = set()
        folder.mkdir(parents=True, exist_ok=True)
        if not self._file.exists() or not self._read(about):
            self._append([{"about": about}], new=True)

    def ask(
        self,
        step: str,
        questions: Sequence[Question],
        writer: Writer,
        *,
        seed: int,
        max_unusable_share: float,
        progress: Progress,
        options: Sequence[str] | None = None,
        key: str,
        check: Callable[[Sequence[Any]], None] = lambda _: None,
    ) -> list[Any]:
        """The answer to each question: a text, or shares of the options; `Unanswered` if none.

        Args:
            step: of the run; its questions are settled when all were asked.
            questions: keys differ within a step.
            writer: asked what is not kept yet.
            seed: of the run.
            max_unusable_share: of the answers; above it the run stops.
            progress: shows the step.
            options: to choose from; a text is written if left out.
            key: of the setting that holds the limit, for the message.
            check: looks at the answers so far, now and then, and raises to stop.

        Raises:
            JudgeUnfit: too many answers are late, nonsense, or to prompts that do not fit.
            WriterError: the writer cannot be reached; what was answered is kept.
        """

        def asked(part: Sequence[Question]) -> Sequence[Any]:
            prompts = [one.prompt for one in part]
            seeds = [derive_seed(seed, step, one.key) for one in part]
            if options is None:
                return writer.write(prompts, seeds)
            return writer.choose(prompts, options, seeds)

        done = sum((step, one.key) in self._answers for one in questions)
        so_far: list[Any] = []
        look_at = min(ENOUGH, len(questions))
        with progress.task(step, len(questions), done) as bar:
            for part in chunks(len(questions), writer.batch):
                if step in self._settled:
                    break
                bar.advance(
                    self._ask_part(step, questions[part], asked, whole=writer.draws_together)
                )
                so_far += [self._answer(step, one) for one in questions[part]]
                if len(so_far) >= look_at:
                    require_usable(step, so_far, max_unusable_share, key)
                    check(so_far)
                    look_at = 2 * len(so_far)
        if step not in self._settled:
            self._append([{"settled": step}])
            self._settled.add(step)
        answers = [self._answer(step, one) for one in questions]
        require_usable(step, answers, max_unusable_share, key)
        check(answers)
        return answers

    def _answer(self, step: str, one: Question) -> Any:  # noqa: ANN401 - what a writer gave
        return self._answers.get((step, one.key), Unanswered("late"))

    def _ask_part(
        self,
        step: str,
        part: Sequence[Question],
        asked: Callable[[Sequence[Question]], Sequence[Any]],
        *,
        whole: bool,
    ) -> int:
        missing = [one for one in part if (step, one.key) not in self._answers]
        if not missing:
            return 0
        given = list(part) if whole else missing
        found = dict(zip((one.key for one in given), asked(given), strict=True))
        lines = []
        for one in missing:
            answer = found[one.key]
            if isinstance(answer, Unanswered) and answer.reason == "late":
                continue
            self._answers[step, one.key] = answer
            lines.append({"step": step, "key": one.key, **_as_json(answer)})
        self._append(lines)
        return len(missing)

    def _read(self, about: str) -> bool:
        """Take in what is there; False where there is nothing of use."""
        content = self._file.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        try:
            lines = [json.loads(line) for line in whole.splitlines()]
            if not lines:
                return False
            begun = lines[0]["about"]
            for line in lines[1:]:
                if "settled" in line:
                    self._settled.add(line["settled"])
                else:
                    self._answers[line["step"], line["key"]] = _from_json(line)
        except (ValueError, KeyError, TypeError) as error:
            message = f"{self._file} cannot be read back; remove it to ask everything again"
            raise CannotResume(message) from error
        if begun != about:
            message = (
                f"{self._file} answers other questions: settings, models or data are not what they "
                "were; begin a new run, or remove the file to ask everything again"
            )
            raise CannotResume(message)
        if len(whole) < len(content):
            os.truncate(self._file, len(whole))
        return True

    def _append(self, lines: Sequence[dict[str, Any]], *, new: bool = False) -> None:
        text = "".join(json.dumps(line) + "\n" for line in lines)
        with (
            disk_errors(f"writing {self._file}"),
            self._file.open("w" if new else "a", encoding="utf-8") as file,
        ):
            file.write(text)
            file.flush()
            os.fsync(file.fileno())


def unusable(answers: Sequence[Any]) -> dict[str, int]:
    """How many answers are of no use, by reason."""
    return dict(Counter(one.reason for one in answers if isinstance(one, Unanswered)))


def require_usable(step: str, answers: Sequence[Any], most: float, key: str) -> None:
    """Refuse to go on where too many answers are of no use.

    Raises:
        JudgeUnfit: says how many, why, and what was answered last.
    """
    found = unusable(answers)
    count = sum(found.values())
    if not answers or count <= most * len(answers):
        return
    words = {"late": "came too late", "nonsense": "were nonsense", "too_long": "did not fit"}
    told = ", ".join(f"{number} {words[reason]}" for reason, number in sorted(found.items()))
    said = [one.said for one in answers if isinstance(one, Unanswered) and one.said]
    last = f" (the last: {said[-1]!a})" if said else ""
    message = (
        f"{step}: {count} of {len(answers)} answers are of no use: {told}{last}; at most "
        f"{most:.0%} may be ({key} = {most:g})"
    )
    raise JudgeUnfit(message)


def _as_json(answer: Any) -> dict[str, Any]:  # noqa: ANN401 - what a writer gives
    if isinstance(answer, Unanswered):
        return {"unusable": answer.reason, "said": answer.said}
    return {"answer": answer if isinstance(answer, str) else list(answer)}


def _from_json(line: dict[str, Any]) -> Any:  # noqa: ANN401 - what a writer gave
    return Unanswered(line["unusable"], line["said"]) if "unusable" in line else line["answer"]
