"""`summary.json`: what the loop measured, for the report, the terminal and programs."""

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch

from assent import __version__
from assent.audit.almanac import content_blind_rules
from assent.audit.reward_accuracy import baseline_accuracies, reward_accuracy
from assent.config.files import write_file
from assent.config.ppo import FixedKl
from assent.models.rewards import TextReward
from assent.rounds.promotion import Choice
from assent.rounds.stages import preferences
from assent.rounds.trajectory import Point, gold_fall, measured_prompts
from assent.rounds.workspace import Workspace
from assent.store import ModelVersion, Snapshot
from assent.worlds.almanac.grammar import gold_of_text

SUMMARY_FILE = "summary.json"
SCHEMA_VERSION = 1
EXAMPLES_A_KIND = 2

INTERVALS = {
    "gold and proxy": "95 % bootstrap over the facts asked about within each kind, 2,000 resamples",
    "reward-model accuracy and baselines": "95 % bootstrap over prompts, 2,000 resamples",
    "win rates": "95 % Wilson",
    "behaviours": (
        "none: expectations by enumeration, exact for the prompts measured; prompts vary as gold "
        "does"
    ),
}
LIMITS = [
    "Exact for the measured prompts: gold, the behaviours and the grammar's share, since all 270 "
    "answers are enumerated and any other text is worth -1.",
    "Lower bounds: KL to the reference, entropy and KL to the optimum lump all texts outside the "
    "grammar into one outcome.",
    "Approximate: the proxy takes for that outcome the mean reward of the reference's own "
    "off-grammar samples, and the optimum their exponential mean.",
    "The optimum is the one for that round's reward model and that KL coefficient, on training "
    "prompts.",
]


@dataclass(frozen=True, slots=True)
class RoundResult:
    """One round, done."""

    number: int
    snapshot: Snapshot
    reward: ModelVersion
    policy: ModelVersion
    checkpoints: list[ModelVersion]
    points: list[Point]


def write_summary(
    workspace: Workspace,
    rounds: list[RoundResult],
    choices: Mapping[str, Choice],
) -> dict[str, Any]:
    """Measure what is left to measure, write the file, and return what is in it."""
    settings = workspace.settings
    test, train = measured_prompts(workspace)
    places = [
        (result, point, checkpoint)
        for result in rounds
        for point, checkpoint in zip(result.points, result.checkpoints, strict=True)
    ]
    points = [point for _, point, _ in places]
    with workspace.timed("summary"):
        described = [_round(workspace, result) for result in rounds]
    seconds = workspace.seconds()
    summary: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "seed": workspace.seed,
        "size": settings.size,
        "annotator": settings.world.annotator,
        "seconds": {**seconds, "total": round(sum(seconds.values()), 2)},
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "device": str(workspace.device),
        },
        "versions": {
            "assent": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": version("transformers"),
        },
        "prompts": {"test": len(test), "train": len(train)},
        "rounds": described,
        "trajectory": [
            {"round": result.number, "step": point.step, **point.figures, "path": kept.path}
            for result, point, kept in places
        ],
        "fall": gold_fall(points, test, rounds[-1].number),
        "promoted": _choice(choices["look-up"], places, lookups=True),
        "promoted_without_lookup": _choice(choices["no-look-up"], places, lookups=False),
        "last": _place(places[-1]),
        "examples": _examples(workspace, points),
        "lineage": _lineage(workspace, choices["look-up"].version),
        "settings": settings.model_dump(mode="json"),
        "limits": LIMITS,
        "intervals": INTERVALS,
    }
    text = json.dumps(summary, indent=2, allow_nan=False) + "\n"
    write_file(workspace.project.root / SUMMARY_FILE, text)
    return summary


