"""The API of reviewers and owners: what everybody said, and what became of it."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from assent.web import agreeing, reading
from assent.web.access import AccessRoute, allow
from assent.web.routes.labelling import Id, Limit, number, server_of

router = APIRouter(prefix="/api/v1", tags=["review"], route_class=AccessRoute)

Json = dict[str, Any]
Search = Annotated[str | None, Query(alias="q", max_length=200)]
Cursor = Annotated[str | None, Query(max_length=20)]


@router.get("/progress")
@allow("reviewer")
def progress(request: Request) -> Json:
    """How far the tasks are."""
    return reading.project_progress(server_of(request))


@router.get("/agreement")
@allow("reviewer")
def agreement(request: Request) -> Json:
    """How often people who were asked the same said the same."""
    return agreeing.agreement(server_of(request))


@router.get("/prompts")
@allow("reviewer")
def prompts(
    request: Request, query: Search = None, cursor: Cursor = None, limit: Limit = 50
) -> Json:
    """Prompts, oldest first."""
    return reading.prompts(server_of(request), query, number(cursor, "cursor"), limit)


@router.get("/prompts/{prompt_id}")
@allow("reviewer")
def prompt(request: Request, prompt_id: Id) -> Json:
    """A prompt with its responses and comparisons."""
    return reading.prompt(server_of(request), prompt_id)


@router.get("/responses/{response_id}")
@allow("reviewer")
def response(request: Request, response_id: Id) -> Json:
    """A response, the models behind it, and what was said about it."""
    return reading.response(server_of(request), response_id)


@router.get("/judgements")
@allow("reviewer")
def judgements(
    request: Request,
    query: Search = None,
    cursor: Cursor = None,
    limit: Limit = 50,
    annotator: Annotated[str | None, Query(max_length=64)] = None,
    *,
    people_only: bool = False,
) -> Json:
    """Events of the ledger, newest first."""
    return reading.judgements(
        server_of(request),
        query,
        number(cursor, "cursor"),
        limit,
        annotator_id=annotator,
        people_only=people_only,
    )


@router.get("/judgements/{event}")
@allow("reviewer")
def judgement(request: Request, event: Id) -> Json:
    """An event, what it is about, and which models learned from it."""
    return reading.judgement(server_of(request), event)


@router.get("/rounds")
@allow("reviewer")
def rounds(request: Request) -> Json:
    """The rounds: who judged, what was trained, how it went."""
    return reading.rounds(server_of(request))


@router.get("/annotators")
@allow("reviewer")
def annotators(request: Request) -> Json:
    """Everybody, with what they did."""
    return reading.people(server_of(request))
