"""The report for programs and for reading as text: `report.json`, `report.md`, the two cards.

`report.json` has a schema version of its own and holds all that the pages say but the items.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from assent.config.files import write_file
from assent.errors import DataError, NewerSchema, ProjectError
from assent.report import findings
from assent.report.audit_page import headline
from assent.report.audits import Suite
from assent.report.cards import NOT_RECORDED, Card, as_markdown, datasheet, model_card, recorded
from assent.report.page import NOTHING
from assent.report.summary import Summary

REPORT_SCHEMA: Final = 1
REPORT_FILE: Final = "report/report.json"


def write_documents(root: Path, summary: Summary | None, suite: Suite | None) -> list[Path]:
    """Write `report.json`, `report.md`, `model-card.md` and `datasheet.md`; return their paths."""
    cards: dict[str, Card] = {
        "model_card": recorded(model_card(root, summary, suite)),
        "datasheet": recorded(datasheet(root)),
    }
    document = as_document(summary, suite, cards)
    texts = {
        "report.json": json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False) + "\n",
        "report.md": report_markdown(summary, suite),
        "model-card.md": as_markdown("Model card", cards["model_card"]),
        "datasheet.md": as_markdown("Datasheet of the feedback", cards["datasheet"]),
    }
    folder = root / "report"
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        write_file(folder / name, text)
    return [folder / name for name in texts]


def as_document(
    summary: Summary | None, suite: Suite | None, cards: Mapping[str, Card]
) -> dict[str, Any]:
    """All that the report says, as JSON."""
    return {
        "schema_version": REPORT_SCHEMA,
        "headline": findings.headline(summary) if summary else None,
        "verdict_headline": headline(suite) if suite else None,
        "summary": summary.model_dump(mode="json") if summary else None,
        "audits": None if suite is None else suite.model_dump(mode="json"),
        **cards,
    }


def report_markdown(summary: Summary | None, suite: Suite | None) -> str:
    """The report as text: verdicts first, then every figure."""
    lines = ["# Assent report", ""]
    if suite is not None:
        lines += [headline(suite), ""]
    if summary is not None:
        lines += [
            findings.headline(summary),
            *findings.stop_sentences(summary),
            findings.fall_sentence(summary),
            "",
        ]
    if suite is None:
        lines += ["No audits were run: `assent audit run DIR`.", ""]
        return "\n".join(lines)
    if suite.verdicts:
        lines += [
            "## Verdicts",
            "",
            "| verdict | audit | figure | model | difference | margin |",
            "|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {one.verdict} | {one.audit} | {one.figure} | {one.model} | "
            f"{findings.number(one.difference, 3)}{findings.interval(one.interval, 3)} | "
            f"{one.margin:g} |"
            for one in suite.ranked()
        ]
        lines.append("")
    for audited in suite.audits:
        names = [one.name for one in suite.models]
        lines += [f"## {audited.name}", "", audited.title, ""]
        lines += [f"| figure | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
        results = {one.model: one for one in audited.results}
        for figure in audited.figures:
            cells = [_cell(results, name, figure.name) for name in names]
            lines.append(f"| {figure.name} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def _cell(results: Mapping[str, Any], model: str, figure: str) -> str:
    result = results.get(model)
    value = result.figure(figure) if result else None
    if value is None:
        return NOTHING if result is None or result.status == "done" else result.status
    if value.estimate is None:
        return "not measured"
    return f"{findings.number(value.estimate, 3)}{findings.interval(value.interval, 3)}"


def read_document(root: Path) -> dict[str, Any]:
    """A project's `report.json`.

    Raises:
        ProjectError: there is none.
        NewerSchema: a newer version of Assent wrote it.
        DataError: it is no report.
    """
    path = root / REPORT_FILE
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        message = f"{path} is missing; `assent report {root}` writes it"
        raise ProjectError(message) from error
    except ValueError as error:
        message = f"{path} is not JSON ({error}); `assent report {root}` writes it again"
        raise DataError(message) from error
    version = document.get("schema_version") if isinstance(document, dict) else None
    if isinstance(version, int) and version > REPORT_SCHEMA:
        message = f"{path}: schema_version is {version}, newer than {REPORT_SCHEMA}; upgrade Assent"
        raise NewerSchema(message)
    if version != REPORT_SCHEMA:
        message = f"{path} is no report; `assent report {root}` writes it again"
        raise DataError(message)
    found: dict[str, Any] = document
    return found


def difference(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """What differs between two reports: settings, card fields, and figures of the last models.

    Figures are of different items in general, so their difference comes without an interval; each
    has its own, and `apart` says whether those do not touch.
    """
    left, right = (_figures(one) for one in (ours, theirs))
    rows = []
    for name in sorted({*left, *right}):
        one, other = left.get(name), right.get(name)
        rows.append(
            {
                "figure": name,
                "this": one,
                "other": other,
                "apart": _apart(one, other) if one and other else None,
            }
        )
    settings = _changed(_settings(ours), _settings(theirs))
    cards = {
        card: _changed(_flat(ours.get(card) or {}), _flat(theirs.get(card) or {}))
        for card in ("model_card", "datasheet")
    }
    return {"figures": rows, "settings": settings, **cards}


def difference_markdown(found: Mapping[str, Any], names: tuple[str, str]) -> str:
    """The difference for people."""
    lines = [f"# {names[0]} against {names[1]}", "", "## Figures", ""]
    lines += [f"| figure | {names[0]} | {names[1]} | intervals |", "|---|---|---|---|"]
    for row in found["figures"]:
        told = {True: "apart", False: "touch", None: ""}[row["apart"]]
        lines.append(f"| {row['figure']} | {_told(row['this'])} | {_told(row['other'])} | {told} |")
    for part in ("settings", "model_card", "datasheet"):
        lines += ["", f"## {part.replace('_', ' ').capitalize()}", ""]
        changes = found[part]
        lines += [f"- {key}: {one!s:.120} → {other!s:.120}" for key, one, other in changes]
        if not changes:
            lines.append("No difference.")
    return "\n".join(lines) + "\n"


def _figures(document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Estimates of the last model by `audit/figure`, and the last point of training."""
    found: dict[str, dict[str, Any]] = {}
    summary = document.get("summary") or {}
    for name in ("kl_nats", "proxy_mean", "gold_mean"):
        points = summary.get("trajectory") or []
        if points and points[-1].get(name) is not None:
            key = f"{name.removesuffix('_mean').removesuffix('_nats')}_ci"
            found[f"end/{name}"] = {"estimate": points[-1][name], "interval": points[-1].get(key)}
    suite = document.get("audits") or {}
    models = suite.get("models") or []
    for audited in suite.get("audits") or [] if models else []:
        for result in audited["results"]:
            if result["model"] == models[-1]["name"]:
                for one in result["figures"]:
                    if one["estimate"] is not None:
                        found[f"{audited['name']}/{one['name']}"] = {
                            "estimate": one["estimate"],
                            "interval": one["interval"],
                        }
    return found


def _apart(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool | None:
    if not one["interval"] or not other["interval"]:
        return None
    return bool(
        one["interval"][0] > other["interval"][1] or other["interval"][0] > one["interval"][1]
    )


def _settings(document: Mapping[str, Any]) -> dict[str, Any]:
    """The loop's settings, with those that the audits were run with over them."""
    project = _flat((document.get("summary") or {}).get("settings") or {})
    audits = _flat((document.get("audits") or {}).get("settings") or {}, "audits.")
    return project | audits


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping) and value:
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def _changed(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    return [
        (key, one.get(key, NOT_RECORDED), other.get(key, NOT_RECORDED))
        for key in sorted({*one, *other})
        if one.get(key, NOT_RECORDED) != other.get(key, NOT_RECORDED)
    ]


def _told(value: Mapping[str, Any] | None) -> str:
    if value is None:
        return NOTHING
    bounds = value["interval"]
    ends = findings.interval((bounds[0], bounds[1]), 3) if bounds else ""
    return f"{findings.number(value['estimate'], 3)}{ends}"
