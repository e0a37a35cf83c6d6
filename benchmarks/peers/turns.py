"""Taking turns: a worker does one timed unit of work each time it is told to.

Both workers of a row are alive at once and only one works, so whatever else the machine does meets
both alike. A worker that has warmed up says so, then reads `go` from its input, works, and answers
with one line of JSON.
"""

import json
import sys
import time
from pathlib import Path

MARK = "TURN "


class Turns:
    """Times the work between one `go` and its answer."""

    def __init__(self) -> None:
        self._began: tuple[float, float, list[int]] | None = None

    def wait(self) -> None:
        """Until it is this worker's turn; the input's end is the end of the row."""
        if self._began is None:
            say(ready=True)
        if sys.stdin.readline().strip() != "go":
            raise SystemExit(0)
        self._began = (time.perf_counter(), time.process_time(), _processor())

    def done(self, work: float, **more: object) -> None:
        """Answer with what was done; does nothing before the first `go`."""
        if self._began is None:
            return
        began, processor_began, machine_began = self._began
        seconds = time.perf_counter() - began
        own = time.process_time() - processor_began
        busy = sum(_processor()) - sum(machine_began)
        others = max(busy / 100 - own, 0.0) / seconds
        say(
            seconds=seconds, processor_seconds=own, work=work, others=round(others, 3),
            peak_mb=_peak_mb(), **more,
        )  # fmt: skip

    def next(self, work: float, **more: object) -> None:
        """The turn is done; wait for the next."""
        self.done(work, **more)
        self.wait()


def say(**figures: object) -> None:
    """One line for the runner."""
    sys.stdout.write(MARK + json.dumps(figures) + "\n")
    sys.stdout.flush()


def _processor() -> list[int]:
    """Hundredths of a second that all processors were busy, by kind."""
    try:
        first = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    except OSError:
        return [0]
    kinds = [int(number) for number in first[:8]]
    return [number for place, number in enumerate(kinds) if place not in (3, 4)]


def _peak_mb() -> float:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0.0
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if "VmHWM" in line)
