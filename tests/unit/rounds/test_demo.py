"""`assent demo` begins in a free folder, goes on with its own, and refuses every other."""

from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from tests.toy_loop import make_toy

from assent.config.sizes import size_settings
from assent.config.write import dump_toml
from assent.errors import AssentError, ConfigError, ProjectError
from assent.rounds.demo import run_demo
from assent.store import Project
from assent.types import ProgressTask, SilentProgress


class Began(Exception):
    """The demo got as far as its first bar."""


class StopsAtOnce(SilentProgress):
    def task(self, name: str, total: int, done: int = 0) -> AbstractContextManager[ProgressTask]:
        raise Began(name, total, done)


def demo(out: Path, *, size: str = "tiny", annotator: str = "flawed", seed: int = 0) -> None:
    run_demo(
        out,
        size=size,
        seed=seed,
        rounds=1,
        annotator=annotator,
        judgements=10,
        progress=StopsAtOnce(),
    )


def test_a_demo_writes_all_its_settings_before_it_begins(tmp_path: Path) -> None:
    with pytest.raises(Began):
        demo(tmp_path / "demo", seed=7)
    with Project.open(tmp_path / "demo") as project:
        text = project.settings_text()
    expected = {
        "seed": 7,
        "size": "tiny",
        "world": {"seed": 7, "annotator": "flawed"},
        "loop": {"rounds": 1, "judgements_per_round": 10},
    }
    assert text == dump_toml(size_settings("tiny", expected))


def test_the_same_demo_goes_on_where_it_stopped(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(Began):
            demo(tmp_path)
    with Project.open(tmp_path) as project:
        assert [run.id for run in project.store.runs()] == ["pretrain"]


def test_a_demo_with_other_arguments_is_refused_with_the_command_that_goes_on(
    tmp_path: Path,
) -> None:
    with pytest.raises(Began):
        demo(tmp_path)
    with pytest.raises(ProjectError, match=f"other settings.*assent loop run {tmp_path}") as told:
        demo(tmp_path, seed=1)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", ["thesis.txt", "runs.txt", "artifacts-of-mine/a", "runs/mine/a"])
def test_a_folder_that_holds_something_else_is_refused_and_left_alone(
    tmp_path: Path, name: str
) -> None:
    mine = tmp_path / name
    mine.parent.mkdir(parents=True, exist_ok=True)
    mine.write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ProjectError, match=r"is not empty; give a new or empty folder to --out"):
        demo(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "demo").write_text("mine")
    with pytest.raises(ProjectError, match="give a new or empty folder"):
        demo(tmp_path / "demo")


def test_what_a_process_left_that_was_killed_while_making_the_project_is_taken_up(
    tmp_path: Path,
) -> None:
    made = make_toy(tmp_path / "demo")
    # The settings come last, so without them this is what the kill left.
    (made / "assent.toml").rename(made / ".assent.toml.123.tmp")
    with pytest.raises(Began):
        demo(made)
    with Project.open(made) as project:
        assert project.store.counts()["events"] > 0


@pytest.mark.parametrize(
    ("size", "annotator", "said"),
    [
        ("huge", "flawed", "'huge'; choose from tiny, small, gpu"),
        ("tiny", "nobody", "'nobody'; choose from flawed, unbiased"),
    ],
)
def test_an_unknown_size_or_annotator_is_one_line_and_makes_nothing(
    tmp_path: Path, size: str, annotator: str, said: str
) -> None:
    with pytest.raises(ConfigError, match=said) as told:
        demo(tmp_path / "demo", size=size, annotator=annotator)
    assert isinstance(told.value, AssentError)
    assert "\n" not in str(told.value)
    assert not (tmp_path / "demo").exists()
