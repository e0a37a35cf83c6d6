"""Canonical JSON, ids derived from content, and the hash that chains one event to the next.

An id is the first 32 hexadecimal digits of a SHA-256 over the canonical JSON of what the record
says, so writing a record again gives the same id and a resumed run writes nothing twice.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from typing import Any

from assent.errors import DataError

GENESIS = "0" * 64
"""What the first event of a ledger chains to."""

_CANONICAL = json.JSONEncoder(
    ensure_ascii=True, allow_nan=False, sort_keys=True, separators=(",", ":")
)


def canonical_json(value: object) -> str:
    """One spelling for one value: sorted keys, no spaces, ASCII.

    Raises:
        DataError: the value holds NaN, an infinity, or something that is not JSON.
    """
    try:
        return _CANONICAL.encode(value)
    except (TypeError, ValueError) as error:
        message = f"cannot be stored as JSON: {error}"
        raise DataError(message) from error


def sha256_hex(text: str) -> str:
    """SHA-256 of the UTF-8 bytes."""
    return hashlib.sha256(text.encode()).hexdigest()


def content_id(table: str, *content: object) -> str:
    """The id of a record: 32 hexadecimal digits of the hash of its table and content."""
    return sha256_hex(_CANONICAL.encode([table, *content]))[:32]


def event_hash(content: Sequence[Any], prev_hash: str) -> str:
    """The chain: SHA-256 over everything an event says and the hash of the event before it.

    `seq` is left out: the chain and the rule that seq counts 1, 2, 3 … fix it already, and without
    it a moved event can be told from a changed one.
    """
    return sha256_hex(_CANONICAL.encode([*content, prev_hash]))


def require_text(text: str, where: str) -> None:
    """Refuse text that not every database can hold.

    Raises:
        DataError: the text has a NUL or a lone surrogate.
    """
    position = text.find("\x00")
    if position < 0:
        if text.isascii():
            return
        try:
            text.encode()
        except UnicodeEncodeError as error:
            position = error.start
        else:
            return
    message = (
        f"{where}: character {position} is {text[position]!r}, which cannot be stored as text; "
        "remove it"
    )
    raise DataError(message)


def require_finite(value: float | None, where: str) -> None:
    """Refuse NaN and infinities.

    Raises:
        DataError: the value is not finite.
    """
    if value is not None and not math.isfinite(value):
        message = f"{where} is {value}; it must be a finite number"
        raise DataError(message)
