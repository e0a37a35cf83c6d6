"""What dashboards show, put together from the store: used by the API and by pages alike."""

from collections.abc import Mapping
from typing import Any, Final

from assent.collect.sources import REWARD
from assent.config.stages import POLICY
from assent.errors import AssentError
from assent.report.plots import reward_plots
from assent.report.summary import Summary, load_summary
from assent.store import EventRow, Person, TaskKind
from assent.web import views
from assent.web.state import Server

Json = dict[str, Any]
DAYS: Final = 30
MOST: Final = 100
"""Rows of a list inside a page."""


def own_progress(server: Server, person: Person) -> Json:
    """How far a person is, and what waits for them."""
    now = server.store.work.now()
    with server.store.work.look() as view:
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        standing = view.standing(person.annotator_id, midnight)
        given = view.own_open_counts(person.annotator_id)
    everything = server.counted("open", lambda: _open_counts(server))
    kinds: tuple[TaskKind, ...] = ("comparison", "ranking", "rating", "demonstration")
    return views.progress(
        standing, {kind: max(0, everything.get(kind, 0) - given.get(kind, 0)) for kind in kinds}
    )


def project_progress(server: Server) -> Json:
    """How far the tasks are."""

    def count() -> Json:
        tallies = server.store.tallies
        return {
            "tasks": {
                one.kind: {
                    "tasks": one.tasks,
                    "done": one.done,
                    "open": one.open,
                    "halted": one.halted,
                    "answers": one.answers,
                    "wanted": one.wanted,
                }
                for one in tallies.tasks()
            },
            "by_day": [{"day": day, "answers": number} for day, number in tallies.by_day(DAYS)],
            "late": tallies.extra(),
        }

    return server.counted("progress", count)


def people(server: Server) -> Json:
    """Everybody, with what they did."""

    def count() -> Json:
        tallies = {one.annotator_id: one for one in server.store.tallies.people()}
        return {
            "items": [
                views.person_row(one, tallies.get(one.annotator_id))
                for one in server.store.people.everybody()
            ]
        }

    return count()


def prompts(server: Server, query: str | None, cursor: int | None, limit: int) -> Json:
    """A page of prompts."""
    rows = server.store.browser.prompts(query, cursor or 0, limit + 1)
    items = [{**views.plain(row), "text": row.text[:400]} for row in rows[:limit]]
    return _listed(items, rows[limit - 1].position if len(rows) > limit else None, query, cursor)


def prompt(server: Server, prompt_id: str) -> Json:
    """A prompt with its responses and comparisons, newest first."""
    row = server.store.browser.prompt(prompt_id)
    return {
        **views.plain(row),
        **views.rendered(row.text),
        "response_count": row.responses,
        "comparison_count": row.comparisons,
        "responses": [
            {**views.plain(one), **views.rendered(one.text)}
            for one in server.store.browser.responses_to(prompt_id, MOST)
        ],
        "comparisons": [
            views.plain(one) for one in server.store.browser.comparisons_of(prompt_id, MOST)
        ],
    }


def response(server: Server, response_id: str) -> Json:
    """A response, the models behind it, and what was said about it."""
    browser = server.store.browser
    row = browser.response(response_id)
    asked = browser.prompt(row.prompt_id)
    lineage = []
    if row.model_version_id is not None:
        lineage = [
            {
                "role": link.role,
                "name": link.version.name,
                "stage": link.version.stage,
                "run": None if link.run is None else link.run.id,
                "snapshot": None if link.snapshot is None else link.snapshot.name,
            }
            for link in server.store.lineage(row.model_version_id)
        ]
    return {
        **views.plain(row),
        **views.rendered(row.text),
        "prompt": {"id": asked.id, **views.rendered(asked.text)},
        "sampler": None
        if row.model_version_id is None
        else {"model": row.model, "parameters": row.parameters, "engine": row.engine},
        "lineage": lineage,
        "judgements": [views.event(one) for one in browser.events_about(response_id=response_id)],
    }


def judgements(
    server: Server,
    query: str | None,
    cursor: int | None,
    limit: int,
    *,
    annotator_id: str | None = None,
    people_only: bool = False,
) -> Json:
    """A page of events, newest first."""
    rows = server.store.browser.events(
        query, cursor, limit + 1, annotator_id=annotator_id, people_only=people_only
    )
    following = rows[limit - 1].seq if len(rows) > limit else None
    return _listed([views.event(row) for row in rows[:limit]], following, query, cursor)


def judgement(server: Server, event_id: str) -> Json:
    """An event, what it is about, what became of it, and which models learned from it."""
    browser, store = server.store.browser, server.store
    row = browser.event(event_id)
    shown = None
    if row.comparison_id is not None:
        found = browser.comparison(row.comparison_id)
        shown = {
            "id": found.id,
            "prompt": views.rendered(found.prompt),
            "first": {"id": found.first_response_id, **views.rendered(found.first)},
            "second": {"id": found.second_response_id, **views.rendered(found.second)},
            "purpose": found.purpose,
            "round": found.round,
        }
    one = None if row.response_id is None else browser.response(row.response_id)
    with store.work.look() as view:
        note = view.note(event_id)
    end = None if row.superseded_by is None else browser.event(row.superseded_by).seq
    snapshots = [
        snapshot
        for snapshot in store.snapshots()
        if row.kind in ("judgement", "ranking")
        and row.purpose in snapshot.purposes
        and row.seq <= snapshot.up_to_seq
        and (end is None or end > snapshot.up_to_seq)
        and not row.payload.get("context", {}).get("extra", False)
    ]
    ids = {snapshot.id for snapshot in snapshots}
    return {
        **views.event(row),
        "note": None if note is None else views.rendered(note),
        "comparison": shown,
        "response": None if one is None else {"id": one.id, **views.rendered(one.text)},
        "ranked": _ranked(server, row),
        "history": [views.event(link) for link in _history(server, row)],
        "snapshots": [snapshot.name for snapshot in snapshots],
        "models": [
            {"id": version.id, "name": version.name, "stage": version.stage}
            for version in store.model_versions()
            if version.snapshot_id in ids
        ],
    }


