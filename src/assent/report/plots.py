"""Plots as SVG that stands inside a page: no text from data, and colours that the page decides.

Matplotlib draws with stand-in colours, which become CSS variables, so that one drawing reads on
light and dark paper. The same figures give the same bytes.
"""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from assent.report.findings import (
    END,
    PEAK,
    PROMOTED,
    Curve,
    curve_in_words,
    curves,
    marks,
    root_kl,
)
from assent.report.summary import Bounds, Point, Summary

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType  # newer than the oldest matplotlib that will do

INK: Final = "#0a0001"
QUIET: Final = "#0a0002"
GRID: Final = "#0a0003"
PROXY: Final = "#0a0004"
GOLD: Final = "#0a0005"
PAPER: Final = "#0a0006"
CSS_VARIABLES: Final = {
    INK: "var(--ink)",
    QUIET: "var(--quiet)",
    GRID: "var(--grid)",
    PROXY: "var(--proxy)",
    GOLD: "var(--gold)",
    PAPER: "var(--paper)",
}

_STYLE: "Final[tuple[tuple[RcKeyType, str | bool | float], ...]]" = (
    ("svg.fonttype", "none"),  # words stay words: they can be read aloud, searched and restyled
    ("svg.hashsalt", "assent"),
    ("text.color", INK),
    ("axes.edgecolor", QUIET),
    ("axes.labelcolor", INK),
    ("axes.facecolor", "none"),
    ("axes.grid", True),
    ("axes.spines.top", False),
    ("axes.spines.right", False),
    ("figure.facecolor", "none"),
    ("grid.color", GRID),
    ("grid.linewidth", 0.6),
    ("legend.frameon", False),
    ("xtick.color", QUIET),
    ("xtick.labelcolor", INK),
    ("ytick.color", QUIET),
    ("ytick.labelcolor", INK),
)
_NO_METADATA: Final = dict.fromkeys(("Date", "Creator", "Format", "Type"))
_SHAPES: Final = {PEAK: ("^", 9, INK), END: ("s", 7, INK), PROMOTED: ("o", 14, "none")}
"""Marker, its size in points, and what fills it; shapes, so that colour says nothing alone."""


def reward_plots(summary: Summary) -> list[tuple[Curve, Markup]]:
    """For each round, the learned reward and gold against the root of KL, on scales they share."""
    found = curves(summary)
    ends = [bound for point in summary.trajectory for bound in _reach(point, "proxy")]
    golds = [bound for point in summary.trajectory for bound in _reach(point, "gold")]
    widest = max((root_kl(point) for point in summary.trajectory), default=0.0)
    plots = []
    for curve in found:
        with _drawing(5.0, 4.6 if golds else 2.8, font_size=10.5) as figure:
            panels = figure.subplots(2 if golds else 1, sharex=True, squeeze=False)[:, 0]
            _draw_rewards(panels[0], curve, "proxy", marks(summary, curve))
            _span(panels[0], "y", ends)
            panels[0].set_ylabel("learned reward (proxy)")
            if golds:
                _draw_rewards(panels[1], curve, "gold", marks(summary, curve))
                _span(panels[1], "y", golds)
                panels[1].set_ylabel("gold")
            panels[-1].set_xlabel("square root of KL to the reference (nats)")
            _span(panels[-1], "x", [0.0, widest])
            figure.align_ylabels()
            plots.append((curve, _svg(figure, f"rewards-{curve.round}", curve_in_words(curve))))
    return plots


def behaviour_plot(
    summary: Summary, name: str, *, label: str, words: str, limits: Bounds | None = None
) -> Markup:
    """One measure of `Point` along the steps of all rounds, for a measure that some point has.

    Args:
        summary: the loop's figures.
        name: field of `Point`.
        label: unit, beside the axis.
        words: what the plot shows, for whoever cannot see it.
        limits: of the axis; shares run from 0 to 1.
    """
    with _drawing(3.2, 2.1, font_size=8) as figure:
        axes = figure.subplots()
        offset = 0
        for position, curve in enumerate(curves(summary)):
            # Rounds that count their steps from zero follow one another.
            offset = 0 if curve.start.step >= offset else offset
            known = [
                (offset + point.step, getattr(point, name))
                for point in curve.points
                if getattr(point, name) is not None
            ]
            if position:
                axes.axvline(offset + curve.start.step, color=QUIET, linewidth=0.8, linestyle=":")
            axes.plot(*zip(*known, strict=True), color=INK, linewidth=1.4, marker=".", markersize=4)
            axes.text(
                offset + (curve.start.step + curve.end.step) / 2,
                1.02,
                f"round {curve.round}",
                transform=axes.get_xaxis_transform(),
                color=INK,
                ha="center",
                va="bottom",
            )
            offset += curve.end.step
        if limits is not None:
            _span(axes, "y", limits)
        axes.set_ylabel(label)
        axes.set_xlabel("PPO steps")
        axes.locator_params(nbins=5)
        return _svg(figure, f"behaviour-{name}", words)


