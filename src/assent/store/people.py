"""People: roles, passwords, sessions, invitations, and erasing a person.

Tokens are random and stored as SHA-256 only; passwords come hashed. A name lies in `personal_data`
and nowhere else. Every method that writes is one transaction.
"""

import secrets
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from assent.errors import (
    DataError,
    IdempotencyConflict,
    InvitationSpent,
    UnknownRecord,
)
from assent.store.content import add_annotator
from assent.store.database import Database
from assent.store.identity import require_text, sha256_hex
from assent.store.people_records import Person, PersonState, Role
from assent.store.schema import annotators
from assent.store.schema_people import (
    invitations,
    notes,
    people,
    personal_data,
    sessions,
)
from assent.store.times import Clock, from_text, to_text

LONGEST_NAME = 64
TOUCH_SECONDS = 300
"""A session's last use is noted no more often than this."""

_EXPIRED_INVITATION = (
    "this invitation was used, replaced by a newer one, or is too old; ask the owner for another"
)


class People:
    """Who may come in; safe to share between threads."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    # Persons -------------------------------------------------------------------------------------

    def add(self, name: str, role: Role) -> Person:
        """Add a person, who is an annotator under a random pseudonym from then on.

        Raises:
            DataError: the name is empty, too long, or cannot be stored.
            IdempotencyConflict: somebody has this name, whatever its capitals.
        """
        shown = _clean_name(name)
        with self._writing() as (connection, now):
            taken = select(personal_data.c.annotator_id).where(
                personal_data.c.name_key == name_key(shown)
            )
            if connection.execute(taken).first() is not None:
                message = f"somebody is called {shown!r} already; choose another name"
                raise IdempotencyConflict(message)
            pseudonym = f"person-{secrets.token_hex(6)}"
            id_ = add_annotator(connection, pseudonym, "human", {}, now)
            connection.execute(insert(people).values(annotator_id=id_, role=role, created_at=now))
            connection.execute(
                insert(personal_data).values(
                    annotator_id=id_,
                    name=shown,
                    name_key=name_key(shown),
                    note_key=secrets.token_hex(32),
                )
            )
            return _find(connection, id_)

    def everybody(self) -> list[Person]:
        """Everybody, erased or not, in the order added."""
        with self._database.reading() as connection:
            query = _persons().order_by(annotators.c.position)
            return [_person(row) for row in connection.execute(query)]

    def find(self, annotator_id: str) -> Person:
        """The person with this id.

        Raises:
            UnknownRecord: there is none.
        """
        with self._database.reading() as connection:
            return _find(connection, annotator_id)

    def named(self, name: str) -> tuple[Person, str | None] | None:
        """The person of this name with the hash of the password, if there is one."""
        with self._database.reading() as connection:
            row = connection.execute(
                _persons().where(personal_data.c.name_key == name_key(name))
            ).first()
            return None if row is None else (_person(row), row.password_hash)

    def password_hash(self, annotator_id: str) -> str | None:
        """The hash of a person's password; None without one."""
        with self._database.reading() as connection:
            query = select(personal_data.c.password_hash)
            return connection.scalar(query.where(personal_data.c.annotator_id == annotator_id))

    def set_role(self, annotator_id: str, role: Role) -> Person:
        """Change what a person may do; their sessions end, so that none keeps the old role.

        Raises:
            UnknownRecord: no such person.
            DataError: it would leave nobody to let people in.
        """
        with self._writing() as (connection, _):
            person = _find(connection, annotator_id)
            if person.role == "owner" and role != "owner":
                _require_other_owner(connection, annotator_id)
            connection.execute(
                update(people).where(people.c.annotator_id == annotator_id).values(role=role)
            )
            _end_access(connection, annotator_id)
            return _find(connection, annotator_id)

    def set_password(self, annotator_id: str, password_hash: str, keep: str | None = None) -> None:
        """Set a password; every session but the one with the token `keep` ends.

        Raises:
            UnknownRecord: no such person.
        """
        with self._writing() as (connection, _):
            _find(connection, annotator_id)
            _set_password(connection, annotator_id, password_hash)
            ended = delete(sessions).where(sessions.c.annotator_id == annotator_id)
            if keep is not None:
                ended = ended.where(sessions.c.token_sha256 != sha256_hex(keep))
            connection.execute(ended)

    def disable(self, annotator_id: str) -> Person:
        """Keep a person out: sessions and invitations end, what they said stays.

        Raises:
            UnknownRecord: no such person.
            DataError: it would leave nobody to let people in.
        """
        with self._writing() as (connection, now):
            _find(connection, annotator_id)
            _require_other_owner(connection, annotator_id)
            connection.execute(
                update(people)
                .where(people.c.annotator_id == annotator_id, people.c.disabled_at.is_(None))
                .values(disabled_at=now)
            )
            _end_access(connection, annotator_id)
            return _find(connection, annotator_id)

    def enable(self, annotator_id: str) -> Person:
        """Let a person who was disabled come in again.

        Raises:
            UnknownRecord: no such person.
            DataError: the person was erased.
        """
        with self._writing() as (connection, _):
            if _find(connection, annotator_id).state == "erased":
                message = f"{annotator_id} was erased and cannot come back; add them anew"
                raise DataError(message)
            connection.execute(
                update(people).where(people.c.annotator_id == annotator_id).values(disabled_at=None)
            )
            return _find(connection, annotator_id)

    def erase(self, annotator_id: str) -> Person:
        """Forget who a person is: name, password, sessions, invitations and notes go for good.

        What they judged stays, under the pseudonym. SQLite's file is written anew and its
        write-ahead log emptied, so that no page keeps the name; copies made before keep it.

        Raises:
            UnknownRecord: no such person.
            DataError: it would leave nobody to let people in.
            StoreError: somebody reads the database; the name is gone, and erasing again cleans up.
        """
        with self._writing() as (connection, now):
            if _find(connection, annotator_id).state != "erased":
                _require_other_owner(connection, annotator_id)
                connection.execute(
                    update(people)
                    .where(people.c.annotator_id == annotator_id)
                    .values(disabled_at=func.coalesce(people.c.disabled_at, now), erased_at=now)
                )
            _end_access(connection, annotator_id)
            for table in (personal_data, notes):
                connection.execute(delete(table).where(table.c.annotator_id == annotator_id))
            erased = _find(connection, annotator_id)
        self._database.scrub(
            [table.name for table in (personal_data, notes, sessions, invitations)]
        )
        return erased

    # Invitations and sessions --------------------------------------------------------------------

    def invite(self, annotator_id: str, days: int) -> str:
        """A token that lets a person in once; earlier ones end.

        Raises:
            UnknownRecord: no such person.
            DataError: the person was disabled or erased.
        """
        token = secrets.token_urlsafe(32)
        with self._writing() as (connection, now):
            person = _find(connection, annotator_id)
            if person.state in ("disabled", "erased"):
                message = f"{person.name} is {person.state}; enable them first"
                raise DataError(message)
            connection.execute(
                delete(invitations).where(invitations.c.annotator_id == annotator_id)
            )
            connection.execute(
                insert(invitations).values(
                    token_sha256=sha256_hex(token),
                    annotator_id=annotator_id,
                    created_at=now,
                    expires_at=to_text(self._clock() + timedelta(days=days)),
                )
            )
        return token

    def invited(self, token: str) -> Person:
        """Whom an invitation would let in; it is not used up.

        Raises:
            InvitationSpent: it was used, replaced, or is too old.
        """
        with self._database.reading() as connection:
            return _invited(connection, token, to_text(self._clock()))

    def accept(self, token: str, password_hash: str | None) -> tuple[Person, str]:
        """Use an invitation up; the person and the token of a new session.

        Raises:
            InvitationSpent: it was used, replaced, or is too old.
        """
        with self._writing() as (connection, now):
            person = _invited(connection, token, now)
            connection.execute(
                update(invitations)
                .where(invitations.c.token_sha256 == sha256_hex(token))
                .values(used_at=now)
            )
            if password_hash is not None:
                _set_password(connection, person.annotator_id, password_hash)
            return person, _open_session(connection, person.annotator_id, now)

    def open_session(self, annotator_id: str, replaces: str | None = None) -> str:
        """The token of a new session; the one it replaces ends."""
        with self._writing() as (connection, now):
            if replaces is not None:
                _close_session(connection, replaces)
            return _open_session(connection, annotator_id, now)

    def session(self, token: str, *, idle_hours: int, days: int) -> Person | None:
        """Whose session this is, if it stands; its last use is noted every few minutes."""
        hash_ = sha256_hex(token)
        now = self._clock()
        with self._database.reading() as connection:
            row = connection.execute(
                _persons(sessions.c.created_at.label("began"), sessions.c.seen_at)
                .join(sessions, sessions.c.annotator_id == people.c.annotator_id)
                .where(sessions.c.token_sha256 == hash_, people.c.disabled_at.is_(None))
            ).first()
        if row is None:
            return None
        seen, began = from_text(row.seen_at), from_text(row.began)
        # A clock that was set back must not lengthen a session: both ages count as they look.
        if abs(now - seen) > timedelta(hours=idle_hours) or abs(now - began) > timedelta(days=days):
            self.close_session(token)
            return None
        if abs(now - seen) > timedelta(seconds=TOUCH_SECONDS):
            with self._writing() as (connection, text):
                connection.execute(
                    update(sessions).where(sessions.c.token_sha256 == hash_).values(seen_at=text)
                )
        return _person(row)

    def close_session(self, token: str) -> None:
        """End a session; one that ended already is no error."""
        with self._writing() as (connection, _):
            _close_session(connection, token)

    @contextmanager
    def _writing(self) -> Iterator[tuple[Connection, str]]:
        with self._database.writing() as connection:
            yield connection, to_text(self._clock())


