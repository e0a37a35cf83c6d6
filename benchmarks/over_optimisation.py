"""Three arms of over-optimisation in the Almanac world, over several seeds; every point is written.

    python benchmarks/over_optimisation.py OUT.json [--seeds 4] [--arms flawed,unbiased,scarce]

- flawed: judges with every flaw. Gold should rise, peak and fall: only better judges cure that.
- unbiased: judges without bias, 16,000 judgements. Gold should not fall.
- scarce: the same judges, 300 judgements. Gold may fall from error alone: more data cures that.

A seed draws the world, the weights and every sample; its arms share base model and SFT policy.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from assent.config.files import write_file
from assent.config.project import ProjectSettings
from assent.config.sizes import size_settings
from assent.config.write import dump_toml
from assent.rounds import stages
from assent.rounds.loop import run_loop
from assent.rounds.workspace import open_workspace
from assent.store import Project
from assent.types import SilentProgress

ARMS: dict[str, dict[str, Any]] = {
    "flawed": {"annotator": "flawed", "judgements": 4000},
    "unbiased": {"annotator": "unbiased", "judgements": 16_000},
    "scarce": {"annotator": "unbiased", "judgements": 300},
}


def run_arms(seed: int, arms: list[str], folder: Path) -> dict[str, dict[str, Any]]:
    """One round of each arm of a seed; the summaries by arm."""
    base = folder / "base"
    Project.create(base, dump_toml(_settings(seed, "flawed", 1))).close()
    with open_workspace(base, SilentProgress()) as workspace:
        stages.fill_prompts(workspace)
        stages.sft(workspace, stages.pretrain(workspace))
    found = {}
    for arm in arms:
        root = folder / arm
        shutil.copytree(base, root)
        given = ARMS[arm]
        settings = _settings(seed, given["annotator"], given["judgements"])
        write_file(root / "assent.toml", dump_toml(settings))
        summary = run_loop(root, rounds=None, progress=SilentProgress())
        kept = ("seed", "annotator", "rounds", "trajectory", "fall", "promoted", "last", "seconds")
        found[arm] = {key: summary[key] for key in kept}
        shutil.rmtree(root)
    return found


def _settings(seed: int, annotator: str, judgements: int) -> ProjectSettings:
    return size_settings(
        "tiny",
        {
            "seed": seed,
            "world": {"seed": seed, "annotator": annotator},
            "loop": {"rounds": 1, "judgements_per_round": judgements},
        },
    )


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--arms", default=",".join(ARMS))
    given = parser.parse_args()
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    result: dict[str, Any] = {
        "machine": {"cores": os.cpu_count(), "threads": torch.get_num_threads()},
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "commit": commit.stdout.strip(),
        "seeds": {},
    }
    for seed in range(given.first_seed, given.first_seed + given.seeds):
        with tempfile.TemporaryDirectory() as folder:
            arms = run_arms(seed, given.arms.split(","), Path(folder))
        result["seeds"][str(seed)] = arms
        given.out.parent.mkdir(parents=True, exist_ok=True)
        write_file(given.out, json.dumps(result, indent=1) + "\n")
        for arm, summary in arms.items():
            points = summary["trajectory"]
            gold = " ".join(f"{p['gold_mean']:.3f}" for p in points)
            kl = " ".join(f"{p['kl_nats']:.2f}" for p in points)
            optimum = (
                f"{points[0]['kl_to_optimum_nats']:.2f} -> {points[-1]['kl_to_optimum_nats']:.3f}"
            )
            sys.stdout.write(
                f"seed {seed} {arm}: fall {summary['fall']['gold_fall']:.3f} "
                f"{summary['fall']['ci']}"
                f"\n  KL to the optimum {optimum}\n  gold {gold}\n  KL {kl}\n"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main()
