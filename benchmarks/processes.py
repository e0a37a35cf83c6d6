"""Work in a process of its own, and how much memory it took.

The process is forked from one that has imported everything and done nothing, so that its peak is
that of the work, and no time goes into imports.
"""

import ctypes
import gc
import multiprocessing
import resource
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

STATUS, FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
KB_A_MB = 1024


def apart(work: Callable[..., Any], **given: Any) -> Any:  # noqa: ANN401
    """What the work returns, done in a fork that ends with it.

    Raises:
        ChildProcessError: the fork ended without a result; its traceback stands above.
    """
    forking = multiprocessing.get_context("fork")
    ours, theirs = forking.Pipe(duplex=False)
    child = forking.Process(target=_answer, args=(theirs, work, given))
    child.start()
    theirs.close()
    try:
        return ours.recv()
    except EOFError as error:
        message = f"{work.__module__}.{work.__name__} with {given} gave no result"
        raise ChildProcessError(message) from error
    finally:
        child.join()


def _answer(pipe: Connection, work: Callable[..., Any], given: dict[str, Any]) -> None:
    pipe.send(work(**given))
    pipe.close()


def resident_mb() -> float:
    """Memory that the process holds now."""
    return _status("VmRSS")


def peak_mb() -> float:
    """The most memory it has held since `forget_peak`, or since it began."""
    return _status("VmHWM")


def forget_peak() -> float:
    """Give freed memory back and let the peak count from here; returns what is held now."""
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
        FORGET.write_text("5")
    return resident_mb()


def _status(name: str) -> float:
    if not STATUS.exists():  # no Linux: the peak since the beginning is all there is
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KB_A_MB**2
    lines = STATUS.read_text().splitlines()
    return next(int(line.split()[1]) / KB_A_MB for line in lines if line.startswith(name))
