"""The API of owners: people, guidelines, tasks, check items, exports."""

import json
from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from fastapi.responses import StreamingResponse

from assent.collect import sources
from assent.collect.check_items import import_check_items
from assent.errors import UnknownRecord
from assent.store import EventRow, Person
from assent.web import reading, views
from assent.web.access import AccessRoute, allow, current
from assent.web.bodies import (
    CheckBody,
    CheckFileBody,
    GuidelinesBody,
    KindOverlapBody,
    Nothing,
    OverlapBody,
    PersonBody,
    RoleBody,
    TasksBody,
)
from assent.web.routes.labelling import Id, Limit, number, server_of
from assent.web.routes.review import Cursor, Search
from assent.web.state import Server
from assent.web.uploading import uploaded

router = APIRouter(prefix="/api/v1", tags=["owner"], route_class=AccessRoute)

Json = dict[str, Any]
ExportName = Annotated[str, Path(pattern=r"^[a-z]{1,32}$")]


@router.post("/annotators", status_code=201)
@allow("owner")
def add_person(request: Request, body: PersonBody) -> Json:
    """Let somebody in; the link is told once."""
    server = server_of(request)
    added = server.store.people.add(body.name, body.role)
    return {"id": added.annotator_id, "link": invite_link(server, added)}


@router.post("/annotators/{annotator_id}/invite")
@allow("owner")
def invite(request: Request, annotator_id: Id, body: Nothing) -> Json:
    """A new link; the one before ends."""
    del body
    server = server_of(request)
    person = server.store.people.find(annotator_id)
    return {"id": annotator_id, "link": invite_link(server, person)}


@router.post("/annotators/{annotator_id}/disable")
@allow("owner")
def disable(request: Request, annotator_id: Id, body: Nothing) -> Json:
    """Keep somebody out."""
    del body
    return _state(server_of(request).store.people.disable(annotator_id))


@router.post("/annotators/{annotator_id}/enable")
@allow("owner")
def enable(request: Request, annotator_id: Id, body: Nothing) -> Json:
    """Let somebody in again."""
    del body
    return _state(server_of(request).store.people.enable(annotator_id))


@router.post("/annotators/{annotator_id}/erase")
@allow("owner")
def erase(request: Request, annotator_id: Id, body: Nothing) -> Json:
    """Forget who somebody is; what they judged stays."""
    del body
    return _state(server_of(request).store.people.erase(annotator_id))


@router.put("/annotators/{annotator_id}/role")
@allow("owner")
def set_role(request: Request, annotator_id: Id, body: RoleBody) -> Json:
    """Change what somebody may do; their sessions end."""
    return _state(server_of(request).store.people.set_role(annotator_id, body.role))


@router.put("/guidelines", status_code=201)
@allow("owner")
def write_guidelines(request: Request, body: GuidelinesBody) -> Json:
    """Write a new version of the guidelines."""
    author = current(request).annotator_id
    book = server_of(request).store.guidelines
    return views.guidelines(book.write(body.text, based_on=body.based_on, author=author))


@router.get("/tasks")
@allow("owner")
def tasks(request: Request, query: Search = None, cursor: Cursor = None, limit: Limit = 50) -> Json:
    """Tasks, oldest first; check items and repeats are not among them."""
    return reading.tasks(server_of(request), query, number(cursor, "cursor"), limit)


@router.post("/tasks", status_code=201)
@allow("owner")
def make_tasks(request: Request, body: TasksBody) -> Json:
    """Make tasks of what the project holds."""
    server = server_of(request)
    made = sources.more_tasks(
        server.store,
        server.settings,
        body.kind,
        seed=server.seed,
        count=body.count,
        overlap=body.overlap,
        size=body.size,
        round_number=body.round,
    )
    return {"made": made.made, "already": made.already, "alike": made.alike}


@router.post("/tasks/{task}/halt")
@allow("owner")
def halt(request: Request, task: Id, body: Nothing) -> Json:
    """Stop handing a task out."""
    del body
    server_of(request).store.work.set_halted(task, halted=True)
    return {"id": task, "halted": True}


@router.post("/tasks/{task}/resume")
@allow("owner")
def resume(request: Request, task: Id, body: Nothing) -> Json:
    """Hand a task out again."""
    del body
    server = server_of(request)
    server.store.work.set_halted(task, halted=False)
    server.desk.look_again()
    return {"id": task, "halted": False}


