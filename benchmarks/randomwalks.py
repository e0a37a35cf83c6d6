"""Methods side by side in the world of walks (trlX's randomwalks), over several seeds.

    python benchmarks/randomwalks.py OUT.json [--seeds 4] [--methods ppo,raft,...]

Each seed clones the 1,000 random walks into a small model made from nothing; then every method
starts from that clone. Rewards are the optimality of a walk; DPO learns from pairs of the clone's
own walks, the better one chosen, and never sees a reward. What is reported is the expected
optimality over the 20 starts, exact, and so has no sampling error: only seeds vary.

What is written is kept: a second call with the same OUT.json runs only what is missing.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from assent.audit.questions import Samples
from assent.audit.respondents import HuggingFaceRespondent
from assent.audit.walks import measure_walks
from assent.config.best_of import BestOfNSettings, RaftSettings
from assent.config.files import write_file
from assent.config.optimiser import OptimiserSettings
from assent.config.policy_gradient import GrpoSettings, PolicyGradientSettings
from assent.config.ppo import FixedKl, PpoSettings, SamplingSettings
from assent.config.preference import DpoLoss, DpoSettings
from assent.config.pretraining import ModelShape, PretrainSettings
from assent.models.loading import load_causal_lm
from assent.stats.intervals import mean_interval
from assent.training.best_of import train_best_of
from assent.training.policy_gradient import train_policy_gradient
from assent.training.ppo import train_ppo
from assent.training.preference import train_preference
from assent.training.pretrain import train_base
from assent.training.run_folder import RunFolder
from assent.types import PreferencePair
from assent.worlds.walks import WalksWorld, build_tokenizer

WORLD = WalksWorld()
TOKENIZER = build_tokenizer(WORLD.letters)
SAMPLING = SamplingSettings(max_new_tokens=WORLD.max_length)
CLONE = PretrainSettings(
    shape=ModelShape(
        hidden_size=64, intermediate_size=128, layers=2, heads=4, max_positions=16, initial_std=0.1
    ),
    # All walks in every step: in smaller batches, sorted by length, short walks count for more.
    steps=150,
    batch_size=WORLD.walk_count,
    optimiser=OptimiserSettings(lr=4e-3, warmup_steps=20),
)
PPO = PpoSettings(
    updates=60,
    rollouts_per_update=128,
    epochs=2,  # with four a seed now and then loses starts for good
    minibatches=1,
    kl=FixedKl(coef=0.01),
    sampling=SAMPLING,
    optimiser=OptimiserSettings(lr=1e-3, eps=1e-5),
)
RAFT = RaftSettings(
    iterations=10, prompts=100, n=8, batch_size=25, epochs=2, sampling=SAMPLING,
    optimiser=OptimiserSettings(lr=1e-3),
)  # fmt: skip
BEST_OF_N = BestOfNSettings(
    prompts=500, n=16, batch_size=50, epochs=4, sampling=SAMPLING,
    optimiser=OptimiserSettings(lr=1e-3),
)  # fmt: skip
RLOO = PolicyGradientSettings(
    updates=60, prompts_per_update=32, samples_per_prompt=4, kl=FixedKl(coef=0.01),
    sampling=SAMPLING, optimiser=OptimiserSettings(lr=2e-3, eps=1e-5),
)  # fmt: skip
GRPO = GrpoSettings(
    updates=60, prompts_per_update=16, samples_per_prompt=8, kl=FixedKl(coef=0.01),
    sampling=SAMPLING, optimiser=OptimiserSettings(lr=2e-3, eps=1e-5),
)  # fmt: skip
PAIRS_A_START = 200
DPO = DpoSettings(
    epochs=1, batch_size=64, sampling=SAMPLING, loss=DpoLoss(beta=0.5),
    optimiser=OptimiserSettings(lr=3e-4, warmup_steps=10),
)  # fmt: skip
DRAWN = {
    "ppo": PPO.updates * PPO.rollouts_per_update,
    "rloo": RLOO.updates * RLOO.rollouts_per_update,
    "grpo": GRPO.updates * GRPO.rollouts_per_update,
    "raft": RAFT.iterations * RAFT.prompts * RAFT.n,
    "best-of-n": BEST_OF_N.prompts * BEST_OF_N.n,
    "dpo": 2 * PAIRS_A_START * len(WORLD.prompts),
}
"""Walks that a method draws and has compared with the shortest."""


def clone(seed: int, run: RunFolder) -> PreTrainedModel:
    """A model of the random walks."""
    train_base(WORLD.walks, TOKENIZER, CLONE, run, seed=seed)
    return load_causal_lm(run.model)


def ppo(start: Path, run: RunFolder, seed: int) -> PreTrainedModel:
    """PPO on the optimality."""
    return train_ppo(
        load_causal_lm(start), load_causal_lm(start), TOKENIZER, WORLD.prompts, WORLD.reward, PPO,
        run, seed=seed,
    )  # fmt: skip


def raft(start: Path, run: RunFolder, seed: int) -> PreTrainedModel:
    """RAFT on the optimality."""
    return _best_of(start, run, seed, RAFT)


def best_of_n(start: Path, run: RunFolder, seed: int) -> PreTrainedModel:
    """Best-of-n fine-tuning, once."""
    return _best_of(start, run, seed, BEST_OF_N)


def _best_of(start: Path, run: RunFolder, seed: int, settings: BestOfNSettings) -> PreTrainedModel:
    return train_best_of(
        load_causal_lm(start), load_causal_lm(start), TOKENIZER, WORLD.prompts, WORLD.reward,
        settings, run, seed=seed,
    )  # fmt: skip


def rloo(start: Path, run: RunFolder, seed: int) -> PreTrainedModel:
    """RLOO on the optimality."""
    return _policy_gradient(start, run, seed, RLOO)


def grpo(start: Path, run: RunFolder, seed: int) -> PreTrainedModel:
    """GRPO on the optimality."""
    return _policy_gradient(start, run, seed, GRPO)


def _policy_gradient(
    start: Path, run: RunFolder, seed: int, settings: PolicyGradientSettings
) -> PreTrainedModel:
    return train_policy_gradient(
        load_causal_lm(start), load_causal_lm(start), TOKENIZER, WORLD.prompts, WORLD.reward,
        settings, run, seed=seed,
    )  # fmt: skip


def dpo(start: Path, run: RunFolder, seed: int) -> PreTrainedModel:
    """DPO on pairs of the clone's own walks; those of equal worth are left out."""
    walker = HuggingFaceRespondent(load_causal_lm(start), TOKENIZER, "clone")
    ask = Samples(
        count=2 * PAIRS_A_START, temperature=1.0, max_new_tokens=SAMPLING.max_new_tokens
    )  # fmt: skip
    pairs = []
    replies = walker.sample(WORLD.prompts, ask, seed)
    for prompt, reply in zip(WORLD.prompts, replies, strict=True):
        for one, other in zip(reply.texts[::2], reply.texts[1::2], strict=True):
            better, worse = sorted(
                (one, other), key=lambda walk: WORLD.optimality(prompt, walk), reverse=True
            )
            if WORLD.optimality(prompt, better) > WORLD.optimality(prompt, worse):
                pairs.append(PreferencePair(prompt=prompt, chosen=better, rejected=worse))
    return train_preference(
        load_causal_lm(start), load_causal_lm(start), TOKENIZER, pairs, DPO, run, seed=seed
    )


