"""The API of whoever does tasks: fetch, answer, skip, undo, edit, one's own history."""

import re
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Path, Query, Request, Response

from assent.collect.answers import SKIP_REASONS, Answer
from assent.collect.desk import Handed
from assent.errors import DataError
from assent.web import reading, views
from assent.web.access import AccessRoute, allow, current
from assent.web.bodies import ClaimBody, Nothing, SkipBody
from assent.web.state import Server

router = APIRouter(prefix="/api/v1", tags=["labelling"], route_class=AccessRoute)

Json = dict[str, Any]
Id = Annotated[str, Path(min_length=1, max_length=64, pattern=r"^[0-9A-Za-z_-]+$")]
Limit = Annotated[int, Query(ge=1, le=100)]
Key = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        min_length=8,
        max_length=100,
        pattern=r"^[A-Za-z0-9._-]+$",
        description="One for each draft; sent again with each retry.",
    ),
]
REPLAYED: Final = "Idempotent-Replayed"


def server_of(request: Request) -> Server:
    """What every request shares."""
    server: Server = request.app.state.server
    return server


@router.post("/claims")
@allow("annotator")
def claim(request: Request, body: ClaimBody) -> Json:
    """The task to go on with: a live one of one's own that is not excluded, else a new one."""
    server, person = server_of(request), current(request)
    found = server.desk.claim(person.annotator_id, body.kinds, body.exclude)
    if isinstance(found, Handed):
        return {"task": views.task(found, server.settings.axes), "nothing": None}
    return {"task": None, "nothing": found}


@router.get("/claims")
@allow("annotator")
def claims(request: Request) -> Json:
    """What is in one's hands, oldest first."""
    server, person = server_of(request), current(request)
    axes = server.settings.axes
    return {"tasks": [views.task(one, axes) for one in server.desk.held(person.annotator_id)]}


@router.get("/leases/{lease}")
@allow("annotator")
def lease(request: Request, lease: Id) -> Json:
    """One of one's tasks, whatever became of it."""
    server, person = server_of(request), current(request)
    found = server.desk.look(person.annotator_id, lease)
    return {"task": views.task(found, server.settings.axes), "state": found.lease.state}


@router.post("/leases/{lease}/renew")
@allow("annotator")
def renew(request: Request, lease: Id, body: Nothing) -> Json:
    """Keep a task for another term."""
    del body
    left = server_of(request).desk.renew(current(request).annotator_id, lease)
    return {"expires_in_seconds": int(left)}


@router.post("/leases/{lease}/skip")
@allow("annotator")
def skip(request: Request, lease: Id, body: SkipBody) -> Json:
    """Give a task away for good."""
    if body.reason not in SKIP_REASONS:
        message = f"reason: there is no {body.reason!r}; use {', '.join(SKIP_REASONS)}"
        raise DataError(message)
    state = server_of(request).desk.skip(current(request).annotator_id, lease, body.reason)
    return {"lease": lease, "state": state}


@router.post("/leases/{lease}/release")
@allow("annotator")
def release(request: Request, lease: Id, body: Nothing) -> Json:
    """Hand a task back to the pool."""
    del body
    state = server_of(request).desk.release(current(request).annotator_id, lease)
    return {"lease": lease, "state": state}


@router.post("/leases/{lease}/answer", status_code=201)
@allow("annotator")
def answer(request: Request, response: Response, lease: Id, body: Answer, key: Key) -> Json:
    """Store an answer: 201 if new, 200 if it was stored under this key before."""
    given = server_of(request).desk.answer(current(request).annotator_id, lease, key, body)
    _mark_replay(response, replayed=given.replayed)
    return {"answer": given.event_id, "lease": given.lease_id}


@router.get("/answers")
@allow("annotator")
def answers(request: Request, before: str | None = None, limit: Limit = 50) -> Json:
    """One's own history, newest first."""
    return history(server_of(request), request, before, limit)


@router.get("/answers/{answer_id}")
@allow("annotator")
def past(request: Request, answer_id: Id) -> Json:
    """An answer of one's own with its task: enough to edit it."""
    return past_answer(server_of(request), request, answer_id)


@router.put("/answers/{answer_id}", status_code=201)
@allow("annotator")
def edit(request: Request, response: Response, answer_id: Id, body: Answer, key: Key) -> Json:
    """Replace an answer that stands."""
    given = server_of(request).desk.edit(current(request).annotator_id, answer_id, key, body)
    _mark_replay(response, replayed=given.replayed)
    return {"answer": given.event_id, "lease": given.lease_id}


@router.post("/answers/{answer_id}/undo")
@allow("annotator")
def undo(request: Request, answer_id: Id, body: Nothing, key: Key) -> Json:
    """Take an answer back; the task is in one's hands again."""
    del body
    server = server_of(request)
    handed = server.desk.undo(current(request).annotator_id, answer_id, key)
    return {
        "answer": answer_id,
        "state": "undone",
        "task": views.task(handed, server.settings.axes),
    }


def history(server: Server, request: Request, before: str | None, limit: int) -> Json:
    """One's own history from a cursor on; for the API and the page."""
    cursor = number(before, "before")
    with server.store.work.look() as view:
        rows = view.answers(current(request).annotator_id, cursor, limit + 1)
    more = str(rows[limit - 1].lease.ordinal) if len(rows) > limit else None
    return {"answers": [views.answer_row(row) for row in rows[:limit]], "next": more}


def past_answer(server: Server, request: Request, answer_id: str) -> Json:
    """An answer of one's own; for the API and the page."""
    found = server.desk.past(current(request).annotator_id, answer_id)
    return views.past(found, reading.answer_state(server, answer_id), server.settings.axes)


def number(text: str | None, where: str) -> int | None:
    """A cursor.

    Raises:
        DataError: it is not one that a list gave.
    """
    if text is None or text == "":
        return None
    if not re.fullmatch(r"[0-9]{1,18}", text):
        message = f"{where}: use what `next` gave"
        raise DataError(message)
    return int(text)


def _mark_replay(response: Response, *, replayed: bool) -> None:
    if replayed:
        response.status_code = 200
        response.headers[REPLAYED] = "true"
