"""Runs, model versions and artifacts: which model came from what.

A model version names its parent, its snapshot, its run (settings, seed, code) and, through the run,
every other model the run read; so from a policy one walks back over its reward model to the
snapshot, and from there to the judgements. Functions take an open transaction.
"""

import json
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, func, insert, select, update

from assent.errors import DataError, IdempotencyConflict, UnknownRecord
from assent.store import snapshots as snapshot_rows
from assent.store.identity import canonical_json, content_id, require_seed, require_text, sha256_hex
from assent.store.records import (
    Ancestor,
    Artifact,
    ModelVersion,
    NewModelVersion,
    NewRun,
    RunStatus,
    StoredRun,
)
from assent.store.rows import add_missing, parsed_object, require
from assent.store.schema import artifacts, model_versions, run_parents, runs, snapshots
from assent.store.times import from_text

_SHOWN = 3
"""Settings that a refusal names."""


def start_run(connection: Connection, new: NewRun, now: str) -> StoredRun:
    """Add a run, or take up the one that was killed; see `Store.start_run`."""
    require_seed(new.seed, f"run {new.name!r}: seed")
    settings = canonical_json(dict(new.settings))
    content = {
        "stage": new.stage,
        "name": new.name,
        "settings_sha256": sha256_hex(settings),
        "seed": new.seed,
        "snapshot_id": new.snapshot_id,
    }
    id_ = new.id if new.id is not None else run_id(content, new.parents)
    stored = connection.execute(select(runs).where(runs.c.id == id_)).mappings().first()
    if stored is None:
        require(connection, snapshots, [new.snapshot_id])
        require(connection, model_versions, new.parents.values())
        position = (connection.scalar(select(func.max(runs.c.position))) or 0) + 1
        connection.execute(
            insert(runs).values(
                id=id_,
                position=position,
                status="running",
                settings=settings,
                code_version=new.code_version,
                git_commit=new.git_commit,
                started_at=now,
                **content,
            )
        )
        parents = [
            {"run_id": id_, "role": role, "model_version_id": version}
            for role, version in sorted(new.parents.items())
        ]
        if parents:
            connection.execute(insert(run_parents), parents)
        return find_run(connection, id_)
    for name, value in content.items():
        if stored[name] != value:
            other = (
                f"other settings ({_differing(stored['settings'], settings)})"
                if name == "settings_sha256"
                else f"another {name}"
            )
            message = (
                f"run {id_} exists with {other}; go on with what it was begun with (its "
                "settings are in runs/, in the folder of its name), or begin another run or project"
            )
            raise IdempotencyConflict(message)
    if stored["status"] in ("failed", "interrupted"):
        again = {"status": "running", "finished_at": None, "problem": None}
        connection.execute(update(runs).where(runs.c.id == id_).values(again))
    return find_run(connection, id_)


def _differing(stored: str, given: str) -> str:
    """The first keys of two settings that differ, each with what it was and what it is."""
    was, now = (_leaves(json.loads(text)) for text in (stored, given))
    odd = [key for key in was | now if was.get(key) != now.get(key)]
    said = [f"{key} was {was.get(key)} and is {now.get(key)}" for key in odd[:_SHOWN]]
    return "; ".join([*said, "…"] if len(odd) > _SHOWN else said)


