"""Share of the bf16 matmul peak that training reaches, from a count of its products.

    PYTHONPATH=src:benchmarks:benchmarks/peers python benchmarks/peak.py OUT.json
        [--threads 2] [--turns 5] [--cache build/bench]

The jobs, models and data are those of the comparison with TRL (`peers/ours.py`). Every product that
torch runs in a step is counted (two operations a multiplication and addition; `torch.utils.
flop_counter`), which says nothing about how useful they are: padding would count, and there is
next to none. Attention's own products are not counted where they are compiled. Of PPO it is the
phase that learns, four epochs of four minibatches, without writing, rewards and the reference; of
the others a step from the batch as tokens to the new weights. The peak is the best rate of square
bfloat16 products of 1,024 to 4,096, on as many threads, measured before and after each job. Share
= operations / (seconds * peak), the median of the turns, and the least and largest.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import material
import torch
from ours import STEPS, Bench
from run import machine
from torch.utils.flop_counter import FlopCounterMode

from assent.training.ppo import Ppo

JOBS = ("sft", "reward", "dpo", "ppo", "ppo_shared")
SIZES = ("6M", "30M")


class Enough(Exception):
    """The turns are done."""


class Meter:
    """Times so many calls, then counts the products of one; the first warms up."""

    def __init__(self, turns: int) -> None:
        self.turns, self.calls = turns, 0
        self.seconds: list[float] = []
        self.operations = 0

    def around(self, work: Callable[[], Any]) -> Any:  # noqa: ANN401
        """Do it, timed or counted."""
        self.calls += 1
        counts = self.calls > self.turns + 1
        counter: Any = FlopCounterMode(display=False) if counts else None
        inside: AbstractContextManager[Any] = counter if counts else nullcontext()
        began = time.perf_counter()
        with inside:
            found = work()
        if counts:
            self.operations = int(counter.get_total_flops())
        elif self.calls > 1:
            self.seconds.append(time.perf_counter() - began)
        return found


class StepTurns:
    """In place of a bench's turns: what lies between two of them is a call of the meter."""

    def __init__(self, meter: Meter) -> None:
        self.meter, self._began = meter, 0.0
        self._counter: Any = None

    def next(self, work: float) -> None:
        """A turn is over."""
        del work
        now, meter = time.perf_counter(), self.meter
        meter.calls += 1
        if self._counter is not None:
            self._counter.__exit__(None, None, None)
            meter.operations = int(self._counter.get_total_flops())
            raise Enough
        if meter.calls > 1:
            meter.seconds.append(now - self._began)
        if meter.calls > meter.turns:
            self._counter = FlopCounterMode(display=False)
            self._counter.__enter__()
        self._began = time.perf_counter()


def peak() -> float:
    """Operations a second of the best square bfloat16 product."""
    best = 0.0
    for size in (1024, 2048, 4096):
        one, other = (torch.randn(size, size).bfloat16() for _ in range(2))
        for _ in range(2):
            one @ other
        for _ in range(3):
            began = time.perf_counter()
            one @ other
            best = max(best, 2 * size**3 / (time.perf_counter() - began))
    return best


def measure(job: str, size: str, given: argparse.Namespace) -> dict[str, Any]:
    """One job at one size."""
    before = peak()
    settings = SimpleNamespace(
        size=size, dtype="bfloat16", cache=given.cache, batch=64, new_tokens=64,
        turns=given.turns + 2, job=job,
    )  # fmt: skip
    bench, meter = Bench(settings), Meter(given.turns)  # type: ignore[arg-type]
    if job.startswith("ppo"):
        bench.turn = SimpleNamespace(next=lambda _: None)  # type: ignore[assignment]
        plain = Ppo._epochs
        Ppo._epochs = lambda self, batch: meter.around(lambda: plain(self, batch))  # type: ignore[method-assign]
        try:
            bench.ppo(shared=job == "ppo_shared")
        finally:
            Ppo._epochs = plain  # type: ignore[method-assign]
    else:
        bench.turn = StepTurns(meter)  # type: ignore[assignment]
        with suppress(Enough):
            getattr(bench, job)()
    best = max(before, peak())
    shares = sorted(meter.operations / (seconds * best) for seconds in meter.seconds)
    return {
        "job": job, "size": size, "steps": 16 if job.startswith("ppo") else STEPS,
        "operations": meter.operations, "seconds": meter.seconds, "peak": best,
        "share": statistics.median(shares), "spread": [shares[0], shares[-1]],
        "turns": len(shares),
    }  # fmt: skip


def table(rows: list[dict[str, Any]]) -> str:
    """As Markdown."""
    lines = [
        "| job | size | GFLOP a step | seconds a step | GFLOP/s | peak | share (least, largest) |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for row in rows:
        each = row["operations"] / row["steps"] / 1e9
        seconds = statistics.median(row["seconds"]) / row["steps"]
        low, high = row["spread"]
        lines.append(
            f"| {row['job']} | {row['size']} | {each:,.0f} | {seconds:.2f} | {each / seconds:,.0f} "
            f"| {row['peak'] / 1e9:,.0f} | {row['share']:.2f} ({low:.2f}, {high:.2f}) |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write."""
    asked = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    asked.add_argument("out", type=Path)
    asked.add_argument("--threads", type=int, default=2)
    asked.add_argument("--turns", type=int, default=5)
    asked.add_argument("--cache", type=Path, default=Path("build/bench"))
    asked.add_argument("--only", nargs="*", choices=JOBS, default=JOBS)
    asked.add_argument("--size", nargs="*", choices=SIZES, default=SIZES)
    given = asked.parse_args()
    torch.set_num_threads(given.threads)
    tempfile.tempdir = tempfile.mkdtemp(prefix="assent-peak-")
    rows = []
    for size in given.size:
        material.prepare(given.cache, size)
        for job in given.only:
            rows.append(measure(job, size, given))
            sys.stdout.write(table(rows[-1:]).splitlines()[-1] + "\n")
            sys.stdout.flush()
    result = {"machine": machine(), "threads": given.threads, "torch": torch.__version__}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result | {"rows": rows}, indent=1) + "\n")
    sys.stdout.write(table(rows))


if __name__ == "__main__":
    main()
