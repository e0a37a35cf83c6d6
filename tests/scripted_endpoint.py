"""An OpenAI-compatible endpoint that answers by rule: a real server on a free port."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[[str], str | int | dict[str, Any]]
"""The prompt's text to the text of the answer, a status to fail with, or a whole first choice."""


@dataclass
class Endpoint:
    """Where it listens, and what it was asked so far."""

    url: str
    asked: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)

    @property
    def prompts(self) -> list[str]:
        """The text of each request, in the order they came."""
        return [text_of(body) for body in self.asked]

    def settings(self, **given: Any) -> dict[str, Any]:
        """Of a writer that asks here, patient with nothing."""
        fast = {"retries": 0, "read_seconds": 5.0, "parallel": 4}
        return {"kind": "openai", "url": self.url, "model": "scripted", **fast, **given}


def text_of(body: dict[str, Any]) -> str:
    """What a request says."""
    return str(body["messages"][-1]["content"] if "messages" in body else body["prompt"])


@contextmanager
def scripted(reply: Reply) -> Iterator[Endpoint]:
    """Serve until the block ends."""
    found = Endpoint("")
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with lock:
                found.asked.append(body)
                found.paths.append(self.path)
                found.tokens.append(self.headers["authorization"])
            said = reply(text_of(body))
            if isinstance(said, int):
                self._send(said, {"error": {"message": "no"}})
                return
            if isinstance(said, str):
                chat = self.path.endswith("/chat/completions")
                said = {"message": {"content": said}} if chat else {"text": said}
            self._send(200, {"choices": [{"index": 0, "finish_reason": "stop", **said}]})

        def _send(self, status: int, answer: object) -> None:
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
