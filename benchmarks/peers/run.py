"""Assent and TRL on the same jobs, in turns: units a second, and the ratio of their medians.

    python benchmarks/peers/run.py OUT.json [--quick] [--peer .venv-peers] [--only JOB ...]
        [--threads 2] [--turns 5] [--table OUT.md]

Each side works in an environment of its own and in one process a row; once both have warmed up, one
works while the other waits, `--turns` times each, so that whatever else the machine does meets
both. A row that is in OUT.json already is not measured again, so an interrupted run goes on. Before
the rows of a size both sides compute the same losses, log-probabilities, rewards and greedy tokens
on the same batch, and a difference ends the run. `others` is how much of a processor other programs
used meanwhile: above 0.1 the seconds are not to be quoted, `processor_ratio` may be.

The peer is tuned (see `theirs.py`); `peer_default` is what it does as it comes. `kernel` says if
our side runs its compiled passes or torch's operations only.

Where the processor has no products of bfloat16, in which torch would take many times as long for
them, both sides learn in float32 and the rows of bfloat16 are left out.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from assent.models.bfloat16 import faster_on_cpu

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
MARK = "TURN "
MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": "8589934592",
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
    "MALLOC_TOP_PAD_": "268435456",
}
"""What the peer gains from: memory that is given back is asked for again at the next step."""
TOLERANCE = 2e-3


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    job: str
    size: str
    dtype: str
    batch: int
    new_tokens: int
    unit: str
    kernel: str = "compiled"
    """Or "torch": as where there is no C++ compiler."""
    peer_job: str = ""

    @property
    def name(self) -> str:
        """Unique among the rows."""
        packed = "/packed" if self.peer_job else ""
        return f"{self.job}/{self.size}/{self.dtype}/{self.batch}/{self.kernel}{packed}"


def rows() -> list[Row]:
    """All there are, the quick ones first."""
    learning = faster_on_cpu()
    dtypes = ("float32",) if learning == "float32" else ("float32", "bfloat16")
    found = [
        Row("generation", "6M", dtype, batch, 64, "tokens/s", kernel)
        for batch in (128, 32, 8, 1)
        for dtype in dtypes
        for kernel in ("compiled", "torch")
        if kernel == "compiled" or batch in (128, 1)
    ]
    found += [
        Row("scoring", "6M", "float32", 16, 0, "answers/s"),
        Row("sft", "6M", learning, 16, 0, "tokens/s"),
        Row("sft", "6M", learning, 16, 0, "tokens/s", peer_job="sft_packed"),
        Row("reward", "6M", learning, 16, 0, "pairs/s"),
        Row("dpo", "6M", learning, 16, 0, "pairs/s"),
        Row("rloo", "6M", learning, 64, 64, "episodes/s"),
        Row("grpo", "6M", learning, 64, 64, "episodes/s"),
        Row("ppo", "6M", learning, 64, 64, "episodes/s"),
        Row("ppo_shared", "6M", learning, 64, 64, "episodes/s"),
        Row("ppo_varied", "6M", learning, 64, 128, "episodes/s"),
    ]
    found += [
        Row("generation", "30M", dtype, 128, 64, "tokens/s", kernel)
        for dtype in dtypes
        for kernel in ("compiled", "torch")
    ]
    found += [
        Row("sft", "30M", learning, 16, 0, "tokens/s"),
        Row("dpo", "30M", learning, 16, 0, "pairs/s"),
        Row("ppo", "30M", learning, 64, 64, "episodes/s"),
        Row("ppo_shared", "30M", learning, 64, 64, "episodes/s"),
    ]
    return found


def quick() -> set[str]:
    """Names of what `--quick` measures, two turns each."""
    learning = faster_on_cpu()
    names = (
        "generation/6M/float32/128", "scoring/6M/float32/16", f"sft/6M/{learning}/16",
        f"reward/6M/{learning}/16", f"dpo/6M/{learning}/16", f"rloo/6M/{learning}/64",
        f"ppo/6M/{learning}/64",
    )  # fmt: skip
    return {f"{name}/compiled" for name in names}


class Worker:
    """One side of a row, in a process of its own."""

    def __init__(
        self, row: Row, side: str, given: argparse.Namespace, turns: int, mode: str = "tuned"
    ) -> None:
        peer = side == "theirs"
        python = ROOT / (given.peer if peer else ".venv") / "bin" / "python"
        job = (row.peer_job or row.job) if peer else row.job
        environment = dict(os.environ, OMP_NUM_THREADS=str(given.threads))
        dtype = row.dtype
        if peer and mode == "tuned":
            environment |= MALLOC
        if peer and job.startswith("ppo"):
            environment["PYTHONPATH"] = str(ROOT / given.peer / "trl-ppo")
            if mode == "tuned" and dtype == "bfloat16":
                environment["ACCELERATE_MIXED_PRECISION"] = "bf16"
        if not peer:
            environment["PYTHONPATH"] = str(ROOT / "src")
            environment["ASSENT_KERNELS"] = "off" if row.kernel == "torch" else "on"
        command = [
            str(python), str(HERE / f"{side}.py"), "--job", job, "--size", row.size,
            "--dtype", dtype, "--cache", str(given.cache), "--batch", str(row.batch),
            "--new-tokens", str(row.new_tokens), "--turns", str(turns),
            "--threads", str(given.threads), *(["--mode", mode] if peer else []),
        ]  # fmt: skip
        self.name = f"{side} of {row.name}"
        self._log = (given.cache / f"{side}.log").open("w")
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self._log, text=True,
        )  # fmt: skip

    def turn(self) -> dict[str, Any]:
        """Let it work once; what it says."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """The next line it says that is meant for us."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(MARK):
                found: dict[str, Any] = json.loads(line.removeprefix(MARK))
                return found
        self._process.wait()
        told = Path(self._log.name).read_text()[-2000:]
        message = f"{self.name} ended with {self._process.returncode}:\n{told}"
        raise SystemExit(message)

    def close(self) -> None:
        """Let it end."""
        self._process.stdin.close()  # type: ignore[union-attr]
        self._process.wait(timeout=120)
        self._log.close()