def name_key(name: str) -> str:
    """Equal for names that must not both be given: capitals and forms do not count."""
    return unicodedata.normalize("NFKC", name).strip().casefold()


def _clean_name(name: str) -> str:
    shown = " ".join(unicodedata.normalize("NFC", name).split())
    require_text(shown, "name")
    if not 0 < len(shown) <= LONGEST_NAME or not name_key(shown):
        message = f"a name has 1 to {LONGEST_NAME} characters; this one has {len(shown)}"
        raise DataError(message)
    hidden = next((one for one in shown if unicodedata.category(one) in ("Cc", "Cf", "Co")), None)
    if hidden is not None:
        message = f"the name holds U+{ord(hidden):04X}, which cannot be seen; leave it out"
        raise DataError(message)
    return shown


def _persons(*more: Any) -> Any:  # noqa: ANN401 - a select of columns of several tables
    invited = (
        select(func.count())
        .select_from(invitations)
        .where(invitations.c.annotator_id == people.c.annotator_id, invitations.c.used_at.is_(None))
        .scalar_subquery()
    )
    return (
        select(
            people,
            personal_data.c.name,
            personal_data.c.password_hash,
            annotators.c.name.label("pseudonym"),
            invited.label("invitations"),
            *more,
        )
        .join(annotators, annotators.c.id == people.c.annotator_id)
        .outerjoin(personal_data, personal_data.c.annotator_id == people.c.annotator_id)
    )


