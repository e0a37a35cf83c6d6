"""Backups that pass their check, and upgrades that lose nothing."""

import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text
from tests.store_fixtures import SETTINGS, fill, judge, start_python

from assent.errors import NewerSchema, NotAProject, ProjectBusy, ProjectError, StoreDamaged
from assent.store import NewRun, Project, backup_project, check_project, upgrade
from assent.store.migrating import MIGRATIONS, require_current
from assent.store.schema import REVISIONS
from assent.types import Prompt

NEWEST = REVISIONS[-1]


def test_a_backup_holds_everything_and_needs_no_server(project: Project, tmp_path: Path) -> None:
    world = fill(project)
    events = judge(project.store, world.comparisons, world.annotators[1])
    project.store.retract(events[0], world.annotators[1], "undo")
    snapshot = project.store.take_snapshot("round 1")
    run = project.store.start_run(
        NewRun(
            stage="ppo",
            name="ppo",
            settings={},
            seed=1,
            code_version="0",
            parents={"policy": world.model.id},
        )
    )
    (project.root / "runs" / "ppo").mkdir()
    (project.root / "runs" / "ppo" / "metrics.jsonl").write_text("{}\n")

    place = backup_project(project, tmp_path / "backups" / "first")

    with Project.open(place) as copy:
        assert copy.store.database.is_sqlite
        assert check_project(copy) == []
        assert copy.store.counts() == project.store.counts()
        assert copy.store.events() == project.store.events()
        assert copy.store.judged_pairs(snapshot.id) == project.store.judged_pairs(snapshot.id)
        assert copy.store.runs() == [run]
        assert copy.store.responses() == project.store.responses()
        judge(copy.store, world.comparisons[:1], world.annotators[0])
    assert (place / "runs" / "ppo" / "metrics.jsonl").read_text() == "{}\n"
    assert [path.name for path in place.parent.iterdir()] == ["first"]
    assert len(project.store.events()) == 4


