"""Progress: a bar with the time left on a terminal, and now and then a line in a log file."""

import io

import pytest

from assent.cli.progress import TerminalProgress
from assent.types import Progress


class Clock:
    """Moves only when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def advance(progress: Progress, clock: Clock, seconds_a_step: float, *, done: int = 0) -> None:
    with progress.task("ppo", total=10, done=done) as task:
        for step in range(done, 10):
            clock.now += seconds_a_step
            task.advance(1, note=f"kl {step}")


def test_a_log_file_gets_a_line_at_each_end_of_short_work() -> None:
    stream, clock = io.StringIO(), Clock()
    advance(TerminalProgress(stream, clock), clock, seconds_a_step=0.1)
    assert stream.getvalue().splitlines() == ["ppo: 0/10", "ppo: 10/10, after 0:01, kl 9"]


def test_a_log_file_gets_a_line_every_ten_seconds_with_the_time_left() -> None:
    stream, clock = io.StringIO(), Clock()
    advance(TerminalProgress(stream, clock), clock, seconds_a_step=5)
    assert stream.getvalue().splitlines() == [
        "ppo: 0/10",
        "ppo: 2/10, 0:40 left, kl 1",
        "ppo: 4/10, 0:30 left, kl 3",
        "ppo: 6/10, 0:20 left, kl 5",
        "ppo: 8/10, 0:10 left, kl 7",
        "ppo: 10/10, after 0:50, kl 9",
    ]


def test_the_time_left_of_resumed_work_counts_only_what_this_process_did() -> None:
    stream, clock = io.StringIO(), Clock()
    advance(TerminalProgress(stream, clock), clock, seconds_a_step=1000, done=8)
    assert stream.getvalue().splitlines() == [
        "ppo: 8/10",
        "ppo: 9/10, 16:40 left, kl 8",
        "ppo: 10/10, after 33:20, kl 9",
    ]


def test_an_empty_note_leaves_the_last_figure() -> None:
    stream, clock = io.StringIO(), Clock()
    with TerminalProgress(stream, clock).task("sft", total=2) as task:
        task.advance(note="loss 1.5")
        task.advance()
    assert stream.getvalue().endswith("sft: 2/2, after 0:00, loss 1.5\n")


def test_work_that_fails_still_says_how_far_it_came() -> None:
    stream = io.StringIO()

    def fail_at_step_3() -> None:
        with TerminalProgress(stream, Clock()).task("sft", total=7200) as task:
            task.advance(3)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_at_step_3()
    assert stream.getvalue().splitlines()[-1] == "sft: 3/7200, after 0:00"


def test_hours_are_shown_as_hours() -> None:
    stream, clock = io.StringIO(), Clock()
    advance(TerminalProgress(stream, clock), clock, seconds_a_step=600)
    assert "ppo: 1/10, 1:30:00 left, kl 0" in stream.getvalue()


def test_a_terminal_shows_every_stage_and_leaves_the_finished_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    stream = Terminal()
    progress = TerminalProgress(stream)
    for name in ("sft", "reward"):
        with progress.task(name, total=4, done=1) as task:
            task.advance(2, note="loss [0.5]")
            task.advance()
    shown = stream.getvalue()
    assert "sft" in shown
    assert "reward" in shown
    assert "4/4" in shown
    assert "loss [0.5]" in shown
    assert "in 0:00" in shown


def test_a_bar_inside_a_bar_is_shown_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    stream = Terminal()
    progress = TerminalProgress(stream)
    with progress.task("round 1", total=2) as outer:
        with progress.task("ppo", total=3) as inner:
            inner.advance(3)
        outer.advance()
    assert "round 1" in stream.getvalue()
    assert "3/3" in stream.getvalue()
