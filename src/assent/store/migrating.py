"""Making and upgrading the tables: Alembic, run from here with a connection of ours.

A migration runs in one transaction (both databases can undo table changes), so a crash in the
middle leaves the tables and the data as they were.
"""

from collections.abc import Sequence
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from assent.errors import NewerSchema, ProjectError
from assent.store.schema import REVISIONS

MIGRATIONS = Path(__file__).parent / "migrations"
"""Alembic's folder: `env.py` and one file a revision."""


def migrate(connection: Connection, *, migrations: Path = MIGRATIONS, to: str = "head") -> None:
    """Bring the tables to a revision, in the transaction of `connection`."""
    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, to)


def revision(connection: Connection) -> str | None:
    """The revision the tables are at; None when there are no tables of ours."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)


def revisions(migrations: Path = MIGRATIONS) -> tuple[str, ...]:
    """Every revision in a folder of Alembic's, oldest first."""
    scripts = ScriptDirectory(str(migrations)).walk_revisions()
    return tuple(reversed([script.revision for script in scripts]))


def require_known(connection: Connection, where: str, known: Sequence[str] = REVISIONS) -> str:
    """The revision the tables are at, which may be an old one.

    Raises:
        ProjectError: there are no tables.
        NewerSchema: a newer version made the tables.
    """
    found = revision(connection)
    if found is None:
        message = (
            f"{where} holds no Assent tables; if the project keeps its data in PostgreSQL, set "
            "ASSENT_DATABASE_URL"
        )
        raise ProjectError(message)
    if found not in known:
        message = (
            f"{where} is at schema {found} and this version of Assent knows up to {known[-1]}; "
            "install the newer version"
        )
        raise NewerSchema(message)
    return found


def require_current(connection: Connection, where: str, known: Sequence[str] = REVISIONS) -> None:
    """Refuse a database that this version cannot use as it is.

    Raises:
        ProjectError: there are no tables, or they are of an older version.
        NewerSchema: a newer version made the tables.
    """
    found = require_known(connection, where, known)
    if found != known[-1]:
        message = (
            f"{where} is at schema {found} and this version needs {known[-1]}; run "
            "`assent db upgrade` on the project folder (it makes a backup first)"
        )
        raise ProjectError(message)
