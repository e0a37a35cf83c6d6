"""How time and memory grow: with the model, the batch, the response and the judgements.

    python benchmarks/growth.py OUT.json OUT.md OUT.svg [--quick] [--only models|judgements]
                                [--least 1000] [--most 1000000] [--seed 0]

A step of SFT, of a reward model, a PPO update and generation at five sizes of model, five batches
and five lengths of response, one varied while the others stay (`DEFAULTS`); and what depends on
judgements, at 1,000, 3,000, 10,000 and so on to 1,000,000 of them. Processor seconds of one thread,
so that other work on the machine hardly counts: the median of three steps after one that warms up,
or of three projects (one project of 300,000 judgements or more). Each point is a process of its
own, and its memory is the peak above what the imports hold. A second call with the same OUT.json
measures only what is missing.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import growth_judgements
import growth_models
import growth_table
import kept
import processes
import torch

from assent.config.files import write_file

GRID = {
    "width": (96, 160, 256, 384, 608),  # 1.1, 2.5, 5.8, 12 and 29 million parameters
    "batch": (8, 16, 32, 64, 128),
    "length": (16, 32, 64, 128, 256),
}
DEFAULTS = {"width": 256, "batch": 16, "length": 32}
"""What a model, its batch and its responses are where another of the three is varied."""
QUICK_GRID = {"width": (32, 64), "batch": (2, 4), "length": (4, 8)}
QUICK_DEFAULTS = {"width": 32, "batch": 2, "length": 4}
REPEATS = 3
ONCE_ABOVE = 200_000
"""Judgements beyond which one project is made: it takes minutes."""


def main() -> None:
    """Measure what is missing and write what was found."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("out", "table", "plot"):
        asked.add_argument(name, type=Path)
    asked.add_argument("--quick", action="store_true", help="small sizes, one repeat; a trial")
    asked.add_argument("--only", choices=("models", "judgements"))
    asked.add_argument("--least", type=int, default=1_000, help="judgements")
    asked.add_argument("--most", type=int, default=1_000_000)
    asked.add_argument("--seed", type=int, default=0)
    given = asked.parse_args()
    torch.set_num_threads(1)
    repeats = 1 if given.quick else REPEATS
    grid, defaults = (QUICK_GRID, QUICK_DEFAULTS) if given.quick else (GRID, DEFAULTS)
    result = kept.begin(
        asked, given.out, repeats=repeats, defaults=defaults, prompt_tokens=growth_models.PROMPT
    )
    measured = result["seeds"].setdefault(str(given.seed), {"models": {}, "judgements": []})

    def keep() -> None:
        write_file(given.out, json.dumps(result, indent=2) + "\n")

    if given.only != "judgements":
        for job in growth_models.JOBS:
            done = measured["models"].setdefault(job, [])
            for point in points(grid, defaults):
                if any(all(one[name] == point[name] for name in point) for one in done):
                    continue
                found = processes.apart(
                    growth_models.measure, job=job, **point, repeats=repeats, seed=given.seed
                )
                done.append({**point, **found})
                _say(f"{job} {point}: {found['processor_seconds']} s, {found['memory_mb']:.0f} MB")
                keep()
    if given.only != "models":
        for count in counts(given.least, given.most):
            for _ in range(left(measured["judgements"], count, repeats)):
                found = processes.apart(growth_judgements.measure, count=count, seed=given.seed)
                measured["judgements"].append({"count": count, **found})
                _say(f"{count:,} judgements: {json.dumps(found['processor_seconds'])}")
                keep()
    growth_table.write(result, given.table, given.plot)


def points(grid: dict[str, tuple[int, ...]], defaults: dict[str, int]) -> list[dict[str, int]]:
    """One thing varied at a time; the default that all three share is there once."""
    found: list[dict[str, int]] = []
    for name, values in grid.items():
        for value in values:
            point = {**defaults, name: value}
            if point not in found:
                found.append(point)
    return found


def counts(least: int, most: int) -> list[int]:
    """Two a power of ten, evenly apart but for rounding: 1,000, 3,000, 10,000, 30,000."""
    found, power = [], 1
    while power <= most:
        found += [count for count in (power, 3 * power) if least <= count <= most]
        power *= 10
    return found


def left(done: list[dict[str, Any]], count: int, repeats: int) -> int:
    """How often a number of judgements is still to be measured."""
    wanted = 1 if count > ONCE_ABOVE else repeats
    return wanted - sum(one["count"] == count for one in done)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
