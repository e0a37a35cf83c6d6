"""`check_project`: find every record or file that is not what was written, and name it.

Nothing is trusted but the hashes: ids are computed again from content, the chain of events is
walked, references are followed, snapshots are hashed again, artifacts are read from the disk.
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from sqlalchemy import Connection, ForeignKey, Table, func, inspect, select, text

from assent.errors import StoreDamaged, StoreError
from assent.store import content
from assent.store.checking_ledger import check_chain, check_doubled, check_snapshots
from assent.store.checking_work import check_work
from assent.store.database import Database
from assent.store.identity import content_id, said_since, sha256_hex
from assent.store.migrating import revision
from assent.store.project import Project
from assent.store.records import Finding
from assent.store.rows import by_name, in_order, parsed_ids
from assent.store.schema import (
    REVISIONS,
    comparisons,
    events,
    metadata,
    response_set_members,
    response_sets,
    responses,
    runs,
    snapshots,
)
from assent.types import Progress, ProgressTask, SilentProgress

_GUARDS = ("events_no_delete", "events_no_update")


def check_project(project: Project, progress: Progress | None = None) -> list[Finding]:
    """Everything that is wrong with a project; an empty list when it is whole. Changes nothing.

    Sees the database as it was at one moment, so it may run while others write.
    """
    shown = progress or SilentProgress()
    database = project.store.database
    findings = _found(database, _check_shape)
    if any(one.table in metadata.tables for one in findings):
        return findings  # a table is missing, and every other check needs all of them
    # The database works on references while Python hashes: half the time on two cores.
    with ThreadPoolExecutor(max_workers=1) as beside:
        structure = beside.submit(_found, database, _check_structure)
        records = _found(database, partial(_check_records, progress=shown))
    findings += structure.result() + records
    return findings + _check_artifacts(project, shown)


def _found(database: Database, check: Callable[[Connection], Iterator[Finding]]) -> list[Finding]:
    findings: list[Finding] = []
    try:
        with database.reading() as connection:
            findings.extend(check(connection))
    except StoreDamaged as error:
        return [*findings, _damaged(database, error)]
    except StoreError as error:
        if "decode" not in str(error):
            raise
    else:
        return findings
    # Some text is no longer UTF-8. Read it byte for byte, so that its record can be named.
    with database.reading() as connection:
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        driver.text_factory = lambda raw: raw.decode("utf-8", "backslashreplace")
        try:
            return list(check(connection))
        finally:
            driver.text_factory = str


def _damaged(database: Database, error: StoreDamaged) -> Finding:
    return Finding(table="database", record=database.description, problem=str(error))


def _check_shape(connection: Connection) -> Iterator[Finding]:
    found = revision(connection)
    if found != REVISIONS[-1]:
        problem = f"the tables are at revision {found}, not {REVISIONS[-1]}"
        yield Finding(table="alembic_version", record=str(found), problem=problem)
    for name in sorted(set(metadata.tables) - set(inspect(connection).get_table_names())):
        yield Finding(table=name, record="the whole table", problem="is missing")


def _check_structure(connection: Connection) -> Iterator[Finding]:
    if connection.dialect.name == "sqlite":
        # PostgreSQL checks its pages when it reads them. Not integrity_check: it takes ten times
        # as long to compare each index with its table, and the checks below follow the indexes.
        for (line,) in connection.execute(text("PRAGMA quick_check(100)")):
            if line != "ok":
                yield Finding(table="database", record="pages", problem=str(line))
    yield from _check_guards(connection)
    yield from _check_references(connection)
    yield from check_doubled(connection)
    yield from check_work(connection)


def _check_records(connection: Connection, progress: Progress) -> Iterator[Finding]:
    steps = sum(_rows(connection, table) for table in (*content.IDENTITY, events))
    steps += _rows(connection, events) * bool(_rows(connection, snapshots))
    with progress.task("records", total=steps) as bar:
        for table in content.IDENTITY:
            yield from _check_content(connection, table, bar)
        yield from _check_members(connection)
        yield from _check_runs(connection)
        yield from check_chain(connection, bar)
        yield from check_snapshots(connection, bar)


def _check_artifacts(project: Project, progress: Progress) -> list[Finding]:
    try:
        kept = project.store.artifacts()
    except StoreDamaged as error:
        return [_damaged(project.store.database, error)]
    findings = []
    with progress.task("artifacts", total=len(kept)) as bar:
        for artifact in kept:
            problem = project.artifacts.verify(artifact)
            if problem is not None:
                findings.append(Finding(table="artifacts", record=artifact.path, problem=problem))
            bar.advance()
    return findings


def _rows(connection: Connection, table: Table) -> int:
    return connection.scalar(select(func.count()).select_from(table)) or 0


def _check_guards(connection: Connection) -> Iterator[Finding]:
    if connection.dialect.name == "sqlite":
        query = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
    else:
        query = "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgenabled <> 'D'"
    present = set(connection.scalars(text(query)))
    for guard in _GUARDS:
        if guard not in present:
            problem = "the trigger that keeps events from being changed or removed is off"
            yield Finding(table="events", record=guard, problem=problem)


def _check_references(connection: Connection) -> Iterator[Finding]:
    for table in metadata.sorted_tables:
        for reference in sorted(table.foreign_keys, key=lambda one: one.parent.name):
            yield from _check_reference(connection, table, reference)


def _check_reference(
    connection: Connection, table: Table, reference: ForeignKey
) -> Iterator[Finding]:
    target = reference.column
    parent = target.table.alias("parent")
    column = reference.parent
    query = (
        select(*table.primary_key.columns, column.label("reference"))
        .outerjoin(parent, parent.c[target.name] == column)
        .where(column.is_not(None), parent.c[target.name].is_(None))
    )
    for row in connection.execute(query):
        *key, missing = row
        problem = f"{column.name} names {missing}, which {target.table.name} does not have"
        yield Finding(table=table.name, record=" ".join(str(part) for part in key), problem=problem)


def _check_content(connection: Connection, table: Table, bar: ProgressTask) -> Iterator[Finding]:
    name, identity = table.name, content.IDENTITY[table]
    since = content.IDENTITY_SINCE.get(table, ())
    derived = _DERIVED.get(table)
    extra = [] if derived is None else [derived[0]]
    query = select(table.c.id, *(table.c[column] for column in (*identity, *extra, *since)))
    end = len(identity) + 1
    for block in in_order(connection, query):
        for row in block:
            said = row[1:end]
            later = since and said_since(**{column: by_name(row)[column] for column in since})
            if row[0] != content_id(name, *said, *later):
                problem = "was changed: its id does not fit what it says"
                yield Finding(table=name, record=row[0], problem=problem)
            elif derived is not None and row[end] != derived[1](said):
                problem = f"was changed: {derived[0]} does not fit what it says"
                yield Finding(table=name, record=row[0], problem=problem)
        bar.advance(len(block))


def _check_members(connection: Connection) -> Iterator[Finding]:
    """Response sets whose members, one a row, are not those that the set names."""
    listed: dict[str, list[str]] = {}
    query = select(response_set_members).order_by(
        response_set_members.c.response_set_id, response_set_members.c.place
    )
    for row in connection.execute(query):
        listed.setdefault(row.response_set_id, []).append(row.response_id)
    for id_, ids in connection.execute(select(response_sets.c.id, response_sets.c.response_ids)):
        if list(parsed_ids(ids)) != listed.get(id_):
            problem = "was changed: its members are not the responses it names"
            yield Finding(table="response_sets", record=id_, problem=problem)


def _check_runs(connection: Connection) -> Iterator[Finding]:
    query = select(runs.c.id, runs.c.settings_sha256, runs.c.settings)
    for id_, sha256, settings in connection.execute(query):
        if sha256 != sha256_hex(settings):
            problem = "was changed: settings_sha256 does not fit the settings"
            yield Finding(table="runs", record=id_, problem=problem)


# Columns that repeat others for the sake of an index, from the columns in `content.IDENTITY`.
_DERIVED: Mapping[Table, tuple[str, Callable[[Sequence[Any]], str]]] = {
    responses: ("content_sha256", lambda said: sha256_hex(said[1])),
    comparisons: ("dedupe_key", lambda said: content.dedupe_key(said[1], said[2], *said[4:])),
}
