"""Three arms of over-optimisation in the Almanac world, over several seeds; every point is written.

    python benchmarks/over_optimisation.py OUT.json [--seeds 4] [--arms flawed,unbiased,scarce]

- flawed: judges with every flaw. Gold should rise, peak and fall: only better judges cure that.
- unbiased: judges without bias, 16,000 judgements. Gold should not fall.
- scarce: the same judges, 300 judgements. Gold may fall from error alone: more data cures that.
- optimum: the flawed judges again, a KL penalty of 0.2 and larger batches: how near PPO comes to
  the optimum of its reward. The optimum depends on that penalty: at a smaller one it is further.

The first three push hard, at a KL penalty of 0.05: at the demo's 0.15 PPO stops short of where gold
has fallen, which is what a penalty is for.

A seed draws the world, the weights and every sample; its arms share base model and SFT policy.
PPO runs for 150 updates, where the demo stops at 60: the demo's policy is still 0.8 nats from the
optimum of its reward, which hides some of what optimising that reward does.

What is written is kept: a second call with the same OUT.json runs only the arms that are missing.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
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

HARD: dict[str, Any] = {"kl": {"kind": "fixed", "coef": 0.05}}
ARMS: dict[str, dict[str, Any]] = {
    "flawed": {"annotator": "flawed", "judgements": 4000, "ppo": HARD},
    "unbiased": {"annotator": "unbiased", "judgements": 16_000, "ppo": HARD},
    "scarce": {"annotator": "unbiased", "judgements": 300, "ppo": HARD},
    "optimum": {
        "annotator": "flawed",
        "judgements": 4000,
        "ppo": {"rollouts_per_update": 512, "kl": {"kind": "fixed", "coef": 0.2}},
    },
}
UPDATES = 150


def run_arms(seed: int, arms: list[str], folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """One round of each arm of a seed; each arm and its summary, as they come."""
    if not arms:
        return
    base = folder / "base"
    Project.create(base, dump_toml(_settings(seed, "flawed", 1))).close()
    with open_workspace(base, SilentProgress()) as workspace:
        stages.fill_prompts(workspace)
        stages.sft(workspace, stages.pretrain(workspace))
    for arm in arms:
        root = folder / arm
        shutil.copytree(base, root)
        given = ARMS[arm]
        settings = _settings(seed, given["annotator"], given["judgements"], given.get("ppo", {}))
        write_file(root / "assent.toml", dump_toml(settings))
        summary = run_loop(root, rounds=None, progress=SilentProgress())
        kept = ("seed", "annotator", "rounds", "trajectory", "fall", "promoted", "last", "seconds")
        shutil.rmtree(root)
        yield arm, {key: summary[key] for key in kept}


def _settings(
    seed: int, annotator: str, judgements: int, ppo: Mapping[str, Any] = MappingProxyType({})
) -> ProjectSettings:
    return size_settings(
        "tiny",
        {
            "seed": seed,
            "world": {"seed": seed, "annotator": annotator},
            "loop": {"rounds": 1, "judgements_per_round": judgements},
            "ppo": {"updates": UPDATES, **ppo},
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
    if given.out.exists():
        result["seeds"] = json.loads(given.out.read_text(encoding="utf-8"))["seeds"]
    given.out.parent.mkdir(parents=True, exist_ok=True)
    for seed in range(given.first_seed, given.first_seed + given.seeds):
        done = result["seeds"].setdefault(str(seed), {})
        missing = [arm for arm in given.arms.split(",") if arm not in done]
        with tempfile.TemporaryDirectory() as folder:
            for arm, summary in run_arms(seed, missing, Path(folder)):
                done[arm] = summary
                write_file(given.out, json.dumps(result, indent=1) + "\n")
                _show(seed, arm, summary)


def _show(seed: int, arm: str, summary: dict[str, Any]) -> None:
    points = summary["trajectory"]
    low, high = summary["fall"]["ci"]
    lines = [f"seed {seed} {arm}: fall {summary['fall']['gold_fall']:.3f} [{low:.3f}, {high:.3f}]"]
    lines += [
        f"  {name} " + " ".join(f"{point[name]:.3f}" for point in points)
        for name in ("kl_to_optimum_nats", "kl_nats", "proxy_mean", "gold_mean")
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
