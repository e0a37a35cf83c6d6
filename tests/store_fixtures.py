"""Projects on both databases, and a small world to put into them.

The PostgreSQL server is Debian's, started for the test session on a socket in a folder of its own,
by a user who is not root, without fsync: nothing outside the session sees it.
"""

import itertools
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import assent.store
from assent.store import (
    Artifact,
    ModelVersion,
    NewComparison,
    NewJudgement,
    NewModelVersion,
    NewResponse,
    Project,
    Store,
)
from assent.types import Prompt, Verdict

SETTINGS = "schema_version = 1\n\n[project]\nseed = 1\n"

_numbers = itertools.count()


class Ticking:
    """A clock that moves on by one second each time it is read."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 31, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        """The next second."""
        self.now += timedelta(seconds=1)
        return self.now


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The socket folder of a running server."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not binaries:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    # Not pytest's folder: its parents are closed to other users.
    folder = Path(tempfile.mkdtemp(prefix="assent-postgresql-"))
    as_user: list[str] = []
    if os.geteuid() == 0:
        user = pwd.getpwnam("postgres")
        os.chown(folder, user.pw_uid, user.pw_gid)
        as_user = ["runuser", "-u", user.pw_name, "--"]
    data, log = folder / "data", folder / "log"
    pg_ctl = [*as_user, str(binaries[-1] / "pg_ctl"), "-D", str(data), "--silent"]
    options = f"-k {folder} -c listen_addresses= -c fsync=off -c full_page_writes=off"
    initdb = "--username=assent --auth=trust --encoding=UTF8 --locale=C --no-sync"
    try:
        _quietly([*pg_ctl, "-o", initdb, "init"], folder)
        _quietly([*pg_ctl, "-w", "-l", str(log), "-o", options, "start"], folder)
        try:
            yield str(folder)
        finally:
            _quietly([*pg_ctl, "-w", "-m", "immediate", "stop"], folder)
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def new_postgresql(postgresql_server: str) -> Callable[[], str]:
    """Makes an empty database and gives its URL, each time it is called."""

    psycopg = pytest.importorskip("psycopg", reason="pip install 'assent[postgres]'")

    def make() -> str:
        name = f"assent_{next(_numbers)}"
        with psycopg.connect(
            host=postgresql_server, user="assent", dbname="postgres", autocommit=True
        ) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return f"postgresql://assent@/{name}?host={postgresql_server}"

    return make


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str | None:
    """Where a new project keeps its data: each test runs on both databases."""
    if request.param == "sqlite":
        return None
    make: Callable[[], str] = request.getfixturevalue("new_postgresql")
    return make()


@pytest.fixture(autouse=True)
def _no_database_of_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASSENT_DATABASE_URL", raising=False)


@pytest.fixture
def project(tmp_path: Path, database_url: str | None) -> Iterator[Project]:
    """An empty project with a ticking clock, on each database in turn."""
    root = tmp_path / "project"
    with Project.create(root, SETTINGS, database_url=database_url, clock=Ticking()) as created:
        yield created


@pytest.fixture
def sqlite_project(tmp_path: Path) -> Iterator[Project]:
    """An empty project on SQLite alone, for what lies in its file."""
    with Project.create(tmp_path / "project", SETTINGS, clock=Ticking()) as created:
        yield created


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What `fill` put into a store, by id."""

    prompts: list[str]
    model: ModelVersion
    artifact: Artifact
    sampler: str
    responses: list[str]
    comparisons: list[str]
    annotators: list[str]


def adopt_model(project: Project, name: str = "sft", weights: str = "weights") -> Artifact:
    """Put a folder that stands for a model in its place."""
    folder = project.root / "runs" / f"{name}-folder"
    (folder / "nested").mkdir(parents=True)
    (folder / "model.safetensors").write_text(weights)
    (folder / "nested" / "config.json").write_text("{}")
    return project.artifacts.adopt_folder(folder, "checkpoints", name)


def fill(project: Project, pairs: int = 3) -> World:
    """Two annotators, one sampler, and `pairs` comparisons on as many prompts."""
    store = project.store
    artifact = adopt_model(project)
    model = store.add_model_version(
        NewModelVersion(stage="sft", name="sft", weights_sha256=artifact.sha256, path=artifact.path)
    )
    sampler = store.add_sampler(model.id, {"temperature": 1.0}, "transformers")
    prompts = store.add_prompts([Prompt(text=f"question {n}") for n in range(pairs)])
    responses = store.add_responses(
        [
            NewResponse(
                prompt_id=prompt,
                text=f"answer {side} to {n}",
                sampler_id=sampler,
                seed=7,
                logprob_sum=-1.25,
                token_count=4,
                finish_reason="stop",
                index=side,
            )
            for n, prompt in enumerate(prompts)
            for side in (0, 1)
        ]
    )
    comparisons = store.add_comparisons(
        [
            NewComparison(
                prompt_id=prompt,
                first_response_id=responses[2 * n],
                second_response_id=responses[2 * n + 1],
                shown_order="first_left" if n % 2 else "second_left",
            )
            for n, prompt in enumerate(prompts)
        ]
    )
    return World(
        prompts=prompts,
        model=model,
        artifact=artifact,
        sampler=sampler,
        responses=responses,
        comparisons=comparisons,
        annotators=[
            store.add_annotator("flawed", "simulated", {"bias": 0.5}),
            store.add_annotator("ada", "human"),
        ],
    )


def judge(
    store: Store,
    comparisons: Sequence[str],
    annotator: str,
    verdict: Verdict = "first",
) -> list[str]:
    """Record one judgement for each comparison; return the events."""
    recorded = store.record_judgements(
        [
            NewJudgement(
                comparison_id=comparison,
                annotator_id=annotator,
                verdict=verdict,
                idempotency_key=f"judge {comparison}",
            )
            for comparison in comparisons
        ]
    )
    return [one.event_id for one in recorded]


def start_python(program: str, *arguments: str) -> subprocess.Popen[bytes]:
    """A process that runs a program with this package; its input and output are pipes."""
    source = str(Path(assent.store.__file__).parents[2])
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,  # `readline` and then `communicate` must not lose what lies between
        env={**os.environ, "PYTHONPATH": source},
    )


def _quietly(command: list[str], folder: Path) -> None:
    # The server inherits the output, so it must not be a pipe that is waited for.
    with (folder / "output").open("ab") as output:
        done = subprocess.run(command, stdout=output, stderr=output, check=False, cwd=folder)
    if done.returncode:
        said = (folder / "output").read_text(errors="replace")
        pytest.fail(f"{' '.join(command)} failed: {said}")
