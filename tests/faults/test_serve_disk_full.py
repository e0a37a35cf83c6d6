"""A full disk under a server: one clear refusal that may be sent again, and nothing half stored."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import assent

SERVING_ON_A_SMALL_DISK = """
import pathlib, sys
from fastapi.testclient import TestClient
from tests.store_fixtures import fill
from tests.web_fixtures import BASE, Browser, Site, CHEAP
from assent.config.labelling import LabellingSettings
from assent.store import Project, check_project
from assent.web.app import create_app
from assent.web.options import serve_options

disk = pathlib.Path(sys.argv[1])
(disk / 'ballast').write_bytes(bytes(1 << 19))
project = Project.create(disk / 'project', 'schema_version = 1\\n')
world = fill(project, 30)
options = serve_options(project.root)
settings = LabellingSettings(check_share=0.0, repeat_share=0.0, leases_per_person=40)
app = create_app(project, settings, options, seed=1, passwords=CHEAP)
with TestClient(app, base_url=BASE):
    ada = Site(project, app, options, world).sign_in('ada')
    leases = []
    for _ in range(30):
        leases.append(ada.task(exclude=leases)['lease'])
    with (disk / 'filling').open('wb', buffering=0) as filling:
        try:
            while True:
                filling.write(bytes(1024))
        except OSError:
            pass
    kept = []
    for number, lease in enumerate(leases):
        key = f'key-{number:05}'
        body = {'kind': 'comparison', 'verdict': 'left', 'note': 'n' * 4000}
        path = f'/api/v1/leases/{lease}/answer'
        sent = ada.post(path, body, key=key)
        if sent.status_code != 201:
            break
        kept.append(key)
    assert sent.status_code == 507, sent.text
    assert sent.json()['title'] == 'DiskFull' and sent.headers['retry-after'], sent.text
    assert str(disk) not in sent.text
    assert [one.idempotency_key for one in project.store.events()] == kept
    (disk / 'filling').unlink()
    (disk / 'ballast').unlink()
    again = ada.post(path, body, key=key)
    assert again.status_code == 201, again.text
assert [one.idempotency_key for one in project.store.events()] == [*kept, key]
assert check_project(project) == []
print('all of it')
"""


def test_a_full_disk_refuses_an_answer_whole_and_takes_it_when_there_is_room(
    tmp_path: Path,
) -> None:
    unshare = shutil.which("unshare")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = 'mount -t tmpfs -o size=3m small "$1" && exec "$2" -c "$3" "$1"'
    own = [str(unshare), "--user", "--map-root-user", "--mount", "sh", "-c"]
    probe = [*own, 'mount -t tmpfs small "$1"', "sh", str(disk)]
    if unshare is None or subprocess.run(probe, check=False, capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a small disk of their own")
    source = Path(assent.__file__).parents[1]
    done = subprocess.run(
        [*own, mount, "sh", str(disk), sys.executable, SERVING_ON_A_SMALL_DISK],
        check=False,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": f"{source}:{source.parent}", "PATH": "/usr/bin:/bin"},
    )
    assert done.stdout == "all of it\n", done.stderr
