"""Project folders: made whole, opened only when they fit, held by one process at a time."""

import errno
import re
import threading
import tomllib
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import text
from tests.store_fixtures import SETTINGS, fill, judge, start_python

from assent.config.files import disk_errors
from assent.errors import (
    ConfigError,
    NewerSchema,
    NotAProject,
    ProjectBusy,
    ProjectError,
    StoreDamaged,
    StoreError,
)
from assent.store import Project, check_project
from assent.store.database import Database
from assent.store.project import with_store_url


def test_a_project_is_a_folder_with_settings_database_artifacts_and_runs(tmp_path: Path) -> None:
    with Project.create(tmp_path / "new" / "project", SETTINGS) as project:
        assert project.settings_text() == SETTINGS
        names = {path.name for path in project.root.iterdir() if path.suffix != ".lock"}
    assert names >= {"assent.toml", "assent.db", "artifacts", "runs"}


def test_what_was_written_is_there_when_opened_again(project: Project) -> None:
    world = fill(project)
    judge(project.store, world.comparisons, world.annotators[1])
    counts = project.store.counts()
    with Project.open(project.root, database_url=str_url(project)) as again:
        assert again.store.counts() == counts
        assert check_project(again) == []


def str_url(project: Project) -> str:
    return project.store.database.url.render_as_string(hide_password=False)


def test_the_url_given_when_creating_is_kept_in_the_settings(project: Project) -> None:
    with Project.open(project.root) as again:
        assert again.store.database.description == project.store.database.description
    settings = tomllib.loads(project.settings_text())
    assert settings["project"] == {"seed": 1}
    assert ("store" in settings) is not project.store.database.is_sqlite


