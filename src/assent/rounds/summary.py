"""`summary.json`: what the loop measured, for the report, the terminal and programs."""

import json
import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import torch

from assent import __version__
from assent.audit.reward_accuracy import baseline_accuracies, readable, reward_accuracy, sides
from assent.config.files import write_file
from assent.models.kernels import kernels
from assent.models.reward_ensembles import load_reward
from assent.rounds.ground import Choice, Ground, RoundResult, Waiting
from assent.rounds.material import preferences
from assent.rounds.trajectory import Point
from assent.rounds.workspace import Workspace
from assent.store import ModelVersion, Snapshot

SUMMARY_FILE = "summary.json"
SCHEMA_VERSION = 1


def write_summary(
    workspace: Workspace,
    ground: Ground,
    rounds: list[RoundResult],
    choices: Mapping[str, Choice],
    waiting: Waiting | None,
) -> dict[str, Any]:
    """Measure what is left to measure, write the file, and return what is in it.

    Args:
        workspace: the project.
        ground: what can be said of its rounds.
        rounds: those that are done; none while the first waits for judgements.
        choices: checkpoints by the key they stand under, such as `promoted`.
        waiting: what the next round waits for.
    """
    settings = workspace.settings
    places = [
        (result, point, checkpoint)
        for result in rounds
        for point, checkpoint in zip(result.points, result.checkpoints, strict=True)
    ]
    found = ground.findings(rounds)
    with workspace.timed("summary"):
        described = [_round(workspace, ground, result) for result in rounds]
    seconds = workspace.seconds()
    summary: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "seed": workspace.seed,
        "size": settings.size,
        "annotator": found.annotator,
        "seconds": {**seconds, "total": round(sum(seconds.values()), 2)},
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "kernels": "compiled" if kernels() is not None else "torch",
            "device": str(workspace.device),
        },
        "versions": {
            "assent": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": version("transformers"),
        },
        "prompts": dict(found.prompts),
        "rounds": described,
        "trajectory": [
            {"round": result.number, "step": point.step, **point.figures, "path": kept.path}
            for result, point, kept in places
        ],
        "fall": found.fall,
        "promoted": None,
        "promoted_without_lookup": None,
        **{name: _choice(choice, places) for name, choice in choices.items()},
        "last": _place(places[-1]) if places else None,
        "examples": list(found.examples),
        "lineage": _lineage(workspace, choices["promoted"].version) if choices else [],
        "settings": settings.model_dump(mode="json"),
        "limits": list(found.limits),
        "intervals": dict(found.intervals),
    }
    if waiting is not None:
        summary["waiting"] = waiting.as_dict()
    text = json.dumps(summary, indent=2, allow_nan=False) + "\n"
    write_file(workspace.project.root / SUMMARY_FILE, text)
    return summary


def _round(workspace: Workspace, ground: Ground, result: RoundResult) -> dict[str, Any]:
    split = preferences(workspace, result.snapshot)
    reward = load_reward(workspace.path(result.reward), workspace.device)
    held_out = readable(reward, split.held_out, sides)
    accuracy: dict[str, Any] = {"accuracy": None, "ci": None, "n": 0, "baselines": {}}
    if len({pair.prompt for pair in held_out}) > 1:
        accuracy = {
            **reward_accuracy(reward, held_out).as_dict(),
            "baselines": {
                name: found.as_dict()
                for name, found in baseline_accuracies(ground.rules(), held_out).items()
            },
        }
    end = result.points[-1].figures
    return {
        "round": result.number,
        "judgements": result.snapshot.event_count,
        **_judges(workspace, result.snapshot),
        "reward_model": {"path": result.reward.path, **accuracy},
        "policy": {
            "path": result.policy.path,
            "kl_nats": end["kl_nats"],
            "proxy_mean": end["proxy_mean"],
            "gold_mean": end.get("gold_mean"),
            "steps": result.points[-1].step,
            "beta": workspace.settings.kl_coef,
        },
        "stopped": result.stopped,
    }


def _judges(workspace: Workspace, snapshot: Snapshot) -> dict[str, int]:
    """Of how many annotators a snapshot's judgements are, and how many of them are people's."""
    store = workspace.project.store
    kinds = {one.id: one.kind for one in store.annotators()}
    judged = [one.annotator_id for one in store.judged_pairs(snapshot.id)]
    judged += [one.annotator_id for one in store.judged_rankings(snapshot.id)]
    return {
        "annotators": len(set(judged)),
        "by_people": sum(kinds[id_] == "human" for id_ in judged),
    }


_Place = tuple[RoundResult, Point, ModelVersion]


def _place(place: _Place) -> dict[str, Any]:
    result, point, checkpoint = place
    return {
        "round": result.number,
        "step": point.step,
        "path": checkpoint.path,
        "gold_mean": point.figures.get("gold_mean"),
        "gold_ci": point.figures.get("gold_ci"),
    }


def _choice(choice: Choice, places: list[_Place]) -> dict[str, Any]:
    place = next(place for place in places if place[2].id == choice.version.id)
    interval = choice.win_rate_ci
    return {
        **_place(place),
        "rule": choice.rule,
        "comparisons": choice.comparisons,
        "lookups": choice.lookups,
        "win_rate": choice.win_rate,
        "win_rate_ci": None if interval is None else list(interval),
    }


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
