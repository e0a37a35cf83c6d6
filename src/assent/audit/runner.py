"""Run one audit on one model: ask in chunks, score, estimate; go on after a kill; reuse results.

With a project the result is an artifact and the run is recorded in the store, under an id that
hashes all it depends on, so the same run again is read instead of made. Items are answered in
chunks whose draws are seeded by their number; each finished chunk is appended to a working file, so
a run that was killed goes on with the next one and comes to the same result.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from time import perf_counter
from typing import Any

from assent import __version__
from assent.audit.figures import estimate, exact_figures
from assent.audit.questions import (
    Item,
    Logprobs,
    Question,
    Reply,
    Role,
    Samples,
    require_items,
    require_question,
)
from assent.audit.results import (
    ITEMS_FILE,
    AuditResult,
    finite_tables,
    read_records,
    read_result,
    write_result,
)
from assent.audit.subject import (
    AnyAudit,
    Estimate,
    Figure,
    ItemAudit,
    ItemRecord,
    RecordAudit,
    Subject,
)
from assent.config.files import whole_folder, write_file
from assent.errors import AssentError, AuditError, StoreDamaged
from assent.objectives.seeds import derive_seed
from assent.store import NewRun, Project
from assent.store.identity import canonical_json, sha256_hex

CHUNK = 64
"""Items asked at a time."""
MOST_TURNS = 8
KIND = "audit"
SPEED_FILE = "speed.json"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRun:
    """A result, where it is kept, and whether it had to be made."""

    model: str
    """As the user named it."""
    result: AuditResult
    path: str | None
    """Of the artifact, relative to the project; None outside a project."""
    run_id: str
    cached: bool
    seconds: float
    """Spent now; 0 for a result that was there."""
    items_per_second: float | None


def run_audit(audit: AnyAudit, subject: Subject) -> AuditRun:
    """Run an audit on a model, or read what the same run found before.

    Raises:
        NotAuditable: the project lacks what the audit looks at.
        DataError: an item cannot be used.
        DiskFull: no room; what was asked before is kept.
    """
    items, repeats, settings = _prepared(audit, subject)
    run_id = f"audit-{audit.name}-{sha256_hex(canonical_json(settings))[:12]}"
    if subject.project is None:
        began = perf_counter()
        result = _measured(audit, subject, items, repeats, settings, working=None)
        return _made(subject.name, result, run_id, perf_counter() - began)
    return _recorded(audit, subject, subject.project, items, repeats, settings, run_id)


def answer(
    audit: ItemAudit, subject: Subject, items: Sequence[Item], chunk: int
) -> list[ItemRecord]:
    """Ask about the items of one chunk, turn by turn, and score them.

    An item fails alone: a batch that cannot be answered is asked again one item at a time.
    """
    replies: dict[str, list[Reply]] = {item.id: [] for item in items}
    asked: dict[str, list[Question]] = {item.id: [] for item in items}
    failed: dict[str, str] = {}
    open_items = list(items)
    for turn in range(MOST_TURNS):
        waiting: list[tuple[Item, Question]] = []
        for item in open_items:
            try:
                questions = list(audit.ask(subject, item, tuple(replies[item.id])))
                for question in questions:
                    require_question(item, question)
            except Exception as error:  # noqa: BLE001 - an item of anybody's audit fails alone
                failed[item.id] = _reason(error)
                continue
            asked[item.id] += questions
            waiting += [(item, question) for question in questions]
        if not waiting:
            break
        for (item, _), reply in zip(
            waiting, _replies(audit.name, subject, waiting, chunk, turn), strict=True
        ):
            if isinstance(reply, str):
                failed.setdefault(item.id, reply)
            else:
                replies[item.id].append(reply)
        asking = {item.id for item, _ in waiting}
        open_items = [item for item in items if item.id in asking and item.id not in failed]
    return [_scored(audit, item, asked[item.id], replies[item.id], failed) for item in items]


def _prepared(audit: AnyAudit, subject: Subject) -> tuple[Sequence[Item], int, dict[str, Any]]:
    """Items, repeats left out, and all that the result depends on."""
    settings: dict[str, Any] = {
        "audit": audit.name,
        "audit_version": audit.version,
        "model": subject.model.identity,
        "base": subject.base.identity if subject.base else None,
        "sampling": subject.sampling.model_dump(mode="json"),
        "seed": subject.seed,
        "world": subject.world.seed if subject.world else None,
        "settings": subject.settings.model_dump(mode="json", exclude={"after_round", "margins"}),
    }
    if isinstance(audit, ItemAudit):
        items, repeats = require_items(audit.name, audit.items(subject))
        content = [[one.id, one.digest, one.cluster, one.stratum] for one in items]
        return items, repeats, {**settings, "items": sha256_hex(canonical_json(content))}
    return (), 0, {**settings, "inputs": dict(audit.inputs(subject))}


def _recorded(
    audit: AnyAudit,
    subject: Subject,
    project: Project,
    items: Sequence[Item],
    repeats: int,
    settings: dict[str, Any],
    run_id: str,
) -> AuditRun:
    store = project.store
    parents = {"model": subject.version.id} if subject.version else {}
    run = store.start_run(
        NewRun(
            id=run_id,
            stage=KIND,
            name=audit.name,
            settings=settings,
            seed=subject.seed,
            code_version=__version__,
            parents=parents,
        )
    )
    kept = project.artifacts.find(KIND, run_id)
    working = project.root / "runs" / run_id
    if kept:
        if run.status != "done":
            store.finish_run(run_id)
        path = project.artifacts.path(kept[-1])
        if problem := project.artifacts.verify(kept[-1]):
            message = f"{problem}; restore it from a backup"
            raise StoreDamaged(message)
        (working / ITEMS_FILE).unlink(missing_ok=True)  # a kill came between the two
        return AuditRun(
            model=subject.name,
            result=read_result(path),
            path=kept[-1].path,
            run_id=run_id,
            cached=True,
            seconds=0.0,
            items_per_second=_speed(working),
        )
    working.mkdir(parents=True, exist_ok=True)
    began = perf_counter()
    try:
        result = _measured(audit, subject, items, repeats, settings, working)
        with whole_folder(working / "result") as folder:
            write_result(folder, result)
    except AssentError as error:
        store.finish_run(run_id, "failed", problem=str(error))
        raise
    made = _made(subject.name, result, run_id, perf_counter() - began)
    speed = {"seconds": round(made.seconds, 3), "items_per_second": made.items_per_second}
    write_file(working / SPEED_FILE, json.dumps(speed) + "\n")
    artifact = project.artifacts.adopt_folder(working / "result", KIND, run_id)
    store.finish_run(run_id)
    (working / ITEMS_FILE).unlink(missing_ok=True)
    return replace(made, path=artifact.path)


def _measured(
    audit: AnyAudit,
    subject: Subject,
    items: Sequence[Item],
    repeats: int,
    settings: Mapping[str, Any],
    working: Path | None,
) -> AuditResult:
    if isinstance(audit, RecordAudit):
        measured = audit.measure(subject)
        unknown = {one.name for one in measured.figures} - {one.name for one in audit.figures}
        if unknown:
            message = f"audit {audit.name} reports {min(unknown)!r}, which it does not declare"
            raise AuditError(message)
        figures, records, tables = measured.figures, list(measured.records), measured.tables
    else:
        records = [one for part in _chunks(audit, subject, items, working) for one in part]
        found = audit.exact(subject, items) if subject.settings.exact else {}
        exact = exact_figures(audit.figures, found)
        figures = [
            _estimate(audit.name, figure, records, subject, exact.get(figure.name))
            for figure in audit.figures
        ]
        tables = audit.tables(records)
    failed = {one.id: one.failed for one in records if one.failed is not None}
    if failed:
        _log.warning("audit %s: %d of %d items failed", audit.name, len(failed), len(records))
    return AuditResult(
        audit=audit.name,
        version=audit.version,
        title=audit.title,
        identity=subject.model.identity,
        settings=settings,
        figures=list(figures),
        failed=failed,
        repeats=repeats,
        tables=finite_tables(tables),
        records=records,
    )


def _estimate(
    audit: str,
    figure: Figure,
    records: Sequence[ItemRecord],
    subject: Subject,
    exact: float | None,
) -> Estimate:
    return estimate(
        figure,
        records,
        level=subject.settings.level,
        most_failed=subject.settings.most_failed,
        seed=derive_seed(subject.seed, "audit", audit),
        exact=exact,
    )


def _chunks(
    audit: ItemAudit, subject: Subject, items: Sequence[Item], working: Path | None
) -> Iterator[list[ItemRecord]]:
    """The records of each chunk: read where an earlier process wrote them, else asked for."""
    file = working / ITEMS_FILE if working else None
    done = read_records(file) if file and file.exists() else []
    with subject.progress.task(f"audit {audit.name}: {subject.name}", len(items)) as bar:
        for number, start in enumerate(range(0, len(items), CHUNK)):
            wanted = items[start : start + CHUNK]
            before = done[start : start + len(wanted)]
            if [one.id for one in before] == [one.id for one in wanted]:
                found = before
            else:
                found = answer(audit, subject, wanted, number)
                if file:
                    done = [*done[:start], *found]
                    # The whole file each time: a chunk is there wholly or not at all.
                    lines = (json.dumps(one.as_dict(), allow_nan=False) for one in done)
                    write_file(file, "".join(f"{line}\n" for line in lines))
            bar.advance(len(wanted))
            yield found


def _replies(
    audit: str, subject: Subject, waiting: Sequence[tuple[Item, Question]], chunk: int, turn: int
) -> list[Reply | str]:
    """A reply to each question in order, or why there is none."""
    found: list[Reply | str] = [""] * len(waiting)
    groups: dict[tuple[Role, Samples | Logprobs], list[int]] = {}
    for number, (_, question) in enumerate(waiting):
        groups.setdefault((question.role, question.ask), []).append(number)
    for (role, ask), numbers in groups.items():
        seed = derive_seed(subject.seed, "audit", audit, chunk, turn, role, ask)
        questions = [waiting[number][1] for number in numbers]
        try:
            answers: Sequence[Reply | str] = _ask(subject, role, ask, questions, seed)
        except Exception as error:  # noqa: BLE001 - the fault of one item; found by asking each
            if len(numbers) == 1:
                answers = [_reason(error)]
            else:
                answers = [
                    _alone(subject, role, ask, one, (seed, n)) for n, one in enumerate(questions)
                ]
        for number, reply in zip(numbers, answers, strict=True):
            found[number] = _finite(reply)
    return found


def _alone(
    subject: Subject, role: Role, ask: Samples | Logprobs, question: Question, seed: tuple[int, int]
) -> Reply | str:
    try:
        return _ask(subject, role, ask, [question], derive_seed(*seed))[0]
    except Exception as error:  # noqa: BLE001 - reported as this item's failure
        return _reason(error)


def _ask(
    subject: Subject, role: Role, ask: Samples | Logprobs, questions: Sequence[Question], seed: int
) -> list[Reply]:
    respondent = subject.respondent(role)
    prompts = [question.prompt for question in questions]
    if isinstance(ask, Samples):
        return respondent.sample(prompts, ask, seed)
    return respondent.logprobs(prompts, [question.answers for question in questions], ask)


def _finite(reply: Reply | str) -> Reply | str:
    if isinstance(reply, Reply):
        for text, logprob in zip(reply.texts, reply.logprobs, strict=True):
            if not isfinite(logprob):
                return f"the log-probability of {text[:40]!r} is {logprob}"
    return reply


def _scored(
    audit: ItemAudit,
    item: Item,
    asked: Sequence[Question],
    replies: Sequence[Reply],
    failed: Mapping[str, str],
) -> ItemRecord:
    problem = failed.get(item.id)
    scores: dict[str, float | None] = {}
    if problem is None:
        try:
            scores = {
                name: None if value is None else float(value)
                for name, value in audit.score(item, tuple(replies)).items()
            }
            bad = [
                name for name, value in scores.items() if value is not None and not isfinite(value)
            ]
            if bad:
                problem, scores = f"the score {bad[0]} is {scores[bad[0]]}", {}
        except Exception as error:  # noqa: BLE001 - an item of anybody's audit fails alone
            problem, scores = _reason(error), {}
    pairs = zip(asked, [*replies, *[None] * (len(asked) - len(replies))], strict=True)
    return ItemRecord(
        id=item.id,
        cluster=item.cluster,
        stratum=item.stratum,
        data=dict(item.data),
        asked=[
            {**question.as_dict(), "reply": reply.as_dict() if reply else None}
            for question, reply in pairs
        ],
        scores=scores,
        failed=problem,
    )


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())[:200] or "no reason given"
    return text if isinstance(error, AssentError) else f"{type(error).__name__}: {text}"


def _made(model: str, result: AuditResult, run_id: str, seconds: float) -> AuditRun:
    count = len(result.records)
    rate = round(count / seconds, 1) if seconds > 0 and count else None
    return AuditRun(
        model=model, result=result, path=None, run_id=run_id, cached=False, seconds=seconds,
        items_per_second=rate,
    )  # fmt: skip


def _speed(working: Path) -> float | None:
    file = working / SPEED_FILE
    if not file.exists():
        return None
    found: float | None = json.loads(file.read_text(encoding="utf-8"))["items_per_second"]
    return found