def test_a_copy_of_a_server_project_is_never_taken_for_the_original(
    tmp_path: Path, new_postgresql: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = new_postgresql()
    monkeypatch.setenv("ASSENT_DATABASE_URL", url)
    with Project.create(tmp_path / "team", SETTINGS) as project:
        fill(project)
        place = backup_project(project, tmp_path / "copy")
    with pytest.raises(ProjectError, match="belongs to another project"):
        Project.open(place)
    monkeypatch.delenv("ASSENT_DATABASE_URL")
    Project.open(place).close()


def test_a_backup_is_whole_while_others_write(project: Project, tmp_path: Path) -> None:
    world = fill(project, pairs=200)
    stop = threading.Event()

    def record() -> None:
        for number, comparison in enumerate(world.comparisons):
            judge(project.store, [comparison], world.annotators[1])
            if number == 20:
                begun.set()
            if stop.is_set():
                return

    begun = threading.Event()
    writer = threading.Thread(target=record)
    writer.start()
    try:
        assert begun.wait(60)
        place = backup_project(project, tmp_path / "copy")
    finally:
        stop.set()
        writer.join()
    with Project.open(place) as copy:
        copied = copy.store.events()
    assert 20 < len(copied) <= len(project.store.events())
    assert project.store.events()[: len(copied)] == copied


def test_a_backup_never_overwrites(sqlite_project: Project, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    backup_project(sqlite_project, taken)  # an empty folder will do
    before = sorted(path.name for path in taken.iterdir())
    with pytest.raises(ProjectError, match="is not an empty folder"):
        backup_project(sqlite_project, taken)
    with pytest.raises(ProjectError, match="is not an empty folder"):
        backup_project(sqlite_project, taken / "assent.toml")
    assert sorted(path.name for path in taken.iterdir()) == before


def test_a_damaged_project_is_not_backed_up_as_if_it_were_whole(
    project: Project, tmp_path: Path
) -> None:
    world = fill(project)
    shutil.rmtree(project.artifacts.path(world.artifact))
    with pytest.raises(StoreDamaged, match=f"artifacts {world.artifact.path}.* is missing"):
        backup_project(project, tmp_path / "copy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["project"]


def newer_migrations(folder: Path, body: str) -> Path:
    """The real migrations and one more."""
    shutil.copytree(MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "versions" / "v9001_more.py").write_text(
        "import os, signal\n"
        "import sqlalchemy as sa\n"
        "from alembic import op\n"
        "revision = '9001'\n"
        f"down_revision = '{NEWEST}'\n"
        "def upgrade():\n"
        "    op.add_column('prompts', sa.Column('language', sa.Text()))\n"
        "    op.execute(\"UPDATE prompts SET language = 'en'\")\n" + body
    )
    return folder


def test_an_upgrade_keeps_a_copy_and_everything_else(project: Project, tmp_path: Path) -> None:
    world = fill(project)
    judge(project.store, world.comparisons, world.annotators[1])
    before = project.store.events()

    done = upgrade(project.root, migrations=newer_migrations(tmp_path / "newer", ""))

    assert (done.from_revision, done.to_revision) == (NEWEST, "9001")
    assert done.backup == project.root / f"before-{NEWEST}.db"
    with closing(sqlite3.connect(done.backup)) as copy:
        assert copy.execute("SELECT count(*) FROM events").fetchone() == (3,)
        assert copy.execute("SELECT version_num FROM alembic_version").fetchone() == (NEWEST,)
        columns = [row[1] for row in copy.execute("PRAGMA table_info(prompts)")]
    assert "language" not in columns
    with project.store.database.reading() as connection:
        languages = connection.scalars(text("SELECT language FROM prompts")).all()
    assert languages == ["en", "en", "en"]
    assert project.store.events() == before
    with pytest.raises(NewerSchema, match="at schema 9001"):
        Project.open(project.root)


def test_a_migration_that_fails_or_is_killed_changes_nothing(
    project: Project, tmp_path: Path
) -> None:
    fill(project)
    before = project.store.prompts()
    broken = newer_migrations(tmp_path / "broken", "    raise RuntimeError('half way')\n")
    with pytest.raises(RuntimeError, match="half way"):
        upgrade(project.root, migrations=broken)
    killed = newer_migrations(tmp_path / "killed", "    os.kill(os.getpid(), signal.SIGKILL)\n")
    program = (
        "import pathlib, sys\n"
        "from assent.store import upgrade\n"
        "upgrade(pathlib.Path(sys.argv[1]), migrations=pathlib.Path(sys.argv[2]))\n"
    )
    process = start_python(program, str(project.root), str(killed))
    process.communicate()
    assert process.returncode == -9
    with Project.open(project.root) as again:
        assert again.store.prompts() == before
        assert check_project(again) == []
    done = upgrade(project.root, migrations=newer_migrations(tmp_path / "good", ""))
    assert done.to_revision == "9001"


def test_an_upgrade_of_the_newest_does_nothing(project: Project) -> None:
    files = sorted(path.name for path in project.root.iterdir())
    done = upgrade(project.root)
    assert (done.from_revision, done.to_revision, done.backup) == (NEWEST, NEWEST, None)
    assert sorted(path.name for path in project.root.iterdir() if path.name != ".writing.lock") == [
        name for name in files if name != ".writing.lock"
    ]


def test_older_tables_ask_for_an_upgrade(project: Project) -> None:
    with project.store.database.reading() as connection:
        require_current(connection, "here", (NEWEST,))
        with pytest.raises(ProjectError, match=rf"schema {NEWEST} .* run `assent db upgrade`"):
            require_current(connection, "here", (NEWEST, "9001"))


def test_a_project_at_work_is_not_upgraded(project: Project, tmp_path: Path) -> None:
    newer = newer_migrations(tmp_path / "newer", "")
    with project.writing(), pytest.raises(ProjectBusy, match="is working on this project"):
        upgrade(project.root, migrations=newer)
    with pytest.raises(NotAProject):
        upgrade(tmp_path)


def test_a_killed_backup_leaves_no_project_behind(sqlite_project: Project, tmp_path: Path) -> None:
    fill(sqlite_project)
    program = (
        "import os, pathlib, signal, sys\n"
        "from assent.store import Project, backup_project\n"
        "from assent.store import copying\n"
        "def die(*_):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "copying.flush_tree = die\n"
        "with Project.open(pathlib.Path(sys.argv[1])) as project:\n"
        "    backup_project(project, pathlib.Path(sys.argv[2]))\n"
    )
    process = start_python(program, str(sqlite_project.root), str(tmp_path / "copy"))
    process.communicate()
    assert process.returncode == -9
    assert not (tmp_path / "copy").exists()
    backup_project(sqlite_project, tmp_path / "copy")
    sqlite_project.store.add_prompts([Prompt(text="later")])