def measure(row: Row, given: argparse.Namespace, turns: int) -> dict[str, Any]:
    """Turns of both sides, one after the other."""
    sides = {side: Worker(row, side, given, turns) for side in ("ours", "theirs")}
    found: dict[str, list[dict[str, Any]]] = {"ours": [], "theirs": []}
    for worker in sides.values():
        worker.answer()  # it has warmed up; before that it would work in the other's turns
    for number in range(turns):
        for side in ("ours", "theirs") if number % 2 == 0 else ("theirs", "ours"):
            found[side].append(sides[side].turn())
    for worker in sides.values():
        worker.close()
    default = None
    if row.job not in ("generation", "scoring") and not row.peer_job:
        worker = Worker(row, "theirs", given, 1, mode="default")
        worker.answer()
        one = worker.turn()
        worker.close()
        default = one["work"] / one["seconds"]
    rates = {
        side: [one["work"] / one["seconds"] for one in turns_of] for side, turns_of in found.items()
    }
    ratios = [a / b for a, b in zip(rates["ours"], rates["theirs"], strict=True)]
    processor = [
        (b["processor_seconds"] / b["work"]) / (a["processor_seconds"] / a["work"])
        for a, b in zip(found["ours"], found["theirs"], strict=True)
    ]
    ours, theirs = (statistics.median(rates[side]) for side in ("ours", "theirs"))
    return asdict(row) | {
        "name": row.name,
        "ours": ours,
        "peer": theirs,
        "peer_default": default,
        "ratio": ours / theirs,
        "spread": [min(ratios), max(ratios)],
        "processor_ratio": statistics.median(processor),
        "others": max(one["others"] for side in found.values() for one in side),
        "peak_mb": {side: max(one["peak_mb"] for one in found[side]) for side in found},
        "turns": found,
        "measured_at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def require_equal_work(size: str, given: argparse.Namespace) -> dict[str, float]:
    """The largest differences between what both sides compute; ends the run if one is large."""
    row = Row("check", size, "float32", 0, 0, "")
    ours, theirs = (Worker(row, side, given, 1) for side in ("ours", "theirs"))
    a, b = ours.answer(), theirs.answer()
    ours.close()
    theirs.close()
    said = [[token for row in side["greedy"] for token in row] for side in (a, b)]
    tokens = [x == y for x, y in zip(*said, strict=True)]
    found = {"greedy tokens that differ": 1 - sum(tokens) / len(tokens)}
    found["sft loss"] = abs(a["sft_loss"] - b["sft_loss"])
    for name in ("chosen", "rejected", "rewards"):
        found[name] = max(abs(x - y) for x, y in zip(a[name], b[name], strict=True))
    for name, difference in found.items():
        if difference > TOLERANCE:
            message = f"at {size} the two sides do not do the same: {name} differs by {difference}"
            raise SystemExit(message)
    return found


def versions(python: Path) -> dict[str, str]:
    """Of the packages that matter, in one environment."""
    names = ["torch", "transformers", "trl", "accelerate", "datasets", "tokenizers", "numpy"]
    code = (
        "import json, sys\nfrom importlib import metadata as m\nfound = {}\n"
        f"for name in {names!r}:\n"
        "    try: found[name] = m.version(name)\n    except m.PackageNotFoundError: pass\n"
        "print(json.dumps(found))"
    )
    told = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(told.stdout)
    return found


def machine() -> dict[str, Any]:
    """What it ran on."""
    model = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    flags = set(Path("/proc/cpuinfo").read_text().split())
    return {
        "processor": model[0] if model else platform.processor(),
        "cores": os.cpu_count(),
        "bf16": bool(flags & {"avx512_bf16", "amx_bf16", "bf16"}),
        "amx": "amx_bf16" in flags,
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def table(found: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = [
        "| job | size | dtype | batch | ours runs | unit | ours | peer, tuned | peer, as it comes "
        "| ratio | of processor time | peak MB, ours, peer |",
        "| --- | --- | --- | ---: | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for one in found:
        job = f"{one['job']}, peer packed" if one["peer_job"] else one["job"]
        default = f"{one['peer_default']:,.1f}" if one["peer_default"] else "-"
        low, high = one["spread"]
        lines.append(
            f"| {job} | {one['size']} | {one['dtype']} | {one['batch']} | {one['kernel']} "
            f"| {one['unit']} "
            f"| {one['ours']:,.1f} | {one['peer']:,.1f} | {default} "
            f"| {one['ratio']:.2f} ({low:.2f} to {high:.2f}) | {one['processor_ratio']:.2f} "
            f"| {one['peak_mb']['ours']:,.0f}, {one['peak_mb']['theirs']:,.0f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure what is asked for and not measured yet."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("out", type=Path)
    asked.add_argument("--quick", action="store_true", help="seven rows, two turns each")
    asked.add_argument("--only", nargs="*", choices=sorted({row.job for row in rows()}))
    asked.add_argument("--size", choices=["6M", "30M"])
    asked.add_argument("--turns", type=int, default=5)
    asked.add_argument("--threads", type=int, default=2)
    asked.add_argument("--peer", default=".venv-peers")
    asked.add_argument("--cache", type=Path, default=ROOT / "build" / "bench")
    asked.add_argument("--table", type=Path)
    given = asked.parse_args()
    given.cache.mkdir(parents=True, exist_ok=True)
    wanted = [row for row in rows() if not given.quick or row.name in quick()]
    wanted = [row for row in wanted if not given.only or row.job in given.only]
    wanted = [row for row in wanted if not given.size or row.size == given.size]
    turns = 2 if given.quick else given.turns
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    result: dict[str, Any] = {
        "commit": commit.stdout.strip(),
        "machine": machine(),
        "threads": given.threads,
        "versions": {
            "ours": versions(ROOT / ".venv/bin/python") | {"assent": metadata.version("assent")},
            "peer": versions(ROOT / given.peer / "bin/python") | {"trl, ppo": "1.12.0"},
        },
        "equal_work": {},
        "rows": [],
    }
    if given.out.exists():
        kept = json.loads(given.out.read_text())
        result["rows"], result["equal_work"] = kept["rows"], kept["equal_work"]
    done = {one["name"] for one in result["rows"]}
    for row in wanted:
        if row.name in done:
            continue
        if row.size not in result["equal_work"]:
            code = f"import sys; sys.path.insert(0, {str(HERE)!r}); import material, pathlib; "
            code += f"material.prepare(pathlib.Path({str(given.cache)!r}), {row.size!r})"
            subprocess.run([ROOT / ".venv/bin/python", "-c", code], check=True)
            result["equal_work"][row.size] = require_equal_work(row.size, given)
        began = time.perf_counter()
        result["rows"].append(measure(row, given, turns) | {"commit": result["commit"]})
        given.out.parent.mkdir(parents=True, exist_ok=True)
        aside = given.out.with_suffix(".part")
        aside.write_text(json.dumps(result, indent=1) + "\n")
        aside.replace(given.out)
        seconds = time.perf_counter() - began
        sys.stdout.write(f"{row.name}: {result['rows'][-1]['ratio']:.2f} ({seconds:.0f} s)\n")
        sys.stdout.flush()
    found = table(result["rows"])
    sys.stdout.write(found)
    if given.table:
        given.table.write_text(found)


if __name__ == "__main__":
    main()
