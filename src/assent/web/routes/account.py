"""The API of one's own account, and the guidelines everybody reads."""

from typing import Any

from fastapi import APIRouter, Path, Request, Response

from assent.errors import NotAllowed
from assent.web import reading, views
from assent.web.access import AccessRoute, allow, csrf_token, current, drop_session
from assent.web.bodies import PasswordBody
from assent.web.routes.labelling import server_of

router = APIRouter(prefix="/api/v1", tags=["account"], route_class=AccessRoute)

Json = dict[str, Any]


@router.get("/me")
@allow("annotator")
def me(request: Request) -> Json:
    """Who one is, how far one is, and the token that requests carry."""
    server, person = server_of(request), current(request)
    return {
        **views.person(person),
        "csrf_token": csrf_token(request.state.token),
        "progress": reading.own_progress(server, person),
    }


@router.get("/me/progress")
@allow("annotator")
def progress(request: Request) -> Json:
    """How far one is."""
    return reading.own_progress(server_of(request), current(request))


@router.put("/me/password", status_code=204)
@allow("annotator")
def password(request: Request, body: PasswordBody) -> Response:
    """Set or change one's password; other sessions end."""
    server, person = server_of(request), current(request)
    stored = server.store.people.password_hash(person.annotator_id)
    if stored is not None:
        server.throttle.require_free(person.name)
        if not server.passwords.fits(stored, body.old or ""):
            server.throttle.failed(person.name)
            message = "old: that is not the password so far"
            raise NotAllowed(message)
        server.throttle.passed(person.name)
    hashed = server.passwords.hash(body.new)
    server.store.people.set_password(person.annotator_id, hashed, keep=request.state.token)
    return Response(status_code=204)


@router.delete("/me/session", status_code=204)
@allow("annotator")
def log_out(request: Request) -> Response:
    """End this session."""
    server = server_of(request)
    server.store.people.close_session(request.state.token)
    response = Response(status_code=204)
    drop_session(response, server)
    return response


@router.get("/guidelines")
@allow("annotator")
def guidelines(request: Request) -> Json:
    """The newest guidelines."""
    return views.guidelines(server_of(request).store.guidelines.read())


@router.get("/guidelines/versions")
@allow("annotator")
def versions(request: Request) -> Json:
    """Every version there was, newest first."""
    found = server_of(request).store.guidelines.versions()
    return {
        "versions": [{"version": one.version, "at": views.time(one.created_at)} for one in found]
    }


@router.get("/guidelines/{version}")
@allow("annotator")
def one_version(request: Request, version: int = Path(ge=0, le=1_000_000_000)) -> Json:
    """One version of the guidelines."""
    return views.guidelines(server_of(request).store.guidelines.read(version))