METHODS: dict[str, Callable[[Path, RunFolder, int], PreTrainedModel]] = {
    "ppo": ppo,
    "rloo": rloo,
    "grpo": grpo,
    "raft": raft,
    "best-of-n": best_of_n,
    "dpo": dpo,
}


def run_seed(
    seed: int, methods: list[str], folder: Path, done: dict[str, Any], save: Callable[[], None]
) -> None:
    """The clone of a seed and every method that is missing, each saved as it comes."""
    if "cloned" in done and all(method in done for method in methods):
        return
    began = time.perf_counter()
    start = RunFolder(folder / "clone")
    cloned = clone(seed, start)
    done["cloned"] = _figures(cloned, time.perf_counter() - began)
    save()
    for method in methods:
        if method in done:
            continue
        began = time.perf_counter()
        policy = METHODS[method](start.model, RunFolder(folder / method), seed)
        done[method] = {
            **_figures(policy, time.perf_counter() - began), "walks_drawn": DRAWN[method],
        }  # fmt: skip
        save()
        sys.stdout.write(f"seed {seed} {method}: {done[method]}\n")
        sys.stdout.flush()


def _figures(policy: PreTrainedModel, seconds: float) -> dict[str, Any]:
    found = measure_walks(policy, TOKENIZER, WORLD)
    return {
        "optimality": found.mean_optimality,
        "arrives": found.mean_arrives,
        "seconds": round(seconds, 1),
    }


def compare(seeds: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Each method's mean, every seed, and its gain on cloning with a t interval over seeds."""
    everywhere = set.intersection(*(set(one) for one in seeds.values()))
    names = [name for name in ("cloned", *METHODS) if name in everywhere]
    result: dict[str, Any] = {}
    for name in names:
        values = [one[name]["optimality"] for one in seeds.values()]
        gains = [one[name]["optimality"] - one["cloned"]["optimality"] for one in seeds.values()]
        result[name] = {"mean": sum(values) / len(values), "seeds": values}
        if name != "cloned" and len(gains) > 1:
            low, high = mean_interval(gains)
            result[name] |= {"gain": sum(gains) / len(gains), "gain_interval": [low, high]}
    return result


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--methods", default=",".join(METHODS))
    given = parser.parse_args()
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    walks = [WORLD.optimality(walk[0], walk[1:]) for walk in WORLD.walks]
    result: dict[str, Any] = {
        "machine": {"cores": os.cpu_count(), "threads": torch.get_num_threads()},
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "commit": commit.stdout.strip(),
        "walks": {"count": len(walks), "mean_optimality": sum(walks) / len(walks)},
        "seeds": {},
    }
    if given.out.exists():
        result["seeds"] = json.loads(given.out.read_text(encoding="utf-8"))["seeds"]
    given.out.parent.mkdir(parents=True, exist_ok=True)

    def save() -> None:
        result["methods"] = compare(result["seeds"])
        write_file(given.out, json.dumps(result, indent=1) + "\n")

    for seed in range(given.first_seed, given.first_seed + given.seeds):
        done = result["seeds"].setdefault(str(seed), {})
        with tempfile.TemporaryDirectory() as folder:
            run_seed(seed, given.methods.split(","), Path(folder), done, save)
    save()
    sys.stdout.write(json.dumps(result["methods"], indent=1) + "\n")


if __name__ == "__main__":
    main()
