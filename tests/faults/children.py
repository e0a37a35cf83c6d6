"""Children of the test's own process that die where they are told to.

Forked, because importing torch for each would take longer than what they do: each has its own
memory, files and database connections, as a process that was started has. Nothing may be open in
the parent that the child opens: SQLite's locks would be taken for its own.
"""

import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Self

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.move", "shutil.rmtree")


class Ended(NamedTuple):
    """How a child came to its end."""

    died: bool
    """By SIGKILL."""
    said: str
    """What its work returned; empty if it died."""


class Child:
    """A process that does some work and says what came of it."""

    def __init__(self, pid: int, reading: int) -> None:
        self.pid, self._reading = pid, reading

    @classmethod
    def start(cls, work: Callable[[], object]) -> Self:
        """Begin."""
        sys.stdout.flush()
        reading, writing = os.pipe()
        pid = os.fork()
        if pid:
            os.close(writing)
            return cls(pid, reading)
        status = 1
        try:
            os.close(reading)
            try:
                said = str(work())
                status = 0
            except BaseException:  # noqa: BLE001 - told to the parent
                said = traceback.format_exc()
            with os.fdopen(writing, "w") as pipe:
                pipe.write(said)
        finally:
            os._exit(status)

    def kill(self) -> None:
        """End it without a warning."""
        os.kill(self.pid, signal.SIGKILL)

    def end(self) -> Ended:
        """Wait for its end.

        Raises:
            AssertionError: it failed; with its traceback.
        """
        with os.fdopen(self._reading) as pipe:
            said = pipe.read()
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        assert code in (0, -signal.SIGKILL), f"the child ended with {code}: {said}"
        return Ended(code != 0, said)


def in_child(work: Callable[[], object]) -> Ended:
    """Do some work in a child, to its end."""
    return Child.start(work).end()


def counting(root: Path, kill_at: int) -> Callable[[], int]:
    """Count touches of the disk in this process, which dies just before touch `kill_at`.

    A touch is a file opened for writing, a rename or a removal inside `root`, or a commit of a
    database; touch 0 never comes.

    Returns:
        how many there have been.
    """
    touches = 0

    def touch() -> None:
        nonlocal touches
        touches += 1
        if touches == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(name: str, arguments: tuple[object, ...]) -> None:
        if name == "open":
            path, mode = arguments[0], arguments[1]
            writes = isinstance(mode, str) and any(letter in mode for letter in "wax+")
        else:
            path, writes = (arguments[0] if arguments else None), name in CHANGES
        if writes and isinstance(path, (str, Path)) and str(path).startswith(str(root)):
            touch()

    def commit(_: Connection) -> None:
        touch()

    sys.addaudithook(audit)
    event.listen(Engine, "commit", commit)
    return lambda: touches