def _ranked(server: Server, row: EventRow) -> list[Json]:
    """The responses of a ranking, best first, each with its place and what was found wrong."""
    if row.response_set_id is None or "ranks" not in row.payload:
        return []
    members = server.store.browser.ranked_responses(row.response_set_id)
    flags = [flag.partition(":") for flag in row.payload.get("flags", ())]
    found = [
        {
            "id": id_,
            "place": row.payload["ranks"][id_] + 1,
            "flags": [name for place, _, name in flags if place == str(number)],
            **views.rendered(text),
        }
        for number, (id_, text) in enumerate(members, start=1)
    ]
    return sorted(found, key=lambda one: one["place"])


def rounds(server: Server) -> Json:
    """Each round: who judged, what was trained, and the curves where there are any."""

    def count() -> Json:
        store = server.store
        snapshots = {one.name: one for one in store.snapshots()}
        models = {one.name: one for one in store.model_versions()}
        summary = _summary(server)
        found = []
        for one in store.tallies.rounds(REWARD):
            name = f"round-{one.round}"
            snapshot = snapshots.get(name)
            found.append(
                {
                    "round": one.round,
                    "comparisons": one.comparisons,
                    "human": one.human,
                    "simulated": one.simulated,
                    "model": one.model,
                    "snapshot": None
                    if snapshot is None
                    else {"name": snapshot.name, "judgements": snapshot.event_count},
                    "reward_model": _named(models, f"{name}-reward"),
                    "policy": _named(models, *(f"{name}-{stage}" for stage in POLICY)),
                }
            )
        return {
            "rounds": found,
            "summary": None
            if summary is None
            else [point.model_dump(mode="json") for point in summary.trajectory],
            "plots": [
                {"round": number, "src": f"/rounds/{number}.svg"}
                for number in range(1, len(drawings(server)) + 1)
            ],
        }

    return server.counted("rounds", count)


def drawings(server: Server) -> list[str]:
    """The curves of each round, as the report draws them."""

    def draw() -> list[str]:
        summary = _summary(server)
        return [] if summary is None else [str(drawing) for _, drawing in reward_plots(summary)]

    return server.counted("drawings", draw)


def tasks(server: Server, query: str | None, cursor: int | None, limit: int) -> Json:
    """A page of tasks, with how far each kind is."""
    rows = server.store.browser.tasks(query, cursor or 0, limit + 1)
    items = [{**views.plain(row), "prompt": row.prompt[:400]} for row in rows[:limit]]
    following = rows[limit - 1].position if len(rows) > limit else None
    return {
        **_listed(items, following, query, cursor),
        "progress": project_progress(server)["tasks"],
        "overlap": server.settings.overlap,
    }


def checks(server: Server) -> Json:
    """Check items and how people did on them."""
    with server.store.work.look() as view:
        found = view.checks()
    return {
        "items": [
            {
                "id": one.task_id,
                "prompt": one.prompt,
                "better": one.first if one.answer == "first" else one.second,
                "worse": one.second if one.answer == "first" else one.first,
                "why": one.why,
                "answered": one.answered,
                "right": one.right,
                "halted": one.halted,
            }
            for one in found
        ],
        "share": server.settings.check_share,
    }


def exports(server: Server) -> Json:
    """What can be downloaded."""
    kinds = server.counted("kinds", server.store.tallies.events)
    judged = sum(kinds.get(kind, 0) for kind in ("judgement", "ranking", "rating"))
    return {
        "items": [
            {
                "name": "judgements",
                "what": "every verdict, ranking and rating that stands, with texts and sides",
                "rows": judged,
            },
            {
                "name": "demonstrations",
                "what": "responses written by people",
                "rows": kinds.get("demonstration", 0),
            },
            {
                "name": "prompts",
                "what": "all prompts",
                "rows": server.counted("counts", server.store.counts)["prompts"],
            },
        ]
    }


def answer_state(server: Server, event_id: str) -> str:
    """Whether an answer stands, was edited since, or was undone."""
    later = server.store.browser.event(event_id).superseded_by
    if later is None:
        return "stands"
    return "undone" if server.store.browser.event(later).kind == "retract" else "edited"


def _open_counts(server: Server) -> dict[str, int]:
    with server.store.work.look() as view:
        return view.open_counts()


def _listed(
    items: list[Json], following: int | None, query: str | None, cursor: int | None
) -> Json:
    return {
        "items": items,
        "next": None if following is None else str(following),
        "q": query,
        "cursor": None if cursor is None else str(cursor),
    }


def _named(models: Mapping[str, Any], *names: str) -> Json | None:
    """The first of these models that there is."""
    found = next((models[name] for name in names if name in models), None)
    return None if found is None else {"id": found.id, "name": found.name}


def _summary(server: Server) -> Summary | None:
    """The loop's summary, if there is one that can be read."""
    try:
        return load_summary(server.project.root)
    except AssentError:
        return None


def _history(server: Server, row: EventRow) -> list[EventRow]:
    """Everything in the line of one answer, oldest first."""
    browser = server.store.browser
    line = [row]
    while line[0].supersedes is not None:
        line.insert(0, browser.event(line[0].supersedes))
    while line[-1].superseded_by is not None:
        line.append(browser.event(line[-1].superseded_by))
    return line
