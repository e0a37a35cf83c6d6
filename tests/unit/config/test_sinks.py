"""Metric sinks: nothing lost, nothing doubled, nothing undeclared."""

import builtins
import errno
import importlib.util
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assent.config.sinks import JsonlSink, TeeSink, TensorBoardSink, WandbSink, read_metrics
from assent.errors import CannotResume, ConfigError, DiskFull

LOSS, KL = "loss/value", "policy/kl_nats"


def log_all(sink: JsonlSink, rows: Sequence[tuple[int, float]]) -> None:
    for step, value in rows:
        sink.log(step, {LOSS: value})


def test_a_line_is_readable_as_soon_as_it_is_logged(tmp_path: Path) -> None:
    file = tmp_path / "runs" / "metrics.jsonl"
    sink = JsonlSink(file)
    sink.log(3, {LOSS: 0.25, KL: 1})
    assert json.loads(file.read_text()) == {"step": 3, LOSS: 0.25, KL: 1.0}
    sink.close()


@given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_a_value_comes_back_to_the_last_bit(
    tmp_path_factory: pytest.TempPathFactory, value: float
) -> None:
    file = tmp_path_factory.mktemp("bits") / "metrics.jsonl"
    with JsonlSink(file) as sink:
        sink.log(0, {LOSS: value})
    (row,) = read_metrics(file)
    assert row.values[LOSS].hex() == value.hex()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_null_because_json_has_no_other(
    tmp_path: Path, value: float
) -> None:
    file = tmp_path / "metrics.jsonl"
    with JsonlSink(file) as sink:
        sink.log(0, {LOSS: value})
    assert json.loads(file.read_text()) == {"step": 0, LOSS: None}
    assert math.isnan(read_metrics(file)[0].values[LOSS])


def test_an_undeclared_metric_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with JsonlSink(tmp_path / "m.jsonl") as sink, pytest.raises(ValueError, match="loss/valeu"):
        sink.log(0, {KL: 1.0, "loss/valeu": 1.0})
    assert read_metrics(tmp_path / "m.jsonl") == []


def test_steps_do_not_go_back_but_one_step_may_have_several_lines(tmp_path: Path) -> None:
    file = tmp_path / "m.jsonl"
    with JsonlSink(file) as sink:
        log_all(sink, [(1, 0.1), (1, 0.2)])
        with pytest.raises(ValueError, match="step 0 comes after step 1"):
            sink.log(0, {LOSS: 0.3})
    with JsonlSink(file) as reopened, pytest.raises(ValueError, match="step 0 comes after step 1"):
        reopened.log(0, {LOSS: 0.3})


@given(cut=st.integers(-1, 6), resumed_from=st.integers(1, 10))
def test_cut_back_and_logged_again_a_file_is_that_of_an_uninterrupted_run(
    tmp_path_factory: pytest.TempPathFactory, cut: int, resumed_from: int
) -> None:
    folder = tmp_path_factory.mktemp("resume")
    rows = [(step, step / 7) for step in range(resumed_from)]
    whole, resumed = folder / "whole.jsonl", folder / "resumed.jsonl"
    for file in (whole, resumed):
        with JsonlSink(file) as sink:
            log_all(sink, rows)
    with JsonlSink(resumed) as sink:
        sink.truncate_after(cut)
        log_all(sink, [row for row in rows if row[0] > cut])
    assert resumed.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("lost_bytes", [1, 2, 15])
def test_a_line_that_a_kill_cut_short_is_dropped_and_the_rest_goes_on(
    tmp_path: Path, lost_bytes: int
) -> None:
    file = tmp_path / "m.jsonl"
    with JsonlSink(file) as sink:
        log_all(sink, [(1, 0.5), (2, 0.25)])
    os.truncate(file, file.stat().st_size - lost_bytes)
    assert [row.step for row in read_metrics(file)] == [1]

    with JsonlSink(file) as sink:
        sink.log(2, {LOSS: 0.125})
    assert [(row.step, row.values[LOSS]) for row in read_metrics(file)] == [(1, 0.5), (2, 0.125)]


@pytest.mark.parametrize("damage", ["[1, 2]\n", "{}\n", "words\n", '"step"\n'])
def test_a_damaged_line_is_named(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "m.jsonl"
    file.write_text('{"step": 1, "loss/value": 0.5}\n' + damage)
    with pytest.raises(CannotResume, match=r"m\.jsonl, line 2: not a metrics row"):
        JsonlSink(file)


def test_a_full_disk_leaves_the_lines_before_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "m.jsonl"
    sink = JsonlSink(file)
    sink.log(1, {LOSS: 0.5})
    real_write = os.write

    def write_a_little(handle: int, data: bytes) -> int:
        if len(data) < 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real_write(handle, data[:20])

    monkeypatch.setattr(os, "write", write_a_little)
    with pytest.raises(DiskFull, match="keeps the steps before"):
        sink.log(2, {LOSS: 0.25})
    monkeypatch.undo()

    sink.log(2, {LOSS: 0.25})
    sink.close()
    assert [row.step for row in read_metrics(file)] == [1, 2]


def test_closing_twice_is_harmless(tmp_path: Path) -> None:
    sink = JsonlSink(tmp_path / "m.jsonl")
    sink.close()
    sink.close()


def test_a_tee_gives_everything_to_every_sink(tmp_path: Path) -> None:
    files = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    with TeeSink(*(JsonlSink(file) for file in files)) as tee:
        tee.log(1, {LOSS: 0.5})
        tee.log(2, {LOSS: 0.25})
        tee.truncate_after(1)
    assert [[row.step for row in read_metrics(file)] for file in files] == [[1], [1]]


class Stubborn:
    """A sink that does not close."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take anything."""

    def truncate_after(self, step: int) -> None:
        """Forget nothing."""

    def close(self) -> None:
        raise OSError(errno.EIO, "broken disk")


def test_a_tee_closes_the_others_when_one_does_not_close(tmp_path: Path) -> None:
    inner = JsonlSink(tmp_path / "m.jsonl")
    with pytest.raises(OSError, match="broken disk"):
        TeeSink(Stubborn(), inner).close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        inner.log(1, {LOSS: 0.5})


@pytest.mark.parametrize(
    ("package", "make"),
    [
        ("tensorboard", TensorBoardSink),
        ("wandb", lambda folder: WandbSink(folder, project="p", run_id="r")),
    ],
)
def test_a_dashboard_that_is_not_installed_is_one_line_with_the_remedy(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    package: str,
    make: Callable[[Path], object],
) -> None:
    real_import = builtins.__import__

    def without_the_package(name: str, *rest: object) -> object:
        if name.partition(".")[0] == package or name == f"torch.utils.{package}":
            raise ImportError(name)
        return real_import(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without_the_package)
    with pytest.raises(ConfigError, match=f"^metrics cannot go to {package}.*: pip install"):
        make(tmp_path)


@pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None, reason="the tensorboard extra is not installed"
)
def test_tensorboard_gets_trl_tags_and_hides_what_a_resumed_run_repeats(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with TensorBoardSink(tmp_path) as sink:
        for step in (1, 2, 3):
            sink.log(step, {KL: float(step)})
        sink.truncate_after(1)
        sink.log(2, {KL: 20.0})

    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("objective/kl")] == [
        (1, 1.0),
        (2, 20.0),
    ]