def test_the_environment_names_the_database_before_the_settings(
    tmp_path: Path, new_postgresql: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = new_postgresql()
    monkeypatch.setenv("ASSENT_DATABASE_URL", url)
    root = tmp_path / "project"
    with Project.create(root, SETTINGS) as project:
        assert not project.store.database.is_sqlite
    monkeypatch.delenv("ASSENT_DATABASE_URL")
    with pytest.raises(ProjectError, match=r"assent\.db is missing.*ASSENT_DATABASE_URL"):
        Project.open(root)
    assert not (root / "assent.db").exists()


def test_a_database_of_another_project_is_refused(
    tmp_path: Path, new_postgresql: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = new_postgresql()
    with Project.create(tmp_path / "team", SETTINGS, database_url=url) as team:
        fill(team)
    Project.create(tmp_path / "mine", SETTINGS).close()
    with pytest.raises(ProjectError, match="holds another project's"):
        Project.create(tmp_path / "third", SETTINGS, database_url=url)
    assert not (tmp_path / "third" / "assent.toml").exists()
    monkeypatch.setenv("ASSENT_DATABASE_URL", url)
    with pytest.raises(ProjectError, match="belongs to another project"):
        Project.open(tmp_path / "mine")
    monkeypatch.setenv("ASSENT_DATABASE_URL", new_postgresql())
    with pytest.raises(ProjectError, match="holds no Assent tables"):
        Project.open(tmp_path / "mine")


def test_a_password_stays_out_of_settings_and_messages(
    tmp_path: Path, new_postgresql: Callable[[], str]
) -> None:
    with_password = new_postgresql().replace("assent@", "assent:secret@")
    with Project.create(tmp_path / "project", SETTINGS, database_url=with_password) as project:
        assert "secret" not in project.settings_text()
        assert "secret" not in project.store.database.description
    assert not any(b"secret" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    written = f'schema_version = 1\n[store]\nurl = "{with_password}"\n'
    with pytest.raises(ConfigError, match=r"store\.url holds a password") as raised:
        Project.create(tmp_path / "other", written)
    assert "secret" not in str(raised.value)


def test_a_server_that_does_not_answer_is_one_clear_line(tmp_path: Path) -> None:
    url = f"postgresql://assent:secret@/none?host={tmp_path}"
    with pytest.raises(StoreError, match="postgresql:///none") as raised:
        Project.create(tmp_path / "project", SETTINGS, database_url=url)
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://host/name", "mysql is not supported"),
        ("nonsense secret", "the database URL cannot be read"),
        ("sqlite://", "a project needs a database file"),
        ("sqlite:///:memory:", "a project needs a database file"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused(tmp_path: Path, url: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as raised:
        Project.create(tmp_path / "project", SETTINGS, database_url=url)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ("seed = 1\n", ConfigError, "schema_version is None"),
        ("schema_version = true\n", ConfigError, "schema_version is True"),
        ("schema_version = \n", ConfigError, "is not TOML: .*line 1"),
        ("schema_version = 2\n", NewerSchema, "install the newer version"),
    ],
)
def test_settings_that_cannot_be_read_are_refused_when_creating_and_opening(
    tmp_path: Path, settings: str, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        Project.create(tmp_path / "new", settings)
    assert not (tmp_path / "new" / "assent.toml").exists()
    Project.create(tmp_path / "old", SETTINGS).close()
    (tmp_path / "old" / "assent.toml").write_text(settings)
    with pytest.raises(error, match=said):
        Project.open(tmp_path / "old")


def test_a_folder_that_is_no_project_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotAProject, match=r"is not a project: it holds no assent\.toml"):
        Project.open(tmp_path)
    with pytest.raises(NotAProject):
        Project.open(tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


def test_a_project_is_not_made_twice(sqlite_project: Project) -> None:
    with pytest.raises(ProjectError, match="is a project already"):
        Project.create(sqlite_project.root, SETTINGS)


def test_a_project_whose_making_was_killed_is_made_again(project: Project) -> None:
    url = None if project.store.database.is_sqlite else str_url(project)
    (project.root / "assent.toml").unlink()  # it is written last
    with Project.create(project.root, SETTINGS, database_url=url) as again:
        assert again.store.counts()["prompts"] == 0
        fill(again)
        assert check_project(again) == []


def test_tables_of_a_newer_version_are_refused(project: Project) -> None:
    with project.store.database.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(NewerSchema, match=r"at schema 9999.*install the newer version"):
        Project.open(project.root)


def test_a_database_that_is_none_is_refused(sqlite_project: Project) -> None:
    sqlite_project.close()
    (sqlite_project.root / "assent.db").write_bytes(b"this is no database at all" * 100)
    with pytest.raises(StoreDamaged, match="restore a backup"):
        Project.open(sqlite_project.root)


def test_one_process_works_on_a_project_at_a_time(project: Project) -> None:
    program = (
        "import sys, pathlib\n"
        "from assent.store.project import hold_project\n"
        "with hold_project(pathlib.Path(sys.argv[1])):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    other = start_python(program, str(project.root))
    assert other.stdout is not None
    assert other.stdout.readline() == b"held\n"
    with pytest.raises(ProjectBusy, match=f"process {other.pid} is working"), project.writing():
        pass
    fill(project)  # recording goes on meanwhile
    other.kill()
    other.communicate()
    with project.writing(), pytest.raises(ProjectBusy), project.writing():
        pass


def test_a_path_inside_is_relative_and_one_outside_is_refused(sqlite_project: Project) -> None:
    root = sqlite_project.root
    assert sqlite_project.relative(root / "runs" / "a") == "runs/a"
    assert sqlite_project.relative(Path("runs/../artifacts")) == "artifacts"
    for outside in (root.parent, Path("../other"), Path("/etc")):
        with pytest.raises(ProjectError, match="outside the project folder"):
            sqlite_project.relative(outside)


def test_writers_that_wait_too_long_say_so(project: Project) -> None:
    database = project.store.database
    impatient = Database(database.url, wait_seconds=0.01)
    with (
        database.writing(),
        pytest.raises(ProjectBusy, match=re.escape(database.description) + ": other processes"),
        impatient.writing(),
    ):
        pass
    with impatient.writing(), pytest.raises(ProjectBusy), impatient.writing():
        pass  # another thread of the same process waits in the same way
    impatient.close()


def test_a_process_that_stops_refuses_writers_that_wait_and_those_that_come(
    project: Project,
) -> None:
    database = project.store.database
    outcomes: list[str] = []

    def write() -> None:
        try:
            with database.writing():
                outcomes.append("written")
        except ProjectBusy as error:
            outcomes.append(str(error))

    waiting = threading.Thread(target=write)
    with database.writing():
        waiting.start()
        database.refuse_writers()
        waiting.join(30)  # it need not wait for the one that writes
        assert [said[:24] for said in outcomes] == ["this process is stopping"]
    write()
    assert outcomes[1].startswith("this process is stopping")


def test_a_folder_that_may_not_be_written_is_one_clear_line() -> None:
    refused = PermissionError(errno.EACCES, "Permission denied", "/project/assent.toml")
    said = "making /project: /project/assent.toml: Permission denied"
    with pytest.raises(StoreError, match=f"^{said}$"), disk_errors("making /project"):
        raise refused
    with pytest.raises(FileNotFoundError), disk_errors("making /project"):
        Path("/nowhere/at/all").read_text()


def test_a_clock_without_zone_is_refused(tmp_path: Path) -> None:
    naive = datetime(2026, 1, 31)  # noqa: DTZ001 - wrong on purpose
    with pytest.raises(ValueError, match="no time zone"):
        Project.create(tmp_path / "project", SETTINGS, clock=lambda: naive)


def test_the_url_is_set_and_everything_else_is_kept() -> None:
    before = 'a = 1 # why\n[store]\nurl = ""\nother = 2\n[z]\nurl = "z"\n'
    after = with_store_url(before, "sqlite:///x.db")
    assert after == 'a = 1 # why\n[store]\nurl = "sqlite:///x.db"\nother = 2\n[z]\nurl = "z"\n'
    assert tomllib.loads(with_store_url("a = 1", "u"))["store"] == {"url": "u"}
    with pytest.raises(ConfigError, match=r"\[store\] table yourself"):
        with_store_url('store = {url = "x"}', "u")
