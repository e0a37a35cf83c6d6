"""Tables on the terminal: gold and proxy against KL after a loop, and plans before one."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final

from rich import box
from rich.console import Console
from rich.table import Table

from assent.report.findings import (
    Curve,
    baseline_sentences,
    curves,
    headline,
    marks,
    number,
    promotion_sentence,
    stop_sentences,
    waiting_sentence,
)
from assent.report.summary import Bounds, Point, Summary, parse_summary

if TYPE_CHECKING:
    from assent.rounds.planner import Plan

ROWS: Final = 10
MIB: Final = 2**20
START: Final = "start"


def print_loop_table(summary: Mapping[str, Any], console: Console | None = None) -> None:
    """Print a summary's headline, points, reward models and promotion; 80 columns are enough.

    Raises:
        DataError: the summary is not what the loop writes.
    """
    console = console or Console(highlight=False)
    found = parse_summary(summary, "summary")
    console.print(headline(found), markup=False)
    if found.trajectory:
        console.print(_table(found), crop=False)
    for sentence in [*stop_sentences(found), *baseline_sentences(found)]:
        console.print(sentence, markup=False)
    if found.waiting is None:
        console.print(promotion_sentence(found), markup=False)
    elif found.trajectory:  # otherwise it is the headline
        console.print(waiting_sentence(found.waiting), markup=False)


def print_plan(plans: Sequence["Plan"], console: Console | None = None) -> None:
    """Print what stages will do and what memory they will take, by part."""
    console = console or Console(highlight=False)
    if not plans:
        console.print("Everything that was asked for is done.", markup=False)
    for plan in plans:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=plan.name, title_justify="left")
        for heading in ("schedule", "", "memory", "MiB"):
            table.add_column(heading, justify="right" if heading in ("", "MiB") else "left")
        schedule = [(name.replace("_", " "), f"{value:,}") for name, value in plan.schedule.items()]
        memory = [
            (name.replace("_", " "), f"{size / MIB:,.1f}")
            for name, size in plan.memory.as_dict().items()
        ]
        for left, right in zip_longest(schedule, memory, fillvalue=("", "")):
            table.add_row(*left, *right)
        console.print(table)
        has = "" if plan.device_bytes is None else f"; it has {plan.device_bytes / MIB:,.0f} MiB"
        console.print(f"On {plan.device}{has}.", markup=False)
        for note in plan.notes:
            console.print(f"Note: {note}.", markup=False)


def _table(summary: Summary) -> Table:
    """Start, peak, end and promoted of every round, and a few points between."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("round", "step", "KL nats", "proxy"):
        table.add_column(heading, justify="right")
    if summary.has_gold:
        table.add_column("gold", justify="right")
    table.add_column("mark")
    everything = curves(summary)
    for position, curve in enumerate(everything):
        named = marks(summary, curve)
        shown = thinned(curve, set(named), max(2, ROWS // len(everything)))
        for point in shown:
            words = [START] if point is curve.start else []
            words += named.get(point.step, [])
            cells = [str(point.round), str(point.step), number(point.kl_nats)]
            cells.append(number(point.proxy_mean))
            if summary.has_gold:
                cells.append(_gold(point))
            last_of_round = point is curve.end and position < len(everything) - 1
            table.add_row(*cells, ", ".join(words), end_section=last_of_round)
    return table


def thinned(curve: Curve, steps: set[int], rows: int) -> list[Point]:
    """The start, the points at `steps`, and others evenly between until there are `rows`."""
    points = curve.points
    kept = {index for index, point in enumerate(points) if index == 0 or point.step in steps}
    while len(kept) < min(rows, len(points)):
        # The point farthest from all that are kept, and of two the earlier.
        left = (index for index in range(len(points)) if index not in kept)
        kept.add(max(left, key=lambda index: min(abs(index - other) for other in kept)))
    return [points[index] for index in sorted(kept)]


def _gold(point: Point) -> str:
    if point.gold_mean is None:
        return ""
    return f"{number(point.gold_mean, 3)}{_half_width(point.gold_ci)}"


def _half_width(ci: Bounds | None) -> str:
    """` ± 0.021`: half of the interval, which the report shows whole."""
    return "" if ci is None else f" ± {number((ci[1] - ci[0]) / 2, 3)}"
