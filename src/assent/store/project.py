"""A project folder: `assent.toml`, the database, `artifacts/` and `runs/`.

The database is `assent.db` in the folder, or the URL in `[store] url` of assent.toml, or the URL in
the environment variable ASSENT_DATABASE_URL, which wins and is the only place for a password.
"""

import fcntl
import os
import tomllib
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import URL, func, insert, select

from assent.config.files import disk_errors, write_file
from assent.config.write import with_value
from assent.errors import ConfigError, NewerSchema, NotAProject, ProjectBusy, ProjectError
from assent.store.artifacts import FOLDER as ARTIFACTS_FOLDER
from assent.store.artifacts import Artifacts
from assent.store.database import Database, parse_url
from assent.store.migrating import migrate, require_current, revision
from assent.store.schema import metadata, projects
from assent.store.store import Store
from assent.store.times import Clock, to_text, utc_clock

SCHEMA_VERSION = 1
"""Of the project folder; `schema_version` in assent.toml."""

SETTINGS_FILE = "assent.toml"
DATABASE_FILE = "assent.db"
RUNS_FOLDER = "runs"
URL_VARIABLE = "ASSENT_DATABASE_URL"

IDENTITY_FILE = "PROJECT"
_LOCK_FILE = ".writing.lock"


class Project:
    """An open project; use it as a context manager, or call `close`."""

    def __init__(self, root: Path, database: Database, clock: Clock) -> None:
        self.root = root
        self.store = Store(database, clock=clock)
        self.artifacts = Artifacts(root, self.store)

    @classmethod
    def create(
        cls,
        root: Path,
        settings_toml: str,
        *,
        database_url: str | None = None,
        clock: Clock = utc_clock,
    ) -> Self:
        """Make a project folder and open it; assent.toml comes last, so a crash leaves no project.

        Args:
            root: the folder; it may exist, but not as a project.
            settings_toml: the text of assent.toml; `schema_version` is a key at its top.
            database_url: instead of the environment's; written into `[store] url`, less the
                password.
            clock: gives the time of every record.

        Raises:
            ProjectError: the folder is a project, or the database belongs to one.
            ConfigError: the text is not TOML, its `schema_version` is wrong, or the URL is.
            DiskFull: no room.
        """
        root = root.absolute()
        if (root / SETTINGS_FILE).exists():
            message = f"{root} is a project already"
            raise ProjectError(message)
        if database_url is not None:
            settings_toml = with_store_url(settings_toml, _without_password(database_url, root))
        settings = _parse(settings_toml, SETTINGS_FILE)
        database = Database(_resolve_url(root, settings, database_url))
        try:
            with disk_errors(f"making {root}"):
                for folder in (ARTIFACTS_FOLDER, RUNS_FOLDER):
                    (root / folder).mkdir(parents=True, exist_ok=True)
                _create_tables(root, database, clock)
                write_file(root / SETTINGS_FILE, settings_toml)
        except BaseException:
            database.close()
            raise
        return cls(root, database, clock)

    @classmethod
    def open(cls, root: Path, *, database_url: str | None = None, clock: Clock = utc_clock) -> Self:
        """Open a project folder.

        Raises:
            NotAProject: no assent.toml.
            NewerSchema: a newer version of Assent wrote the folder or the database.
            ProjectError: the database is missing, older, or another project's.
            ConfigError: assent.toml or the URL cannot be read.
        """
        root = root.absolute()
        database = open_database(root, database_url)
        try:
            _require_same_project(root, database)
        except BaseException:
            database.close()
            raise
        return cls(root, database, clock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the database; the project cannot be used after."""
        self.store.database.close()

    def settings_text(self) -> str:
        """The text of assent.toml."""
        return (self.root / SETTINGS_FILE).read_text(encoding="utf-8")

    def relative(self, path: Path) -> str:
        """A path inside the project, relative to its folder, with forward slashes.

        Raises:
            ProjectError: the path leads outside.
        """
        inside = Path(os.path.normpath(self.root / path))
        if not inside.is_relative_to(self.root):
            message = f"{path} is outside the project folder {self.root}"
            raise ProjectError(message)
        return inside.relative_to(self.root).as_posix()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the project for a long piece of work (a loop, a stage), against other processes.

        Labelling and serving go on meanwhile: they only add records, one transaction each.

        Raises:
            ProjectBusy: another process, or another part of this one, holds it.
        """
        with hold_project(self.root):
            yield


@contextmanager
def hold_project(root: Path) -> Iterator[None]:
    """What `Project.writing` does, for a folder that need not be open.

    Raises:
        ProjectBusy: another process, or another part of this one, holds it.
    """
    with disk_errors(f"locking {root}"):
        descriptor = os.open(root / _LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 20, 0).decode() or "unknown"
            message = (
                f"{root}: process {holder} is working on this project; wait for it, or stop it "
                "and go on from where it stopped"
            )
            raise ProjectBusy(message) from error
        with disk_errors(f"locking {root}"):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def open_database(root: Path, database_url: str | None = None) -> Database:
    """The database of a project folder, whatever revision its tables are at.

    Raises:
        NotAProject, NewerSchema, ProjectError, ConfigError: as `Project.open`.
    """
    path = root / SETTINGS_FILE
    if not path.is_file():
        message = (
            f"{root} is not a project: it holds no {SETTINGS_FILE}; "
            "`assent demo --out DIR` makes one"
        )
        raise NotAProject(message)
    settings = _parse(path.read_text(encoding="utf-8"), str(path))
    database = Database(_resolve_url(root, settings, database_url))
    if database.path is not None and not database.path.is_file():
        database.close()
        message = (
            f"{database.path} is missing; restore it from a backup, or set {URL_VARIABLE} if the "
            "project keeps its data in PostgreSQL"
        )
        raise ProjectError(message)
    return database


def with_store_url(text: str, url: str) -> str:
    """The text of assent.toml with `[store] url` set, everything else as it was.

    Raises:
        ConfigError: the text spells the table in a way that a line edit cannot follow.
    """
    return with_value(text, "store", "url", f'"{url}"')


def _require_same_project(root: Path, database: Database) -> None:
    with database.reading() as connection:
        require_current(connection, database.description)
        owner = connection.scalar(select(projects.c.id))
    identity = root / ARTIFACTS_FOLDER / IDENTITY_FILE
    if not identity.is_file() or identity.read_text(encoding="utf-8").strip() != owner:
        message = (
            f"{database.description} belongs to another project than {root} (the id in {identity} "
            f"is not the database's); check {URL_VARIABLE} and [store] url"
        )
        raise ProjectError(message)


def _create_tables(root: Path, database: Database, clock: Clock) -> None:
    with database.writing() as connection:
        if revision(connection) is None:
            migrate(connection)
        require_current(connection, database.description)
        # A process that was killed while creating leaves empty tables; those may be used.
        filled = [
            table.name
            for table in metadata.sorted_tables
            if table.name not in ("projects", "ledger_heads")
            and connection.scalar(select(func.count()).select_from(table))
        ]
        if filled:
            message = (
                f"{database.description} holds another project's {filled[0]}; use an empty one"
            )
            raise ProjectError(message)
        owner = connection.scalar(select(projects.c.id))
        if owner is None:
            owner = uuid.uuid4().hex
            connection.execute(insert(projects).values(id=owner, created_at=to_text(clock())))
    write_file(root / ARTIFACTS_FOLDER / IDENTITY_FILE, f"{owner}\n")


def _parse(text: str, where: str) -> dict[str, Any]:
    try:
        settings = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = f"{where} is not TOML: {error}"
        raise ConfigError(message) from error
    version = settings.get("schema_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        message = f"{where}: schema_version is {version!r}; it must be {SCHEMA_VERSION}"
        raise ConfigError(message)
    if version > SCHEMA_VERSION:
        message = (
            f"{where}: schema_version is {version} and this version of Assent reads up to "
            f"{SCHEMA_VERSION}; install the newer version"
        )
        raise NewerSchema(message)
    return settings


def _resolve_url(root: Path, settings: dict[str, Any], explicit: str | None) -> URL:
    if explicit is not None:
        return parse_url(explicit, root)
    from_environment = os.environ.get(URL_VARIABLE)
    if from_environment:
        return parse_url(from_environment, root)
    table = settings.get("store", {})
    configured = table.get("url") if isinstance(table, dict) else None
    if not configured:
        return parse_url(f"sqlite:///{DATABASE_FILE}", root)
    url = parse_url(str(configured), root)
    if url.password is not None:
        message = (
            f"{SETTINGS_FILE}: store.url holds a password; take it out and give the whole URL in "
            f"the environment variable {URL_VARIABLE}"
        )
        raise ConfigError(message)
    return url


def _without_password(text: str, root: Path) -> str:
    url = parse_url(text, root)
    if url.get_backend_name() == "sqlite":
        return text
    # `set` takes None for "leave as it is", so the URL is put together again.
    return URL.create(
        "postgresql",
        username=url.username,
        host=url.host,
        port=url.port,
        database=url.database,
        query=url.query,
    ).render_as_string(hide_password=False)
