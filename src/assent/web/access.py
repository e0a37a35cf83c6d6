"""Who may do what: every route states its access, and a request is checked before it is answered.

A route whose function carries no `allow` cannot be added: there is no way in by forgetting. JSON is
read strictly here too: a doubled key, NaN or a number out of range is an error, not a guess.
"""

import hashlib
import hmac
import json
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, cast
from urllib.parse import urlsplit

from fastapi import Request, Response
from fastapi.routing import APIRoute
from itsdangerous import BadSignature, Signer
from starlette.concurrency import run_in_threadpool

from assent.errors import NotAllowed, NotSignedIn
from assent.store import Person
from assent.web.state import Server

if TYPE_CHECKING:
    from starlette.datastructures import FormData

Access = Literal["anybody", "annotator", "reviewer", "owner"]
"""anybody: without a session too. The others: that role or a higher one."""

RANKS: Final[dict[Access, int]] = {"anybody": 0, "annotator": 1, "reviewer": 2, "owner": 3}
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
FORM: Final = "application/x-www-form-urlencoded"
_MOST_FIELDS: Final = 20

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def allow(access: Access, *, form: bool = False) -> Callable[[Endpoint], Endpoint]:
    """Say who may call a route, and whether it takes a form instead of JSON."""

    def mark(endpoint: Endpoint) -> Endpoint:
        endpoint.access = access  # type: ignore[attr-defined]
        endpoint.takes_form = form  # type: ignore[attr-defined]
        return endpoint

    return mark


def access_of(endpoint: Callable[..., Any]) -> Access:
    """Who may call a route.

    Raises:
        RuntimeError: it does not say.
    """
    found = getattr(endpoint, "access", None)
    if found is None:
        message = f"{endpoint.__qualname__} does not say who may call it; add @allow"
        raise RuntimeError(message)
    return cast("Access", found)


class StrictRequest(Request):
    """A request whose JSON means one thing only."""

    async def json(self) -> Any:  # noqa: ANN401 - JSON is anything
        """The body as JSON.

        Raises:
            json.JSONDecodeError: not JSON, a doubled key, NaN, or nested beyond reason.
        """
        if not hasattr(self, "_json"):
            body = await self.body()
            self._json = strict_json(body)
        return self._json


def strict_json(body: bytes) -> Any:  # noqa: ANN401 - JSON is anything
    """Parse JSON that has no doubled keys, no NaN, no infinities, and is UTF-8.

    Raises:
        json.JSONDecodeError: it is not such JSON.
    """
    try:
        text = body.decode()
        return json.loads(text, object_pairs_hook=_once, parse_constant=_refuse, parse_float=_real)
    except json.JSONDecodeError:
        raise
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        said = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise json.JSONDecodeError(said, "", 0) from error


class AccessRoute(APIRoute):
    """A route that is closed to whoever its `allow` does not name."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Check, then answer."""
        access = access_of(self.endpoint)
        takes_form = bool(getattr(self.endpoint, "takes_form", False))
        answer = super().get_route_handler()

        async def checked(request: Request) -> Response:
            strict = StrictRequest(request.scope, request.receive)
            await _authorise(strict, access, takes_form=takes_form)
            return await answer(strict)

        return checked


async def _authorise(request: StrictRequest, access: Access, *, takes_form: bool) -> None:
    server: Server = request.app.state.server
    token = session_token(request, server)
    person = None
    if token is not None:
        person = await run_in_threadpool(server.person_of, token)
    request.state.person = person
    request.state.token = token if person is not None else None
    unsafe = request.method not in SAFE
    if unsafe:
        require_same_origin(request, server)
    if access != "anybody" and person is None:
        message = "there is no session, or it ended; log in"
        raise NotSignedIn(message)
    if person is not None and RANKS[access] > RANKS[person.role]:
        message = f"this is for {access}s; you are {_article(person.role)}"
        raise NotAllowed(message)
    if unsafe:
        _require_body_kind(request, takes_form=takes_form)
        # Coming in needs no token: the origin was checked, and the page had no session to show.
        if access != "anybody" and token is not None:
            await _require_csrf(request, token, takes_form=takes_form)


