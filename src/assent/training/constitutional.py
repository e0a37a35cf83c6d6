"""Constitutional AI, its supervised half: responses are criticised and revised by principles.

    run/answers.jsonl      every response, critique and revision, as it came
    run/revisions.jsonl    what is learned, and the way to it

The other half, comparisons that a model judges by the same principles, is in
`collect.model_judging`.
"""

import json
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from assent.config.files import write_file
from assent.config.language_feedback import ConstitutionalSettings
from assent.errors import DataError, UnreadableFile
from assent.models.kept_answers import KeptAnswers, Question, unusable
from assent.models.requests import Asking, as_response
from assent.objectives.seeds import derive_seed
from assent.types import Demonstration, Principle, Progress, Writer

FILE = "revisions.jsonl"
DEFAULT = "constitution.toml"
"""Shipped with the package, beside the sizes."""
_KEYS = ("name", "critique", "revision", "compare")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One round of critique and revision."""

    principle: str
    critique: str
    revision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Revised:
    """A prompt with its first response and how it was revised."""

    prompt: str
    response: str
    steps: tuple[Step, ...] = ()

    @property
    def last(self) -> str:
        """The response after all revisions."""
        return self.steps[-1].revision if self.steps else self.response


@dataclass(frozen=True, slots=True)
class Revisions:
    """What came of all prompts."""

    revised: list[Revised]
    figures: dict[str, float]

    @property
    def demonstrations(self) -> list[Demonstration]:
        """What the policy learns: each prompt with its last revision."""
        return [Demonstration(prompt=one.prompt, response=one.last) for one in self.revised]


def read_constitution(file: Path | None) -> list[Principle]:
    """The principles of a file, or those shipped with the package.

    A `.toml` file has a table `[[principle]]` each, with `critique` (what to look for), `revision`
    (what to change), `compare` (which of two responses to choose) and, if wanted, `name`. Any other
    file is text with a principle a line; blank lines and lines that begin with # are left out.

    Raises:
        UnreadableFile: the file is missing or cannot be read; says where.
        DataError: it holds no principle, or one lacks a request.
    """
    if file is None:
        text = (files("assent.config") / DEFAULT).read_text(encoding="utf-8")
        return _from_toml(text, DEFAULT)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not in UTF-8"
        message = f"the constitution {file} cannot be read: {reason}"
        raise UnreadableFile(message) from error
    found = _from_toml(text, str(file)) if file.suffix == ".toml" else _from_lines(text)
    if not found:
        message = (
            f"the constitution {file} holds no principle; write one a line, or a [[principle]] "
            "table each in a .toml file"
        )
        raise DataError(message)
    return found


def _from_lines(text: str) -> list[Principle]:
    lines = [line.strip() for line in text.splitlines()]
    return [
        Principle(
            name=line,
            critique=f"Say how the response falls short of this principle: {line}",
            revision=f"Write the response again so that it follows this principle: {line}",
            compare=f"Which response better follows this principle: {line}",
        )
        for line in lines
        if line and not line.startswith("#")
    ]


def _from_toml(text: str, name: str) -> list[Principle]:
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = f"the constitution {name} is no TOML: {error}"
        raise UnreadableFile(message) from error
    rows = table.get("principle", [])
    if not isinstance(rows, list) or set(table) - {"principle"}:
        message = f"the constitution {name} holds something else than [[principle]] tables"
        raise DataError(message)
    found = []
    for number, row in enumerate(rows, 1):
        where = f"the constitution {name}: principle {number}"
        if not isinstance(row, dict) or set(row) - set(_KEYS):
            message = f"{where} may have the keys {', '.join(_KEYS)} and no others"
            raise DataError(message)
        for key in _KEYS[1:]:
            if not isinstance(row.get(key), str) or not row[key].strip():
                message = f"{where} has no text under {key!r}"
                raise DataError(message)
        found.append(
            Principle(
                **{
                    "name": str(row.get("name", f"principle {number}")),
                    **{key: row[key].strip() for key in _KEYS[1:]},
                }
            )
        )
    return found


def drawn_principle(principles: Sequence[Principle], *parts: object) -> Principle:
    """One of the principles, the same for the same parts."""
    return principles[derive_seed(*parts) % len(principles)]


def revise(
    prompts: Sequence[tuple[str, str]],
    principles: Sequence[Principle],
    policy: Writer,
    critic: Asking,
    reviser: Asking,
    settings: ConstitutionalSettings,
    folder: Path,
    kept: KeptAnswers,
    *,
    seed: int,
    progress: Progress,
) -> Revisions:
    """Answer each prompt, then criticise and revise the answer, a principle drawn for each round.

    A prompt of which any answer is of no use is left out and counted.

    Args:
        prompts: id and text of each; at least one.
        principles: at least one.
        policy: answers the prompts as they are.
        critic: writes critiques; places prompt, response, request.
        reviser: writes revisions; places prompt, response, critique, request.
        settings: how many rounds, and when to stop.
        folder: of the run.
        kept: the run's answers.
        seed: of every draw.
        progress: shows each step.

    Raises:
        DataError: no prompt is left whose revision could be learned.
        JudgeUnfit: too many answers of one step are of no use.
        WriterError: a model cannot be reached; the answers so far are kept.

    Source: Bai et al. 2022, "Constitutional AI: Harmlessness from AI feedback" (arXiv 2212.08073),
    section 3.1.
    Differs: only the last revision is learned; no few-shot examples are put before the requests.
    """
    limit: dict[str, Any] = {
        "seed": seed,
        "max_unusable_share": settings.usable.max_unusable_share,
        "progress": progress,
        "key": "constitutional.usable.max_unusable_share",
    }
    lost: dict[str, int] = {}
    answers = kept.ask("respond", [Question(id_, text) for id_, text in prompts], policy, **limit)
    alive = {
        id_: Revised(prompt=text, response=answer)
        for (id_, text), answer in zip(prompts, answers, strict=True)
        if isinstance(answer, str) and answer.strip()
    }
    for number in range(settings.revisions):
        chosen = {id_: drawn_principle(principles, seed, "principle", id_, number) for id_ in alive}
        critiques = _asked(
            kept, f"critique {number + 1}", critic, limit, lost,
            {
                id_: {
                    "prompt": one.prompt, "response": one.last, "request": chosen[id_].critique,
                }
                for id_, one in alive.items()
            },
        )  # fmt: skip
        revisions = _asked(
            kept, f"revise {number + 1}", reviser, limit, lost,
            {
                id_: {
                    "prompt": alive[id_].prompt, "response": alive[id_].last,
                    "critique": critique, "request": chosen[id_].revision,
                }
                for id_, critique in critiques.items()
            },
        )  # fmt: skip
        alive = {
            id_: replace(
                alive[id_],
                steps=(
                    *alive[id_].steps,
                    Step(
                        principle=chosen[id_].name,
                        critique=critiques[id_],
                        revision=as_response(alive[id_].prompt, text),
                    ),
                ),
            )
            for id_, text in revisions.items()
            if text.strip()
        }
    revised = list(alive.values())
    if not revised:
        message = f"none of {len(prompts)} prompts got a response, a critique and a revision"
        raise DataError(message)
    write_file(folder / FILE, "".join(json.dumps(asdict(one)) + "\n" for one in revised))
    changed = sum(one.last.strip() != one.response.strip() for one in revised)
    return Revisions(
        revised,
        {
            "prompts": len(prompts),
            "revised": len(revised),
            "changed_share": changed / len(revised),
            **{f"responses_{reason}": count for reason, count in unusable(answers).items()},
            **lost,
        },
    )


def _asked(
    kept: KeptAnswers,
    step: str,
    asking: Asking,
    limit: dict[str, Any],
    lost: dict[str, int],
    texts: dict[str, dict[str, str]],
) -> dict[str, str]:
    """The texts that came back, by prompt; adds up what was of no use."""
    questions = [asking.question(id_, **given) for id_, given in texts.items()]
    answers = kept.ask(step, questions, asking.writer, **limit)
    for reason, count in unusable(answers).items():
        lost[f"{step.split()[0]}_{reason}"] = lost.get(f"{step.split()[0]}_{reason}", 0) + count
    return {
        id_: answer for id_, answer in zip(texts, answers, strict=True) if isinstance(answer, str)
    }