def _person(row: Row[Any]) -> Person:
    state: PersonState = "active"
    if row.erased_at is not None:
        state = "erased"
    elif row.disabled_at is not None:
        state = "disabled"
    elif row.invitations:
        state = "invited"
    return Person(
        annotator_id=row.annotator_id,
        name=row.pseudonym if row.name is None else row.name,
        role=row.role,
        state=state,
        has_password=row.password_hash is not None,
        created_at=from_text(row.created_at),
    )


def _find(connection: Connection, annotator_id: str) -> Person:
    row = connection.execute(_persons().where(people.c.annotator_id == annotator_id)).first()
    if row is None:
        message = f"people has no record {annotator_id}"
        raise UnknownRecord(message)
    return _person(row)


def _invited(connection: Connection, token: str, now: str) -> Person:
    query = select(invitations).where(invitations.c.token_sha256 == sha256_hex(token))
    row = connection.execute(query).first()
    # Text order is time order. A clock set far back must not revive what is old.
    if row is None or row.used_at is not None or not row.created_at <= now < row.expires_at:
        raise InvitationSpent(_EXPIRED_INVITATION)
    return _find(connection, row.annotator_id)


def _require_other_owner(connection: Connection, annotator_id: str) -> None:
    """Refuse to lock the last owner out."""
    active = select(people.c.annotator_id).where(
        people.c.role == "owner", people.c.disabled_at.is_(None)
    )
    owners = list(connection.scalars(active))
    if owners == [annotator_id]:
        message = f"{annotator_id} is the only owner; make somebody else an owner first"
        raise DataError(message)


def _set_password(connection: Connection, annotator_id: str, password_hash: str) -> None:
    connection.execute(
        update(personal_data)
        .where(personal_data.c.annotator_id == annotator_id)
        .values(password_hash=password_hash)
    )


def _open_session(connection: Connection, annotator_id: str, now: str) -> str:
    token = secrets.token_urlsafe(32)
    connection.execute(
        insert(sessions).values(
            token_sha256=sha256_hex(token), annotator_id=annotator_id, created_at=now, seen_at=now
        )
    )
    return token


def _close_session(connection: Connection, token: str) -> None:
    connection.execute(delete(sessions).where(sessions.c.token_sha256 == sha256_hex(token)))


def _end_access(connection: Connection, annotator_id: str) -> None:
    for table in (sessions, invitations):
        connection.execute(delete(table).where(table.c.annotator_id == annotator_id))
