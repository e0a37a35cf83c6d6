"""Published samples of one 30B model before and after RLHF: length, diversity, repetition.

    python benchmarks/peer_outputs.py DATA OUT.json

DATA is the folder with `oasst_llama30b_sft.jsonl.gz`, `..._rlhf1_1k` and `..._rlhf1_8k` (Open
Assistant's sampling reports: 250 prompts, three ways of sampling, two samples each). Every figure
is paired by prompt with the SFT model's, its interval a bootstrap over prompts, Holm over all.
"""

import argparse
import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from assent.config.files import write_file
from assent.stats.diversity import (
    distinct_n,
    expectation_adjusted_distinct,
    overlap,
    repetition,
    words,
)
from assent.stats.intervals import bootstrap_mean
from assent.stats.paired import paired_difference
from assent.stats.verdicts import holm

SYSTEMS = {
    "sft": "oasst_llama30b_sft",
    "rlhf 1k steps": "oasst_llama30b_rlhf1_1k",
    "rlhf 8k steps": "oasst_llama30b_rlhf1_8k",
}
FIRST_WORDS = 100
"""Words to which texts are cut where length must not count."""

Texts = Sequence[Sequence[str]]
Measure = Callable[[Texts, int], float | None]


def _mean_length(texts: Texts, vocabulary: int) -> float:
    del vocabulary
    return float(np.mean([len(text) for text in texts]))


def _cut(texts: Texts) -> list[Sequence[str]]:
    return [text[:FIRST_WORDS] for text in texts]


MEASURES: Mapping[str, Measure] = {
    "words": _mean_length,
    "adjusted distinct words": lambda texts, v: (
        expectation_adjusted_distinct(texts, v) if any(texts) else None
    ),
    "distinct pairs of words, first 100": lambda texts, _: (
        distinct_n(_cut(texts), 2) if any(len(text) > 1 for text in texts) else None
    ),
    "overlap of two samples, first 100": lambda texts, _: (
        overlap(*_cut(texts)[:2]) if len(texts) > 1 else None
    ),
    "repeated runs of 4 words": lambda texts, _: float(
        np.mean([repetition(text) for text in texts])
    ),
}


def read(file: Path) -> dict[tuple[str, str], list[list[str]]]:
    """Samples as words, by way of sampling and prompt."""
    found: dict[tuple[str, str], list[list[str]]] = {}
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            key = (str(row["sampling"]), str(row["prompt"]))
            found.setdefault(key, []).extend(words(text) for text in row["outputs"])
    return found


def compare(data: Path) -> list[dict[str, object]]:
    """Every measure of every system and way of sampling, beside SFT."""
    systems = {name: read(data / f"{file}.jsonl.gz") for name, file in SYSTEMS.items()}
    vocabulary = len({w for one in systems.values() for t in one.values() for s in t for w in s})
    rows: list[dict[str, object]] = []
    p_values: list[float] = []
    for sampling in sorted({key[0] for key in systems["sft"]}):
        shared = sorted(
            prompt
            for way, prompt in systems["sft"]
            if way == sampling and all((way, prompt) in one for one in systems.values())
        )
        for measure, rule in MEASURES.items():
            values = {
                name: [rule(one[sampling, prompt], vocabulary) for prompt in shared]
                for name, one in systems.items()
            }
            known = [
                n for n in range(len(shared)) if all(v[n] is not None for v in values.values())
            ]
            if len(known) < 2:
                continue
            table = {name: np.array([v[n] for n in known], float) for name, v in values.items()}
            for name, found in table.items():
                low, high = bootstrap_mean(found)
                row: dict[str, object] = {
                    "sampling": sampling, "measure": measure, "system": name,
                    "mean": float(found.mean()), "interval": [low, high], "prompts": len(known),
                }  # fmt: skip
                if name != "sft":
                    gap = paired_difference(found, table["sft"])
                    row["difference"] = gap.difference
                    row["difference_interval"] = list(gap.interval)
                    p_values.append(_sign_flip(found - table["sft"]))
                rows.append(row)
    adjusted = iter(holm(p_values))
    for row in rows:
        if "difference" in row:
            row["p_holm"] = next(adjusted)
    return rows


def _sign_flip(gaps: np.ndarray) -> float:
    """Two-sided permutation p-value that a paired difference has mean zero."""
    rng = np.random.default_rng(0)
    signs = rng.choice([-1.0, 1.0], size=(10_000, len(gaps)))
    null = np.abs((signs * gaps).mean(axis=1))
    return float((1 + (null >= abs(gaps.mean())).sum()) / 10_001)


def main() -> None:
    """Compare and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    rows = compare(given.data)
    write_file(given.out, json.dumps({"rows": rows}, indent=1) + "\n")
    for row in rows:
        print({key: row[key] for key in row if key != "interval"})  # noqa: T201


if __name__ == "__main__":
    main()
