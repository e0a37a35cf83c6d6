"""The app in process, and browsers that are signed in: cookies, token and origin as a browser's."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from argon2 import PasswordHasher
from fastapi import FastAPI
from fastapi.testclient import TestClient
from tests.store_fixtures import SETTINGS, World, fill

from assent.config.labelling import LabellingSettings
from assent.store import Project, Role
from assent.web.app import create_app
from assent.web.options import ServeOptions, serve_options
from assent.web.passwords import Passwords

BASE = "http://127.0.0.1:8420"
CHEAP = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


@dataclass
class Browser:
    """Somebody's browser."""

    client: TestClient
    annotator_id: str
    csrf: str

    def get(self, path: str) -> httpx2.Response:
        """Look at something."""
        return self.client.get(path)

    def send(
        self, method: str, path: str, body: object = None, *, key: str | None = None
    ) -> httpx2.Response:
        """Send JSON as the pages' scripts do."""
        headers = {"X-CSRF-Token": self.csrf, "Origin": BASE, "Sec-Fetch-Site": "same-origin"}
        if key is not None:
            headers["Idempotency-Key"] = key
        return self.client.request(method, path, json={} if body is None else body, headers=headers)

    def post(self, path: str, body: object = None, *, key: str | None = None) -> httpx2.Response:
        """Send JSON by POST."""
        return self.send("POST", path, body, key=key)

    def task(self, **wanted: object) -> dict[str, Any]:
        """A task; there must be one."""
        found: dict[str, Any] = self.post("/api/v1/claims", wanted).json()
        assert found["task"] is not None, found
        task: dict[str, Any] = found["task"]
        return task

    def judge(self, lease: str, key: str, verdict: str = "left") -> httpx2.Response:
        """Answer a comparison."""
        body = {"kind": "comparison", "verdict": verdict}
        return self.post(f"/api/v1/leases/{lease}/answer", body, key=key)


@dataclass
class Site:
    """A project and its app."""

    project: Project
    app: FastAPI
    options: ServeOptions
    world: World

    def client(self) -> TestClient:
        """A browser that nobody is signed in with."""
        return TestClient(self.app, base_url=BASE, follow_redirects=False)

    def sign_in(self, name: str, role: Role = "annotator") -> Browser:
        """Let somebody in by an invitation."""
        people = self.project.store.people
        found = people.named(name)
        person = people.add(name, role) if found is None else found[0]
        client = self.client()
        token = people.invite(person.annotator_id, 7)
        assert client.post(f"/invite/{token}").status_code == 303
        csrf = client.get("/api/v1/me").json()["csrf_token"]
        return Browser(client, person.annotator_id, csrf)


Open = Callable[..., Site]


@contextmanager
def opened(project: Project, pairs: int, settings: LabellingSettings) -> Iterator[Site]:
    """The app over a project with comparisons, its tasks made."""
    world = fill(project, pairs)
    options = serve_options(project.root)
    app = create_app(project, settings, options, seed=3, passwords=CHEAP)
    with TestClient(app, base_url=BASE):
        yield Site(project, app, options, world)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A small project on SQLite, served; no repeats and no check items unless a test makes some."""
    settings = LabellingSettings(check_share=0.0, repeat_share=0.0)
    with (
        Project.create(tmp_path / "project", SETTINGS) as project,
        opened(project, 6, settings) as made,
    ):
        yield made
