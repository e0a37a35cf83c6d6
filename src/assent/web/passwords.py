"""Passwords: argon2id hashes, and waiting after wrong ones."""

import math
import threading
import time
from collections.abc import Callable
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from assent.errors import DataError, TooManyAttempts
from assent.store.people import name_key

SHORTEST, LONGEST = 12, 200
FREE_ATTEMPTS: Final = 5
"""Wrong passwords for one name before waiting begins; it doubles from one second on."""
LONGEST_WAIT_SECONDS: Final = 900.0
FAILURES_A_MINUTE: Final = 60
"""Wrong passwords in all before everybody waits: guessing one password under many names."""
_MOST_NAMES: Final = 10_000


class Passwords:
    """Hashes and checks; safe to share between threads, two at a time (each takes 64 MB)."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._room = threading.BoundedSemaphore(2)
        # Checked against when nobody has the name, so that the time tells nothing.
        self._nobody = self._hasher.hash("nobody has this password")

    def hash(self, password: str) -> str:
        """The hash of a new password.

        Raises:
            DataError: too short, too long, or not text.
        """
        if not SHORTEST <= len(password) <= LONGEST:
            message = f"a password has {SHORTEST} to {LONGEST} characters; this has {len(password)}"
            raise DataError(message)
        try:
            password.encode()
        except UnicodeEncodeError as error:
            message = "the password holds half of a character pair; type it again"
            raise DataError(message) from error
        with self._room:
            return self._hasher.hash(password)

    def fits(self, stored: str | None, password: str) -> bool:
        """Whether the password is the one that was hashed; never without one."""
        with self._room:
            try:
                self._hasher.verify(stored or self._nobody, password.encode(errors="replace"))
            except (VerificationError, InvalidHashError):
                return False
        return stored is not None


class Throttle:
    """Counts wrong passwords by name and in all, in memory; nothing about who asked is kept."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._failures: dict[str, tuple[int, float]] = {}
        self._recent: list[float] = []

    def require_free(self, name: str) -> None:
        """Refuse to try while one has to wait.

        Raises:
            TooManyAttempts: says for how long.
        """
        with self._lock:
            moment = self._monotonic()
            self._recent = [one for one in self._recent if moment - one < 60]
            wait = 0.0
            if len(self._recent) >= FAILURES_A_MINUTE:
                wait = 60 - (moment - self._recent[0])
            count, last = self._failures.get(name_key(name), (0, 0.0))
            if count >= FREE_ATTEMPTS:
                term = min(2.0 ** (count - FREE_ATTEMPTS), LONGEST_WAIT_SECONDS)
                wait = max(wait, last + term - moment)
        if wait > 0:
            message = f"too many wrong passwords; wait {math.ceil(wait)} seconds and try again"
            raise TooManyAttempts(message)

    def failed(self, name: str) -> None:
        """Count a wrong password."""
        with self._lock:
            moment = self._monotonic()
            self._recent.append(moment)
            if len(self._failures) >= _MOST_NAMES:
                self._failures = {
                    key: value
                    for key, value in self._failures.items()
                    if moment - value[1] < LONGEST_WAIT_SECONDS
                }
            count, _ = self._failures.get(name_key(name), (0, 0.0))
            self._failures[name_key(name)] = (count + 1, moment)

    def passed(self, name: str) -> None:
        """Forget what was wrong before."""
        with self._lock:
            self._failures.pop(name_key(name), None)
