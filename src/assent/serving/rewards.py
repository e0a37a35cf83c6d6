"""The reward server: `POST /rewards` with prompts and responses, answered by a number each.

It speaks the shape that `models.reward_http` asks for. Without a token it is for this machine only:
another Host than the loopback's is refused, so that no web page can reach it through a name.
"""

import hmac
import ipaddress
import socket
import threading
from typing import Annotated, Any, Literal

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from assent.errors import AssentError, ConfigError, RewardError
from assent.models.rewards import checked_rewards
from assent.types import ChatPrompt, RewardFunction
from assent.types import Message as Turn

LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")
MOST_BYTES = 16 * 2**20
MOST_TEXTS = 4096

Role = Annotated[str, Field(min_length=1, max_length=32)]


class _TurnIn(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    role: Role
    content: str


class RewardsIn(BaseModel):
    """What is to be scored."""

    model_config = ConfigDict(extra="forbid", strict=True)

    prompts: Annotated[list[str | list[_TurnIn]], Field(max_length=MOST_TEXTS)]
    """Text, or the turns of a chat."""
    responses: Annotated[list[str], Field(max_length=MOST_TEXTS)]
    """One to each prompt."""


class RewardsOut(BaseModel):
    """One finite number a response, in order."""

    rewards: list[float]


class Health(BaseModel):
    """The server answers."""

    status: Literal["ok"] = "ok"


def reward_app(
    reward: RewardFunction,
    *,
    token: str | None = None,
    hosts: tuple[str, ...] = LOOPBACK,
    most_bytes: int = MOST_BYTES,
) -> ASGIApp:
    """An ASGI app around a reward.

    Args:
        reward: called by one request at a time.
        token: where given, requests must bring it as a bearer token.
        hosts: names that requests may come under; any, where empty.
        most_bytes: of a request's body; a longer one is refused with 413.
    """
    app = FastAPI(title="Assent reward server", docs_url=None, redoc_url=None)
    one_at_a_time = threading.Lock()

    @app.get("/health")
    def health() -> Health:
        return Health()

    @app.post("/rewards")
    def rewards(body: RewardsIn) -> RewardsOut:
        if len(body.prompts) != len(body.responses):
            message = f"{len(body.prompts)} prompts and {len(body.responses)} responses"
            raise RewardError(message)
        prompts = [_prompt(one) for one in body.prompts]
        with one_at_a_time:
            return RewardsOut(rewards=checked_rewards(reward, prompts, body.responses))

    @app.exception_handler(AssentError)
    def deliberate(_: Request, error: AssentError) -> JSONResponse:
        return _problem(error.status, str(error))

    @app.exception_handler(RequestValidationError)
    def misshapen(_: Request, error: RequestValidationError) -> JSONResponse:
        first: dict[str, Any] = dict(error.errors()[0])
        where = ".".join(str(part) for part in first.get("loc", ()))
        return _problem(422, f"{where}: {first.get('msg', 'does not fit')}")

    return _Gate(app, token=token, hosts=hosts, most_bytes=most_bytes)


def serve_rewards(
    reward: RewardFunction, listener: socket.socket, *, token: str | None = None
) -> None:
    """Serve on a socket from `open_listener` until interrupted."""
    hosts = LOOPBACK if ipaddress.ip_address(listener.getsockname()[0]).is_loopback else ()
    server = uvicorn.Server(
        uvicorn.Config(
            reward_app(reward, token=token, hosts=hosts),
            log_level="warning",
            access_log=False,
            server_header=False,
        )
    )
    server.run(sockets=[listener])


def open_listener(host: str, port: int, *, token: str | None) -> socket.socket:
    """A listening socket.

    Raises:
        ConfigError: the address cannot be had, or is open to others and there is no token.
    """
    if host not in LOOPBACK and not token:
        message = (
            f"{host} is open to others: set ASSENT_REWARD_TOKEN to a secret that clients send as a "
            "bearer token, and put TLS in front"
        )
        raise ConfigError(message)
    name = host.strip("[]")
    family = socket.AF_INET6 if ":" in name else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((name, port))
        listener.listen(128)
    except (OSError, OverflowError) as error:
        listener.close()
        message = f"{host}:{port} cannot be served ({error}); choose another --port"
        raise ConfigError(message) from error
    return listener


class _Gate:
    """Refuses what is not to reach the app: other hosts, no token, other types, long bodies."""

    def __init__(
        self, app: ASGIApp, *, token: str | None, hosts: tuple[str, ...], most_bytes: int
    ) -> None:
        self._app, self._token, self._hosts = app, token, hosts
        self._most_bytes = most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.lower(): value for name, value in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        body = bytearray()
        more = True
        while more:
            message: Message = await receive()
            if message["type"] != "http.request":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self._most_bytes:
                await self._too_long()(scope, receive, send)
                return
        whole: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def replay() -> Message:
            return whole.pop() if whole else await receive()

        await self._app(scope, replay, send)

    def _refusal(self, scope: Scope, headers: dict[bytes, bytes]) -> JSONResponse | None:
        host = headers.get(b"host", b"").decode("latin-1").lower()
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if self._hosts and name not in self._hosts:
            return _problem(421, "this server answers to its own machine only")
        if self._token is not None:
            brought = headers.get(b"authorization", b"")
            if not hmac.compare_digest(brought, b"Bearer " + self._token.encode()):
                return _problem(401, "a bearer token is needed")
        if scope["method"] == "POST":
            kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
            if kind != b"application/json":
                return _problem(415, "send application/json")
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length[:20]) > self._most_bytes:
            return self._too_long()
        return None

    def _too_long(self) -> JSONResponse:
        return _problem(413, f"a body may have {self._most_bytes} bytes; send fewer texts at once")


def _prompt(given: str | list[_TurnIn]) -> str:
    if isinstance(given, str):
        return given
    return ChatPrompt([Turn(one.role, one.content) for one in given])


def _problem(status: int, detail: str) -> JSONResponse:
    return JSONResponse(
        {"title": detail, "status": status},
        status_code=status,
        media_type="application/problem+json",
    )