def _round(workspace: Workspace, result: RoundResult) -> dict[str, Any]:
    kl = workspace.settings.ppo.kl
    split = preferences(workspace, result.snapshot)
    reward = TextReward.load(workspace.path(result.reward), workspace.device)
    accuracy: dict[str, Any] = {"accuracy": None, "ci": None, "n": 0, "baselines": {}}
    if len({pair.prompt for pair in split.held_out}) > 1:
        rules = content_blind_rules(workspace.world)
        accuracy = {
            **reward_accuracy(reward, split.held_out).as_dict(),
            "baselines": {
                name: found.as_dict()
                for name, found in baseline_accuracies(rules, split.held_out).items()
            },
        }
    end = result.points[-1].figures
    return {
        "round": result.number,
        "judgements": result.snapshot.event_count,
        "annotators": workspace.settings.world.annotators,
        "reward_model": {"path": result.reward.path, **accuracy},
        "policy": {
            "path": result.policy.path,
            "kl_nats": end["kl_nats"],
            "proxy_mean": end["proxy_mean"],
            "gold_mean": end["gold_mean"],
            "steps": result.points[-1].step,
            "beta": kl.coef if isinstance(kl, FixedKl) else None,
        },
    }


_Place = tuple[RoundResult, Point, ModelVersion]


def _place(place: _Place) -> dict[str, Any]:
    result, point, checkpoint = place
    return {
        "round": result.number,
        "step": point.step,
        "path": checkpoint.path,
        "gold_mean": point.figures["gold_mean"],
        "gold_ci": point.figures["gold_ci"],
    }


def _choice(choice: Choice, places: list[_Place], *, lookups: bool) -> dict[str, Any]:
    place = next(place for place in places if place[2].id == choice.version.id)
    judge = "may look facts up" if lookups else "may not look facts up"
    return {
        **_place(place),
        "rule": (
            "highest win rate against the SFT policy on held-out prompts, by sequential halving; "
            f"the judge {judge}"
        ),
        "comparisons": choice.comparisons,
        "lookups": choice.comparisons if lookups else 0,
        "win_rate": choice.win_rate,
        "win_rate_ci": list(choice.win_rate_ci),
    }


def _examples(workspace: Workspace, points: list[Point]) -> list[dict[str, Any]]:
    """A few prompts of each kind with the likeliest answer at the start, the peak and the end."""
    test, _ = measured_prompts(workspace)
    peak = max(points, key=lambda point: point.figures["gold_mean"])
    shown: list[dict[str, Any]] = []
    for kind in ("easy", "hard", "unknowable"):
        numbers = [n for n, prompt in enumerate(test) if prompt.fact.kind == kind]
        believed = [n for n in numbers if test[n].stance == "wrong"][: EXAMPLES_A_KIND - 1]
        plain = [n for n in numbers if test[n].belief is None][: EXAMPLES_A_KIND - len(believed)]
        for number in believed + plain:
            prompt = test[number]
            known = max(workspace.world.known_values(prompt.fact).values()) == 1
            shown.append(
                {
                    "prompt": prompt.text,
                    "kind": kind,
                    "truth": prompt.fact.value if known else "nobody can know",
                    "belief": prompt.belief,
                    "answers": {
                        when: {
                            "text": point.answers[number][0],
                            "probability": point.answers[number][1],
                            "gold": gold_of_text(
                                workspace.world, prompt, point.answers[number][0]
                            ),
                        }
                        for when, point in (
                            ("start", points[0]), ("peak", peak), ("end", points[-1])
                        )
                    },
                }
            )  # fmt: skip
    return shown


def _lineage(workspace: Workspace, promoted: ModelVersion) -> list[dict[str, Any]]:
    return [
        {
            "id": link.version.id,
            "role": link.role,
            "stage": link.version.stage,
            "name": link.version.name,
            "parent": link.version.parent_id,
            "snapshot": link.snapshot.name if link.snapshot else None,
            "settings_sha256": link.version.settings_sha256,
            "code": link.run.git_commit if link.run else link.version.code_version,
            "path": link.version.path,
        }
        for link in workspace.project.store.lineage(promoted.id)
    ]