def _leaves(table: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Every value by its dotted key."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        name = f"{above}{key}"
        found |= _leaves(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return found


def run_id(row: Mapping[str, Any], parents: Mapping[str, str]) -> str:
    """The id that a run's settings, seed, snapshot and parents give."""
    return content_id(
        "runs",
        row["stage"],
        row["name"],
        row["settings_sha256"],
        row["seed"],
        row["snapshot_id"],
        canonical_json(dict(parents)),
    )


def finish_run(
    connection: Connection, id_: str, status: RunStatus, problem: str | None, now: str
) -> StoredRun:
    """Close a run; see `Store.finish_run`."""
    if status == "running":
        message = f"run {id_}: finish it as done, failed or interrupted"
        raise DataError(message)
    run = find_run(connection, id_)
    if run.status == status and run.problem == problem:
        return run
    if run.status == "done":
        message = f"run {id_} is done and cannot become {status}"
        raise IdempotencyConflict(message)
    end = {"status": status, "finished_at": now, "problem": problem}
    connection.execute(update(runs).where(runs.c.id == id_).values(end))
    return find_run(connection, id_)


def find_run(connection: Connection, id_: str) -> StoredRun:
    """The run with this id.

    Raises:
        UnknownRecord: there is none.
    """
    row = connection.execute(select(runs).where(runs.c.id == id_)).mappings().first()
    if row is None:
        message = f"runs has no record {id_}"
        raise UnknownRecord(message)
    query = select(run_parents).where(run_parents.c.run_id == id_)
    return _run(row, connection.execute(query).mappings().all())


def list_runs(connection: Connection) -> list[StoredRun]:
    """Runs in the order first started."""
    parents: dict[str, list[RowMapping]] = {}
    for row in connection.execute(select(run_parents)).mappings():
        parents.setdefault(row["run_id"], []).append(row)
    query = select(runs).order_by(runs.c.position)
    return [_run(row, parents.get(row["id"], [])) for row in connection.execute(query).mappings()]


def add_model_version(connection: Connection, new: NewModelVersion, now: str) -> ModelVersion:
    """Add a model version; see `Store.add_model_version`."""
    require(connection, model_versions, [new.parent_id])
    require(connection, snapshots, [new.snapshot_id])
    require(connection, runs, [new.run_id])
    known = select(artifacts.c.path).where(artifacts.c.path == new.path)
    if connection.scalar(known) is None:
        message = f"artifacts has no record {new.path}; adopt the model folder first"
        raise UnknownRecord(message)
    content = {
        "stage": new.stage,
        "name": new.name,
        "weights_sha256": new.weights_sha256,
        "parent_id": new.parent_id,
        "snapshot_id": new.snapshot_id,
        "run_id": new.run_id,
        "settings_sha256": new.settings_sha256,
    }
    id_ = new.id if new.id is not None else model_version_id(content)
    row = {"id": id_, "path": new.path, "code_version": new.code_version, **content}
    add_missing(connection, model_versions, [row], now)
    stored = find_model_version(connection, id_)
    for name, value in content.items():
        if getattr(stored, name) != value:
            message = f"model version {id_} exists with another {name}; give this one another id"
            raise IdempotencyConflict(message)
    return stored


def model_version_id(row: Mapping[str, Any]) -> str:
    """The id that a model version's weights and origin give."""
    return content_id(
        "model_versions",
        row["stage"],
        row["name"],
        row["weights_sha256"],
        row["parent_id"],
        row["snapshot_id"],
        row["run_id"],
        row["settings_sha256"],
    )


def find_model_version(connection: Connection, id_: str) -> ModelVersion:
    """The model version with this id.

    Raises:
        UnknownRecord: there is none.
    """
    query = select(model_versions).where(model_versions.c.id == id_)
    row = connection.execute(query).mappings().first()
    if row is None:
        message = f"model_versions has no record {id_}"
        raise UnknownRecord(message)
    return _model_version(row)


def list_model_versions(connection: Connection) -> list[ModelVersion]:
    """Model versions in the order added."""
    query = select(model_versions).order_by(model_versions.c.position)
    return [_model_version(row) for row in connection.execute(query).mappings()]


def lineage(connection: Connection, id_: str) -> list[Ancestor]:
    """A version and everything it came from, nearest first, each once."""
    waiting: deque[tuple[str, str | None, str]] = deque([("self", None, id_)])
    seen: set[str] = set()
    chain: list[Ancestor] = []
    while waiting:
        role, of_id, current = waiting.popleft()
        if current in seen:
            continue
        seen.add(current)
        version = find_model_version(connection, current)
        run = find_run(connection, version.run_id) if version.run_id else None
        trained_on = version.snapshot_id or (run.snapshot_id if run else None)
        snapshot = snapshot_rows.find(connection, trained_on) if trained_on else None
        chain.append(Ancestor(role=role, of_id=of_id, version=version, run=run, snapshot=snapshot))
        if version.parent_id is not None:
            waiting.append(("parent", current, version.parent_id))
        if run is not None:
            waiting.extend((read_as, current, read) for read_as, read in run.parents.items())
    return chain


def add_artifact(connection: Connection, artifact: Artifact, now: str) -> None:
    """Add an artifact that lies in its place; one recorded before is left as it is.

    Raises:
        IdempotencyConflict: the path was recorded with another hash.
    """
    require_text(artifact.path, "artifact path")
    query = select(artifacts.c.sha256).where(artifacts.c.path == artifact.path)
    stored = connection.scalar(query)
    if stored is None:
        connection.execute(
            insert(artifacts).values(
                path=artifact.path,
                sha256=artifact.sha256,
                kind=artifact.kind,
                size_bytes=artifact.size_bytes,
                created_at=now,
            )
        )
    elif stored != artifact.sha256:
        message = f"artifact {artifact.path} is recorded with hash {stored[:12]}, not this one"
        raise IdempotencyConflict(message)


def list_artifacts(connection: Connection, kind: str | None) -> list[Artifact]:
    """Artifacts by time and path."""
    query = select(artifacts).order_by(artifacts.c.created_at, artifacts.c.path)
    if kind is not None:
        query = query.where(artifacts.c.kind == kind)
    return [
        Artifact(sha256=row.sha256, kind=row.kind, path=row.path, size_bytes=row.size_bytes)
        for row in connection.execute(query)
    ]


def _run(row: RowMapping, parents: Sequence[RowMapping]) -> StoredRun:
    finished = row["finished_at"]
    return StoredRun(
        id=row["id"],
        stage=row["stage"],
        name=row["name"],
        status=row["status"],
        settings=parsed_object(row["settings"]),
        settings_sha256=row["settings_sha256"],
        seed=row["seed"],
        code_version=row["code_version"],
        git_commit=row["git_commit"],
        parents={one["role"]: one["model_version_id"] for one in parents},
        snapshot_id=row["snapshot_id"],
        problem=row["problem"],
        started_at=from_text(row["started_at"]),
        finished_at=None if finished is None else from_text(finished),
    )


def _model_version(row: RowMapping) -> ModelVersion:
    return ModelVersion(
        id=row["id"],
        stage=row["stage"],
        name=row["name"],
        weights_sha256=row["weights_sha256"],
        path=row["path"],
        settings_sha256=row["settings_sha256"],
        code_version=row["code_version"],
        parent_id=row["parent_id"],
        snapshot_id=row["snapshot_id"],
        run_id=row["run_id"],
        created_at=from_text(row["created_at"]),
    )
