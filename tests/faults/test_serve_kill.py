"""A server that is killed at any moment has lost no answer that it acknowledged, and doubled none.

The server does not survive: it is sent SIGKILL at moments drawn over the time that answering takes,
then started anew on the same folder, and the browser sends again what was not acknowledged.
"""

import contextlib
import random
import threading
import time
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text
from tests.serve_process import SETTINGS, Forking, Served, moved, sign_in
from tests.store_fixtures import fill

from assent.store import Project, backup_project, check_project


def kill_and_go_on(root: Path, kills: int, database_url: str | None = None) -> None:
    with Project.create(root, SETTINGS, database_url=database_url) as project:
        fill(project, 40 * kills)
        person = project.store.people.add("ada", "annotator")
        token = project.store.people.invite(person.annotator_id, 1)
    rng = random.Random(kills)
    served = Forking(root, database_url)
    client = sign_in(served.start(), token)
    acknowledged: dict[str, str] = {}
    try:
        for kill in range(kills):
            timer = threading.Timer(rng.uniform(0.0, 0.4), served.kill)
            timer.start()
            unsure = _judge_until_it_dies(client, f"{kill:04}", acknowledged)
            timer.join()
            client = moved(client, served.start())
            if unsure is not None:
                lease, key, verdict = unsure
                again = _send(client, lease, key, verdict)
                assert again.status_code in (200, 201), again.text
                acknowledged[key] = again.json()["answer"]
            for key in rng.sample(sorted(acknowledged), min(3, len(acknowledged))):
                _require_stored(client, acknowledged[key])
    finally:
        client.close()
        served.close()
    with Project.open(root, database_url=database_url) as project:
        events = project.store.events()
        assert {event.id for event in events} == set(acknowledged.values())
        assert len(events) == len(acknowledged) > kills / 2
        assert {event.idempotency_key for event in events} == set(acknowledged)
        assert check_project(project) == []


def _judge_until_it_dies(
    client: httpx.Client, name: str, acknowledged: dict[str, str]
) -> tuple[str, str, str] | None:
    """Answer as fast as it goes; what was sent and not acknowledged when the server died."""
    for number in range(10_000):
        try:
            task = client.post("/api/v1/claims", json={}).json()["task"]
        except httpx.TransportError:
            return None
        key, verdict = f"key-{name}-{number:05}", random.Random(number).choice(["left", "tie"])
        try:
            answer = _send(client, task["lease"], key, verdict)
        except httpx.TransportError:
            return task["lease"], key, verdict
        assert answer.status_code == 201, answer.text
        acknowledged[key] = answer.json()["answer"]
    message = "the server was never killed"
    raise AssertionError(message)


def _send(client: httpx.Client, lease: str, key: str, verdict: str) -> httpx.Response:
    return client.post(
        f"/api/v1/leases/{lease}/answer",
        json={"kind": "comparison", "verdict": verdict, "note": f"note of {key}"},
        headers={"Idempotency-Key": key},
    )


def _require_stored(client: httpx.Client, answer: str) -> None:
    assert client.get(f"/api/v1/answers/{answer}").json()["state"] == "stands"


def test_a_server_killed_at_twenty_moments_loses_no_acknowledged_answer(
    tmp_path: Path, database_url: str | None
) -> None:
    kill_and_go_on(tmp_path / "project", 20, database_url)


@pytest.mark.slow
def test_a_server_killed_at_two_hundred_moments_loses_no_acknowledged_answer(
    tmp_path: Path,
) -> None:
    kill_and_go_on(tmp_path / "project", kills=200)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_a_server_killed_at_a_thousand_moments_loses_no_acknowledged_answer(
    tmp_path: Path,
) -> None:
    kill_and_go_on(tmp_path / "project", kills=1_000)


def test_a_server_stops_when_told_and_a_second_one_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "project"
    with Project.create(root, SETTINGS) as project:
        fill(project)
    served = Served(root)
    try:
        second = Served(root)
        assert second.stop() == 2
        assert second.error is not None
        assert f"is being served at {served.url}" in second.error
        client = sign_in(served.url, served.owner_link.rpartition("/")[2])
        assert client.post("/api/v1/claims", json={}).json()["task"]["kind"] == "comparison"
        client.close()
    finally:
        assert served.stop() == 0


def test_a_server_stops_in_seconds_though_requests_wait_for_the_database(
    tmp_path: Path, database_url: str | None
) -> None:
    root = tmp_path / "project"
    with Project.create(root, SETTINGS, database_url=database_url) as project:
        fill(project, 40)
        people = project.store.people
        tokens = [
            people.invite(people.add(f"person {n}", "annotator").annotator_id, 1) for n in range(6)
        ]
    served = Served(root, database_url)
    clients = [sign_in(served.url, token) for token in tokens]
    answered: list[int] = []

    def claim(client: httpx.Client) -> None:
        with contextlib.suppress(httpx.TransportError):
            answered.append(client.post("/api/v1/claims", json={}).status_code)

    waiting = [threading.Thread(target=claim, args=(client,)) for client in clients]
    with (
        Project.open(root, database_url=database_url) as other,
        other.store.database.writing(),  # another process that writes for long
    ):
        for one in waiting:
            one.start()
        deadline = time.monotonic() + 30
        while not _waits_for_its_turn(served.process.pid, other):
            assert time.monotonic() < deadline, "the requests did not arrive"
            time.sleep(0.01)
        began = time.monotonic()
        assert served.stop() == 0
        assert time.monotonic() - began < 15
    for one in waiting:
        one.join(30)
    for client in clients:
        client.close()
    # Nobody was told that it was done. One that waits within PostgreSQL cannot be told anything.
    assert answered == [503] * (len(clients) if database_url is None else len(answered))
    with Project.open(root, database_url=database_url) as project:
        assert check_project(project) == []


def _waits_for_its_turn(pid: int, other: Project) -> bool:
    """Whether a server has a writer that waits for the one `other` has."""
    if other.store.database.is_sqlite:
        files = Path(f"/proc/{pid}/fd").iterdir()
        return any(file.resolve().name == "assent.db.lock" for file in files)
    with other.store.database.reading() as connection:
        waiting = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        return bool(connection.execute(waiting).scalar_one())


def test_a_backup_made_while_people_judge_is_whole(
    tmp_path: Path, database_url: str | None
) -> None:
    root = tmp_path / "project"
    with Project.create(root, SETTINGS, database_url=database_url) as project:
        fill(project, 400)
        person = project.store.people.add("ada", "annotator")
        token = project.store.people.invite(person.annotator_id, 1)
    served = Forking(root, database_url)
    client = sign_in(served.start(), token)
    acknowledged: dict[str, str] = {}
    judging = threading.Thread(
        target=_judge_until_it_dies, args=(client, "0000", acknowledged), daemon=True
    )
    judging.start()
    try:
        while len(acknowledged) < 5:
            time.sleep(0.01)
        before = set(acknowledged.values())
        with Project.open(root, database_url=database_url) as project:
            copy = backup_project(project, tmp_path / "copy")
        assert len(acknowledged) > len(before)  # people went on meanwhile
    finally:
        served.close()
        judging.join(30)
        client.close()
    with Project.open(copy) as project:
        assert check_project(project) == []
        kept = {event.id for event in project.store.events()}
        assert before <= kept
        with project.store.work.look() as view:
            assert view.counted(project.store.browser.tasks(None, 0, 1)[0].id) == 1
    assert not (copy / ".serve-secret").exists()
