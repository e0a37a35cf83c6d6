"""One database, SQLite or PostgreSQL: connections, transactions, and errors in plain words.

Readers have a connection and a consistent view of their own. Writers go one at a time on both
databases: SQLite starves processes that contend for its lock, so they queue on a file lock
first; PostgreSQL takes an advisory lock until commit, so the order of `seq` is that of commits.
"""

import fcntl
import math
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, func, make_url, select
from sqlalchemy.exc import ArgumentError, DBAPIError

from assent.config.files import disk_errors
from assent.errors import (
    AssentError,
    ConfigError,
    DiskFull,
    ProjectBusy,
    StoreDamaged,
    StoreError,
)

WAIT_SECONDS = 60.0
"""How long a writer waits for its turn before it gives up."""

_POLL_SECONDS = 0.002
_STOP_SECONDS = 0.1
"""How soon a writer that waits notices that its process is stopping."""
_MOST_CONNECTIONS = 40
"""Beyond those kept open: as many as a server answers requests at a time."""
_ADVISORY_LOCK = 0x617373656E74  # "assent"; advisory locks count within one database only


class Database:
    """A pool of connections to one database; safe to share between threads."""

    def __init__(self, url: URL, *, wait_seconds: float = WAIT_SECONDS) -> None:
        self.url = url
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self._wait_seconds = wait_seconds
        self._turn = threading.Lock()
        self._stopping = threading.Event()
        make = _sqlite_engine if self.is_sqlite else _postgresql_engine
        self._engine = make(url, wait_seconds)

    @property
    def path(self) -> Path | None:
        """The database file; None for PostgreSQL."""
        return Path(self.url.database or "") if self.is_sqlite else None

    @property
    def description(self) -> str:
        """Where the database is, for messages; never a user name or a password."""
        if self.is_sqlite:
            return str(self.path)
        port = f":{self.url.port}" if self.url.port else ""
        return f"postgresql://{self.url.host or ''}{port}/{self.url.database}"

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees the database as it was when it began."""
        options: dict[str, Any] = {}
        if not self.is_sqlite:
            options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        with self._plain_errors(), self._engine.connect() as connection:
            connection.execution_options(**options)
            with connection.begin():
                yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that commits whole at the end, or not at all; one writer at a time.

        Raises:
            ProjectBusy: other writers held the database for a minute.
            DiskFull: there is no room; nothing of the transaction was kept.
            StoreError: the database refused.
        """
        with self._my_turn(), self._plain_errors(), self._engine.connect() as connection:
            connection.execution_options(assent_writes=True)
            with connection.begin():
                if not self.is_sqlite:
                    connection.execute(select(func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
                yield connection

    def scrub(self, tables: Sequence[str]) -> None:
        """Write the tables anew, so that no page keeps what was deleted from them.

        SQLite's whole file is written anew and its write-ahead log emptied.

        Raises:
            StoreError: others read the database all the while; nothing is lost, try again.
            DiskFull: no room to write it anew.
        """
        with self._my_turn(), self._plain_errors(), self._engine.connect() as connection:
            if not self.is_sqlite:
                connection.execution_options(isolation_level="AUTOCOMMIT")
                for table in tables:
                    connection.exec_driver_sql(f"VACUUM FULL {table}")
                return
            connection.execution_options(assent_outside=True)
            connection.exec_driver_sql("VACUUM")
            checkpoint = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            blocked = bool(checkpoint.scalar_one())
        if blocked:
            message = (
                f"{self.description}: somebody is reading it, so its log still holds what was "
                "deleted; run the same command again"
            )
            raise StoreError(message)

    def refuse_writers(self) -> None:
        """Writers that wait for their turn, and those that come, are refused from now on.

        A process that is told to stop calls this, so that it need not do what it had not begun.
        """
        self._stopping.set()

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    @contextmanager
    def _my_turn(self) -> Iterator[None]:
        deadline = time.monotonic() + self._wait_seconds
        while not self._turn.acquire(timeout=_STOP_SECONDS):
            self._require_patience(deadline)
        try:
            self._require_patience(math.inf)
            if self.path is None:
                yield
                return
            with disk_errors(f"locking {self.path}"):
                descriptor = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT, 0o644)
            try:
                while not _locked(descriptor):
                    self._require_patience(deadline)
                    time.sleep(_POLL_SECONDS)
                yield
            finally:
                os.close(descriptor)
        finally:
            self._turn.release()

    def _require_patience(self, deadline: float) -> None:
        if self._stopping.is_set():
            message = "this process is stopping, so nothing was stored; send it again later"
            raise ProjectBusy(message)
        if time.monotonic() > deadline:
            raise self._busy()

    def _busy(self) -> ProjectBusy:
        return ProjectBusy(
            f"{self.description}: other processes kept writing for {self._wait_seconds:.0f} s; "
            "try again when they are done"
        )

    @contextmanager
    def _plain_errors(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise self._in_plain_words(error) from error

    def _in_plain_words(self, error: DBAPIError) -> AssentError:
        cause = error.orig
        text = " ".join(str(cause).split())
        code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
        state = getattr(cause, "sqlstate", None)
        if code == sqlite3.SQLITE_FULL or state == "53100":
            return self._disk_full()
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) or state == "55P03":
            return self._busy()
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return StoreDamaged(
                f"{self.description}: {text}; restore a backup (`assent db backup` makes them)"
            )
        if code == sqlite3.SQLITE_READONLY:
            return StoreError(f"{self.description} cannot be written: {text}")
        return StoreError(f"{self.description}: {text}")

    def _disk_full(self) -> DiskFull:
        return DiskFull(
            f"{self.description}: the disk is full; nothing of this write was kept and everything "
            "before it is safe; free some space and run the same command again"
        )


def parse_url(text: str, root: Path) -> URL:
    """The URL of a database; a relative SQLite path starts at `root`.

    Raises:
        ConfigError: not a URL, or neither SQLite nor PostgreSQL.
    """
    try:
        url = make_url(text)
    except ArgumentError as error:
        # The text may hold a password, so it is not repeated.
        message = "the database URL cannot be read; write sqlite:///FILE or postgresql://HOST/NAME"
        raise ConfigError(message) from error
    backend = url.get_backend_name()
    if backend == "sqlite":
        if not url.database or url.database == ":memory:":
            message = "a project needs a database file; write sqlite:///FILE"
            raise ConfigError(message)
        return URL.create("sqlite", database=str(root / url.database))
    if backend == "postgresql":
        return url.set(drivername="postgresql+psycopg")
    message = f"{backend} is not supported; write sqlite:///FILE or postgresql://HOST/NAME"
    raise ConfigError(message)


def _sqlite_engine(url: URL, wait_seconds: float) -> Engine:
    engine = create_engine(
        url, connect_args={"timeout": wait_seconds}, max_overflow=_MOST_CONNECTIONS
    )

    def prepare(connection: sqlite3.Connection, _: object) -> None:
        # The driver must not begin transactions by itself: a writer needs BEGIN IMMEDIATE.
        connection.isolation_level = None
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}").close()

    def begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        if not options.get("assent_outside", False):  # VACUUM runs outside of a transaction
            writes = options.get("assent_writes", False)
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", begin)
    return engine


def _postgresql_engine(url: URL, wait_seconds: float) -> Engine:
    try:
        engine = create_engine(
            url,
            pool_pre_ping=True,
            connect_args={"connect_timeout": 10},
            max_overflow=_MOST_CONNECTIONS,
        )
    except ModuleNotFoundError as error:
        message = "PostgreSQL needs one more package; run: pip install 'assent[postgres]'"
        raise ConfigError(message) from error

    def prepare(connection: Any, _: object) -> None:  # noqa: ANN401 - the driver's
        connection.execute(f"SET lock_timeout = {max(1, round(1e3 * wait_seconds))}")
        connection.commit()

    event.listen(engine, "connect", prepare)
    return engine


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
