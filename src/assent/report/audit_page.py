"""The audits as a page: verdicts first, then each audit against training, and its items.

Self-contained like the report's first page; its one script (the slider over checkpoints and the
filter of samples) is allowed by its hash and nothing else may run.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from assent.report import findings
from assent.report.audits import (
    Audited,
    Measured,
    Place,
    SideBySide,
    Suite,
    places,
    primary,
    side_by_side,
)
from assent.report.detail_tables import DetailTable, detail_tables
from assent.report.page import NOTHING, printable
from assent.report.small_plots import Curve, Dot, along, reliability
from assent.report.summary import Summary

WORDS: Final = {
    "regressed": "worse, beyond doubt",
    "improved": "better, beyond doubt",
    "inconclusive": "not told apart: measure more",
    "equivalent": "the same within the margin declared beforehand",
}


class FigureRow(NamedTuple):
    """One figure over all models."""

    name: str
    what: str
    unit: str
    better: str | None
    descriptive: str
    values: list[Measured | None]
    verdicts: dict[str, str]
    """By model."""
    plots: list[Markup]


class AuditPart(NamedTuple):
    """One audit as the page shows it."""

    name: str
    title: str
    models: list[str]
    rows: list[FigureRow]
    states: list[tuple[str, str, str, str]]
    """Model, status, reason, folder of its items."""
    speed: str
    samples: list[SideBySide]
    figure: str
    extra: list[tuple[str, Markup]]
    """Further plots, each with a caption."""
    notes: list[str]
    details: list[DetailTable]
    told_of: str
    """The model that notes, plots and details are about."""


def render_audits(root: Path, suite: Suite, summary: Summary | None) -> str:
    """The whole page."""
    environment = Environment(
        loader=PackageLoader("assent.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=_number, interval=findings.interval)
    # Our own files: inside <style> and <script> nothing may be escaped.
    style = environment.get_template("page.css").render()
    style += environment.get_template("audits.css").render()
    script = environment.get_template("audits.js").render()
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    where = places(suite, summary)
    return environment.get_template("audits.html").render(
        style=Markup(style),  # noqa: S704
        script=Markup(script),  # noqa: S704
        script_hash=f"'sha256-{allowed}'",
        suite=suite,
        headline=headline(suite),
        verdicts=suite.ranked(),
        words=WORDS,
        what=_what(suite),
        places={one.model: one for one in where},
        parts=[_part(root, suite, one, where) for one in suite.audits],
        causes=suite.causes,
        checkpoints=_checkpoints(summary),
        summary=summary,
    )


def headline(suite: Suite) -> str:
    """How many figures got worse, better, stayed or could not be told apart."""
    if not suite.verdicts:
        return "No verdicts: there is no baseline to compare with, or no figure that both have."
    said = {
        model: _counted([one.verdict for one in suite.verdicts if one.model == model])
        for model in dict.fromkeys(one.model for one in suite.verdicts)
    }
    if len(said) == 1:
        return f"Against {suite.baseline}: {next(iter(said.values()))}."
    each = "; ".join(f"{model} {words}" for model, words in said.items())
    return f"Against {suite.baseline}: {each}."


def _counted(verdicts: Sequence[str]) -> str:
    counts = {
        word: verdicts.count(word)
        for word in ("regressed", "improved", "equivalent", "inconclusive")
    }
    return ", ".join(f"{count} {word}" for word, count in counts.items() if count)


def _part(root: Path, suite: Suite, audited: Audited, where: Sequence[Place]) -> AuditPart:
    results = {one.model: one for one in audited.results}
    models = [one.name for one in suite.models]
    verdicts = [one for one in suite.verdicts if one.audit == audited.name]
    rows = [
        FigureRow(
            name=figure.name,
            what=figure.what,
            unit=figure.unit,
            better=figure.better,
            descriptive=figure.descriptive,
            values=[
                results[name].figure(figure.name) if name in results else None for name in models
            ],
            verdicts={one.model: one.verdict for one in verdicts if one.figure == figure.name},
            plots=_plots(audited, figure.name, where),
        )
        for figure in audited.figures
    ]
    states = [(one.model, one.status, one.reason, one.artifact or "") for one in audited.results]
    rates = [one.items_per_second for one in audited.results if one.items_per_second]
    last = next((one for one in reversed(audited.results) if one.tables), None)
    chosen = primary(audited)
    return AuditPart(
        name=audited.name,
        title=audited.title,
        models=models,
        rows=rows,
        states=states,
        speed=f"{rates[-1]:.0f} items a second" if rates else "",
        samples=side_by_side(root, suite, audited),
        figure=chosen.name if chosen else "",
        extra=_extra(last.tables) if last else [],
        notes=_notes(last.tables) if last else [],
        details=detail_tables(last.tables) if last else [],
        told_of=last.model if last else "",
    )


def _plots(audited: Audited, figure: str, where: Sequence[Place]) -> list[Markup]:
    """The figure against steps and against KL, where models lie at two places or more."""
    found = []
    at = {one.model: one for one in where}
    for axis, words in (("step", "PPO steps"), ("kl_nats", "KL to the reference (nats)")):
        dots = []
        for result in audited.results:
            value, place = result.figure(figure), at.get(result.model)
            x = getattr(place, axis) if place else None
            if value is None or value.estimate is None or x is None:
                continue
            low, high = value.interval or (None, None)
            label = f"{result.model}: {value.estimate:.3f}"
            dots.append(Dot(float(x), value.estimate, low, high, label))
        if len({dot.x for dot in dots}) > 1:
            spoken = ", ".join(f"{dot.label} at {dot.x:.3g}" for dot in dots)
            found.append(along(dots, axis=words, words=f"{figure} against {words}: {spoken}"))
    return found


def _extra(tables: Mapping[str, Any]) -> list[tuple[str, Markup]]:
    """Plots of the tables that have one: laws, calibration."""
    found: list[tuple[str, Markup]] = []
    points = tables.get("points")
    if isinstance(points, list) and len(points) > 1 and "distance" in points[0]:
        for name in ("gold", "proxy"):
            dots = [
                Dot(one["distance"], one[name], *(one.get(f"{name}_interval") or (None, None)))
                for one in points
                if one.get(name) is not None
            ]
            law = tables.get("rl") if name == "gold" else None
            curve = None
            if isinstance(law, Mapping):
                start = dots[0].y
                curve = Curve(
                    [
                        (p["distance"], start + fit)
                        for p, fit in zip(points, law["fitted"], strict=True)
                    ]
                )
            if dots:
                words = f"{name} against the root of KL along training"
                found.append((words, along(dots, axis="root nats", words=words, curve=curve)))
    best = tables.get("best_of_n")
    if isinstance(best, Mapping):
        dots = [Dot(x, y) for x, y in zip(best["distance"], best["gold"], strict=True)]
        words = "gold of best-of-n of the reference, by the learned reward"
        curve = Curve([
            (x, best["gold"][0] + fit)
            for x, fit in zip(best["distance"], best["fitted"], strict=True)
        ])  # fmt: skip
        found.append((words, along(dots, axis="root nats", words=words, curve=curve)))
    calibration = tables.get("calibration")
    if isinstance(calibration, Mapping) and isinstance(calibration.get("bins"), list):
        dots = [
            Dot(one["predicted"], one["observed"], *one["interval"]) for one in calibration["bins"]
        ]
        words = (
            f"Reliability: chance given against share observed. Error "
            f"{calibration['plug_in']:.3f}; a calibrated model would show "
            f"{calibration['if_calibrated']:.3f} by chance."
        )
        found.append((words, reliability(dots, words=words)))
    return found


def _notes(tables: Mapping[str, Any]) -> list[str]:
    """What tables say in a sentence."""
    found = [
        f"{one['sign']} {one['cause']}"
        for one in tables.get("causes") or ()
        if isinstance(one, Mapping) and "sign" in one
    ]
    if tables.get("sound") is True:
        found.append("All estimates agree: nothing is out of order.")
    ceiling = tables.get("ceiling")
    if isinstance(ceiling, Mapping):
        ends = f"{ceiling['low']:.3f}"
        if ceiling["high"] != ceiling["low"]:
            ends += f" to {ceiling['high']:.3f}"
        found.append(f"The best predictor there could be is right {ends} ({ceiling['from']}).")
    elif "ceiling" in tables:
        found.append("How far annotators agree is not recorded: no pair was judged twice.")
    return [*found, *_reward_notes(tables)]


def _reward_notes(tables: Mapping[str, Any]) -> list[str]:
    """Rules, tokens that pay, and biases that were amplified."""
    found = []
    if isinstance(tables.get("baselines"), list):
        rules = ", ".join(
            f"{one['rule']} {one['accuracy']:.3f}"
            for one in tables["baselines"]
            if one.get("accuracy") is not None
        )
        found.append(f"Rules that read no content: {rules}.")
    inserted = tables.get("insertions")
    if isinstance(inserted, Mapping):
        flagged = ", ".join(repr(token) for token in inserted["flagged"]) or "none"
        found.append(f"Tokens that pay wherever they are inserted: {flagged}.")
    biases = tables.get("biases")
    rows = biases.get("rows", ()) if isinstance(biases, Mapping) else ()
    loud = [
        f"{row['feature']} ({row['annotators']['value']:.2f} → {row['model']['value']:.2f})"
        for row in rows
        if _amplified(row)
    ]
    if loud:
        found.append(f"Amplified beyond what annotators show (logits): {', '.join(loud)}.")
    return found


def _amplified(row: Mapping[str, Any]) -> bool:
    """Whether the model's coefficient is beyond doubt on one side of zero, and larger there."""
    if row["amplified"]["interval"] is None:
        return False
    low, high = row["amplified"]["interval"]
    least, most = row["model"]["interval"]
    return bool((low > 0 and least > 0) or (high < 0 and most < 0))


def _checkpoints(summary: Summary | None) -> str | None:
    """The trajectory for the slider, as JSON that may stand inside a script element."""
    if summary is None or not summary.trajectory:
        return None
    shown = (
        "round", "step", "kl_nats", "proxy_mean", "gold_mean", "accuracy_easy", "accuracy_hard",
        "idk_unknowable", "bluff", "sycophancy", "length", "entropy_nats", "grammar_mass",
    )  # fmt: skip
    rows = [
        {name: getattr(point, name) for name in shown if getattr(point, name) is not None}
        | {"path": point.path}
        for point in summary.trajectory
    ]
    text = json.dumps(rows, ensure_ascii=True, allow_nan=False)
    # Nothing in it may end the element or begin another.
    text = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return Markup(text)  # noqa: S704


def _what(suite: Suite) -> dict[tuple[str, str], str]:
    return {(one.name, figure.name): figure.what for one in suite.audits for figure in one.figures}


def _number(value: float | None, digits: int = 3) -> str:
    return NOTHING if value is None else findings.number(value, digits)