@router.put("/tasks/overlap")
@allow("owner")
def set_overlap_of_kind(request: Request, body: KindOverlapBody) -> Json:
    """How many people's answers count for each task of a kind, finished ones too.

    A task keeps what counts already or is in people's hands, if that is more.
    """
    server = server_of(request)
    changed = server.store.work.set_overlap(body.overlap, kind=body.kind)
    server.desk.look_again()
    return {"kind": body.kind, "changed": changed}


@router.put("/tasks/{task}/overlap")
@allow("owner")
def set_overlap(request: Request, task: Id, body: OverlapBody) -> Json:
    """How many people's answers count for a task; at least those that count or are in hands."""
    server = server_of(request)
    server.store.work.set_overlap(body.overlap, task=task)
    server.desk.look_again()
    with server.store.work.look() as view:
        return {"id": task, "overlap": view.task(task).overlap}


@router.get("/checks")
@allow("owner")
def checks(request: Request) -> Json:
    """Check items, and how people did on them."""
    return reading.checks(server_of(request))


@router.post("/checks", status_code=201)
@allow("owner")
def add_check(request: Request, body: CheckBody) -> Json:
    """Write a comparison whose answer is known."""
    server = server_of(request)
    task = sources.add_check_item(
        server.store,
        prompt=body.prompt,
        better=body.better,
        worse=body.worse,
        why=body.why,
        author=current(request).annotator_id,
        seed=server.seed,
    )
    return {"id": task}


@router.post("/checks/import", status_code=201)
@allow("owner")
def import_checks(request: Request, body: CheckFileBody) -> Json:
    """Make every row of a file a check item, or none and say which rows do not fit."""
    server = server_of(request)
    with uploaded(body.name, body.text) as path:
        found = import_check_items(
            server.store, path, author=current(request).annotator_id, seed=server.seed
        )
    return {"added": found.added, "known": found.known}


@router.get("/exports")
@allow("owner")
def exports(request: Request) -> Json:
    """What can be downloaded."""
    return reading.exports(server_of(request))


@router.get("/exports/{name}.jsonl", response_class=StreamingResponse)
@allow("owner")
def export(request: Request, name: ExportName) -> StreamingResponse:
    """Download records, one JSON object a line; annotators go by id."""
    server = server_of(request)
    lines = {"judgements": _judgements, "demonstrations": _demonstrations, "prompts": _prompts}
    if name not in lines:
        message = f"exports has no record {name}"
        raise UnknownRecord(message)
    return StreamingResponse(
        (f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines[name](server)),
        media_type="application/x-ndjson",
        headers={"Content-Disposition": f'attachment; filename="{name}.jsonl"'},
    )


def invite_link(server: Server, person: Person) -> str:
    """A link that lets a person in once."""
    token = server.store.people.invite(person.annotator_id, server.settings.invitation_days)
    return f"{server.options.base_url}/invite/{token}"


def _state(person: Person) -> Json:
    return {"id": person.annotator_id, "state": person.state, "role": person.role}


def _judgements(server: Server) -> Iterator[Json]:
    browser = server.store.browser
    for block in browser.event_blocks(("judgement", "ranking", "rating")):
        texts = browser.response_texts({id_ for row in block for id_ in _about(row)})
        for row in block:
            yield {
                **_without_name(views.event(row)),
                "prompt": row.prompt,
                "responses": [{"id": id_, "text": texts[id_]} for id_ in _about(row)],
            }


def _demonstrations(server: Server) -> Iterator[Json]:
    browser = server.store.browser
    for block in browser.event_blocks(("demonstration",)):
        for row in block:
            assert row.response_id is not None
            text = browser.response(row.response_id).text
            yield {**_without_name(views.event(row)), "prompt": row.prompt, "response": text}


def _about(row: EventRow) -> list[str]:
    """The responses that were judged: the sides as stored, those ranked, or the one rated."""
    if row.sides is not None:
        return list(row.sides)
    if row.response_id is not None:
        return [row.response_id]
    return list(row.payload.get("ranks", {}))


def _prompts(server: Server) -> Iterator[Json]:
    after = 0
    while rows := server.store.browser.prompts(None, after, 500):
        after = rows[-1].position
        yield from (views.plain(row) for row in rows)


def _without_name(line: Json) -> Json:
    return {name: value for name, value in line.items() if name != "annotator_name"}
