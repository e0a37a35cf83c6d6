"""Three ways to the posterior in a finished Almanac project, beside where PPO went; and their plot.

    python benchmarks/tilting.py DEMO OUT.json OUT.svg

From the reference and the reward model of round 1 of DEMO (a project of `assent demo`, read only),
for each test prompt over its 270 answers and the one outcome of everything else:

- the tilt, exact, at many prices of KL;
- best-of-n, exact, with its KL and the bound on it;
- importance sampling of the tilt from 16, 64 and 256 samples: what it estimates, what it reaches,
  and how many samples count.

All are means over the prompts. PPO's points are those of DEMO's summary.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
from matplotlib.figure import Figure
from torch import Tensor

from assent.audit.almanac import AlmanacMeasure, measured_prompts, off_grammar
from assent.config.files import write_file
from assent.objectives.kl import categorical_kl
from assent.objectives.seeds import generator
from assent.objectives.tilting import best_of_n, best_of_n_kl, tilt, tilt_samples
from assent.rounds.material import reference_samples
from assent.rounds.stages import learned_reward
from assent.rounds.workspace import Workspace, open_workspace
from assent.types import SilentProgress
from assent.worlds.almanac.grammar import OFF_GRAMMAR_GOLD

BETAS = tuple(0.02 * 1.35**step for step in range(22))
SIZES = tuple(2**power for power in range(13))
DRAWS = (16, 64, 256)
REPEATS = 20


def outcomes(workspace: Workspace) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probability under the reference, reward and gold: (prompts, 271), the last the rest."""
    reference, rewarder = workspace.version_of("sft"), workspace.version_of("round-1-reward")
    assert reference is not None, "the project is a finished one"
    assert rewarder is not None, "the project is a finished one"
    world = workspace.require_world()
    test, train = measured_prompts(world)
    measure = AlmanacMeasure(
        world, workspace.tokenizer(reference), workspace.model(reference), test=test,
        train=train[:1], temperature=workspace.settings.sampling.temperature,
    )  # fmt: skip
    reward = learned_reward(workspace, rewarder)
    samples = reference_samples(workspace, reference)
    off = off_grammar(world, samples.prompts, samples.responses)
    scored = reward([samples.prompts[n] for n in off], [samples.responses[n] for n in off])
    found = measure.rewards(reward, scored)
    count = len(test)
    return (
        measure.reference,
        torch.cat([found.test.double(), found.off.mean().expand(count, 1)], dim=1),
        torch.cat([measure.gold.double(), torch.full((count, 1), float(OFF_GRAMMAR_GOLD))], dim=1),
    )


def exact(logprobs: Tensor, reference: Tensor, reward: Tensor, gold: Tensor) -> dict[str, float]:
    """KL, reward and gold of a distribution, means over prompts."""
    chances = logprobs.exp()
    return {
        "kl_nats": float(categorical_kl(logprobs, reference).mean()),
        "proxy": float((chances * reward).sum(1).mean()),
        "gold": float((chances * gold).sum(1).mean()),
    }


def sampled(reference: Tensor, reward: Tensor, gold: Tensor, draws: int) -> list[dict[str, float]]:
    """The tilt from samples of the reference, at each price; means over prompts and repeats."""
    chance = generator("tilting", draws)
    many = reference.exp().repeat(REPEATS, 1)
    drawn = torch.multinomial(many, draws, replacement=True, generator=chance)
    rewards = reward.repeat(REPEATS, 1).gather(1, drawn)
    golds = gold.repeat(REPEATS, 1).gather(1, drawn)
    found = []
    for beta in BETAS:
        at = tilt_samples(rewards, beta)
        weights = at.log_weights.exp()
        proxy = (weights * rewards).sum(1)
        found.append(
            {
                "beta": beta,
                "kl_nats": float((proxy / beta - at.log_partition).mean()),
                "proxy": float(proxy.mean()),
                "gold": float((weights * golds).sum(1).mean()),
                "effective_samples": float(at.effective.mean()),
            }
        )
    return found


def draw(result: dict[str, Any], file: Path) -> None:
    """Reward and gold along KL."""
    mpl.rcParams.update({"svg.hashsalt": "assent", "font.size": 9})
    figure = Figure(figsize=(9.0, 3.8), layout="constrained")
    for axes, key, title in zip(
        figure.subplots(1, 2), ("proxy", "gold"),
        ("Learned reward (proxy)", "What the answers are worth (gold)"), strict=True,
    ):  # fmt: skip
        for name, style in (
            ("tilt", {"color": "#1b6ca8", "lw": 2}),
            ("best_of_n", {"color": "#c0392b", "marker": "o", "ms": 4, "lw": 1}),
            ("ppo", {"color": "#555555", "marker": "x", "ms": 5, "lw": 0.7}),
        ):
            points = sorted(result[name], key=lambda one: one["kl_nats"])
            axes.plot(
                [one["kl_nats"] for one in points], [one[key] for one in points],
                label={"tilt": "posterior (exact tilt)", "best_of_n": "best of n (exact)",
                       "ppo": "PPO, round 1"}[name], **style,
            )  # fmt: skip
        for draws, dashes in zip(DRAWS, ((1, 2), (3, 2), (6, 2)), strict=True):
            points = result["importance"][str(draws)]
            axes.plot(
                [one["kl_nats"] for one in points], [one[key] for one in points],
                color="#1b6ca8", lw=1, dashes=dashes, label=f"tilt of {draws} samples",
            )  # fmt: skip
        axes.set(title=title, xlabel="KL from the reference, nats a response", xlim=(0, 6))
        axes.grid(lw=0.4, alpha=0.6)
    axes.legend(fontsize=8, frameon=False)
    figure.savefig(file, metadata={"Date": None}, facecolor="white")


def main() -> None:
    """Measure, write and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("demo", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("plot", type=Path)
    given = parser.parse_args()
    with open_workspace(given.demo, SilentProgress(), alone=False) as workspace:
        reference, reward, gold = outcomes(workspace)
    summary = json.loads((given.demo / "summary.json").read_text(encoding="utf-8"))
    result: dict[str, Any] = {
        "prompts": len(reference),
        "tilt": [
            {"beta": beta, **exact(tilt(reference, reward, beta), reference, reward, gold)}
            for beta in BETAS
        ],
        "best_of_n": [
            {
                "n": n,
                "kl_bound_nats": best_of_n_kl(n),
                **exact(best_of_n(reference, reward, n), reference, reward, gold),
            }
            for n in SIZES
        ],
        "importance": {str(draws): sampled(reference, reward, gold, draws) for draws in DRAWS},
        "ppo": [
            {
                "kl_nats": point["kl_nats"],
                "proxy": point["proxy_mean"],
                "gold": point["gold_mean"],
            }
            for point in summary["trajectory"]
            if point["round"] == 1
        ],
    }
    write_file(given.out, json.dumps(result, indent=1) + "\n")
    draw(result, given.plot)


if __name__ == "__main__":
    main()
