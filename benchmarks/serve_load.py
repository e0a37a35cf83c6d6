"""Fifty people judge at once on a large project: how long they wait, and whether all is kept.

    python benchmarks/serve_load.py OUT.json [--database sqlite|postgresql] [--seconds 120]
        [--people 50] [--think 2] [--tasks 100000] [--judgements 1000000]
        [--folder FOLDER] [--make-only]

The project holds so many comparison tasks and judgements of simulated annotators. `assent serve`
runs as its own process; each simulated person has a session, fetches a task, thinks for about two
seconds, sends the answer, as the judging page does. Asked for: the 95th percentile of fetching and
of sending under 100 ms each, no error, as many judgements stored as acknowledged, and
`assent db check` clean afterwards. `server_processor_ms` is what the server used of the processor
for each of these requests, which other work on the machine hardly changes. `postgresql` starts
Debian's own server in a folder that goes.

With `--folder` the project (and PostgreSQL's files) are made there, kept, and used again by the
next run, so that making a large one and measuring on it are two commands.
"""

import argparse
import asyncio
import json
import os
import platform
import pwd
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psycopg

from assent.collect.sources import comparison_tasks
from assent.config.files import write_file
from assent.config.labelling import LabellingSettings
from assent.store import (
    NewComparison,
    NewJudgement,
    NewModelVersion,
    NewResponse,
    Project,
    check_project,
)
from assent.types import Prompt

SETTINGS = "schema_version = 1\nseed = 1\n"
PROMPTS = 1_000
BATCH = 10_000
SLOW_SECONDS = 0.1
VERDICTS = ("left", "right", "tie")
MADE = "made.json"


@dataclass
class Measured:
    """What all people together saw."""

    began: float = field(default_factory=time.monotonic)
    claim_ms: list[float] = field(default_factory=list)
    answer_ms: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    slow_after: list[float] = field(default_factory=list)
    """When a request took longer than 100 ms, in seconds since the first person came in."""


def main() -> None:
    """Build, serve, load, check, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="where the report goes")
    parser.add_argument("--folder", type=Path, help="where the project is kept for the next run")
    parser.add_argument("--make-only", action="store_true", help="make the project and stop")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--people", type=int, default=50)
    parser.add_argument("--think", type=float, default=2)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--judgements", type=int, default=1_000_000)
    given = parser.parse_args()
    with _place(given.folder) as folder, _database(given.database, folder) as url:
        root = folder / "project"
        if not (folder / MADE).exists():
            began = time.monotonic()
            build(root, url, given.tasks, given.judgements)
            size = {"tasks": given.tasks, "judgements": given.judgements}
            write_file(folder / MADE, json.dumps(size) + "\n")
            _say(f"built in {time.monotonic() - began:.0f} s")
        size = json.loads((folder / MADE).read_text())
        if size != {"tasks": given.tasks, "judgements": given.judgements}:
            sys.exit(f"{folder} holds {size}; give another --folder, or the same numbers")
        if given.make_only:
            return
        links, already = invite(root, url, given.people)
        load = round(os.getloadavg()[0], 1)
        with _serving(root, url) as (base, server):
            before = _processor_seconds(server)
            measured = asyncio.run(judge(base, links, given.seconds, given.think))
            busy = _processor_seconds(server) - before
            stopping = time.monotonic()
        stopped = time.monotonic() - stopping
        began = time.monotonic()
        with Project.open(root, database_url=url) as project:
            findings = [
                f"{one.table} {one.record}: {one.problem}" for one in check_project(project)
            ]
            stored = project.store.counts()["events"] - already
        report = {
            "database": given.database,
            "tasks": given.tasks,
            "judgements": given.judgements,
            "people": given.people,
            "think_seconds": given.think,
            "seconds": given.seconds,
            "fetch_ms": _percentiles(measured.claim_ms),
            "send_ms": _percentiles(measured.answer_ms),
            "acknowledged": len(measured.answer_ms),
            "stored": stored,
            "server_processor_ms": round(
                1e3 * busy / max(1, len(measured.claim_ms) + len(measured.answer_ms)), 1
            ),
            "stopped_after_seconds": round(stopped, 1),
            "over_100_ms_in_each_ten_seconds": np.bincount(
                [int(moment // 10) for moment in measured.slow_after] or [0],
                minlength=int(given.seconds // 10),
            ).tolist(),
            "errors": len(measured.errors),
            "first_errors": measured.errors[:10],
            "check": findings,
            "check_seconds": round(time.monotonic() - began, 1),
            "machine": machine(),
            "load_before": load,
        }
    write_file(given.out, json.dumps(report, indent=2) + "\n")
    _say(json.dumps({key: report[key] for key in ("fetch_ms", "send_ms", "errors", "check")}))


@contextmanager
def _place(folder: Path | None) -> Iterator[Path]:
    """The folder to work in: one that stays, or one that goes."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="serve-load-") as made:
        yield Path(made)


