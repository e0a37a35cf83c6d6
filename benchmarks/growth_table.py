"""The exponents, the table and the plot of what benchmarks/growth.py measured.

    python benchmarks/growth_table.py OUT.json OUT.md OUT.svg

Nothing is run again. An exponent is the slope of a straight line through the logarithms, by least
squares over all points; each point is the median of its repeats.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from assent.config.files import write_file
from assent.stats.intervals import Interval

AXES = {"width": "parameters", "batch": "batch", "length": "response tokens"}
NAMES = {"sft": "SFT step", "reward": "reward-model step", "ppo": "PPO update"}
JUDGEMENTS = "judgements"
SMALL_MB = 16.0
"""Memory that never exceeds this has no exponent: it is the allocator's."""
COLOURS = (
    "#1b6ca8", "#c0392b", "#1e8449", "#e59866", "#7d3c98", "#5d6d7e", "#b7950b", "#82c182",
)  # fmt: skip


class Exponent(NamedTuple):
    """How fast something grows: with the size to this power."""

    value: float
    interval: Interval | None
    """Student's, from how far the points lie off the line; None of fewer than three points."""
    last: float
    """Between the two largest sizes alone."""


class Series(NamedTuple):
    """One thing measured at several sizes, all else the same."""

    name: str
    against: str
    sizes: list[float]
    seconds: list[float]
    memory_mb: list[float]


def fit_exponent(sizes: Sequence[float], spent: Sequence[float], level: float = 0.95) -> Exponent:
    """Least squares of log on log.

    Args:
        sizes: increasing, above zero, two or more.
        spent: what was spent at each, above zero.
        level: of the interval, in (0, 1).

    Raises:
        ValueError: there are fewer than two sizes, they do not increase, or a value is not above
            zero.
    """
    found, cost = np.asarray(sizes, dtype=np.float64), np.asarray(spent, dtype=np.float64)
    if found.shape != cost.shape or len(found) < 2 or (np.diff(found) <= 0).any():
        message = f"an exponent needs two or more sizes that increase, not {list(sizes)}"
        raise ValueError(message)
    if not ((found > 0).all() and (cost > 0).all()):
        message = f"a power is fitted to what lies above zero, not to {list(spent)}"
        raise ValueError(message)
    x, y = np.log(found), np.log(cost)
    away = x - x.mean()
    slope, interval = float(away @ y / (away @ away)), None
    if len(found) > 2:
        freedom = len(found) - 2
        off = y - y.mean() - slope * away
        error = math.sqrt(float(off @ off) / freedom / float(away @ away))
        half = float(stats.t.ppf(0.5 + level / 2, freedom)) * error
        interval = Interval(slope - half, slope + half)
    last = math.log(cost[-1] / cost[-2]) / math.log(found[-1] / found[-2])
    return Exponent(slope, interval, last)


def memory_exponent(series: Series) -> Exponent | None:
    """None where there is too little of it to tell."""
    if max(series.memory_mb) < SMALL_MB or min(series.memory_mb) <= 0:
        return None
    return fit_exponent(series.sizes, series.memory_mb)


def series_of(result: dict[str, Any]) -> list[Series]:
    """Everything with two sizes or more: each stage by what is varied, then the judgements."""
    measured = next(iter(result["seeds"].values()))
    found = [
        _of_models(job, axis, points, result["defaults"])
        for axis in AXES
        for job, points in measured.get("models", {}).items()
    ]
    found += _of_judgements(measured.get(JUDGEMENTS, []))
    return [one for one in found if len(one.sizes) > 1]


def _of_models(
    job: str, axis: str, points: Iterable[dict[str, Any]], defaults: dict[str, int]
) -> Series:
    others = {name: value for name, value in defaults.items() if name != axis}
    kept = sorted(
        (one for one in points if all(one[name] == value for name, value in others.items())),
        key=lambda one: int(one[axis]),
    )
    return Series(
        NAMES.get(job, job),
        AXES[axis],
        [float(one["parameters" if axis == "width" else axis]) for one in kept],
        [float(np.median(one["processor_seconds"])) for one in kept],
        [float(one["memory_mb"]) for one in kept],
    )


