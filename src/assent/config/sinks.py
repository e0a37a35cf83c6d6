"""Where metrics go: a JSONL file always, TensorBoard and Weights & Biases where asked for.

They live here, beside the table of metrics, because training, rounds and the command line all need
them and a package imports downwards only; training itself knows no more than the `MetricSink`
protocol. A sink takes steps in order, and `truncate_after` drops what a killed run recorded beyond
its last checkpoint, so that a resumed run writes exactly what an uninterrupted one would have.
"""

import errno
import json
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from assent.config.metrics import require_declared, tag_of
from assent.errors import CannotResume, ConfigError, DiskFull


class ClosableSink(Protocol):
    """A `MetricSink` that holds something open."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record declared metrics of one step; steps never go back."""
        ...

    def truncate_after(self, step: int) -> None:
        """Forget what was recorded for later steps."""
        ...

    def close(self) -> None:
        """Make everything durable; closing twice is harmless."""
        ...


class _Closing(ABC):
    """`with sink:` closes it."""

    @abstractmethod
    def close(self) -> None:
        """Make everything durable; closing twice is harmless."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One line of a metrics file."""

    step: int
    values: Mapping[str, float]


def read_metrics(file: Path) -> list[MetricRow]:
    """The rows of a metrics file, in order; a last line that a kill cut short is left out.

    Raises:
        CannotResume: a line is not a metrics row (names it).
    """
    return [row for row, _ in _rows(file.read_bytes(), file)]


def _rows(content: bytes, file: Path) -> list[tuple[MetricRow, int]]:
    """Each complete row and the byte at which it ends."""
    rows: list[tuple[MetricRow, int]] = []
    end = 0
    for line in content.splitlines(keepends=True):
        if not line.endswith(b"\n"):
            break
        end += len(line)
        try:
            record = json.loads(line)
            step = record.pop("step")
            values = {name: math.nan if value is None else value for name, value in record.items()}
        except (ValueError, KeyError, AttributeError, TypeError):
            message = f"{file}, line {len(rows) + 1}: not a metrics row; restore or delete the file"
            raise CannotResume(message) from None
        rows.append((MetricRow(step, values), end))
    return rows


class JsonlSink(_Closing):
    """One JSON object a line: `{"step": 3, "loss/value": 0.25}`; `null` is a value not finite.

    A line is handed to the system as soon as it is logged, so a killed process loses none; `close`
    makes them durable against a power cut too.
    """

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file = file
        self._handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        content = file.read_bytes()
        rows = _rows(content, file)
        self._last_step = rows[-1][0].step if rows else None
        whole = rows[-1][1] if rows else 0
        if whole < len(content):  # a kill cut the last line short
            os.ftruncate(self._handle, whole)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append one line.

        Raises:
            ValueError: an undeclared metric, or a step before the last one.
            DiskFull: the line did not fit; the lines before it are whole.
        """
        require_declared(metrics)
        if self._last_step is not None and step < self._last_step:
            message = f"step {step} comes after step {self._last_step} in {self._file}"
            raise ValueError(message)
        values = {name: float(value) for name, value in metrics.items()}
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        line = json.dumps({"step": step, **finite}) + "\n"
        self._append(line.encode())
        self._last_step = step

    def _append(self, line: bytes) -> None:
        before = os.fstat(self._handle).st_size
        try:
            while line:
                line = line[os.write(self._handle, line) :]
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            os.ftruncate(self._handle, before)
            message = f"the disk is full: {self._file} keeps the steps before; make room and resume"
            raise DiskFull(message) from error

    def truncate_after(self, step: int) -> None:
        """Drop the lines of later steps."""
        kept = [pair for pair in _rows(self._file.read_bytes(), self._file) if pair[0].step <= step]
        os.ftruncate(self._handle, kept[-1][1] if kept else 0)
        self._last_step = kept[-1][0].step if kept else None

    def close(self) -> None:
        """Make every line durable."""
        if self._handle >= 0:
            os.fsync(self._handle)
            os.close(self._handle)
            self._handle = -1


class TensorBoardSink(_Closing):
    """Scalars for TensorBoard, under TRL's tags where it has them."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            message = _not_installed("tensorboard")
            raise ConfigError(message) from error
        self._open = SummaryWriter
        self._folder = folder
        self._writer: Any = SummaryWriter(str(folder))

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record declared metrics of one step."""
        require_declared(metrics)
        for name, value in metrics.items():
            self._writer.add_scalar(tag_of(name), value, step)

    def truncate_after(self, step: int) -> None:
        """Tell TensorBoard to hide what came later."""
        self._writer.close()
        self._writer = self._open(str(self._folder), purge_step=step + 1)

    def close(self) -> None:
        """Write what is buffered."""
        self._writer.close()


class WandbSink(_Closing):
    """A Weights & Biases run, under TRL's tags where it has them.

    The account and the mode come from W&B's own environment variables (`WANDB_API_KEY`,
    `WANDB_MODE=offline`), never from settings.
    """

    def __init__(self, folder: Path, *, project: str, run_id: str) -> None:
        try:
            import wandb
        except ImportError as error:
            message = _not_installed("wandb")
            raise ConfigError(message) from error
        folder.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(project=project, id=run_id, resume="allow", dir=str(folder))

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record declared metrics of one step."""
        require_declared(metrics)
        values = {tag_of(name): value for name, value in metrics.items()}
        self._run.log(values, step=step)

    def truncate_after(self, step: int) -> None:
        """Nothing to do: W&B ignores a step it has, and a resumed run repeats the same values."""
        del step

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


class TeeSink(_Closing):
    """Every sink gets everything."""

    def __init__(self, *sinks: ClosableSink) -> None:
        self._sinks = sinks

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record in each sink, in order."""
        for sink in self._sinks:
            sink.log(step, metrics)

    def truncate_after(self, step: int) -> None:
        """Truncate each sink."""
        for sink in self._sinks:
            sink.truncate_after(step)

    def close(self) -> None:
        """Close each sink, the later ones too when an earlier one fails."""
        with ExitStack() as stack:
            for sink in reversed(self._sinks):
                stack.callback(sink.close)


def _not_installed(package: str) -> str:
    return f"metrics cannot go to {package}, it is not installed: pip install {package}"