def invite(root: Path, url: str | None, people: int) -> tuple[list[str], int]:
    """An invitation of each of so many new people, and how many judgements there are."""
    with Project.open(root, database_url=url) as project:
        book = project.store.people
        there = len(book.everybody())
        names = [f"person {there + n}" for n in range(people)]
        links = [book.invite(book.add(name, "annotator").annotator_id, 7) for name in names]
        return links, project.store.counts()["events"]


def build(root: Path, url: str | None, tasks: int, judgements: int) -> None:
    """The project, with its tasks and what simulated annotators said."""
    with Project.create(root, SETTINGS, database_url=url) as project:
        store = project.store
        weights = root / "runs" / "folder"
        weights.mkdir(parents=True)
        (weights / "model.safetensors").write_text("weights")
        artifact = project.artifacts.adopt_folder(weights, "checkpoints", "sft")
        model = store.add_model_version(
            NewModelVersion(
                stage="sft", name="sft", weights_sha256=artifact.sha256, path=artifact.path
            )
        )
        sampler = store.add_sampler(model.id, {"temperature": 1.0}, "transformers")
        prompts = store.add_prompts(
            [Prompt(text=f"What is the bridge of town {n}?") for n in range(PROMPTS)]
        )
        each = -(-judgements // tasks)
        judges = [store.add_annotator(f"simulated {n}", "simulated") for n in range(each)]
        recorded = 0
        for start in range(0, tasks, BATCH):
            numbers = range(start, min(start + BATCH, tasks))
            comparisons = _comparisons(store, prompts, sampler, numbers)
            for judge_id in judges:
                wanted = min(len(comparisons), judgements - recorded)
                store.record_judgements(
                    [
                        NewJudgement(
                            comparison_id=comparison,
                            annotator_id=judge_id,
                            verdict="second",
                            seconds_spent=2.5,
                            idempotency_key=f"judgement {comparison}",
                        )
                        for comparison in comparisons[:wanted]
                    ]
                )
                recorded += wanted
        comparison_tasks(store, LabellingSettings(), seed=1, overlap=2)
    if url is not None:  # as the database's own housekeeping does in time
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")


def _comparisons(store: Any, prompts: list[str], sampler: str, numbers: range) -> list[str]:  # noqa: ANN401
    responses = store.add_responses(
        [
            NewResponse(
                prompt_id=prompts[n % len(prompts)],
                text=f"It is of stone, certainly, number {n}, and side {side} says so.",
                sampler_id=sampler,
                seed=n,
                logprob_sum=-1.5,
                token_count=12,
                finish_reason="stop",
            )
            for n in numbers
            for side in (0, 1)
        ]
    )
    found: list[str] = store.add_comparisons(
        [
            NewComparison(
                prompt_id=prompts[n % len(prompts)],
                first_response_id=responses[2 * position],
                second_response_id=responses[2 * position + 1],
                shown_order="first_left",
            )
            for position, n in enumerate(numbers)
        ]
    )
    return found


async def judge(base: str, links: list[str], seconds: float, think: float) -> Measured:
    """Everybody judges until the time is up."""
    measured = Measured()
    people = [httpx.AsyncClient(base_url=base, timeout=30) for _ in links]
    for client, token in zip(people, links, strict=True):
        entered = await client.post(f"/invite/{token}", data={}, headers=_FORM)
        if entered.status_code != httpx.codes.SEE_OTHER:
            measured.errors.append(f"coming in: {entered.status_code} {entered.text[:200]}")
    until = time.monotonic() + seconds
    draws = [random.Random(number) for number in range(len(people))]
    await asyncio.gather(
        *(_person(*one, until, think, measured) for one in zip(people, draws, strict=True))
    )
    for client in people:
        await client.aclose()
    return measured


_FORM = {"Sec-Fetch-Site": "same-origin", "Content-Type": "application/x-www-form-urlencoded"}


async def _person(
    client: httpx.AsyncClient, draw: random.Random, until: float, think: float, measured: Measured
) -> None:
    me = (await client.get("/api/v1/me")).json()
    headers = {"X-CSRF-Token": me["csrf_token"]}
    await asyncio.sleep(draw.uniform(0, think))
    while time.monotonic() < until:
        claimed = await _timed(
            client,
            "/api/v1/claims",
            {"kinds": ["comparison"]},
            headers,
            measured,
            measured.claim_ms,
        )
        task = None if claimed is None else claimed["task"]
        await asyncio.sleep(draw.uniform(0.5 * think, 1.5 * think))
        if task is None:
            measured.errors.append(f"no task: {claimed}")
            continue
        body: dict[str, Any] = {
            "kind": "comparison",
            "verdict": (verdict := draw.choice(VERDICTS)),
            "strength": None if verdict == "tie" else draw.randint(1, 4),
            "flags": {"a": [], "b": []},
            "note": None,
            "seconds": think,
        }
        await _timed(
            client,
            f"/api/v1/leases/{task['lease']}/answer",
            body,
            {**headers, "Idempotency-Key": uuid.UUID(int=draw.getrandbits(128)).hex},
            measured,
            measured.answer_ms,
        )


async def _timed(
    client: httpx.AsyncClient,
    path: str,
    body: dict[str, Any],
    headers: dict[str, str],
    measured: Measured,
    into: list[float],
) -> dict[str, Any] | None:
    began = time.perf_counter()
    try:
        response = await client.post(path, json=body, headers=headers)
    except httpx.HTTPError as error:
        measured.errors.append(f"{path}: {error!r}")
        return None
    if response.status_code not in (httpx.codes.OK, httpx.codes.CREATED):
        measured.errors.append(f"{path}: {response.status_code} {response.text[:200]}")
        return None
    took = time.perf_counter() - began
    into.append(1e3 * took)
    if took > SLOW_SECONDS:
        measured.slow_after.append(time.monotonic() - measured.began)
    told: dict[str, Any] = response.json()
    return told


@contextmanager
def _serving(root: Path, url: str | None) -> Iterator[tuple[str, int]]:
    """`assent serve` as its own process; its address and its process id."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if url is not None:
        environment["ASSENT_DATABASE_URL"] = url
    process = subprocess.Popen(
        [sys.executable, "-m", "assent.cli", "serve", str(root), "--port", "0", "--json"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    lines: list[str] = []
    while process.stdout is not None and (not lines or lines[-1].rstrip() != "}"):
        lines.append(process.stdout.readline())
        if not lines[-1]:
            sys.exit("the server did not start")
    try:
        yield json.loads("".join(lines))["url"], process.pid
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


@contextmanager
def _database(kind: str, within: Path) -> Iterator[str | None]:
    """Where the project keeps its data: None for SQLite, else the URL of a server of our own."""
    if kind == "sqlite":
        yield None
        return
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not binaries:
        sys.exit("PostgreSQL is not installed: apt-get install postgresql")
    folder = within / "postgresql"
    is_new = not folder.exists()
    folder.mkdir(exist_ok=True)
    as_user: list[str] = []
    if os.geteuid() == 0:  # the server refuses to run as root
        user = pwd.getpwnam("postgres")
        os.chown(folder, user.pw_uid, user.pw_gid)
        within.chmod(0o755)
        as_user = ["runuser", "-u", user.pw_name, "--"]
    control = [*as_user, str(binaries[-1] / "pg_ctl"), "-D", str(folder / "data"), "--silent"]

    def run(*arguments: str) -> None:
        # The server inherits the output, so it must not be a pipe that is waited for.
        subprocess.run([*control, *arguments], stdout=subprocess.DEVNULL, check=True, cwd=folder)

    if is_new:
        run("-o", "--username=assent --auth=trust --encoding=UTF8 --locale=C", "init")
    options = f"-k {folder} -c listen_addresses= -c max_connections=200"
    run("-w", "-l", str(folder / "log"), "-o", options, "start")
    try:
        yield f"postgresql://assent@/postgres?host={folder}"
    finally:
        run("-w", "-m", "fast", "stop")


def _processor_seconds(process: int) -> float:
    """What a process has used of the processor so far (Linux)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def machine() -> dict[str, Any]:
    """What this ran on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = {line.partition(":")[2].strip() for line in lines if line.startswith("model name")}
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": ", ".join(sorted(names)) or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def _percentiles(values: list[float]) -> dict[str, float]:
    if not values:
        return {}
    found = np.percentile(values, [50, 95, 99, 100])
    return dict(
        zip(("p50", "p95", "p99", "max"), (round(float(one), 1) for one in found), strict=True)
    )


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    main()
