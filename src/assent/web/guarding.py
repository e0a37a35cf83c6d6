"""What surrounds every answer: host allow-list, body limit, security headers; plain ASGI."""

from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from assent.web.problems import problem_response

LONGEST_BODY: Final = 1_000_000
"""Bytes; a demonstration of 100,000 characters fits however it is escaped."""
LONGEST_TARGET: Final = 4_000
"""Bytes of path and query."""

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types assent"
)
HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer: with that, browsers say `Origin: null` when they send a form.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "X-Frame-Options": "DENY",
}


class _TooLarge(HTTPException):
    """The body went on beyond the limit; a kind that FastAPI does not take for a parsing error."""

    def __init__(self) -> None:
        super().__init__(413, _too_large())


class Guard:
    """Refuses foreign hosts and bodies without end; adds the headers to whatever is answered."""

    def __init__(self, app: ASGIApp, *, hosts: frozenset[str], secure: bool) -> None:
        self._app = app
        self._hosts = hosts
        self._secure = secure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._add_headers(scope, message)
            await send(message)

        refused = self._refusal(scope)
        if refused is not None:
            await refused(scope, receive, with_headers)
            return
        await self._app(scope, _limited(receive), with_headers)

    def _refusal(self, scope: Scope) -> ASGIApp | None:
        headers = Headers(scope=scope)
        if hostname(headers.get("host", "")) not in self._hosts:
            said = "this server does not answer for that name; use the address that it printed"
            return problem_response(421, "Misdirected", said)
        if len(scope["raw_path"]) + len(scope["query_string"]) > LONGEST_TARGET:
            return problem_response(414, "TooLong", "the address is too long")
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit():
            return problem_response(400, "BadRequest", "Content-Length is not a number")
        if int(length) > LONGEST_BODY:
            return problem_response(413, "TooLarge", _too_large())
        return None

    def _add_headers(self, scope: Scope, message: Message) -> None:
        headers = MutableHeaders(scope=message)
        for name, value in HEADERS.items():
            headers[name] = value
        if self._secure:
            headers["Strict-Transport-Security"] = "max-age=31536000"
        if not scope["path"].startswith("/static/"):
            headers["Cache-Control"] = "no-store"


def hostname(host: str) -> str:
    """The name in a Host header, without the port, in small letters."""
    if host.startswith("["):
        return host[1 : host.find("]")].lower()
    return host.rpartition(":")[0].lower() if host.count(":") == 1 else host.lower()


def _limited(receive: Receive) -> Receive:
    received = 0

    async def limited() -> Message:
        nonlocal received
        message = await receive()
        if message["type"] == "http.request":
            received += len(message.get("body", b""))
            if received > LONGEST_BODY:
                raise _TooLarge
        return message

    return limited


def _too_large() -> str:
    return f"the body is larger than {LONGEST_BODY:,} bytes; shorten it"
