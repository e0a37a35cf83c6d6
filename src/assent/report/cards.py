"""Model card and datasheet, filled from the records; what nobody recorded says so.

Both are views of the same JSON, so that a program can read what people read.

Source: Mitchell et al. 2019, "Model cards for model reporting"; Gebru et al. 2021, "Datasheets for
datasets".
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from assent.config.stages import POLICY
from assent.report.audits import Suite
from assent.report.findings import interval, number
from assent.report.summary import Summary
from assent.store import ModelVersion, Project, Snapshot, StoredAnnotator, StoredEvent

NOT_RECORDED: Final = "not recorded"

Card = dict[str, dict[str, Any]]
"""Sections, each a table of fields."""


def model_card(root: Path, summary: Summary | None, suite: Suite | None) -> Card:
    """Details, use, factors, metrics, data, analyses and caveats of the project's last policy."""
    with Project.open(root) as project:
        versions = project.store.model_versions()
        runs = {run.id: run for run in project.store.runs()}
        kinds = sorted({str(one.kind) for one in project.store.prompts()})
    policies = [one for one in versions if one.stage in (*POLICY, "sft", "pretrain", "base")]
    last = policies[-1] if policies else None
    run = runs.get(last.run_id or "") if last else None
    limits = list(summary.limits) if summary else []
    return {
        "Model details": {
            "name": last.name if last else None,
            "stage": last.stage if last else None,
            "weights (sha256)": last.weights_sha256 if last else None,
            "folder": last.path if last else None,
            "made by": f"Assent {last.code_version}" if last and last.code_version else None,
            "commit": run.git_commit if run else None,
            "date": run.finished_at.date().isoformat() if run and run.finished_at else None,
            "settings (sha256)": last.settings_sha256 if last else None,
            "seed": run.seed if run else None,
            "came from": [one.name for one in policies[:-1]][-4:],
            "licence": None,
            "contact": None,
        },
        "Intended use": {"intended uses": None, "out-of-scope uses": None},
        "Factors": {
            "groups of people": None,
            "kinds of prompts": kinds or None,
        },
        "Metrics": {
            "measures": [f"{one.name}: {one.title}" for one in suite.audits] if suite else None,
            "margins and corrections": "declared beforehand; Holm within a model's family"
            if suite
            else None,
            "intervals": dict(summary.intervals) if summary and summary.intervals else None,
        },
        "Evaluation data": {"prompts": dict(summary.prompts) if summary else None},
        "Training data": {
            "judgements": {f"round {one.round}": one.judgements for one in summary.rounds}
            if summary
            else None,
            "datasheet": "datasheet.md",
            "pretraining corpus": None,
        },
        "Quantitative analyses": _analyses(summary, suite),
        "Ethical considerations": {"sensitive data": None, "risks and harms": None},
        "Caveats and recommendations": {
            "limits of the figures": limits or None,
            "known failure modes": [
                f"{one.audit}/{one.figure}: {number(one.difference, 3)}"
                f"{interval(one.interval, 3)} against {one.baseline}"
                for one in suite.verdicts
                if one.verdict == "regressed" and one.model == suite.models[-1].name
            ]
            if suite
            else None,
        },
    }


