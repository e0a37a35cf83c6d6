"""The table and the plot of what benchmarks/methods.py measured; nothing is run again.

python benchmarks/methods_table.py OUT.json OUT.md OUT.svg
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from pretraining_mix import at_kl

from assent.config.files import write_file
from assent.stats.intervals import mean_interval

KLS = (0.5, 1.0, 2.0, 4.0)
"""Nats at which gold is compared, where a method got so far."""
COLOURS = (
    "#1b6ca8", "#5fa8d3", "#c0392b", "#e59866", "#1e8449", "#82c182", "#7d3c98", "#bb8fce",
    "#b7950b", "#5d6d7e", "#d35494",
)  # fmt: skip
Seed = dict[str, Any]
Value = Callable[[Seed, dict[str, Any]], float | None]


def frontier(references: dict[str, Any], kl: float) -> float:
    """The most mean proxy at a mean KL: that of the exact tilt, on the line between its points.

    The tilt maximises E[r] at a given KL and its proxy is concave in KL, so that the line is a
    little below it.
    """
    points = sorted(references["tilt"], key=lambda one: float(one["kl_nats"]))
    start = min(references["best_of_n"], key=lambda one: int(one["n"]))  # best of one: no KL
    kls = [0.0, *(one["kl_nats"] for one in points)]
    return float(np.interp(kl, kls, [start["proxy"], *(one["proxy"] for one in points)]))


def gold_at(points: Sequence[dict[str, Any]], kl: float) -> float | None:
    """Gold where training first passed a KL; None if it never did."""
    if max(float(one["kl_nats"]) for one in points) < kl:
        return None
    return at_kl(list(points), kl, "gold_mean")


def _end(name: str) -> Value:
    return lambda _, arm: arm["points"][-1][name]


def _fell(_: Seed, arm: dict[str, Any]) -> float:
    golds = [float(one["gold_mean"]) for one in arm["points"]]
    return max(golds) - golds[-1]


def _below(seed: Seed, arm: dict[str, Any]) -> float:
    end = arm["points"][-1]
    return frontier(seed["references"], end["kl_nats"]) - float(end["proxy_mean"])


def _text(seed: Seed, arm: dict[str, Any]) -> float:
    return float(arm["text_nats"]) - float(seed["shared"]["text_nats"])


def _gold_at(kl: float) -> Value:
    return lambda _, arm: gold_at(arm["points"], kl)


ENDS: dict[str, tuple[Value, str]] = {
    "gold": (_end("gold_mean"), ".3f"),
    "gold lost since its peak": (_fell, ".3f"),
    "proxy": (_end("proxy_mean"), ".2f"),
    "KL": (_end("kl_nats"), ".2f"),
    "proxy below the tilt": (_below, ".2f"),
    "KL to its optimum": (_end("kl_to_optimum_nats"), ".2f"),
    "text nats a token": (_text, "+.3f"),
    "samples": (lambda _, arm: arm["samples"], ",.0f"),
    "seconds": (lambda _, arm: arm["seconds"], ".0f"),
}


def arms_of(result: dict[str, Any]) -> list[str]:
    """The arms that any seed has, in their order."""
    return list(dict.fromkeys(name for seed in result["seeds"].values() for name in seed["arms"]))


def values(result: dict[str, Any], name: str, value: Value) -> list[float | None]:
    """A figure of an arm, by seed; None where it is not defined, not reached or not run."""
    seeds = result["seeds"].values()
    return [value(seed, seed["arms"][name]) for seed in seeds if name in seed["arms"]]


def cell(found: Sequence[float | None], form: str) -> str:
    """The mean, and Student's 95 % interval over seeds where all of two or more have it."""
    if not found or any(one is None for one in found):
        return "-"
    numbers = [float(one) for one in found if one is not None]
    mean = format(sum(numbers) / len(numbers), form)
    if len(numbers) < 2 or len(set(numbers)) == 1:
        return mean
    interval = mean_interval(numbers)
    return f"{mean} [{interval.low:{form}}, {interval.high:{form}}]"