def _draw_rewards(axes: Axes, curve: Curve, measure: str, marked: dict[int, list[str]]) -> None:
    """One measure of a round with its intervals and its marked points."""
    colour = PROXY if measure == "proxy" else GOLD
    known = [(point, mean) for point in curve.points if (mean := _mean(point, measure)) is not None]
    axes.plot(
        [root_kl(point) for point, _ in known],
        [mean for _, mean in known],
        color=colour,
        linewidth=1.8,
        marker=".",
    )
    _draw_intervals(axes, [point for point, _ in known], measure, colour)
    for point, mean in known:
        for mark in marked.get(point.step, ()):
            marker, size, fill = _SHAPES[mark]
            axes.plot(
                root_kl(point),
                mean,
                color=INK,
                linestyle="none",
                marker=marker,
                markersize=size,
                markerfacecolor=fill,
            )


def _draw_intervals(axes: Axes, points: Sequence[Point], measure: str, colour: str) -> None:
    """A band where KL only grows; upright lines where it turns back and a band would fold."""
    sure = [(root_kl(p), bounds) for p in points if (bounds := _bounds(p, measure)) is not None]
    if not sure:
        return
    across = [x for x, _ in sure]
    lower, upper = ([bounds[side] for _, bounds in sure] for side in (0, 1))
    if across == sorted(across):
        axes.fill_between(across, lower, upper, color=colour, alpha=0.22, linewidth=0)
    else:
        axes.vlines(across, lower, upper, color=colour, alpha=0.5, linewidth=1.2)


def _mean(point: Point, measure: str) -> float | None:
    return point.proxy_mean if measure == "proxy" else point.gold_mean


def _bounds(point: Point, measure: str) -> Bounds | None:
    return point.proxy_ci if measure == "proxy" else point.gold_ci


def _reach(point: Point, measure: str) -> list[float]:
    """Everything of a point that a plot must hold."""
    mean = _mean(point, measure)
    return [] if mean is None else [mean, *(_bounds(point, measure) or ())]


def _span(axes: Axes, which: str, values: Sequence[float]) -> None:
    """Limits around all values with some air, the same in every plot that is given the same."""
    low, high = min(values), max(values)
    air = 0.06 * (high - low) or 0.5
    (axes.set_xlim if which == "x" else axes.set_ylim)(low - air, high + air)


@contextmanager
def _drawing(width: float, height: float, *, font_size: float) -> Iterator[Figure]:
    """An empty figure, in inches, under our style whatever the user's own matplotlibrc says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        for key, value in _STYLE:
            mpl.rcParams[key] = value
        mpl.rcParams["font.size"] = font_size
        yield Figure(figsize=(width, height), layout="constrained")


def _svg(figure: Figure, name: str, words: str) -> Markup:
    """The drawing as an `svg` element; ids begin with `name`, so that several fit one page."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata=_NO_METADATA)
    text = file.getvalue()
    text = text[text.index("<svg") :]
    # A rule for `*` would reach beyond the drawing; the page's style sheet has it for drawings.
    text = re.sub(r"<style.*?</style>", "", text, count=1, flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'\s(?:xmlns(?::xlink)?|version)="[^"]*"', "", text)
    text = text.replace("xlink:href", "href").replace("url(#", f"url(#{name}-")
    text = re.sub(r'\b(id|href)="(#?)', rf'\1="\2{name}-', text)
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "inherit", text)
    for colour, variable in CSS_VARIABLES.items():
        text = text.replace(colour, variable)
    label = f'<svg role="img" aria-label="{escape(words)}"'
    # Markup is safe here: the drawing holds our own words and figures, the label is escaped.
    return Markup(text.replace("<svg", label, 1).strip())  # noqa: S704
