"""The report: one self-contained HTML page made from a project's `summary.json`.

Everything that comes from the data is escaped, model output above all; the page loads nothing, and
its own policy forbids it to.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from assent.report import findings
from assent.report.behaviours import behaviour_panels
from assent.report.plots import reward_plots
from assent.report.summary import Choice, Summary

NOTHING: Final = "\N{EN DASH}"  # in a cell without a figure
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


class RewardPlot(NamedTuple):
    """The curves of one round, drawn and in words."""

    round: int
    drawing: Markup
    words: str


def render(summary: Summary, audits: str = "") -> str:
    """The whole page; `audits` is what the verdicts come to, where audits were run."""
    environment = Environment(
        loader=PackageLoader("assent.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=_number, interval=findings.interval, duration=findings.duration, short=_short
    )
    template = environment.get_template("page.html")
    return template.render(
        # Our own file, and inside <style> nothing may be escaped.
        style=Markup(environment.get_template("page.css").render()),  # noqa: S704
        summary=summary,
        headline=findings.headline(summary),
        audits=audits,
        waiting=findings.waiting_sentence(summary.waiting) if summary.waiting else "",
        by_kind=[
            (curve.round, kind, figures)
            for curve in findings.curves(summary)
            for kind, figures in curve.end.by_kind.items()
        ],
        fall=findings.fall_sentence(summary),
        stops=findings.stop_sentences(summary),
        promotion=findings.promotion_sentence(summary),
        plots=[
            RewardPlot(curve.round, drawing, findings.curve_in_words(curve))
            for curve, drawing in reward_plots(summary)
        ],
        panels=behaviour_panels(summary),
        curves=findings.curves(summary),
        marks={curve.round: findings.marks(summary, curve) for curve in findings.curves(summary)},
        baseline_names=_baseline_names(summary),
        baselines=findings.baseline_sentences(summary),
        choices=[*findings.choices(summary), *_highest(summary)],
        settings=list(_flat(summary.settings)),
        machine=list(_flat(summary.machine)),
    )


def printable(value: object) -> object:
    """Text as it may stand in HTML: characters that no page can hold become a visible mark."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", value)
    return value


def _number(value: float | None, digits: int = 2) -> str:
    return NOTHING if value is None else findings.number(value, digits)


def _short(text: str | None) -> str:
    """The first dozen characters of a hash or an id; enough to find it by."""
    return NOTHING if text is None else text[:12]


def _baseline_names(summary: Summary) -> list[str]:
    models = [result.reward_model for result in summary.rounds if result.reward_model]
    return list(dict.fromkeys(name for model in models for name in model.baselines))


def _highest(summary: Summary) -> Iterator[tuple[str, Choice]]:
    """The point that only who knows the truth could choose, as a ceiling for the others."""
    known = [point for point in summary.trajectory if point.gold_mean is not None]
    if known and summary.promoted is not None:
        best = max(known, key=lambda point: point.gold_mean or 0.0)
        yield (
            "highest gold of all, which only the truth can point out",
            Choice(
                round=best.round, step=best.step, gold_mean=best.gold_mean, gold_ci=best.gold_ci
            ),
        )


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as `ppo.kl.coef` and its value."""
    for key, value in table.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _plain(value)


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(_plain(item) for item in value)}]"
    return "none" if value is None else str(value)
