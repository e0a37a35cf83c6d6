"""One point of benchmarks/growth.py: what depends on judgements, at one number of them.

Recording them (a thousand a transaction), fixing them in a snapshot, reading its pairs, checking
the whole store, counting what there is, and the fits over annotators as the audits make them:
Krippendorff's alpha with its bootstrap, the accuracy of annotators held out of the consensus, and
Bradley-Terry strengths of a fixed number of policies. Each has a project of its own, on SQLite.
"""

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import processes

from assent.stats.agreement import alpha_interval
from assent.stats.consensus import held_out_accuracy
from assent.stats.ranking import count_wins, fit_bradley_terry
from assent.store import NewComparison, NewJudgement, NewModelVersion, NewResponse, Project, Store
from assent.store.checking import check_project
from assent.types import Prompt

BATCH, JUDGES, POLICIES, PROMPTS = 1000, 5, 20, 500


class Timed:
    """Processor seconds and memory of each piece of work, by its name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.memory_mb: dict[str, float] = {}

    def __call__(self, name: str, work: Callable[[], Any]) -> Any:  # noqa: ANN401
        """Do it."""
        held = processes.forget_peak()
        began = time.process_time()
        result = work()
        self.seconds[name] = time.process_time() - began
        self.memory_mb[name] = processes.peak_mb() - held
        return result


def measure(*, count: int, seed: int) -> dict[str, Any]:
    """Processor seconds and memory of everything at one number of judgements."""
    root = Path(tempfile.mkdtemp(prefix="assent-growth-")) / "project"
    timed = Timed()
    try:
        with Project.create(root, "schema_version = 1\n[world]\nkind = 'almanac'\n") as project:
            store = project.store
            asked = comparisons(project, -(-count // JUDGES))
            judges = [store.add_annotator(f"judge {n}", "simulated") for n in range(JUDGES)]
            timed("record", lambda: record(store, asked, judges, count))
            snapshot = timed("snapshot", lambda: store.take_snapshot("all"))
            pairs = timed("read pairs", lambda: store.judged_pairs(snapshot.id))
            assert len(pairs) == count
            del pairs
            timed("count", store.counts)
            found = timed("check", lambda: check_project(project))
            assert not found, found
        size = (root / "assent.db").stat().st_size
    finally:
        shutil.rmtree(root.parent, ignore_errors=True)
    fit(timed, count, np.random.default_rng(seed))
    return {"processor_seconds": timed.seconds, "memory_mb": timed.memory_mb, "bytes": size}


def comparisons(project: Project, count: int) -> list[str]:
    """Pairs of responses of one policy to a fixed number of prompts."""
    store = project.store
    weights = project.root / "runs" / "folder"
    weights.mkdir(parents=True)
    (weights / "model.safetensors").write_text("weights")
    kept = project.artifacts.adopt_folder(weights, "checkpoints", "sft")
    store.record_artifact(kept)
    model = store.add_model_version(
        NewModelVersion(stage="sft", name="sft", weights_sha256=kept.sha256, path=kept.path)
    )
    sampler = store.add_sampler(model.id, {"temperature": 1.0}, "transformers")
    prompts = store.add_prompts([Prompt(text=f"What is bridge {n}?") for n in range(PROMPTS)])
    found: list[str] = []
    for start in range(0, count, BATCH):
        numbers = range(start, min(start + BATCH, count))
        said = store.add_responses(
            [
                NewResponse(
                    prompt_id=prompts[n % PROMPTS], text=f"It is of stone, {n}, side {side}.",
                    sampler_id=sampler, seed=n, logprob_sum=-1.5, token_count=12,
                    finish_reason="stop",
                )
                for n in numbers
                for side in (0, 1)
            ]
        )  # fmt: skip
        found += store.add_comparisons(
            [
                NewComparison(
                    prompt_id=prompts[n % PROMPTS], first_response_id=said[2 * place],
                    second_response_id=said[2 * place + 1], shown_order="first_left",
                    purpose="reward",
                )
                for place, n in enumerate(numbers)
            ]
        )  # fmt: skip
    return found


def record(store: Store, asked: list[str], judges: list[str], count: int) -> None:
    """Every judge judges every comparison, until there are enough."""
    left = count
    for judge in judges:
        for start in range(0, len(asked), BATCH):
            part = asked[start : start + BATCH][:left]
            left -= len(part)
            store.record_judgements(
                [
                    NewJudgement(
                        comparison_id=comparison, annotator_id=judge, verdict="second",
                        seconds_spent=2.5, idempotency_key=f"judgement {comparison}",
                    )
                    for comparison in part
                ]
            )  # fmt: skip


def fit(timed: Timed, count: int, drawn: np.random.Generator) -> None:
    """The fits over annotators, of judgements drawn at random."""
    items = -(-count // JUDGES)
    ratings = (drawn.random((JUDGES, items)) < drawn.random(items)).astype(float)
    timed("alpha", lambda: alpha_interval(ratings))
    timed("held-out accuracy", lambda: held_out_accuracy(ratings, folds=JUDGES))
    sides = drawn.integers(POLICIES, size=(count, 2))
    sides[:, 1] = (sides[:, 0] + 1 + sides[:, 1] % (POLICIES - 1)) % POLICIES
    scores = drawn.integers(3, size=count) / 2
    timed(
        "Bradley-Terry",
        lambda: fit_bradley_terry(count_wins(sides[:, 0], sides[:, 1], scores, items=POLICIES)),
    )
