"""Real server processes on free ports: `assent serve`, and one that can be killed often."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

import assent

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(assent.__file__).parents[1])}
SETTINGS = "schema_version = 1\n\n[labelling]\ncheck_share = 0.0\nrepeat_share = 0.0\n"

_FORKING = """
import json, os, signal, sys
from pathlib import Path
import uvicorn
from assent.cli.serve import _listening
from assent.store import Project
from assent.web.app import serve
from assent.web.opening import project_app, serving
from assent.web.options import serve_options
from assent.web.passwords import Passwords

root = Path(sys.argv[1])
uvicorn.Config(None).load()  # imports what a server needs
passwords = Passwords()
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print("ready", flush=True)
for _ in sys.stdin:
    if os.fork():
        continue
    with Project.open(root) as project, _listening("127.0.0.1", 0) as sock:
        options = serve_options(root, port=sock.getsockname()[1])
        with serving(root, options.base_url):
            app = project_app(project, options, passwords=passwords)
            print(json.dumps({"pid": os.getpid(), "url": options.base_url}), flush=True)
            serve(app, options, sock)
    os._exit(0)
"""


class Forking:
    """Serves a project from a process that has loaded everything, so that starting is quick.

    Each start is a new process with its own memory and files, as after a crash of the machine's
    only server; what is saved is the seconds that Python takes to import.
    """

    def __init__(self, root: Path, database_url: str | None = None) -> None:
        self._parent = subprocess.Popen(
            [sys.executable, "-c", _FORKING, str(root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=_environment(database_url),
        )
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._in, self._out = self._parent.stdin, self._parent.stdout
        assert self._out.readline() == "ready\n"
        self._pid = 0

    def start(self) -> str:
        """Start a server and wait until it answers; its address."""
        self._in.write("go\n")
        self._in.flush()
        told: dict[str, Any] = json.loads(self._out.readline())
        self._pid = told["pid"]
        wait_for(told["url"])
        return str(told["url"])

    def kill(self) -> None:
        """End the server without a warning."""
        os.kill(self._pid, signal.SIGKILL)
        while Path(f"/proc/{self._pid}").exists():
            time.sleep(0.001)

    def close(self) -> None:
        """End everything."""
        if Path(f"/proc/{self._pid}").exists():
            self.kill()
        self._in.close()
        self._parent.wait(30)
        self._out.close()


class Served:
    """A running `assent serve`."""

    def __init__(self, root: Path, database_url: str | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "assent.cli", "serve", str(root), "--port", "0", "--json"],
            stdout=subprocess.PIPE,
            text=True,
            env=_environment(database_url),
        )
        assert self.process.stdout is not None
        lines: list[str] = []
        while not lines or lines[-1] not in ("}\n", ""):
            lines.append(self.process.stdout.readline())
        told: dict[str, Any] = json.loads("".join(lines))
        self.error: str | None = told.get("error", {}).get("message")
        self.url: str = told.get("url", "")
        self.owner_link: str = told.get("owner_link", "")
        if self.url:
            wait_for(self.url)
        else:
            self.process.wait(30)

    def stop(self) -> int:
        """Ask it to end, as Ctrl-C does; its exit status."""
        assert self.process.stdout is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        status = self.process.wait(30)
        self.process.stdout.close()
        return status


def _environment(database_url: str | None) -> dict[str, str]:
    database = {} if database_url is None else {"ASSENT_DATABASE_URL": database_url}
    return {**ENVIRONMENT, **database}


def wait_for(url: str) -> None:
    """Wait until a server answers."""
    deadline = time.monotonic() + 60
    with httpx.Client(timeout=10) as client:
        while True:
            try:
                client.get(f"{url}/login")
            except httpx.TransportError:
                assert time.monotonic() < deadline, f"{url} does not answer"
                time.sleep(0.01)
            else:
                return


def sign_in(url: str, token: str) -> httpx.Client:
    """A browser that came in by an invitation; its requests carry what a page's would."""
    client = httpx.Client(base_url=url, timeout=30)
    response = client.post(f"/invite/{token}", headers={"Origin": url})
    assert response.status_code == 303, response.text
    client.headers["X-CSRF-Token"] = client.get("/api/v1/me").json()["csrf_token"]
    client.headers["Origin"] = url
    return client


def moved(client: httpx.Client, url: str) -> httpx.Client:
    """The same browser, now that the server has another address."""
    found = httpx.Client(base_url=url, timeout=30, cookies=client.cookies, headers=client.headers)
    found.headers["Origin"] = url
    client.close()
    return found
