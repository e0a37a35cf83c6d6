"""`audits/latest.json` and the items behind it, checked and typed, as the report needs them."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from assent.config.problems import dotted
from assent.errors import DataError
from assent.report.summary import Bounds, Count, Point, Summary

SUITE: Final = "audits/latest.json"
VERDICT_ORDER: Final = ("regressed", "improved", "inconclusive", "equivalent")
SHOWN_ITEMS: Final = 24
"""Of each audit; the file has them all."""
LONGEST: Final = 600
"""Characters of a text on the page."""

VerdictWord = Literal["regressed", "improved", "inconclusive", "equivalent"]
Standing = Literal["baseline right, model wrong", "model right, baseline wrong", "alike"]
_STEP: Final = re.compile(r"-step-(\d+)")


class SuitePart(BaseModel):
    """Base of every part: immutable, finite numbers, unknown keys ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class AuditFigure(SuitePart):
    """A figure as declared."""

    name: str
    of: str
    kind: str = "share"
    better: Literal["higher", "lower"] | None = None
    unit: str = ""
    what: str = ""
    descriptive: str = ""


class Measured(SuitePart):
    """A figure of one model."""

    name: str
    estimate: float | None = None
    interval: Bounds | None = None
    method: str = ""
    n: Count = 0
    problem: str | None = None
    exact: float | None = None


class AuditResult(SuitePart):
    """One audit of one model."""

    model: str
    status: str
    reason: str = ""
    artifact: str | None = None
    items: Count = 0
    items_per_second: float | None = None
    failed: dict[str, str] = Field(default={})
    repeats: Count = 0
    figures: tuple[Measured, ...] = ()
    tables: dict[str, Any] = Field(default={})

    def figure(self, name: str) -> Measured | None:
        """The figure of that name, if it was measured."""
        return next((one for one in self.figures if one.name == name), None)


class Audited(SuitePart):
    """One audit over all models."""

    name: str
    title: str = ""
    version: int = 1
    figures: tuple[AuditFigure, ...] = ()
    results: tuple[AuditResult, ...] = ()


class Verdict(SuitePart):
    """One figure of one model against the baseline."""

    audit: str
    figure: str
    model: str
    baseline: str
    verdict: VerdictWord
    better: str
    margin: float
    difference: float
    interval: Bounds | None = None
    p_change_holm: float | None = None
    family: Count = 0


class AuditedModel(SuitePart):
    """A model of the suite."""

    name: str
    path: str | None = None
    identity: str = ""
    stage: str | None = None