def table(result: dict[str, Any]) -> str:
    """Means over seeds, every seed's end, gold at equal KL, and which published shapes appear."""
    names, terms = arms_of(result), result["terms"]
    lines = [f"Seeds {', '.join(result['seeds'])}; {terms['annotator']} judges."]
    if terms["quick"]:
        lines += ["", "**A quick run of a few updates: these figures say nothing of the methods.**"]
    lines += ["", *_grid("method", ["learns from", *ENDS], _ends(result, names)), ""]
    lines += ["Gold at equal KL from the reference:", ""]
    lines += _grid("", [f"{kl:g} nats" for kl in KLS], _equal(result, names))
    lines += ["", "Every seed at its end, gold / proxy / KL:", ""]
    lines += _grid("method", [f"seed {seed}" for seed in result["seeds"]], _each(result, names))
    lines += ["", "Published shapes:", "", *(f"- {one}" for one in shapes(result))]
    for number, seed in result["seeds"].items():
        lines += [
            f"- seed {number}, {name} stopped: {why}"
            for name, why in seed.get("refused", {}).items()
        ]
    return "\n".join(lines) + "\n"


def _grid(corner: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [[corner, *heads], ["---"] * (len(heads) + 1), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _ends(result: dict[str, Any], names: Sequence[str]) -> list[list[str]]:
    rows = []
    for name in names:
        learns = next(s["arms"][name] for s in result["seeds"].values() if name in s["arms"])
        cells = [cell(values(result, name, value), form) for value, form in ENDS.values()]
        rows.append([name, learns["learns_from"], *cells])
    for title, point in (("the SFT policy", _start), ("optimum at PPO's price (exact)", _optimum)):
        found = [point(seed) for seed in result["seeds"].values() if "references" in seed]
        shown = {
            "gold": cell([one["gold"] for one in found], ".3f"),
            "proxy": cell([one["proxy"] for one in found], ".2f"),
            "KL": cell([one["kl_nats"] for one in found], ".2f"),
        }
        rows.append([title, "", *(shown.get(key, "") for key in ENDS)])
    return rows


def _start(seed: Seed) -> dict[str, float]:
    """The reference itself: the best of one draw."""
    points: list[dict[str, float]] = seed["references"]["best_of_n"]
    return min(points, key=lambda one: one["n"])


def _optimum(seed: Seed) -> dict[str, float]:
    found: dict[str, float] = seed["references"]["optimum"]
    return found


def _equal(result: dict[str, Any], names: Sequence[str]) -> list[list[str]]:
    rows = [
        [name, *(cell(values(result, name, _gold_at(kl)), ".3f") for kl in KLS)] for name in names
    ]
    for key, title in (("tilt", "exact tilt"), ("best_of_n", "exact best of n")):
        cells = [
            cell([_along(seed["references"][key], kl) for seed in _measured(result)], ".3f")
            for kl in KLS
        ]
        rows.append([title, *cells])
    return rows


def _measured(result: dict[str, Any]) -> list[Seed]:
    return [seed for seed in result["seeds"].values() if "references" in seed]


def _along(points: Sequence[dict[str, Any]], kl: float) -> float | None:
    ordered = sorted(points, key=lambda one: float(one["kl_nats"]))
    kls = [float(one["kl_nats"]) for one in ordered]
    if not kls[0] <= kl <= kls[-1]:
        return None
    return float(np.interp(kl, kls, [float(one["gold"]) for one in ordered]))


def _each(result: dict[str, Any], names: Sequence[str]) -> list[list[str]]:
    def ended(seed: Seed, name: str) -> str:
        if name not in seed["arms"]:
            return "-"
        end = seed["arms"][name]["points"][-1]
        return f"{end['gold_mean']:.3f} / {end['proxy_mean']:.2f} / {end['kl_nats']:.2f}"

    return [[name, *(ended(seed, name) for seed in result["seeds"].values())] for name in names]


def shapes(result: dict[str, Any]) -> list[str]:
    """What is published of such comparisons, and what was seen here."""
    seen = []
    best = [one for seed in _measured(result) for one in seed["references"]["best_of_n"]]
    if best:
        kept = sum(one["kl_nats"] <= one["kl_bound_nats"] + 1e-9 for one in best)
        widest = max(best, key=lambda one: one["kl_bound_nats"] - one["kl_nats"])
        seen.append(
            f"KL of best of n is at most log n - (n - 1) / n: {kept} of {len(best)} cases, "
            f"most below it at n = {widest['n']} ({widest['kl_nats']:.2f} of "
            f"{widest['kl_bound_nats']:.2f} nats)"
        )
    seen += _paired(
        result, "ppo", "ppo-ptx", _text, "+.3f",
        "published: PPO loses more on held-out text than PPO-ptx; here, each at its end, by",
        "nats a token",
    )  # fmt: skip
    seen += _paired(
        result, "raft", "best-of-n", _end("proxy_mean"), "+.2f",
        "published: iterated beats one-shot; here the proxy of RAFT less that of best-of-n is",
        "(it draws another number of samples: see the table)",
    )  # fmt: skip
    for name in ("ppo", "rloo", "grpo"):
        fell = [one for one in values(result, name, _fell) if one is not None]
        if fell:
            each = ", ".join(f"{one:.3f}" for one in fell)
            seen.append(f"published: gold falls after a peak; here {name} by {each} (by seed)")
    return seen


def _paired(
    result: dict[str, Any], one: str, other: str, value: Value, form: str, before: str, after: str
) -> list[str]:  # fmt: skip
    """A difference between two arms of the same seed, over the seeds that have both."""
    both = [seed for seed in _measured(result) if {one, other} <= set(seed["arms"])]
    found = [(value(seed, seed["arms"][one]), value(seed, seed["arms"][other])) for seed in both]
    gaps = [a - b for a, b in found if a is not None and b is not None]
    return [f"{before} {cell(gaps, form)} {after}"] if gaps else []


def show(seed: int, name: str, arm: dict[str, Any]) -> None:
    """One line of an arm that has just ended."""
    end = arm["points"][-1]
    sys.stdout.write(
        f"seed {seed} {name}: gold {end['gold_mean']:.3f}, proxy {end['proxy_mean']:.2f}, "
        f"KL {end['kl_nats']:.2f}, text {arm['text_nats']:.3f}, {arm['samples']} samples, "
        f"{arm['seconds']:.0f} s\n"
    )
    sys.stdout.flush()


def draw(result: dict[str, Any], file: Path) -> None:
    """Proxy and gold along KL: a line a seed and arm, a mark at its end."""
    mpl.rcParams.update({"svg.hashsalt": "assent", "font.size": 9})
    figure = Figure(figsize=(11.0, 4.4), layout="constrained")
    panes = figure.subplots(1, 2)
    names = arms_of(result)
    furthest = max(
        (p["kl_nats"] for seed in _measured(result) for arm in seed["arms"].values()
         for p in arm["points"]), default=1.0,
    )  # fmt: skip
    for axes, key, title in zip(
        panes, ("proxy", "gold"),
        ("Learned reward (proxy)", "What the answers are worth (gold)"), strict=True,
    ):  # fmt: skip
        for seed in _measured(result):
            for kind, dashes in (("tilt", (None, None)), ("best_of_n", (4, 2))):
                points = sorted(seed["references"][kind], key=lambda one: float(one["kl_nats"]))
                axes.plot(
                    [one["kl_nats"] for one in points], [one[key] for one in points],
                    color="black", lw=1, dashes=dashes, alpha=0.6,
                )  # fmt: skip
            for name, arm in seed["arms"].items():
                line = [(one["kl_nats"], one[f"{key}_mean"]) for one in arm["points"]]
                colour = COLOURS[names.index(name) % len(COLOURS)]
                axes.plot(*zip(*line, strict=True), color=colour, lw=1, alpha=0.8)
                axes.plot(*line[-1], color=colour, marker="o", ms=4)
        axes.set(title=title, xlabel="KL from the reference, nats a response")
        axes.set_xlim(0, 1.05 * furthest)
        axes.grid(lw=0.4, alpha=0.6)
    for name, colour in zip(names, COLOURS, strict=False):
        panes[1].plot([], [], color=colour, marker="o", ms=4, label=name)
    panes[1].plot([], [], color="black", lw=1, label="exact tilt")
    panes[1].plot([], [], color="black", lw=1, dashes=(4, 2), label="exact best of n")
    figure.legend(loc="outside right center", fontsize=8, frameon=False)
    if result["terms"]["quick"]:
        figure.suptitle("A quick run of a few updates")
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None, dpi=150)


def main() -> None:
    """Tabulate and draw a file again."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("measured", type=Path)
    parser.add_argument("table", type=Path)
    parser.add_argument("plot", type=Path)
    given = parser.parse_args()
    result = json.loads(given.measured.read_text(encoding="utf-8"))
    write_file(given.table, table(result))
    draw(result, given.plot)


if __name__ == "__main__":
    main()