def datasheet(root: Path) -> Card:
    """Motivation, composition, collection, preprocessing, uses and maintenance of the feedback."""
    with Project.open(root) as project:
        store = project.store
        counts = store.counts()
        annotators, events = store.annotators(), store.events()
        prompts, snapshots = store.prompts(), store.snapshots()
        comparisons = store.comparisons()
        samplers = store.samplers()
        versions = store.model_versions()
    learned = {one.snapshot_id for one in versions}
    trained = [one for one in snapshots if one.id in learned]
    gone = {one.supersedes for one in events}
    standing = [one for one in events if one.id not in gone and one.kind != "retract"]
    judged = [one for one in standing if one.kind == "judgement"]
    seconds = [
        float(one.payload["seconds_spent"]) for one in judged if one.payload.get("seconds_spent")
    ]
    return {
        "Motivation": {"purpose": None, "who paid for it": None},
        "Composition": {
            "prompts": counts["prompts"],
            "prompts by split": dict(Counter(one.split for one in prompts)),
            "prompts by source": dict(Counter(one.source for one in prompts)),
            "kinds of feedback": dict(Counter(one.kind for one in standing)),
            "comparisons": len(comparisons),
            "verdicts": dict(Counter(str(one.payload.get("verdict")) for one in judged)),
            "missing data": None,
            "sensitive or offensive content": None,
        },
        "Collection": {
            "annotators": _people(annotators, judged),
            "judgements by annotator": _spread(judged),
            # Held-out comparisons are asked a checkpoint at a time: `promotion-of-8/NAME`.
            "purposes": dict(Counter(one.purpose.partition("/")[0] for one in comparisons)),
            "responses drawn by": list(
                dict.fromkeys(
                    f"{one.engine}, temperature {one.parameters.get('temperature', NOT_RECORDED)}"
                    for one in samplers
                )
            ),
            "first and last": [events[0].created_at.isoformat(), events[-1].created_at.isoformat()]
            if events
            else None,
            "median seconds": sorted(seconds)[len(seconds) // 2] if seconds else None,
            "how annotators were chosen and trained": None,
            "pay": None,
            "consent": None,
        },
        "Preprocessing": {
            "withdrawn or edited": sum(one.supersedes is not None for one in events),
            "snapshots trained on": {one.name: f"{one.event_count}, {one.content_sha256[:12]}"
                                     for one in trained},
            "snapshots that chose a checkpoint": len(snapshots) - len(trained),
        },
        "Uses": {"trained on it": _taught(versions, trained) or None, "other uses": None},
        "Distribution": {"licence": None, "where": None},
        "Maintenance": {"who": None, "how errors are corrected": "by superseding events; see "
                        "`assent db check`"},
    }  # fmt: skip


def as_markdown(title: str, card: Card) -> str:
    """A card for people; fields without a record say so."""
    lines = [f"# {title}", ""]
    for section, fields in card.items():
        lines += [f"## {section}", ""]
        lines += [f"- {name}: {_words(value)}" for name, value in fields.items()]
        lines.append("")
    return "\n".join(lines)


def recorded(card: Card) -> Card:
    """The card with `not recorded` where there is nothing."""
    return {
        section: {
            name: NOT_RECORDED if _nothing(value) else value for name, value in fields.items()
        }
        for section, fields in card.items()
    }


def _analyses(summary: Summary | None, suite: Suite | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if suite is not None and suite.models:
        name = suite.models[-1].name
        for audited in suite.audits:
            result = next((one for one in audited.results if one.model == name), None)
            for figure in result.figures if result else ():
                if figure.estimate is not None:
                    value = f"{number(figure.estimate, 3)}{interval(figure.interval, 3)}"
                    found[f"{audited.name}/{figure.name}"] = value
    if summary is not None and summary.trajectory:
        point = summary.trajectory[-1]
        found["KL to the reference (nats)"] = number(point.kl_nats)
        if point.gold_mean is not None:
            found["gold"] = f"{number(point.gold_mean, 3)}{interval(point.gold_ci, 3)}"
    return found or {"audits": None}


def _taught(versions: Sequence[ModelVersion], trained: Sequence[Snapshot]) -> dict[str, list[str]]:
    """By snapshot, the models that learned from it or from a reward model that did."""
    return {
        snapshot.name: [
            one.name
            for one in versions
            if one.snapshot_id == snapshot.id and one.stage != "checkpoint"
        ]
        for snapshot in trained
    }


def _people(annotators: Sequence[StoredAnnotator], judged: Sequence[StoredEvent]) -> dict[str, int]:
    """How many of each kind judged; names stay in the store."""
    busy = {one.annotator_id for one in judged}
    return dict(Counter(one.kind for one in annotators if one.id in busy))


def _spread(judged: Sequence[StoredEvent]) -> dict[str, int] | None:
    counts = sorted(Counter(one.annotator_id for one in judged).values())
    if not counts:
        return None
    return {"fewest": counts[0], "median": counts[len(counts) // 2], "most": counts[-1]}


def _nothing(value: object) -> bool:
    return value is None or value in ({}, [], "")


def _words(value: object) -> str:
    if _nothing(value):
        return NOT_RECORDED
    if isinstance(value, Mapping):
        return "; ".join(f"{name} {_words(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return "; ".join(_words(one) for one in value)
    # Model output or names must not become headings, links or HTML of the document.
    text = " ".join(str(value).split())
    return "".join(f"\\{one}" if one in "\\`*[]<>#|" else one for one in text)
