"""Small plots written as SVG by hand: figures with intervals along training, and reliability.

Only numbers and our own words go in; colours are the page's variables, so one drawing reads on
light and dark paper. They are a kilobyte or two each, and an audit has many.
"""

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

WIDTH, HEIGHT = 260, 120
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 24


class Dot(NamedTuple):
    """A measurement at a place along training."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    label: str = ""


class Curve(NamedTuple):
    """A line without measurements, such as a fitted law."""

    points: Sequence[tuple[float, float]]


def along(
    dots: Sequence[Dot], *, axis: str, words: str, curve: Curve | None = None, join: bool = True
) -> Markup:
    """Measurements with their intervals along an axis.

    Args:
        dots: at least one, in any order.
        axis: words under the axis.
        words: what the plot shows, for whoever cannot see it.
        curve: a line through the same plane.
        join: connect the dots in order of x.
    """
    ends = [y for dot in dots for y in (dot.y, dot.low, dot.high) if y is not None]
    ends += [y for _, y in curve.points] if curve else []
    across = [dot.x for dot in dots] + [x for x, _ in (curve.points if curve else ())]
    plane = _Plane(_span(across), _span(ends))
    parts = _axes(plane, axis)
    if curve and len(curve.points) > 1:
        line = " ".join(plane.at(x, y) for x, y in curve.points)
        parts.append(f'<polyline class="law" points="{line}"/>')
    ranked = sorted(dots, key=lambda dot: dot.x)
    if join and len(ranked) > 1:
        line = " ".join(plane.at(dot.x, dot.y) for dot in ranked)
        parts.append(f'<polyline class="line-plot" points="{line}"/>')
    for dot in ranked:
        x, y = plane.across(dot.x), plane.up(dot.y)
        if dot.low is not None and dot.high is not None:
            parts.append(
                f'<line class="whisker" x1="{x}" x2="{x}" y1="{plane.up(dot.low)}" '
                f'y2="{plane.up(dot.high)}"/>'
            )
        title = f"<title>{escape(dot.label)}</title>" if dot.label else ""
        parts.append(f'<circle class="dot" cx="{x}" cy="{y}" r="3">{title}</circle>')
    return _svg(parts, words)


def reliability(bins: Sequence[Dot], *, words: str) -> Markup:
    """Predicted against observed, with the diagonal on which a calibrated model lies."""
    plane = _Plane((0.0, 1.0), (0.0, 1.0))
    parts = _axes(plane, "chance the model gives")
    parts.append(f'<polyline class="law" points="{plane.at(0, 0)} {plane.at(1, 1)}"/>')
    for dot in bins:
        x = plane.across(dot.x)
        if dot.low is not None and dot.high is not None:
            parts.append(
                f'<line class="whisker" x1="{x}" x2="{x}" y1="{plane.up(dot.low)}" '
                f'y2="{plane.up(dot.high)}"/>'
            )
        parts.append(f'<circle class="dot" cx="{x}" cy="{plane.up(dot.y)}" r="3"/>')
    return _svg(parts, words)


class _Plane(NamedTuple):
    """From figures to the drawing's units."""

    x: tuple[float, float]
    y: tuple[float, float]

    def across(self, value: float) -> float:
        low, high = self.x
        return round(LEFT + (WIDTH - LEFT - RIGHT) * (value - low) / (high - low), 1)

    def up(self, value: float) -> float:
        low, high = self.y
        share = (min(max(value, low), high) - low) / (high - low)
        return round(HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * share, 1)

    def at(self, x: float, y: float) -> str:
        return f"{self.across(x)},{self.up(y)}"


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    air = 0.08 * (high - low) or 0.5 * max(abs(high), 0.1)
    return low - air, high + air


def _axes(plane: _Plane, axis: str) -> list[str]:
    floor, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = [f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{floor}" y2="{floor}"/>']
    for share in (0.1, 0.9):
        value = plane.y[0] + share * (plane.y[1] - plane.y[0])
        up = plane.up(value)
        parts.append(f'<line class="tick" x1="{LEFT}" x2="{right}" y1="{up}" y2="{up}"/>')
        parts.append(f'<text x="{LEFT - 5}" y="{up + 3}" text-anchor="end">{value:.3g}</text>')
    for share, anchor in ((0.0, "start"), (1.0, "end")):
        value = plane.x[0] + (0.08 + 0.84 * share) * (plane.x[1] - plane.x[0])
        x = plane.across(value)
        parts.append(f'<text x="{x}" y="{floor + 12}" text-anchor="{anchor}">{value:.3g}</text>')
    middle = (LEFT + right) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 3}" text-anchor="middle">{escape(axis)}</text>')
    return parts


def _svg(parts: Sequence[str], words: str) -> Markup:
    body = "".join(parts)
    # Markup is safe here: numbers, our own words, and labels that were escaped.
    return Markup(  # noqa: S704
        f'<svg class="small-plot" role="img" aria-label="{escape(words)}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}">{body}</svg>'
    )
