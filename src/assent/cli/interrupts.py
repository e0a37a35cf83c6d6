"""Ctrl-C: one line that says what was kept and how to go on."""

from collections.abc import Iterator
from contextlib import contextmanager


class Interrupted(Exception):
    """The user stopped a command; the message says what is kept and how to go on."""


@contextmanager
def interruptible(kept: str, go_on: str) -> Iterator[None]:
    """Around a command's work.

    Args:
        kept: what is safe on disk whenever the command stops.
        go_on: the command that goes on from there.
    """
    try:
        yield
    except KeyboardInterrupt:
        message = f"interrupted: {kept}; go on with: {go_on}"
        raise Interrupted(message) from None