def session_token(request: Request, server: Server) -> str | None:
    """The token in the session cookie, if the server signed it."""
    cookie = request.cookies.get(server.cookie_name)
    if not cookie:
        return None
    try:
        return Signer(server.options.secret, salt="session").unsign(cookie).decode()
    except (BadSignature, UnicodeDecodeError):
        return None


def set_session(response: Response, server: Server, token: str) -> None:
    """Hand the browser a session's token."""
    response.set_cookie(
        server.cookie_name,
        Signer(server.options.secret, salt="session").sign(token).decode(),
        max_age=server.settings.session_days * 86_400,
        httponly=True,
        secure=server.options.secure,
        samesite="lax",
        path="/",
    )


def drop_session(response: Response, server: Server) -> None:
    """Take a session's token away from the browser."""
    response.delete_cookie(
        server.cookie_name,
        httponly=True,
        secure=server.options.secure,
        samesite="lax",
        path="/",
    )


def csrf_token(token: str) -> str:
    """What pages carry so that a request can show it comes from one of them."""
    return hashlib.sha256(f"csrf/{token}".encode()).hexdigest()


def require_same_origin(request: Request, server: Server) -> None:
    """Refuse what another site's page sent.

    Raises:
        NotAllowed: the origin is another one.
    """
    origin = request.headers.get("origin")
    site = request.headers.get("sec-fetch-site")
    if origin is not None and not _is_own(origin, request, server):
        message = "this request comes from another site's page, so it was not carried out"
        raise NotAllowed(message)
    if site is not None and site not in ("same-origin", "none"):
        message = "this request comes from another site's page, so it was not carried out"
        raise NotAllowed(message)


def current(request: Request) -> Person:
    """The person whose session this is; for routes that are not for anybody."""
    person: Person = request.state.person
    return person


async def form_fields(request: Request) -> dict[str, str]:
    """The fields of a form as text; files are refused earlier."""
    form: FormData = await request.form(max_files=0, max_fields=_MOST_FIELDS)
    return {name: value for name, value in form.items() if isinstance(value, str)}


def _is_own(origin: str, request: Request, server: Server) -> bool:
    own = urlsplit(server.options.base_url)
    scheme = "https" if server.options.secure else "http"
    host = request.headers.get("host", "")
    return origin in (f"{own.scheme}://{own.netloc}", f"{scheme}://{host}")


def _require_body_kind(request: Request, *, takes_form: bool) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    has_body = request.headers.get("content-length", "0") != "0" or (
        "transfer-encoding" in request.headers
    )
    wanted = FORM if takes_form else "application/json"
    if has_body and kind != wanted:
        raise _UnsupportedBody(wanted)


class _UnsupportedBody(NotAllowed):
    """The body is of another kind than the route takes."""

    status = 415

    def __init__(self, wanted: str) -> None:
        super().__init__(f"send the body as {wanted}")


async def _require_csrf(request: StrictRequest, token: str, *, takes_form: bool) -> None:
    sent = request.headers.get("x-csrf-token", "")
    if not sent and takes_form:
        sent = (await form_fields(request)).get("csrf_token", "")
    if not hmac.compare_digest(sent.encode(errors="replace"), csrf_token(token).encode()):
        message = "the page is out of date; reload it and try again"
        raise NotAllowed(message)


def _article(role: str) -> str:
    return f"an {role}" if role[0] in "aeiou" else f"a {role}"


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        message = "a name occurs twice in one object"
        raise ValueError(message)
    return found


def _refuse(constant: str) -> float:
    message = f"{constant} is not JSON"
    raise ValueError(message)


def _real(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        message = f"{text[:20]} is too large"
        raise ValueError(message)
    return value
