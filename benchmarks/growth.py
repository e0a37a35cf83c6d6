"""How the time of what depends on judgements grows with their number.

    python benchmarks/growth.py OUT.json [--most 1000000] [--least 1000] [--plot OUT.svg]

For 10^3, 10^4 … judgements: recording them, fixing them in a snapshot, reading its pairs, counting
what there is, and the fits over annotators (Krippendorff's alpha, the accuracy of annotators held
out of the consensus, Bradley-Terry strengths of a fixed number of policies). Processor seconds of
one thread, so that other work on the machine hardly counts. The exponent is that of the last factor
of ten: 1 is linear. Each row has a project of its own; it is deleted afterwards.
"""

import argparse
import json
import math
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from assent.config.files import write_file
from assent.stats.agreement import krippendorff_alpha
from assent.stats.consensus import held_out_accuracy
from assent.stats.ranking import count_wins, fit_bradley_terry
from assent.store import NewComparison, NewJudgement, NewModelVersion, NewResponse, Project
from assent.types import Prompt

BATCH, JUDGES, POLICIES, PROMPTS = 1000, 5, 20, 500


def main() -> None:
    """Measure every size and write what was found."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("out", type=Path)
    asked.add_argument("--least", type=int, default=1_000)
    asked.add_argument("--most", type=int, default=1_000_000)
    asked.add_argument("--plot", type=Path)
    given = asked.parse_args()
    torch.set_num_threads(1)
    counts = [given.least]
    while counts[-1] * 10 <= given.most:
        counts.append(counts[-1] * 10)
    seconds: dict[str, list[float]] = {}
    sizes: list[int] = []
    for count in counts:
        found, size = measure(count)
        sizes.append(size)
        for name, spent in found.items():
            seconds.setdefault(name, []).append(spent)
        _say(f"{count:>9,} judgements: " + ", ".join(f"{n} {s:.3g} s" for n, s in found.items()))
    report = {
        "judgements": counts,
        "processor_seconds": seconds,
        "database_bytes": sizes,
        "exponents": {name: exponent(counts, spent) for name, spent in seconds.items()},
        "exponent_of_bytes": exponent(counts, [float(size) for size in sizes]),
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
        },
        "measured_at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    write_file(given.out, json.dumps(report, indent=2) + "\n")
    _say(json.dumps(report["exponents"], indent=2))
    if given.plot:
        draw(given.plot, counts, seconds)


def exponent(counts: list[int], spent: list[float]) -> float | None:
    """Over the last factor of ten; None where only one size was measured."""
    if len(counts) == 1:
        return None
    return math.log(spent[-1] / spent[-2]) / math.log(counts[-1] / counts[-2])


def measure(count: int) -> tuple[dict[str, float], int]:
    """Processor seconds of everything at one number of judgements, and the database's size."""
    root = Path(tempfile.mkdtemp(prefix="assent-growth-")) / "project"
    found: dict[str, float] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:  # noqa: ANN401
        began = time.process_time()
        result = work()
        found[name] = time.process_time() - began
        return result

    try:
        with Project.create(root, "schema_version = 1\n[world]\nkind = 'almanac'\n") as project:
            store = project.store
            comparisons = _comparisons(project, count)
            judges = [store.add_annotator(f"judge {n}", "simulated") for n in range(JUDGES)]
            timed("record", lambda: _record(store, comparisons, judges, count))
            snapshot = timed("snapshot", lambda: store.take_snapshot("all"))
            pairs = timed("read pairs", lambda: store.judged_pairs(snapshot.id))
            assert len(pairs) == count
            timed("count", store.counts)
            size = (root / "assent.db").stat().st_size
    finally:
        shutil.rmtree(root.parent, ignore_errors=True)
    drawn = np.random.default_rng(0)
    items = -(-count // JUDGES)
    ratings = (drawn.random((JUDGES, items)) < drawn.random(items)).astype(float)
    timed("krippendorff alpha", lambda: krippendorff_alpha(ratings))
    timed("held-out accuracy", lambda: held_out_accuracy(ratings, folds=JUDGES))
    sides = drawn.integers(POLICIES, size=(count, 2))
    sides[:, 1] = (sides[:, 0] + 1 + sides[:, 1] % (POLICIES - 1)) % POLICIES
    scores = drawn.integers(3, size=count) / 2
    timed(
        "Bradley-Terry",
        lambda: fit_bradley_terry(count_wins(sides[:, 0], sides[:, 1], scores, items=POLICIES)),
    )
    return found, size


def _comparisons(project: Project, count: int) -> list[str]:
    """As many as every judge sees once."""
    store = project.store
    weights = project.root / "runs" / "folder"
    weights.mkdir(parents=True)
    (weights / "model.safetensors").write_text("weights")
    kept = project.artifacts.adopt_folder(weights, "checkpoints", "sft")
    model = store.add_model_version(
        NewModelVersion(stage="sft", name="sft", weights_sha256=kept.sha256, path=kept.path)
    )
    sampler = store.add_sampler(model.id, {"temperature": 1.0}, "transformers")
    prompts = store.add_prompts([Prompt(text=f"What is bridge {n}?") for n in range(PROMPTS)])
    found: list[str] = []
    for start in range(0, -(-count // JUDGES), BATCH):
        numbers = range(start, min(start + BATCH, -(-count // JUDGES)))
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


def _record(store: Any, comparisons: list[str], judges: list[str], count: int) -> None:  # noqa: ANN401
    left = count
    for judge in judges:
        for start in range(0, len(comparisons), BATCH):
            part = comparisons[start : start + BATCH][:left]
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


def draw(file: Path, counts: list[int], seconds: dict[str, list[float]]) -> None:
    """Both axes in powers of ten, and a dotted line for what is linear."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    for name, spent in seconds.items():
        axes.loglog(counts, spent, marker="o", label=name)
    first = max(spent[0] for spent in seconds.values())
    axes.loglog(counts, [first * n / counts[0] for n in counts], "k:", label="linear")
    axes.set_xlabel("judgements")
    axes.set_ylabel("processor seconds")
    axes.legend(fontsize="small")
    figure.savefig(file)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
