"""Whose values on real judgements: DICES-350, every one of 123 raters on each of 213 chats.

    python benchmarks/whose_values.py dices350_ratings.csv.gz OUT.json

The file names no groups, so raters are parted by how often they say "unsafe" on half of the items,
and everything is measured on the other half: are the strict and the lenient two publics?
"""

import argparse
import csv
import gzip
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from assent.audit.whose_values import panel_of
from assent.config.files import write_file
from assent.stats.agreement import raw_agreement

SAID = {"No": 0.0, "Yes": 1.0, "Unsure": 2.0}


def read(file: Path) -> tuple[NDArray[np.float64], list[str]]:
    """Ratings as (raters, items), and the raters' names."""
    with gzip.open(file, "rt", encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    raters = sorted({row["rater"] for row in rows})
    items = sorted({row["item"] for row in rows})
    table = np.full((len(raters), len(items)), np.nan)
    for row in rows:
        table[raters.index(row["rater"]), items.index(row["item"])] = SAID[row["unsafe"]]
    return table, raters


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ratings", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    table, raters = read(given.ratings)
    half = np.random.default_rng(0).permutation(table.shape[1]) % 2 == 0
    strict = (table[:, half] == 1).mean(axis=1)
    cuts = np.quantile(strict, [1 / 3, 2 / 3])
    groups = {
        name: {"strictness": ("lenient", "middling", "strict")[int(np.searchsorted(cuts, value))]}
        for name, value in zip(raters, strict, strict=True)
    }
    everything = panel_of(table, raters, {}, level=0.95)
    parted = panel_of(table[:, ~half], raters, groups, level=0.95)
    found = {
        "raters": len(raters),
        "items": table.shape[1],
        "raw_agreement": raw_agreement(table)._asdict(),
        "all": {one.name: [one.estimate, one.interval] for one in everything.figures},
        "by_strictness_on_the_other_half": {
            "figures": {one.name: [one.estimate, one.interval] for one in parted.figures},
            "groups": parted.tables["groups"],
        },
        "least_predicted": everything.tables["held_out_annotators"][:5],
        "best_predicted": everything.tables["held_out_annotators"][-5:],
    }
    text = json.dumps(found, indent=1)
    write_file(given.out, text + "\n")
    print(text)  # noqa: T201


if __name__ == "__main__":
    main()
