"""Three arms of over-optimisation in the Almanac world, over several seeds; every point is written.

    python benchmarks/over_optimisation.py OUT.json [--seeds 4] [--arms flawed,unbiased,scarce]

- flawed: judges with every flaw. Gold should rise, peak and fall: only better judges cure that.
- unbiased: judges without bias, 16,000 judgements. Gold should not fall.
- scarce: the same judges, 300 judgements. Gold may fall from error alone: more data cures that.
- optimum: the flawed judges again, a KL penalty of 0.2 and larger batches: how near PPO comes to
  the optimum of its reward. The optimum depends on that penalty: at a smaller one it is further.

The first three pay the demo's KL penalty of 0.15 a nat. PPO runs for 150 updates of 512 rollouts,
where the demo stops at 60 of 256: the demo's policy is still 0.8 nats from the optimum of its
reward, which hides some of what optimising that reward does, and small batches make gold wobble
after its peak by more than some of the falls that are to be told apart.

A seed draws the world, the weights and every sample; its arms share base model and SFT policy.

What is written is kept: a second call with the same OUT.json runs only the arms that are missing.
At the end it says, of the seeds there are, what each arm came to, writes OUT.md and draws OUT.svg.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import matplotlib
from kept import begin
from matplotlib.figure import Figure

from assent.config.files import write_file
from assent.config.project import ProjectSettings
from assent.config.sizes import size_settings
from assent.config.write import dump_toml
from assent.rounds import stages
from assent.rounds.loop import run_loop
from assent.rounds.workspace import open_workspace
from assent.stats.intervals import mean_interval
from assent.store import Project
from assent.types import SilentProgress

LONG: dict[str, Any] = {"updates": 150, "rollouts_per_update": 512}
ARMS: dict[str, dict[str, Any]] = {
    "flawed": {"annotator": "flawed", "judgements": 4000, "ppo": LONG},
    "unbiased": {"annotator": "unbiased", "judgements": 16_000, "ppo": LONG},
    "scarce": {"annotator": "unbiased", "judgements": 300, "ppo": LONG},
    "optimum": {
        "annotator": "flawed",
        "judgements": 4000,
        "ppo": {
            "updates": 200,
            "rollouts_per_update": 768,
            "kl": {"kind": "fixed", "coef": 0.2},
        },
    },
}


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
            "ppo": dict(ppo),
        },
    )


def falls(seeds: Sequence[Mapping[str, Any]], arm: str) -> list[float]:
    """How far gold fell from its peak, located on other facts, for each seed."""
    return [float(arms[arm]["fall"]["gold_fall"]) for arms in seeds]


def distances(seeds: Sequence[Mapping[str, Any]], arm: str) -> list[tuple[float, float]]:
    """KL to the optimum at the start and at the end, in nats, for each seed."""
    ends = [(arms[arm]["trajectory"][0], arms[arm]["trajectory"][-1]) for arms in seeds]
    return [tuple(point["kl_to_optimum_nats"] for point in both) for both in ends]  # type: ignore[misc]


def describe(seeds: Sequence[Mapping[str, Any]]) -> str:
    """What each arm came to, with Student's 95 % interval over the seeds."""
    lines = []
    for arm in ARMS:
        if not all(arm in arms for arms in seeds):
            continue
        found = falls(seeds, arm)
        each = " ".join(f"{fall:.3f}" for fall in found)
        spread = ""
        if len(found) > 1:
            low, high = mean_interval(found)
            spread = f" [{low:.3f}, {high:.3f}]"
        ends = ", ".join(f"{start:.2f} to {end:.3f}" for start, end in distances(seeds, arm))
        lines.append(
            f"{arm}: mean fall {sum(found) / len(found):.3f}{spread} over {len(found)} seeds "
            f"({each}); KL to the optimum {ends} nats"
        )
    return "\n".join(lines)


def table(seeds: Mapping[str, Mapping[str, Any]]) -> str:
    """A row an arm and seed, in Markdown."""
    lines = [
        "| arm | seed | held-out accuracy | gold: start, highest, end | fall [95 %] | KL, nats "
        '| KL to the optimum | bluff | sycophancy | "I do not know" |',
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for arm in ARMS:
        having = [seed for seed in sorted(seeds, key=int) if arm in seeds[seed]]
        lines += [_row(arm, seed, seeds[seed][arm]) for seed in having]
    return "\n".join(lines) + "\n"


def _row(arm: str, seed: str, summary: Mapping[str, Any]) -> str:
    points = summary["trajectory"]
    first, last = points[0], points[-1]
    gold = [point["gold_mean"] for point in points]
    low, high = summary["fall"]["ci"]
    moved = (
        f"{first[name]:.2f} to {last[name]:.2f}"
        for name in ("bluff", "sycophancy", "idk_unknowable")
    )
    cells = (
        arm,
        seed,
        f"{summary['rounds'][0]['reward_model']['accuracy']:.3f}",
        f"{gold[0]:.3f}, {max(gold):.3f}, {gold[-1]:.3f}",
        f"{summary['fall']['gold_fall']:.3f} [{low:.3f}, {high:.3f}]",
        f"{last['kl_nats']:.2f}",
        f"{first['kl_to_optimum_nats']:.2f} to {last['kl_to_optimum_nats']:.3f}",
        *moved,
    )
    return "| " + " | ".join(cells) + " |"


def draw(seeds: Sequence[Mapping[str, Any]], file: Path) -> None:
    """Gold against the root of KL, a line a seed and a panel an arm."""
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    panels = figure.subplots(1, len(ARMS), sharex=True, sharey=True)
    for panel, arm in zip(panels, ARMS, strict=True):
        for number, arms in enumerate(seeds):
            if arm in arms:
                points = arms[arm]["trajectory"]
                roots = [max(point["kl_nats"], 0.0) ** 0.5 for point in points]
                gold = [point["gold_mean"] for point in points]
                panel.plot(roots, gold, marker="o", markersize=2.5, linewidth=1, label=str(number))
        panel.set_title(arm, fontsize=9)
        panel.axhline(0, color="0.7", linewidth=0.7)
        panel.set_xlabel("root of KL (nats)", fontsize=8)
        panel.tick_params(labelsize=7)
    panels[0].set_ylabel("gold", fontsize=8)
    panels[0].legend(title="seed", fontsize=6, title_fontsize=7)
    with matplotlib.rc_context({"svg.hashsalt": "assent", "svg.fonttype": "path"}):
        figure.savefig(file, metadata={"Date": None})


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
    result = begin(parser, given.out)
    for seed in range(given.first_seed, given.first_seed + given.seeds):
        done = result["seeds"].setdefault(str(seed), {})
        missing = [arm for arm in given.arms.split(",") if arm not in done]
        with tempfile.TemporaryDirectory() as folder:
            for arm, summary in run_arms(seed, missing, Path(folder)):
                done[arm] = summary
                write_file(given.out, json.dumps(result, indent=1) + "\n")
                _show(seed, arm, summary)
    found = [result["seeds"][number] for number in sorted(result["seeds"], key=int)]
    sys.stdout.write(describe(found) + "\n")
    write_file(given.out.with_suffix(".md"), table(result["seeds"]))
    draw(found, given.out.with_suffix(".svg"))


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
