"""Guidelines: what annotators go by, as numbered versions that are only ever added."""

from sqlalchemy import Connection, Row, func, insert, select

from assent.errors import DataError, GuidelinesChanged, UnknownRecord
from assent.store.database import Database
from assent.store.identity import require_text
from assent.store.people_records import GuidelinesVersion
from assent.store.schema_people import guidelines
from assent.store.times import Clock, from_text, to_text

LONGEST = 200_000


class Guidelines:
    """The versions; safe to share between threads."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def read(self, version: int | None = None) -> GuidelinesVersion:
        """A version, the newest if none is named; version 0 is the empty one before the first.

        Raises:
            UnknownRecord: there is no such version.
        """
        with self._database.reading() as connection:
            found = newest_version(connection) if version is None else version
            if found == 0:
                return GuidelinesVersion(version=0, text="", created_at=None)
            row = connection.execute(
                select(guidelines).where(guidelines.c.version == found)
            ).first()
        if row is None:
            message = f"guidelines has no version {version}"
            raise UnknownRecord(message)
        return _version(row)

    def versions(self) -> list[GuidelinesVersion]:
        """Every version, newest first."""
        with self._database.reading() as connection:
            query = select(guidelines).order_by(guidelines.c.version.desc())
            return [_version(row) for row in connection.execute(query)]

    def write(self, text: str, *, based_on: int, author: str | None) -> GuidelinesVersion:
        """Add a version in one transaction; the newest text again adds nothing.

        Raises:
            GuidelinesChanged: `based_on` is not the newest version.
            DataError: the text is too long or cannot be stored.
        """
        require_text(text, "guidelines")
        if len(text) > LONGEST:
            message = f"guidelines: {len(text)} characters; use at most {LONGEST}"
            raise DataError(message)
        with self._database.writing() as connection:
            newest = newest_version(connection)
            stored = connection.execute(
                select(guidelines).where(guidelines.c.version == newest)
            ).first()
            if stored is not None and stored.text == text:
                return _version(stored)
            if based_on != newest:
                message = (
                    f"the guidelines are at version {newest} and this edit was made from version "
                    f"{based_on}; read the newer one and edit that"
                )
                raise GuidelinesChanged(message)
            now = self._clock()
            connection.execute(
                insert(guidelines).values(
                    version=newest + 1, text=text, annotator_id=author, created_at=to_text(now)
                )
            )
            return GuidelinesVersion(version=newest + 1, text=text, created_at=now)


def newest_version(connection: Connection) -> int:
    """The number of the newest version; 0 before the first."""
    return int(connection.scalar(select(func.max(guidelines.c.version))) or 0)


def _version(row: Row[*tuple[object, ...]]) -> GuidelinesVersion:
    return GuidelinesVersion(
        version=row.version, text=row.text, created_at=from_text(row.created_at)
    )
