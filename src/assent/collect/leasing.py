"""How long a lease still runs, whatever the wall clock does.

A lease runs by the process's monotonic clock from when it was given. One that an earlier process
gave is measured once, by the wall clock, when it is first seen, and never gets more than a whole
term: a clock that was set back a year cannot make it last, one set forward ends it at worst.
"""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Final

from assent.store import Lease

_LOOK_EVERY_SECONDS: Final = 10.0
"""Leases that another process gave are seen so often."""

Monotonic = Callable[[], float]
"""Seconds since some moment, never running backwards."""


class LeaseClock:
    """Deadlines of the leases of one server process."""

    def __init__(self, term_seconds: float, monotonic: Monotonic = time.monotonic) -> None:
        self.term_seconds = term_seconds
        self._monotonic = monotonic
        self._deadlines: dict[str, float] = {}
        self._looked = -_LOOK_EVERY_SECONDS

    def start(self, lease_id: str) -> None:
        """Give a lease a whole term from now."""
        self._deadlines[lease_id] = self._monotonic() + self.term_seconds

    def seconds_left(self, lease: Lease, now: datetime) -> float:
        """Seconds until a live lease runs out; 0 when it has.

        Args:
            lease: as stored.
            now: the wall clock, used once for a lease that another process gave.
        """
        deadline = self._deadlines.get(lease.id)
        moment = self._monotonic()
        if deadline is None:
            stated = (lease.expires_at - now).total_seconds()
            deadline = moment + min(max(stated, 0.0), self.term_seconds)
            self._deadlines[lease.id] = deadline
        return max(0.0, deadline - moment)

    def may_have_run_out(self) -> bool:
        """Whether to look for leases that ran out: one that is known did, or it is a while ago."""
        moment = self._monotonic()
        due = moment - self._looked >= _LOOK_EVERY_SECONDS or any(
            deadline <= moment for deadline in self._deadlines.values()
        )
        if due:
            self._looked = moment
        return due

    def end(self, lease_id: str) -> None:
        """Forget a lease that was closed."""
        self._deadlines.pop(lease_id, None)
