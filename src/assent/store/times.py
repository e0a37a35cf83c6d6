"""Times as the database holds them: text in UTC with microseconds, the same on every database."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Gives the time of writing; must be aware."""

_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"


def utc_clock() -> datetime:
    """The server's clock."""
    return datetime.now(UTC)


def to_text(moment: datetime) -> str:
    """27 characters, such as 2026-01-31T12:00:00.000000Z; text order is time order.

    Raises:
        ValueError: the time has no zone, so nobody can say which moment it is.
    """
    if moment.tzinfo is None:
        message = f"the clock gave {moment}, which has no time zone"
        raise ValueError(message)
    return moment.astimezone(UTC).strftime(_FORMAT)


def from_text(text: str) -> datetime:
    """The moment that `to_text` wrote."""
    return datetime.strptime(text, _FORMAT).replace(tzinfo=UTC)