class Suite(SuitePart):
    """The whole file."""

    schema_version: Literal[1]
    name: str
    level: float = 0.95
    settings: dict[str, Any] = Field(default={})
    """Of the audits, as this suite ran."""
    baseline: str | None = None
    models: tuple[AuditedModel, ...] = ()
    audits: tuple[Audited, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    uncompared: tuple[dict[str, str], ...] = ()
    """Audits whose items are not the baseline's: which of which model, and why."""
    trends: tuple[dict[str, Any], ...] = ()
    causes: tuple[dict[str, Any], ...] = ()

    def ranked(self) -> list[Verdict]:
        """Verdicts, the bad news first."""
        return sorted(self.verdicts, key=lambda one: VERDICT_ORDER.index(one.verdict))

    def audit(self, name: str) -> Audited | None:
        """The audit of that name."""
        return next((one for one in self.audits if one.name == name), None)


class Said(NamedTuple):
    """A question and what two models said to it."""

    prompt: str
    model: str
    baseline: str


class SideBySide(NamedTuple):
    """One item before two models."""

    item: str
    said: list[Said]
    figure: str
    model_score: float
    baseline_score: float
    standing: Standing


class Place(NamedTuple):
    """Where a model lies in training."""

    model: str
    step: int | None
    kl_nats: float | None


def load_suite(root: Path) -> Suite | None:
    """The newest suite of audits of a project; None where none was run.

    Raises:
        DataError: the file is not what `assent audit run` writes; names the key.
    """
    path = root / SUITE
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return Suite.model_validate(document)
    except FileNotFoundError:
        return None
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        message = f"{path}: {dotted(first['loc']) or 'the whole file'}: {first['msg'].lower()}"
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        message = f"{path}: not JSON: {error}"
    message += f"; `assent audit run {root}` writes it again"
    raise DataError(message)


def places(suite: Suite, summary: Summary | None) -> list[Place]:
    """Step and KL of each model of a suite: by its weights on the trajectory, or by its audits."""
    found = []
    accounting = suite.audit("kl-accounting")
    for model in suite.models:
        step: int | None = None
        kl: float | None = None
        # The first place: a round begins with the weights that the one before ended with.
        for at, point in _in_all(summary):
            if model.identity and (point.path or "").endswith(model.identity[:12]):
                step, kl = at, point.kl_nats
                break
        named = _STEP.search(model.name)
        if step is None and named is not None:
            step = int(named[1])
        if model.name == suite.baseline:
            step, kl = 0, 0.0
        if kl is None and accounting is not None:
            result = next((one for one in accounting.results if one.model == model.name), None)
            exact = result.figure("exact") if result else None
            kl = exact.estimate if exact else None
        found.append(Place(model.name, step, kl))
    return found


def _in_all(summary: Summary | None) -> list[tuple[int, Point]]:
    """Points with their steps counted through all rounds."""
    found: list[tuple[int, Point]] = []
    before = 0
    for point in summary.trajectory if summary else ():
        if found and point.round != found[-1][1].round:
            before = found[-1][0]
        found.append((before + point.step, point))
    return found


def side_by_side(root: Path, suite: Suite, audited: Audited) -> list[SideBySide]:
    """Items of an audit with what the last model and the baseline said, the worst first."""
    figure = primary(audited)
    if figure is None or suite.baseline is None or not suite.models:
        return []
    done = {one.model: one for one in audited.results if one.artifact}
    names = [one.name for one in suite.models if one.name != suite.baseline]
    if not names or names[-1] not in done or suite.baseline not in done:
        return []
    ours, theirs = (_items(root, done[name].artifact or "") for name in (names[-1], suite.baseline))
    found = []
    for name, record in ours.items():
        other = theirs.get(name)
        score, before = ((one or {}).get("scores", {}).get(figure.of) for one in (record, other))
        if other is None or score is None or before is None:
            continue
        found.append(
            SideBySide(
                item=name,
                said=_said(record, other),
                figure=figure.name,
                model_score=float(score),
                baseline_score=float(before),
                standing=_standing(figure, float(score), float(before)),
            )
        )
    sign = -1.0 if figure.better == "lower" else 1.0
    found.sort(key=lambda one: sign * (one.model_score - one.baseline_score))
    return found[:SHOWN_ITEMS]


def primary(audited: Audited) -> AuditFigure | None:
    """The figure that says who was right: the first share with a direction, else any with one."""
    wanted = [one for one in audited.figures if one.better is not None]
    shares = [one for one in wanted if one.kind == "share"]
    return next(iter([*shares, *wanted]), None)


def _standing(figure: AuditFigure, score: float, before: float) -> Standing:
    if figure.kind != "share":
        better = score - before if figure.better == "higher" else before - score
        if abs(better) < 1e-9:
            return "alike"
        return "model right, baseline wrong" if better > 0 else "baseline right, model wrong"
    ours, theirs = ((one >= 0.5) == (figure.better == "higher") for one in (score, before))
    if ours == theirs:
        return "alike"
    return "model right, baseline wrong" if ours else "baseline right, model wrong"


def _items(root: Path, artifact: str) -> dict[str, dict[str, Any]]:
    """Items of an artifact by id; nothing where the file is gone."""
    folder = (root / artifact).resolve()
    if not folder.is_relative_to(root.resolve()):
        return {}
    try:
        with (folder / "items.jsonl").open(encoding="utf-8") as file:
            records = [json.loads(line) for line in islice(file, 5000)]
    except (OSError, ValueError):
        return {}
    return {str(one["id"]): one for one in records if isinstance(one, dict) and "id" in one}


def _said(record: Mapping[str, Any], other: Mapping[str, Any]) -> list[Said]:
    found = []
    for asked, before in zip(record.get("asked", ()), other.get("asked", ()), strict=False):
        texts = _text(asked), _text(before)
        if texts[0] is not None and texts[1] is not None and asked.get("role") == "model":
            found.append(Said(str(asked.get("prompt", ""))[-LONGEST:], texts[0], texts[1]))
    return found[:3]


def _text(asked: Mapping[str, Any]) -> str | None:
    """The commonest sample with how common it is, or the likeliest of the given answers."""
    reply = asked.get("reply")
    if not isinstance(reply, Mapping) or not reply.get("texts"):
        return None
    texts: Sequence[str] = reply["texts"]
    if (asked.get("ask") or {}).get("kind") == "logprobs" and reply.get("logprobs"):
        best = max(range(len(texts)), key=lambda n: float(reply["logprobs"][n]))
        return texts[best][:LONGEST]
    text, count = Counter(texts).most_common(1)[0]
    return f"{text[:LONGEST]} ({count} of {len(texts)})"
