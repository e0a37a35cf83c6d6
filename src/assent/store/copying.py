"""Backups, and upgrades that make one first.

A backup is a project folder that needs no server: whatever the database, the copy is SQLite.
"""

import errno
import os
import sqlite3
import uuid
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, MetaData, delete, insert, select, update

from assent.config.files import disk_errors, flush_folder, write_file
from assent.errors import ProjectError, StoreDamaged
from assent.store.artifacts import FOLDER as ARTIFACTS_FOLDER
from assent.store.checking import check_project
from assent.store.database import Database, parse_url
from assent.store.disk import copy_tree, flush_tree, remove_tree
from assent.store.lineage import list_artifacts
from assent.store.migrating import MIGRATIONS, migrate, require_known, revisions
from assent.store.project import (
    DATABASE_FILE,
    IDENTITY_FILE,
    RUNS_FOLDER,
    SETTINGS_FILE,
    Project,
    hold_project,
    open_database,
    with_store_url,
)
from assent.store.rows import by_name, in_order
from assent.store.schema import projects

_LOCAL_URL = f"sqlite:///{DATABASE_FILE}"


def backup_project(project: Project, destination: Path) -> Path:
    """Copy a whole project while others write to it; the copy is checked before it gets its name.

    The database is copied as it was at one moment, then the artifacts that it names, then `runs/`
    as it stands. A PostgreSQL project becomes an SQLite one with an id of its own, so that it can
    never be taken for the original.

    Returns:
        The destination, which is a project folder.

    Raises:
        ProjectError: the destination is not empty.
        StoreDamaged: the project does not pass its check; nothing is left behind.
        DiskFull: no room; nothing is left behind.
    """
    destination = destination.absolute()
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        message = f"{destination} is not an empty folder; name one that does not exist"
        raise ProjectError(message)
    aside = _aside(destination)
    try:
        with disk_errors(f"backing up to {destination}"):
            aside.mkdir(parents=True)
            _copy_database(project.store.database, aside / DATABASE_FILE, MIGRATIONS, "head")
            _copy_files(project, aside)
            _check_copy(aside, project.root)
            flush_tree(aside)
            aside.rename(destination)
            flush_folder(destination.parent)
    finally:
        if aside.exists():
            remove_tree(aside)
    return destination


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgrade:
    """What `upgrade` did; the two revisions are equal when there was nothing to do."""

    from_revision: str
    to_revision: str
    backup: Path | None
    """An SQLite file with everything the database held before; None when nothing was done."""


def upgrade(
    root: Path, *, database_url: str | None = None, migrations: Path = MIGRATIONS
) -> Upgrade:
    """Bring a project's tables to the newest revision, after copying the database.

    The copy, `before-<revision>.db`, lies in the project folder. All revisions run in one
    transaction: if one fails, or the machine does, the database is as it was.

    Raises:
        NewerSchema: the tables are of a revision that this version does not know.
        NotAProject, ProjectError, ProjectBusy, ConfigError: the project cannot be opened or held.
        DiskFull: no room for the copy; nothing was changed.
    """
    root = root.absolute()
    database = open_database(root, database_url)
    try:
        with hold_project(root):
            with database.reading() as connection:
                before = require_known(connection, database.description, revisions(migrations))
            newest = revisions(migrations)[-1]
            if before == newest:
                return Upgrade(from_revision=before, to_revision=before, backup=None)
            backup = root / f"before-{before}.db"
            with disk_errors(f"copying the database to {backup}"):
                _copy_aside(database, backup, migrations, before)
            with database.writing() as connection:
                migrate(connection, migrations=migrations)
            return Upgrade(from_revision=before, to_revision=newest, backup=backup)
    finally:
        database.close()


def _copy_aside(database: Database, target: Path, migrations: Path, at: str) -> None:
    """Copy a database whose tables are at revision `at` into one file, whole or not at all."""
    aside = _aside(target)
    try:
        _copy_database(database, aside, migrations, at)
        flush_tree(aside)
        aside.replace(target)
        flush_folder(target.parent)
    finally:
        remove_tree(aside)


def _copy_database(database: Database, target: Path, migrations: Path, at: str) -> None:
    if database.path is not None:
        _copy_sqlite(database.path, target)
        return
    copy = Database(parse_url(f"sqlite:///{target}", target.parent))
    try:
        with database.reading() as source, copy.writing() as out:
            migrate(out, migrations=migrations, to=at)
            tables = MetaData()  # as the revision has them, which need not be as the code has them
            tables.reflect(source)
            for table in reversed(tables.sorted_tables):
                out.execute(delete(table))
            _copy_rows(source, out, tables)
    finally:
        copy.close()
        remove_tree(Path(f"{target}.lock"))


def _copy_sqlite(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as original, closing(sqlite3.connect(target)) as copy:
        try:
            original.backup(copy)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                raise
            raise OSError(errno.ENOSPC, str(error)) from error


def _copy_rows(source: Connection, out: Connection, tables: MetaData) -> None:
    for table in tables.sorted_tables:
        # Rows that name others of their table come after them in these orders.
        order = [table.c[name] for name in ("seq", "position") if name in table.c]
        for block in in_order(source, select(table).order_by(*order)):
            out.execute(insert(table), [dict(by_name(row)) for row in block])


def _copy_files(project: Project, folder: Path) -> None:
    settings = project.settings_text()
    if project.store.database.path != project.root / DATABASE_FILE:
        settings = with_store_url(settings, _LOCAL_URL)
    write_file(folder / SETTINGS_FILE, settings)
    copy = open_database(folder, _LOCAL_URL)
    try:
        if not project.store.database.is_sqlite:
            with copy.writing() as connection:
                connection.execute(update(projects).values(id=uuid.uuid4().hex))
        with copy.reading() as connection:
            owner = connection.scalar(select(projects.c.id))
            kept = list_artifacts(connection, None)
    finally:
        copy.close()
    (folder / ARTIFACTS_FOLDER).mkdir()
    write_file(folder / ARTIFACTS_FOLDER / IDENTITY_FILE, f"{owner}\n")
    for artifact in kept:
        copy_tree(project.root / artifact.path, folder / artifact.path)
    (folder / RUNS_FOLDER).mkdir()
    copy_tree(project.root / RUNS_FOLDER, folder / RUNS_FOLDER)


def _check_copy(folder: Path, root: Path) -> None:
    with Project.open(folder, database_url=_LOCAL_URL) as copy:
        findings = check_project(copy)
    if findings:
        first = findings[0]
        message = (
            f"{root} is damaged in {len(findings)} places, so the backup was not kept; the first: "
            f"{first.table} {first.record} {first.problem}; `assent db check` lists them all"
        )
        raise StoreDamaged(message)


def _aside(target: Path) -> Path:
    return target.with_name(f".{target.name}.{os.getpid()}.tmp")