def _of_judgements(points: Sequence[dict[str, Any]]) -> list[Series]:
    counts = sorted({int(one["count"]) for one in points})
    by_count = [[one for one in points if one["count"] == count] for count in counts]

    def medians(what: str, name: str) -> list[float]:
        return [float(np.median([one[what][name] for one in same])) for same in by_count]

    names = points[0]["processor_seconds"] if points else ()
    return [
        Series(
            name, JUDGEMENTS, [float(count) for count in counts],
            medians("processor_seconds", name), medians("memory_mb", name),
        )
        for name in names
    ]  # fmt: skip


def table(result: dict[str, Any]) -> str:
    """A row for each thing and what it was measured against; numbers at the ends of the range."""
    lines = [
        "| what | against | seconds | exponent | last two | MB | exponent | last two |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one in series_of(result):
        spent, memory = fit_exponent(one.sizes, one.seconds), memory_exponent(one)
        cells = [
            one.name,
            f"{one.against}, {_size(one.sizes[0])} to {_size(one.sizes[-1])}",
            f"{_seconds(one.seconds[0])} to {_seconds(one.seconds[-1])}",
            *_cells(spent),
            f"{one.memory_mb[0]:,.0f} to {one.memory_mb[-1]:,.0f}",
            *(("-", "-") if memory is None else _cells(memory)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _size(size: float) -> str:
    return f"{size / 1e6:.2g}M" if size >= 1e6 else f"{size:,.0f}"


def _seconds(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.2g}"


def _cells(found: Exponent) -> tuple[str, str]:
    low, high = found.interval or (math.nan, math.nan)
    where = "" if found.interval is None else f" [{low:.2f}, {high:.2f}]"
    return f"{found.value:.2f}{where}", f"{found.last:.2f}"


def draw(result: dict[str, Any], file: Path) -> None:
    """Seconds above, memory below; a column for each thing that is varied."""
    mpl.rcParams["svg.hashsalt"] = "growth"
    found = series_of(result)
    columns = list(dict.fromkeys(one.against for one in found))
    figure = Figure(figsize=(3.2 * len(columns), 6.4), layout="constrained")
    panels = figure.subplots(2, len(columns), sharex="col", squeeze=False)
    for column, against in enumerate(columns):
        top, bottom = panels[:, column]
        of_column = [one for one in found if one.against == against]
        coloured = dict(zip((one.name for one in of_column), COLOURS, strict=False))
        large = [one for one in of_column if memory_exponent(one)]
        _panel(top, of_column, coloured, lambda one: one.seconds)
        _panel(bottom, large, coloured, lambda one: one.memory_mb)
        bottom.set_xlabel(against)
        if against in (AXES["batch"], AXES["length"]):
            sizes = of_column[0].sizes
            bottom.set_xticks(sizes, [f"{size:.0f}" for size in sizes])
            bottom.minorticks_off()
    panels[0, 0].set_ylabel("processor seconds")
    panels[1, 0].set_ylabel("memory at the peak, MB")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Date": None})


def _panel(
    axes: Axes,
    series: Sequence[Series],
    coloured: dict[str, str],
    value: Callable[[Series], list[float]],
) -> None:
    """Lines with their exponents, and the dotted slope of what is linear."""
    if not series:
        axes.set_axis_off()
        return
    for one in series:
        spent = value(one)
        label = f"{one.name} {fit_exponent(one.sizes, spent).value:.2f}"
        colour = coloured[one.name]
        axes.loglog(one.sizes, spent, marker="o", markersize=3, color=colour, label=label)
    largest = max(series, key=lambda one: value(one)[-1])
    end = value(largest)[-1]
    line = [end * size / largest.sizes[-1] for size in largest.sizes]
    axes.loglog(largest.sizes, line, "k:", linewidth=1, label="linear")
    low, high = axes.get_ylim()
    # Room for the legend above the lines: as many tenths of the height as it has lines and a half.
    axes.set_ylim(low, high * (high / low) ** (0.085 * (len(series) + 1.5)))
    axes.legend(fontsize=7, frameon=False, loc="upper left")
    axes.grid(visible=True, alpha=0.25)


def write(result: dict[str, Any], text: Path, image: Path) -> None:
    """Both files, and the table on the terminal."""
    made = table(result)
    write_file(text, made)
    draw(result, image)
    sys.stdout.write(made)


def main() -> None:
    """Read what was measured, write table and plot."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("out", "table", "plot"):
        asked.add_argument(name, type=Path)
    given = asked.parse_args()
    write(json.loads(given.out.read_text(encoding="utf-8")), given.table, given.plot)


if __name__ == "__main__":
    main()
