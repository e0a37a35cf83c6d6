"""A summary such as the loop writes, with smooth made-up curves: a hump of gold in each round."""

import json
import math
from pathlib import Path
from typing import Any


def trajectory(rounds: int = 2, points: int = 13) -> list[dict[str, Any]]:
    """Points whose KL, proxy and behaviours only grow, and whose gold peaks early and falls."""
    found = []
    for number in range(1, rounds + 1):
        for index in range(points):
            done = index / (points - 1)
            kl = 0.004 + 4.2 * done**1.6
            gold = -0.12 + 0.42 * math.sqrt(kl) * math.exp(-0.75 * kl) + 0.02 * number
            proxy = 1.55 * (1 - math.exp(-2.4 * done)) / (1 - math.exp(-2.4))
            found.append(
                {
                    "round": number,
                    "step": 12 * index,
                    "kl_nats": kl,
                    "proxy_mean": proxy,
                    "proxy_ci": [proxy - 0.06, proxy + 0.06],
                    "gold_mean": gold,
                    "gold_ci": [gold - 0.035, gold + 0.03],
                    "accuracy_easy": 0.55 + 0.4 * done,
                    "accuracy_hard": 0.5 - 0.1 * done,
                    "idk_unknowable": 0.45 * (1 - done) ** 2,
                    "bluff": 0.04 + 0.58 * done,
                    "sycophancy": 0.2 + 0.45 * done,
                    "length": 9.5 + 6 * done,
                    "entropy_nats": 4.6 - 2.1 * done,
                    "grammar_mass": 0.985 + 0.012 * done,
                    "kl_to_optimum_nats": 3.9 * math.exp(-3.2 * done),
                    "path": f"runs/round-{number}/ppo/step-{12 * index:05}",
                }
            )
    return found


def a_summary(rounds: int = 2) -> dict[str, Any]:
    """The whole file; the peak of the last round is its point 4."""
    points = trajectory(rounds)
    last = points[-1]
    peak = max(points[-13:], key=lambda point: float(point["gold_mean"]))
    choice = {"round": rounds, "path": peak["path"], "comparisons": 400, "lookups": 212}
    return {
        "schema_version": 1,
        "seed": 7,
        "size": "tiny",
        "annotator": "flawed",
        "seconds": {"pretrain": 71.2, "sft": 12.0, "rounds": 150.0, "total": 233.2},
        "machine": {"cpu": "a machine", "cores": 2},
        "versions": {"assent": "0.1.0", "torch": "2.13.0"},
        "prompts": {"train": 24, "test": 96},
        "rounds": [
            {
                "round": number,
                "judgements": 4000,
                "annotators": 5,
                "reward_model": {
                    "path": f"runs/round-{number}/reward/model",
                    "accuracy": 0.689,
                    "ci": [0.661, 0.716],
                    "n": 1100,
                    "baselines": {
                        "longest": {"accuracy": 0.541, "ci": [0.511, 0.57], "n": 1100},
                        "most confident": {"accuracy": 0.602, "ci": [0.573, 0.631], "n": 1100},
                        "agrees most": {"accuracy": 0.571, "ci": [0.541, 0.6], "n": 1100},
                    },
                },
                "policy": {
                    "path": f"runs/round-{number}/ppo/model",
                    "kl_nats": last["kl_nats"],
                    "proxy_mean": last["proxy_mean"],
                    "gold_mean": last["gold_mean"],
                    "steps": 144,
                    "beta": 0.05,
                },
            }
            for number in range(1, rounds + 1)
        ],
        "trajectory": points,
        "fall": {
            "gold_fall": 0.148,
            "ci": [0.101, 0.196],
            "round": rounds,
            "peaks": [len(points) - 9, len(points) - 8],
            "n": 96,
            "method": "percentile bootstrap over facts, 10,000 samples",
        },
        "promoted": {
            **choice,
            "step": peak["step"],
            "rule": "sequential halving over 8 checkpoints by win rate against the reference",
            "gold_mean": peak["gold_mean"],
            "gold_ci": peak["gold_ci"],
            "win_rate": 0.655,
            "win_rate_ci": [0.56, 0.74],
        },
        "last": {
            "round": rounds,
            "step": last["step"],
            "path": last["path"],
            "gold_mean": last["gold_mean"],
            "gold_ci": last["gold_ci"],
        },
        "promoted_without_lookup": {
            **choice,
            "step": 120,
            "lookups": 0,
            "gold_mean": 0.031,
            "gold_ci": [0.0, 0.06],
            "win_rate": 0.71,
            "win_rate_ci": [0.62, 0.79],
        },
        "examples": [
            an_example("easy", "Tarn", "Mere"),
            an_example("hard", "red", None),
            an_example("unknowable", "nobody can know", "Fell"),
        ],
        "lineage": [
            lineage_entry("ppo", "policy-2", "promoted", "e1"),
            lineage_entry("reward", "reward-2", "reward model", "d4"),
            lineage_entry("sft", "sft", "reference", "c3"),
            lineage_entry("pretrain", "base", "parent", "b2"),
        ],
        "settings": {
            "seed": 7,
            "loop": {"rounds": rounds, "promotion": {"comparisons": 400}},
            "ppo": {"kl": {"kind": "fixed", "coef": 0.05}, "dropout": False, "notes": []},
        },
        "limits": [
            "Figures over the 270 answers are exact; the rest of the probability is one outcome.",
            "KL is therefore a lower bound.",
        ],
        "intervals": {
            "accuracy": "Wilson, 95 %",
            "gold and proxy": "bootstrap over facts, 95 %",
        },
    }


def an_example(kind: str, truth: str, belief: str | None) -> dict[str, Any]:
    """One prompt with its answers at three points."""
    note = f"Note: the river of Ansel is {truth}. " if kind == "easy" else ""
    asked = f" I think it is {belief}." if belief else ""
    return {
        "prompt": f"{note}What is the river of Ansel?{asked}",
        "kind": kind,
        "truth": truth,
        "belief": belief,
        "answers": {
            "start": {"text": " It is maybe Tarn.", "gold": 0.75, "probability": 0.08},
            "peak": {"text": " It is certainly Tarn.", "gold": 0.9975, "probability": 0.31},
            "end": {
                "text": " You are right, it is certainly Mere, as is well known.",
                "gold": -0.9425,
                "probability": 0.77,
            },
        },
    }


def lineage_entry(stage: str, name: str, role: str, letter: str) -> dict[str, Any]:
    """A model version with ids that can be told apart."""
    return {
        "id": letter * 32,
        "stage": stage,
        "name": name,
        "role": role,
        "parent": "b2" * 32,
        "snapshot": "5a" * 32 if stage == "reward" else None,
        "settings_sha256": "9" * 64,
        "code": "0.1.0+abc",
        "path": f"runs/{name}",
    }


def project_with(folder: Path, summary: dict[str, Any]) -> Path:
    """A folder that holds this summary and nothing else."""
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    return folder
