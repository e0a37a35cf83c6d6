"""Progress on stderr: a bar with the time left on a terminal, now and then a line elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
)
from rich.text import Text

from assent.types import ProgressTask

LINE_EVERY_SECONDS = 10.0
REFRESHES_PER_SECOND = 4  # rich's ten would cost a noticeable part of a core


class TerminalProgress:
    """Bars on a terminal, plain lines in a log file: implements `types.Progress`."""

    def __init__(
        self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream or sys.stderr
        self._clock = clock
        self._bars: _Bars | None = None

    def task(self, name: str, total: int, done: int = 0) -> AbstractContextManager[ProgressTask]:
        """Open a bar of `total` steps of which `done` were finished by an earlier process."""
        if not self._stream.isatty():
            return _lines(self._stream, self._clock, name, total, done)
        if self._bars is None:
            self._bars = _Bars(self._stream)
        return self._bars.task(name, total, done)


class _TimeLeft(ProgressColumn):
    """`1:02 left` while a bar moves, `in 4:05` when it is full."""

    def render(self, task: Task) -> Text:
        """The text for one bar."""
        if task.finished:
            return Text(f"in {_duration(task.finished_time or 0)}", style="progress.elapsed")
        left = task.time_remaining
        return Text("" if left is None else f"{_duration(left)} left", style="progress.remaining")


class _Bars:
    """Rich's bars; those of finished stages stay on the screen above the open ones."""

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream)
        self._progress: Progress | None = None
        self._open = 0

    @contextmanager
    def task(self, name: str, total: int, done: int) -> Iterator[ProgressTask]:
        if self._progress is None:
            self._progress = self._display()
            self._progress.start()
        progress = self._progress
        self._open += 1
        try:
            bar = progress.add_task(name, total=total, completed=done, note="")
            yield _Bar(progress, bar)
        finally:
            self._open -= 1
            if self._open == 0:
                progress.stop()
                self._progress = None

    def _display(self) -> Progress:
        return Progress(
            TextColumn("{task.description:<24}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            _TimeLeft(),
            TextColumn("{task.fields[note]}", markup=False),
            console=self._console,
            refresh_per_second=REFRESHES_PER_SECOND,
        )


class _Bar:
    def __init__(self, progress: Progress, bar: TaskID) -> None:
        self._progress = progress
        self._bar = bar

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Move the bar; an empty note leaves the last one."""
        if note:
            self._progress.update(self._bar, advance=steps, note=note)
        else:
            self._progress.update(self._bar, advance=steps)


class _Lines:
    """A line at the start, at most one every ten seconds, and one at the end."""

    def __init__(
        self, stream: TextIO, clock: Callable[[], float], name: str, total: int, done: int
    ) -> None:
        self._stream, self._clock = stream, clock
        self._name, self._total = name, total
        self._start_done = self._done = done
        self._note = ""
        self._started = self._last_line = clock()

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Count, and write a line when the last one is old enough."""
        self._done += steps
        self._note = note or self._note
        now = self._clock()
        if now - self._last_line >= LINE_EVERY_SECONDS and self._done < self._total:
            rate = (self._done - self._start_done) / (now - self._started)
            left = (self._total - self._done) / rate if rate > 0 else None
            self.write("" if left is None else f"{_duration(left)} left")
            self._last_line = now

    def finish(self) -> None:
        """Write the last line."""
        self.write(f"after {_duration(self._clock() - self._started)}")

    def write(self, time_text: str) -> None:
        """One line with the count, the time and the latest figure."""
        parts = [f"{self._name}: {self._done}/{self._total}", time_text, self._note]
        self._stream.write(", ".join(part for part in parts if part) + "\n")
        self._stream.flush()


@contextmanager
def _lines(
    stream: TextIO, clock: Callable[[], float], name: str, total: int, done: int
) -> Iterator[ProgressTask]:
    lines = _Lines(stream, clock, name, total, done)
    lines.write("")
    try:
        yield lines
    finally:
        lines.finish()


def _duration(seconds: float) -> str:
    """`0:09`, `4:05` or `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
