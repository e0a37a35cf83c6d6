"""The smallest project whose loop runs whole: a model of one layer, a few seconds a round."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assent.config.project import ProjectSettings
from assent.config.sizes import size_settings
from assent.config.write import dump_toml
from assent.store import Project

TOY: dict[str, Any] = {
    "seed": 5,
    "compute": {"threads": 1, "device": "cpu"},
    "world": {"demonstrations_per_prompt": 1, "annotators": 2},
    "pretrain": {
        "steps": 20,
        "batch_size": 8,
        "checkpoint_every": 8,
        "shape": {"hidden_size": 16, "intermediate_size": 16, "heads": 2, "layers": 1},
    },
    "sft": {"epochs": 1, "batch_size": 128, "checkpoint_every": 2},
    "reward": {"normalise_samples": 16, "batch_size": 16, "checkpoint_every": 2},
    "ppo": {
        "updates": 2,
        "rollouts_per_update": 8,
        "epochs": 2,
        "minibatches": 2,
        "sampling": {"max_new_tokens": 10},
    },
    "loop": {
        "rounds": 1,
        "judgements_per_round": 60,
        "points_per_round": 3,
        "promotion": {"comparisons": 16, "candidates": 2},
    },
}


def toy_settings(given: Mapping[str, Any] | None = None) -> ProjectSettings:
    """The toy's settings with the tables in `given` over them, key by key of the top level."""
    table = {**TOY}
    for key, value in (given or {}).items():
        table[key] = {**table.get(key, {}), **value} if isinstance(value, Mapping) else value
    return size_settings("tiny", table)


def make_toy(root: Path, given: Mapping[str, Any] | None = None) -> Path:
    """A new toy project that nothing was done in."""
    Project.create(root, dump_toml(toy_settings(given))).close()
    return root


def outcome(root: Path) -> dict[str, Any]:
    """Everything a run must come to whatever happened on the way; times and paths of it aside."""
    with Project.open(root) as project:
        store = project.store
        events = [
            [one.seq, one.kind, one.comparison_id, one.response_id, one.annotator_id, one.payload]
            for one in store.events()
        ]
        counts = store.counts()
        versions = [
            [one.id, one.name, one.stage, one.weights_sha256, one.parent_id, one.path]
            for one in store.model_versions()
        ]
        artifacts = sorted([one.path, one.sha256] for one in store.artifacts())
        runs = [[run.id, run.status, dict(run.parents)] for run in store.runs()]
    summary = json.loads((root / "summary.json").read_text(encoding="utf-8"))
    del summary["seconds"]
    for link in summary["lineage"]:
        del link["code"]  # the commit of the checkout, which may move on between two processes
    return {
        "events": events,
        "counts": counts,
        "versions": versions,
        "artifacts": artifacts,
        "runs": runs,
        "summary": summary,
    }
