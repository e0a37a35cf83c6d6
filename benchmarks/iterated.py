"""One round of many judgements against several of fewer, in the Almanac world, over several seeds.

    python benchmarks/iterated.py OUT.json [--seeds 4] [--judgements 4000] [--work FOLDER]

The published claim of online, iterative RLHF (Bai et al. 2022; Dong et al. 2024): judgements of the
newest policy's responses are worth more than as many of the first policy's. Every arm of a seed
begins at the same SFT policy and gets as many judgements in all by the same judges; `iterated`
spends them over four rounds, each asking about the newest policy, going on from it and learning
from all judgements so far, held near the SFT policy throughout. It takes more optimiser steps: what
was judged early is learned again in every round.

What is written is kept: a second call with the same OUT.json runs only the arms that are missing.
With --work the SFT policies are kept for the next call. Beside OUT.json a table is written, OUT.md.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from flaw_audits import make_once, start, work_folder
from kept import begin
from methods_table import cell

from assent.config.files import write_file
from assent.config.sizes import size_settings
from assent.config.write import dump_toml
from assent.rounds.loop import run_loop
from assent.types import SilentProgress

ARMS: dict[str, tuple[str, int]] = {
    "dpo one-shot": ("dpo", 1),
    "dpo iterated": ("dpo", 4),
}
"""The stage that improves the policy, and the rounds over which the judgements are spent."""
POINTS = 3


def run_arms(
    seed: int, arms: list[str], judgements: int, folder: Path
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The last point of each arm of a seed, and the point where each of its rounds ended."""
    if not arms:
        return
    base = folder / "base"
    make_once(base, lambda part: start(part, seed, quick=False))
    for arm in arms:
        method, rounds = ARMS[arm]
        root = folder / arm.replace(" ", "-")
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(base, root)
        given = {
            "seed": seed,
            "world": {"seed": seed, "annotator": "flawed"},
            "loop": {
                "method": method,
                "rounds": rounds,
                "judgements_per_round": judgements // rounds,
                "points_per_round": POINTS,
            },
        }
        write_file(root / "assent.toml", dump_toml(size_settings("tiny", given)))
        summary = run_loop(root, rounds=None, progress=SilentProgress())
        points = summary["trajectory"]
        yield (
            arm,
            {
                "judgements": [one["judgements"] for one in summary["rounds"]],
                "reward_accuracy": [one["reward_model"]["accuracy"] for one in summary["rounds"]],
                "start": points[0],
                "ends": [
                    [one for one in points if one["round"] == number][-1]
                    for number in range(1, rounds + 1)
                ],
                "seconds": summary["seconds"]["total"],
            },
        )
        shutil.rmtree(root)


def table(seeds: Mapping[str, Mapping[str, Any]]) -> str:
    """Where each arm ended, and what iterating adds on the same seed."""
    shown = (
        ("gold", "gold_mean", ".3f"), ("KL", "kl_nats", ".2f"),
        ("easy facts right", "accuracy_easy", ".2f"), ("hard facts right", "accuracy_hard", ".2f"),
        ("bluff", "bluff", ".2f"),
    )  # fmt: skip
    lines = [
        "| arm | " + " | ".join(name for name, _, _ in shown) + " | gold by seed |",
        "| " + " | ".join(["---"] * (len(shown) + 2)) + " |",
    ]
    for arm in ARMS:
        ends = [arms[arm]["ends"][-1] for arms in seeds.values() if arm in arms]
        cells = [cell([end[key] for end in ends], form) for _, key, form in shown]
        each = " ".join(f"{end['gold_mean']:.3f}" for end in ends)
        lines.append(f"| {arm} | " + " | ".join(cells) + f" | {each} |")
    one, several = ARMS
    both = [arms for arms in seeds.values() if one in arms and several in arms]
    gaps = [
        arms[several]["ends"][-1]["gold_mean"] - arms[one]["ends"][-1]["gold_mean"] for arms in both
    ]
    lines += ["", f"Gold of iterated less one-shot, paired by seed: {cell(gaps, '+.3f')}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--judgements", type=int, default=4000)
    parser.add_argument("--work", type=Path)
    given = parser.parse_args()
    result = begin(parser, given.out, judgements=given.judgements)
    for seed in range(given.first_seed, given.first_seed + given.seeds):
        done = result["seeds"].setdefault(str(seed), {})
        missing = [arm for arm in ARMS if arm not in done]
        with work_folder(given.work, seed) as folder:
            for arm, found in run_arms(seed, missing, given.judgements, folder):
                done[arm] = found
                write_file(given.out, json.dumps(result, indent=1) + "\n")
                end = found["ends"][-1]
                said = f"gold {end['gold_mean']:.3f}, KL {end['kl_nats']:.2f}"
                sys.stdout.write(f"seed {seed} {arm}: {said}\n")
                sys.stdout.flush()
    write_file(given.out.with_suffix(".md"), table(result["seeds"]))


if __name__ == "__main__":
    main()
