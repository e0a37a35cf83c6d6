"""A full disk is one clear line; nothing is half written, and work goes on when there is room."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.store_fixtures import fill, judge

import assent.store
from assent.errors import DiskFull
from assent.store import Project, check_project
from assent.types import Prompt

ON_A_SMALL_DISK = """
import pathlib, shutil, sys
from assent.errors import DiskFull
from assent.store import Project, backup_project, check_project
from assent.config.files import write_file
from assent.types import Prompt
disk, outside = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])

def refused(work):
    try:
        work()
    except DiskFull as error:
        assert 'the disk is full' in str(error) and '\\n' not in str(error), error
        return
    raise AssertionError('there was room')

ballast = disk / 'ballast'
ballast.write_bytes(bytes(1 << 20))
project = Project.create(disk / 'project', 'schema_version = 1\\n')
stored = 0
def fill_the_disk():
    global stored
    while True:
        project.store.add_prompts([Prompt(text=f'{stored} {n} ' + 'x' * 1000) for n in range(100)])
        stored += 100
refused(fill_the_disk)
assert stored and len(project.store.prompts()) == stored, stored
write_file(outside / 'settings', 'old')
refused(lambda: write_file(disk / 'project' / 'assent.toml', 'y' * (1 << 22)))
assert project.settings_text() == 'schema_version = 1\\n'
model = outside / 'model'
model.mkdir()
(model / 'weights').write_bytes(bytes(1 << 22))
refused(lambda: project.artifacts.adopt_folder(model, 'checkpoints', 'sft'))
assert (model / 'weights').stat().st_size == 1 << 22
assert list((disk / 'project' / 'artifacts').rglob('*.tmp')) == []
refused(lambda: backup_project(project, disk / 'backup'))
assert [path for path in disk.iterdir() if path.name not in ('ballast', 'project')] == []
refused(lambda: Project.create(disk / 'another', 'schema_version = 1\\n'))
assert not (disk / 'another' / 'assent.toml').exists()
shutil.rmtree(disk / 'another')
ballast.unlink()
project.store.add_prompts([Prompt(text='there is room again')])
assert check_project(project) == []
assert len(project.store.prompts()) == stored + 1
project.close()
print('all of it')
"""


def test_a_database_that_cannot_grow_keeps_nothing_of_the_write(sqlite_project: Project) -> None:
    world = fill(sqlite_project)
    judge(sqlite_project.store, world.comparisons[:1], world.annotators[1])
    before = sqlite_project.store.counts()
    limit_growth(sqlite_project, pages=1)  # SQLite raises it to the present size
    with pytest.raises(DiskFull, match="nothing of this write was kept") as raised:
        sqlite_project.store.add_prompts([Prompt(text=f"{n} " + "x" * 2000) for n in range(200)])
    assert "\n" not in str(raised.value)
    assert sqlite_project.store.counts() == before
    limit_growth(sqlite_project, pages=1 << 30)
    judge(sqlite_project.store, world.comparisons, world.annotators[1])
    assert check_project(sqlite_project) == []
    assert len(sqlite_project.store.events()) == 3


def limit_growth(project: Project, pages: int) -> None:
    with project.store.database.writing() as connection:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")


def test_a_full_disk_stops_each_kind_of_write_and_harms_nothing(tmp_path: Path) -> None:
    unshare = shutil.which("unshare")
    disk, outside = tmp_path / "disk", tmp_path / "outside"
    disk.mkdir()
    outside.mkdir()
    mount = 'mount -t tmpfs -o size=4m small "$1" && exec "$2" -c "$3" "$1" "$4"'
    own = [str(unshare), "--user", "--map-root-user", "--mount", "sh", "-c"]
    if (
        unshare is None
        or subprocess.run(
            [*own, 'mount -t tmpfs small "$1"', "sh", str(disk)], check=False, capture_output=True
        ).returncode
    ):
        pytest.skip("this machine lets nobody mount a small disk of their own")
    done = subprocess.run(
        [*own, mount, "sh", str(disk), sys.executable, ON_A_SMALL_DISK, str(outside)],
        check=False,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(Path(assent.store.__file__).parents[2]), "PATH": "/usr/bin:/bin"},
    )
    assert done.stdout == "all of it\n", done.stderr
