"""The pages: each is given what one route of the API gives."""

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.concurrency import run_in_threadpool

from assent.collect.guidelines import first_guidelines, parts
from assent.errors import AssentError, DataError, InvitationSpent, TooManyAttempts, UnknownRecord
from assent.web import agreeing, reading, views
from assent.web.access import (
    AccessRoute,
    allow,
    current,
    drop_session,
    form_fields,
    set_session,
)
from assent.web.drawing import as_file, in_page
from assent.web.problems import seconds_to_wait
from assent.web.rendering import page
from assent.web.routes import labelling
from assent.web.routes.labelling import Id, number, server_of
from assent.web.routes.review import Cursor, Search
from assent.web.state import Server

router = APIRouter(route_class=AccessRoute, include_in_schema=False)

PAGE = 50
Token = Annotated[str, Path(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9_-]+$")]


# Coming in ---------------------------------------------------------------------------------------


@router.get("/login")
@allow("anybody")
def login_page(request: Request, next_: Annotated[str, Query(alias="next")] = "/") -> Response:
    """Name and password."""
    if request.state.person is not None:
        return RedirectResponse(own_path(next_), 303)
    return page(request, "login.html", {"next": own_path(next_), "problem": None})


@router.post("/login")
@allow("anybody", form=True)
async def log_in(request: Request) -> Response:
    """Open a session for whoever knows the password."""
    fields = await form_fields(request)
    name, password = fields.get("name", "")[:200], fields.get("password", "")[:1_000]
    target = own_path(fields.get("next", "/"))
    server = server_of(request)
    try:
        token = await run_in_threadpool(_log_in, server, name, password, request.state.token)
    except TooManyAttempts as error:
        waiting = page(request, "login.html", {"next": target, "problem": str(error)}, 429)
        waiting.headers["Retry-After"] = str(seconds_to_wait(error))
        return waiting
    if token is None:
        problem = "the name or the password is not right"
        return page(request, "login.html", {"next": target, "problem": problem}, 403)
    response = RedirectResponse(target, 303)
    set_session(response, server, token)
    return response


@router.post("/logout")
@allow("annotator", form=True)
def log_out(request: Request) -> Response:
    """End this session."""
    server = server_of(request)
    server.store.people.close_session(request.state.token)
    response = RedirectResponse("/login", 303)
    drop_session(response, server)
    return response


@router.get("/invite/{token}")
@allow("anybody")
def invitation_page(request: Request, token: Token) -> Response:
    """Whom the invitation is for; looking does not use it up."""
    return _invitation(request, token, None)


@router.post("/invite/{token}")
@allow("anybody", form=True)
async def accept(request: Request, token: Token) -> Response:
    """Use an invitation up, set a password if one is given, open a session."""
    password = (await form_fields(request)).get("password", "")
    server = server_of(request)
    try:
        session = await run_in_threadpool(_accept, server, token, password, request.state.token)
    except (InvitationSpent, DataError) as error:
        return await run_in_threadpool(_invitation, request, token, error)
    response = RedirectResponse("/", 303)
    set_session(response, server, session)
    return response


# Doing tasks -------------------------------------------------------------------------------------


@router.get("/")
@allow("annotator")
def home(request: Request) -> HTMLResponse:
    """What there is to do."""
    server, person = server_of(request), current(request)
    data = {
        "progress": reading.own_progress(server, person),
        "guidelines_version": server.store.guidelines.read().version,
        "project_progress": reading.project_progress(server) if person.role == "owner" else None,
    }
    return page(request, "home.html", data)


@router.get("/judge")
@allow("annotator")
def judge(request: Request) -> HTMLResponse:
    """Where tasks are done."""
    server = server_of(request)
    guidelines = server.store.guidelines.read()
    data = {
        "progress": reading.own_progress(server, current(request)),
        "guidelines": views.guidelines(guidelines),
        "parts": parts(guidelines.text),
        "kinds": ["comparison", "ranking", "rating", "demonstration"],
    }
    return page(request, "judge.html", data)


@router.get("/history")
@allow("annotator")
def history(request: Request, before: Cursor = None) -> HTMLResponse:
    """One's own answers."""
    data = labelling.history(server_of(request), request, before, PAGE)
    return page(request, "history.html", data)


@router.get("/history/{answer_id}")
@allow("annotator")
def past(request: Request, answer_id: Id) -> HTMLResponse:
    """One answer, to be changed or taken back."""
    return page(
        request, "answer.html", labelling.past_answer(server_of(request), request, answer_id)
    )


@router.get("/guidelines")
@allow("annotator")
def guidelines(
    request: Request, version: Annotated[int | None, Query(ge=0, le=1_000_000_000)] = None
) -> HTMLResponse:
    """What to go by."""
    book = server_of(request).store.guidelines
    data = {
        **views.guidelines(book.read(version)),
        "versions": [
            {"version": one.version, "at": views.time(one.created_at)} for one in book.versions()
        ],
    }
    return page(request, "guidelines.html", data)


@router.get("/settings")
@allow("annotator")
def settings(request: Request) -> HTMLResponse:
    """Password, keys, theme."""
    return page(request, "settings.html", {"has_password": current(request).has_password})


# Reading what everybody said ---------------------------------------------------------------------


@router.get("/progress")
@allow("reviewer")
def progress(request: Request) -> HTMLResponse:
    """How far the tasks are, and how far people agree."""
    server = server_of(request)
    data = {
        "progress": reading.project_progress(server),
        "agreement": agreeing.agreement(server),
    }
    return page(request, "progress.html", data)


@router.get("/annotators")
@allow("reviewer")
def annotators(request: Request) -> HTMLResponse:
    """Everybody, with what they did."""
    return page(request, "annotators.html", reading.people(server_of(request)))


@router.get("/browse")
@allow("reviewer")
def browse(request: Request, query: Search = None, cursor: Cursor = None) -> HTMLResponse:
    """Prompts."""
    data = reading.prompts(server_of(request), query, number(cursor, "cursor"), PAGE)
    return page(request, "browse.html", data)


@router.get("/browse/prompts/{prompt_id}")
@allow("reviewer")
def prompt(request: Request, prompt_id: Id) -> HTMLResponse:
    """One prompt."""
    return page(request, "prompt.html", reading.prompt(server_of(request), prompt_id))


@router.get("/browse/responses/{response_id}")
@allow("reviewer")
def response(request: Request, response_id: Id) -> HTMLResponse:
    """One response."""
    return page(request, "response.html", reading.response(server_of(request), response_id))


@router.get("/browse/judgements")
@allow("reviewer")
def judgements(
    request: Request,
    query: Search = None,
    cursor: Cursor = None,
    annotator: Annotated[str | None, Query(max_length=64)] = None,
    *,
    people_only: bool = False,
) -> HTMLResponse:
    """The ledger, newest first."""
    data = reading.judgements(
        server_of(request),
        query,
        number(cursor, "cursor"),
        PAGE,
        annotator_id=annotator,
        people_only=people_only,
    )
    return page(request, "judgements.html", data)


@router.get("/browse/judgements/{event}")
@allow("reviewer")
def judgement(request: Request, event: Id) -> HTMLResponse:
    """One judgement."""
    return page(request, "judgement.html", reading.judgement(server_of(request), event))


@router.get("/rounds")
@allow("reviewer")
def rounds(request: Request) -> HTMLResponse:
    """The rounds."""
    server = server_of(request)
    drawn = [
        {"round": number, "svg": in_page(drawing)}
        for number, drawing in enumerate(reading.drawings(server), start=1)
    ]
    return page(request, "rounds.html", {**reading.rounds(server), "drawings": drawn})


@router.get("/rounds/{number}.svg")
@allow("reviewer")
def plot(request: Request, number: Annotated[int, Path(ge=1, le=10_000)]) -> Response:
    """The curves of a round as a file."""
    drawn = reading.drawings(server_of(request))
    if number > len(drawn):
        message = f"there is no plot of round {number}"
        raise UnknownRecord(message)
    return Response(as_file(drawn[number - 1]), media_type="image/svg+xml")


# Owning ------------------------------------------------------------------------------------------


@router.get("/tasks")
@allow("owner")
def tasks(request: Request, query: Search = None, cursor: Cursor = None) -> HTMLResponse:
    """Tasks, and making more."""
    data = reading.tasks(server_of(request), query, number(cursor, "cursor"), PAGE)
    return page(request, "tasks.html", data)


@router.get("/checks")
@allow("owner")
def checks(request: Request) -> HTMLResponse:
    """Check items."""
    return page(request, "checks.html", reading.checks(server_of(request)))


@router.get("/guidelines/edit")
@allow("owner")
def edit_guidelines(request: Request) -> HTMLResponse:
    """Write new guidelines."""
    server = server_of(request)
    first = first_guidelines(server.settings.axes, looks_up=server.desk.looks_up)
    data = {**views.guidelines(server.store.guidelines.read()), "first": first}
    return page(request, "guidelines_edit.html", data)


@router.get("/exports")
@allow("owner")
def exports(request: Request) -> HTMLResponse:
    """Downloads."""
    return page(request, "exports.html", reading.exports(server_of(request)))


def own_path(target: str) -> str:
    """A path of this server, or the first page: nobody is sent elsewhere by a link."""
    parts = urlsplit(target)
    if (
        not target.startswith("/")
        or target.startswith("//")
        or "\\" in target
        or parts.scheme
        or parts.netloc
        or any(ord(letter) < 0x21 for letter in target)
    ):
        return "/"
    return target


def _invitation(request: Request, token: str, error: AssentError | None) -> HTMLResponse:
    data = {"name": "", "role": "annotator", "problem": None, "usable": False}
    status = 200
    try:
        person = server_of(request).store.people.invited(token)
    except InvitationSpent as spent:
        data["problem"] = str(spent)
        status = spent.status
    else:
        data |= {"name": person.name, "role": person.role, "usable": True}
        if error is not None:
            data["problem"] = str(error)
            status = error.status
    return page(request, "invite.html", data, status)


def _log_in(server: Server, name: str, password: str, replaces: str | None) -> str | None:
    """The token of a new session, or None where name and password do not fit."""
    server.throttle.require_free(name)
    found = server.store.people.named(name)
    stored = None if found is None else found[1]
    fits = server.passwords.fits(stored, password)
    if not fits or found is None or found[0].state in ("disabled", "erased"):
        server.throttle.failed(name)
        return None
    server.throttle.passed(name)
    return server.store.people.open_session(found[0].annotator_id, replaces=replaces)


def _accept(server: Server, token: str, password: str, replaces: str | None) -> str:
    server.store.people.invited(token)  # before a hash is computed for nothing
    hashed = server.passwords.hash(password) if password else None
    _, session = server.store.people.accept(token, hashed)
    if replaces is not None:
        server.store.people.close_session(replaces)
    return session
