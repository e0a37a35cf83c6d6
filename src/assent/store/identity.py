"""Canonical JSON, ids derived from content, and the hash that chains one event to the next.

What is hashed is a row of fields, each as text, joined by NUL: no stored text may hold a NUL, so
two different rows never read the same. An id is the first 32 hexadecimal digits of the SHA-256 of a
table's name and what the record says, so writing a record again gives the same id and a resumed
run writes nothing twice.
"""

import hashlib
import json
import math

from assent.errors import DataError

Field = str | int | None
"""What a hashed column may hold; larger things are stored as canonical JSON."""

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


def joined(*fields: Field) -> str:
    """The text that is hashed for a row of fields; nothing is written as `None`."""
    return "\x00".join(map(str, fields))


def said_since(**later: Field) -> list[Field]:
    """Fields of columns that older records lack: hashed by name, and only where they say something.

    So what was hashed before a column came hashes the same after.
    """
    return [f"{name}={value}" for name, value in later.items() if value is not None]


def content_id(table: str, *fields: Field) -> str:
    """The id of a record: 32 hexadecimal digits of the hash of its table and what it says."""
    return sha256_hex(joined(table, *fields))[:32]


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


def require_seed(seed: int | None, where: str) -> None:
    """Refuse a seed that no database column can hold.

    Raises:
        DataError: the seed needs more than 63 bits and a sign.
    """
    if seed is not None and not -(1 << 63) <= seed < 1 << 63:
        message = f"{where} is {seed}; it must be at least -2**63 and below 2**63"
        raise DataError(message)


def require_finite(value: float | None, where: str) -> None:
    """Refuse NaN and infinities.

    Raises:
        DataError: the value is not finite.
    """
    if value is not None and not math.isfinite(value):
        message = f"{where} is {value}; it must be a finite number"
        raise DataError(message)
