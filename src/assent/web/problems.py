"""What went wrong, as `application/problem+json` for programs and as a page for people."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from starlette.exceptions import HTTPException

from assent.errors import (
    AssentError,
    DiskFull,
    NotSignedIn,
    ProjectBusy,
    TooManyAttempts,
    UnfitRows,
)
from assent.web.rendering import error_page

API: Final = "/api/"
_MOST_ROWS: Final = 100
"""Of a file, that an answer names."""
_LOG: Final = logging.getLogger(__name__)
_TITLES: Final = {
    400: "Bad request",
    401: "Not signed in",
    403: "Not allowed",
    404: "Not found",
    405: "Not possible here",
    409: "In conflict with what is stored",
    413: "Too large",
    415: "Not the right kind of body",
    422: "Not valid",
    429: "Too many attempts",
    503: "Busy",
    507: "The disk is full",
}
_INTERNAL: Final = (
    "something went wrong in the server; what you sent was not stored, and the server's log says "
    "more"
)


def problem_response(
    status: int,
    title: str,
    detail: str,
    *,
    errors: Sequence[Mapping[str, str]] = (),
    retry_after: int | None = None,
) -> JSONResponse:
    """A problem as JSON (RFC 9457)."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
    }
    if errors:
        body["errors"] = list(errors)
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return JSONResponse(body, status, headers, media_type="application/problem+json")


def add_handlers(app: FastAPI) -> None:
    """Have the app report everything that goes wrong."""
    app.add_exception_handler(AssentError, _deliberate)
    app.add_exception_handler(RequestValidationError, _not_valid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _bug)


def _deliberate(request: Request, error: Exception) -> Response:
    assert isinstance(error, AssentError)
    if isinstance(error, NotSignedIn) and not request.url.path.startswith(API):
        target = request.url.path if request.method == "GET" else "/"
        return RedirectResponse(f"/login?next={target}" if target != "/" else "/login", 303)
    status, retry = error.status, None
    if isinstance(error, ProjectBusy):
        status, retry = 503, 5
    elif isinstance(error, TooManyAttempts):
        retry = seconds_to_wait(error)
    elif isinstance(error, DiskFull):
        retry = 60
    detail = str(error)
    if status in (500, 507):
        _LOG.error("%s %s: %s", request.method, request.url.path, error)
        # Paths on the server's disk are the owner's business, who sees the log.
        detail = _INTERNAL if status == 500 else "the disk is full; nothing was stored; try later"
    rows = error.rows[:_MOST_ROWS] if isinstance(error, UnfitRows) else ()
    errors = [{"where": where, "problem": problem} for where, problem in rows]
    return answer_problem(
        request, status, type(error).__name__, detail, errors=errors, retry_after=retry
    )


def _not_valid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [
        {"where": ".".join(str(part) for part in one["loc"]), "problem": _said(one)}
        for one in error.errors()
    ]
    first = f"{errors[0]['where']}: {errors[0]['problem']}" if errors else "the request"
    return answer_problem(request, 422, "NotValid", first, errors=errors)


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = {404: "there is nothing at this address", 405: "this address cannot do that"}.get(
        error.status_code, str(error.detail)
    )
    title = _TITLES.get(error.status_code, "Problem").title().replace(" ", "")
    return answer_problem(request, error.status_code, title, detail)


def _bug(request: Request, error: Exception) -> Response:
    _LOG.error("%s %s", request.method, request.url.path, exc_info=error)
    return answer_problem(request, 500, "InternalError", _INTERNAL)


def answer_problem(
    request: Request,
    status: int,
    title: str,
    detail: str,
    *,
    errors: Sequence[Mapping[str, str]] = (),
    retry_after: int | None = None,
) -> Response:
    """A problem as JSON under /api, as a page elsewhere."""
    if request.url.path.startswith(API):
        return problem_response(status, title, detail, errors=errors, retry_after=retry_after)
    page = error_page(request, status, _TITLES.get(status, "Something went wrong"), detail)
    if retry_after is not None:
        page.headers["Retry-After"] = str(retry_after)
    return page


def _said(error: Mapping[str, Any]) -> str:
    """Pydantic's message; for JSON that is none, what was wrong with it."""
    if error["type"] == "json_invalid":
        reason = error.get("ctx", {}).get("error", "")
        return f"not valid JSON: {reason}"
    return str(error["msg"])


def seconds_to_wait(error: TooManyAttempts) -> int:
    """How long the message says to wait."""
    return next((int(word) for word in str(error).split() if word.isdigit()), 60)
