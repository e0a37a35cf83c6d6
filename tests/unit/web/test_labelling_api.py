"""The API of labelling: what bodies tell and do not tell, and what bad input is answered with."""

import json
from typing import Any

import pytest
from tests.web_fixtures import BASE, Browser, Site

from assent.collect import sources
from assent.collect.desk import Desk
from assent.config.labelling import LabellingSettings
from assent.store import NewComparison, NewResponse
from assent.types import Prompt


def shape(value: Any) -> Any:
    """What a body looks like without what it says: names, types, lengths of fixed lists."""
    if isinstance(value, dict):
        return {name: shape(one) for name, one in value.items()}
    if isinstance(value, list):
        return [shape(one) for one in value]
    return type(value).__name__


def test_a_check_item_a_repeat_and_a_task_cannot_be_told_apart(site: Site) -> None:
    settings = LabellingSettings(check_share=0.3, repeat_share=0.3, look_up_share=0.0)
    site.app.state.server.desk = Desk(site.project.store, settings, seed=3)
    store = site.project.store
    for number in range(8):
        sources.add_check_item(
            store, prompt=f"question {number + 10}", better="answer 1", worse="answer 2", why="so"
        )
    for n in range(40):
        _compare(site, n)
    sources.comparison_tasks(store, settings, seed=3)
    ada = site.sign_in("ada")
    seen: dict[str, set[str]] = {}
    for number in range(44):
        response = ada.post("/api/v1/claims")
        task = response.json()["task"]
        if task is None:
            break
        with store.work.look() as view:
            kept = view.task(view.lease(task["lease"]).task_id)
        what = "repeat" if kept.repeat_of else kept.source
        answer = ada.judge(task["lease"], f"key-{number:05}")
        [row] = ada.get("/api/v1/answers?limit=1").json()["answers"]
        past = ada.get(f"/api/v1/answers/{row['answer']}").json()
        names = [sorted(one.headers) for one in (response, answer)]
        shapes = [shape(one) for one in (response.json(), answer.json(), row, past)]
        seen.setdefault(what, set()).add(json.dumps([names, shapes]))
    assert {"check", "repeat", "round-0"} <= set(seen)
    assert len(set().union(*seen.values())) == 1


def test_nothing_a_judge_gets_tells_the_model_the_ids_or_what_others_said(site: Site) -> None:
    store = site.project.store
    other = site.sign_in("other")
    first = other.task()
    other.judge(first["lease"], "key-00001", "tie")
    other.post("/api/v1/claims")
    ada = site.sign_in("ada")
    told = ""
    for number in range(4):
        claimed = ada.post("/api/v1/claims")
        task = claimed.json()["task"]
        answered = ada.judge(task["lease"], f"key-{number:05}")
        pages = [ada.get(path) for path in ("/", "/judge", "/history", "/api/v1/answers")]
        told += "".join(f"{one.text}{one.headers}" for one in (claimed, answered, *pages))
    secrets = [site.world.model.name, site.world.sampler, "transformers", "logprob", "purpose"]
    secrets += [*site.world.prompts, *site.world.responses, *site.world.comparisons, "check"]
    secrets += [row.id for row in store.browser.tasks(None, 0, 50)]
    events = [one.id for one in store.events() if one.annotator_id == other.annotator_id]
    assert [one for one in (*secrets, *events) if f'"{one}"' in told or f"/{one}" in told] == []
    assert "other" not in told.replace("another", "")


def test_an_answer_is_stored_once_whatever_is_sent_again(site: Site) -> None:
    ada = site.sign_in("ada")
    lease = ada.task()["lease"]
    first = ada.judge(lease, "key-00001")
    assert (first.status_code, "idempotent-replayed" in first.headers) == (201, False)
    again = ada.judge(lease, "key-00001")
    assert (again.status_code, again.headers["idempotent-replayed"]) == (200, "true")
    assert again.json() == first.json()
    assert ada.judge(lease, "key-00001", "right").json()["title"] == "IdempotencyConflict"
    assert ada.judge(lease, "key-00002").json()["title"] == "LeaseClosed"
    answer = first.json()["answer"]
    edit = {"kind": "comparison", "verdict": "tie"}
    changed = ada.send("PUT", f"/api/v1/answers/{answer}", edit, key="edit-0001")
    assert changed.status_code == 201
    stale = ada.send("PUT", f"/api/v1/answers/{answer}", edit, key="edit-0002")
    assert (stale.status_code, stale.json()["title"]) == (409, "AlreadySuperseded")
    newest = changed.json()["answer"]
    undone = ada.post(f"/api/v1/answers/{newest}/undo", key="undo-0001")
    assert undone.json()["state"] == "undone"
    assert undone.json()["task"]["lease"] != lease
    assert [ada.get(f"/api/v1/answers/{one}").json()["state"] for one in (answer, newest)] == [
        "edited",
        "undone",
    ]
    [row] = ada.get("/api/v1/answers").json()["answers"]
    assert (row["state"], row["summary"]) == ("undone", "tie")


def test_history_is_paged_newest_first_and_says_what_was_seen(site: Site) -> None:
    ada = site.sign_in("ada")
    said = ["left", "right", "tie", "both_bad", "cannot_judge"]
    for number, verdict in enumerate(said):
        ada.judge(ada.task()["lease"], f"key-{number:05}", verdict)
    first = ada.get("/api/v1/answers?limit=2").json()
    second = ada.get(f"/api/v1/answers?limit=2&before={first['next']}").json()
    third = ada.get(f"/api/v1/answers?limit=2&before={second['next']}").json()
    rows = [*first["answers"], *second["answers"], *third["answers"]]
    assert [row["summary"] for row in rows] == [
        "cannot judge", "both bad", "tie", "right", "left",
    ]  # fmt: skip
    assert third["next"] is None
    progress = ada.get("/api/v1/me").json()["progress"]
    assert (progress["answered"], progress["answered_today"]) == (5, 5)
    assert progress["open"]["comparison"] == 1


GOOD: dict[str, Any] = {"kind": "comparison", "verdict": "left"}

BAD_BODIES: dict[str, bytes | dict[str, Any]] = {
    "not JSON": b"{",
    "nothing": b"",
    "a list": b"[]",
    "not UTF-8": b'{"kind": "comparison", "verdict": "left", "note": "\xff"}',
    "a doubled key": b'{"kind": "comparison", "verdict": "left", "verdict": "right"}',
    "NaN": b'{"kind": "comparison", "verdict": "left", "seconds": NaN}',
    "infinite": b'{"kind": "comparison", "verdict": "left", "seconds": Infinity}',
    "too large a number": b'{"kind": "comparison", "verdict": "left", "seconds": 1e400}',
    "a number of 5,000 digits": b'{"kind": "comparison", "strength": ' + b"9" * 5_000 + b"}",
    "ten thousand deep": b'{"kind":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "half a character": b'{"kind": "comparison", "verdict": "left", "note": "\\ud800"}',
    "a NUL": {**GOOD, "note": "a\x00b"},
    "an unknown field": {**GOOD, "annotator_id": "somebody"},
    "somebody else's time": {**GOOD, "created_at": "2020-01-01"},
    "an unknown kind": {**GOOD, "kind": "poem"},
    "another kind": {"kind": "rating", "ratings": {"helpful": 3}},
    "an unknown verdict": {**GOOD, "verdict": "first"},
    "no verdict": {"kind": "comparison"},
    "strength 0": {**GOOD, "strength": 0},
    "strength 5": {**GOOD, "strength": 5},
    "strength as text": {**GOOD, "strength": "3"},
    "strength true": {**GOOD, "strength": True},
    "strength of a tie": {**GOOD, "verdict": "tie", "strength": 2},
    "a negative time": {**GOOD, "seconds": -1},
    "a time beyond a day": {**GOOD, "seconds": 1e6},
    "an unknown flag": {**GOOD, "flags": {"a": ["ugly"]}},
    "a flag of what was not shown": {**GOOD, "flags": {"c": ["false"]}},
    "a flag of nothing": {**GOOD, "flags": {"zz": ["false"]}},
    "a note without end": {**GOOD, "note": "x" * 4_001},
}


@pytest.mark.parametrize("what", BAD_BODIES)
def test_a_bad_body_is_refused_in_one_line_and_nothing_is_stored(site: Site, what: str) -> None:
    ada = site.sign_in("ada")
    lease = ada.task()["lease"]
    sent = BAD_BODIES[what]
    content = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
    response = ada.client.post(
        f"/api/v1/leases/{lease}/answer",
        content=content,
        headers={
            "X-CSRF-Token": ada.csrf,
            "Origin": BASE,
            "Content-Type": "application/json",
            "Idempotency-Key": "key-00001",
        },
    )
    assert response.status_code == 422, response.text
    problem = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert problem["status"] == 422
    assert "\n" not in problem["detail"]
    assert site.project.store.events() == []
    assert ada.judge(lease, "key-00001").status_code == 201  # the key was not used up


@pytest.mark.parametrize("key", [None, "", "short", "x" * 101, "with space in", "ключ-ключ-ключ"])
def test_a_bad_key_is_refused(site: Site, key: str | None) -> None:
    ada = site.sign_in("ada")
    lease = ada.task()["lease"]
    headers = {b"X-CSRF-Token": ada.csrf.encode()}
    if key is not None:
        headers[b"Idempotency-Key"] = key.encode()
    response = ada.client.post(f"/api/v1/leases/{lease}/answer", json=GOOD, headers=headers)
    assert response.status_code == 422
    assert "idempotency-key" in response.json()["detail"].lower()


def test_two_megabytes_of_text_are_too_large_however_they_are_sent(site: Site) -> None:
    ada = site.sign_in("ada")
    lease = ada.task()["lease"]
    headers = {
        "X-CSRF-Token": ada.csrf,
        "Idempotency-Key": "key-00001",
        "Content-Type": "application/json",
    }
    body = json.dumps({**GOOD, "note": "x" * 2_000_000}).encode()
    whole = ada.client.post(f"/api/v1/leases/{lease}/answer", content=body, headers=headers)
    assert (whole.status_code, whole.json()["title"]) == (413, "TooLarge")
    parts = (body[start : start + 50_000] for start in range(0, len(body), 50_000))
    streamed = ada.client.post(f"/api/v1/leases/{lease}/answer", content=parts, headers=headers)
    assert streamed.status_code == 413
    assert site.project.store.events() == []


def test_a_demonstration_of_any_length_that_fits_is_kept_whole(site: Site) -> None:
    ada = site.sign_in("ada")
    owner = site.sign_in("owner", "owner")
    made = owner.post("/api/v1/tasks", {"kind": "demonstration", "count": 1})
    assert made.json() == {"made": 1, "already": 0, "alike": 0}
    task = ada.task(kinds=["demonstration"])
    assert task["responses"] == []
    text = "Ünïcödé " * 12_500
    answer = {"kind": "demonstration", "text": text}
    path = f"/api/v1/leases/{task['lease']}/answer"
    assert ada.post(path, {**answer, "text": text + "x"}, key="key-00001").status_code == 422
    for blank in ("", " ", "\n\t "):
        assert ada.post(path, {**answer, "text": blank}, key="key-00001").status_code == 422
    assert ada.post(path, answer, key="key-00001").status_code == 201
    [kept] = site.project.store.demonstrations()
    assert kept.response == text


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/guidelines/7",
        "/api/v1/answers/00000000000000000000000000000000",
        "/api/v1/leases/00000000000000000000000000000000",
    ],
)
def test_what_does_not_exist_is_404(site: Site, path: str) -> None:
    assert site.sign_in("ada").get(path).status_code == 404


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=101", "limit=x", "before=x", "before=-1", "before=1;DROP TABLE events"],
)
def test_a_bad_page_is_refused(site: Site, query: str) -> None:
    assert site.sign_in("ada").get(f"/api/v1/answers?{query}").status_code == 422


@pytest.mark.parametrize(
    "query", ["'", '"', "%", "_", "' OR 1=1 --", "\\", "x" * 200, "ß", "\ud7ff"]
)
def test_a_search_is_text_and_nothing_else(site: Site, query: str) -> None:
    reviewer = site.sign_in("rev", "reviewer")
    for path in ("/api/v1/prompts", "/api/v1/judgements"):
        found = reviewer.client.get(path, params={"q": query})
        assert found.status_code == 200
        assert found.json()["items"] == []
    assert len(reviewer.client.get("/api/v1/prompts?q=QUESTION").json()["items"]) == 6


def test_guidelines_are_versions_and_the_one_shown_is_stored(site: Site) -> None:
    owner, ada = site.sign_in("owner", "owner"), site.sign_in("ada")
    assert ada.get("/api/v1/guidelines").json()["version"] == 0
    before = ada.task()
    assert before["guidelines_version"] == 0
    first = owner.send("PUT", "/api/v1/guidelines", {"text": "Be *kind*.", "based_on": 0})
    assert (first.status_code, first.json()["version"]) == (201, 1)
    assert "<em>kind</em>" in ada.get("/api/v1/guidelines").json()["html"]
    stale = owner.send("PUT", "/api/v1/guidelines", {"text": "Be quick.", "based_on": 0})
    assert (stale.status_code, stale.json()["title"]) == (409, "GuidelinesChanged")
    same = owner.send("PUT", "/api/v1/guidelines", {"text": "Be *kind*.", "based_on": 0})
    assert same.json()["version"] == 1
    ada.judge(before["lease"], "key-00001")
    ada.judge(ada.task()["lease"], "key-00002")
    stored = [one.payload["context"]["guidelines"] for one in site.project.store.events()]
    assert stored == [0, 1]
    versions = ada.get("/api/v1/guidelines/versions").json()["versions"]
    assert [one["version"] for one in versions] == [1]


def test_what_the_owner_sees_adds_up(site: Site) -> None:
    owner = site.sign_in("owner", "owner")
    people: list[Browser] = [site.sign_in(name) for name in ("ada", "bo")]
    made = owner.post("/api/v1/tasks", {"kind": "rating", "count": 2, "overlap": 2}).json()
    assert made["made"] == 2
    ratings = {"helpful": 5, "honest": 6, "harmless": 7}
    for number, one in enumerate(people):
        for again in range(2):
            lease = one.task(kinds=["rating"])["lease"]
            answer = {"kind": "rating", "ratings": {**ratings, "helpful": 5 + number}}
            sent = one.post(f"/api/v1/leases/{lease}/answer", answer, key=f"key-{again:05}")
            assert sent.status_code == 201
        one.judge(one.task(kinds=["comparison"])["lease"], "key-judge", "left")
    tasks = owner.get("/api/v1/progress").json()["tasks"]
    assert (tasks["rating"]["done"], tasks["rating"]["answers"]) == (2, 4)
    assert (tasks["comparison"]["done"], tasks["comparison"]["open"]) == (2, 4)
    [agreement] = [
        one for one in owner.get("/api/v1/agreement").json()["kinds"] if one["kind"] == "rating"
    ]
    # Two tasks, three axes each, one pair of answers on each; they differ on one axis.
    assert (agreement["tasks"], agreement["pairs"], agreement["agree"]) == (2, 6, 4)
    assert agreement["rate"] == pytest.approx(4 / 6)
    listed = {row["name"]: row for row in owner.get("/api/v1/annotators").json()["items"]}
    assert (listed["ada"]["answers"], listed["bo"]["answers"]) == (3, 3)
    assert (listed["ada"]["left_share"], listed["owner"]["answers"]) == (1.0, 0)
    lines = owner.get("/api/v1/exports/judgements.jsonl").text.splitlines()
    assert len(lines) == 6
    assert all("annotator_name" not in line for line in lines)
    counts = {row["name"]: row["rows"] for row in owner.get("/api/v1/exports").json()["items"]}
    assert counts == {"judgements": 6, "demonstrations": 0, "prompts": 6}


def test_a_download_has_the_texts_that_were_judged_and_counts_what_stands(site: Site) -> None:
    owner, ada = site.sign_in("owner", "owner"), site.sign_in("ada")
    owner.post("/api/v1/tasks", {"kind": "ranking", "count": 1, "size": 2})
    answers: dict[str, dict[str, Any]] = {
        "comparison": {"verdict": "left"},
        "ranking": {"levels": [["b"], ["a"]], "flags": {"b": ["false"]}},
    }
    shown: dict[str, dict[str, Any]] = {}
    for kind, answer in answers.items():
        task = ada.task(kinds=[kind])
        body = {"kind": kind, **answer}
        key = f"key-{kind}"
        sent = ada.post(f"/api/v1/leases/{task['lease']}/answer", body, key=key)
        assert sent.status_code == 201, sent.text
        shown[kind] = {**task, "event": sent.json()["answer"]}
    undone = ada.judge(ada.task(kinds=["comparison"])["lease"], "key-undone").json()["answer"]
    ada.post(f"/api/v1/answers/{undone}/undo", key="key-of-undoing")
    lines = owner.get("/api/v1/exports/judgements.jsonl").text.splitlines()
    kept = {line["event"]: line for line in map(json.loads, lines)}
    assert set(kept) == {task["event"] for task in shown.values()}
    assert owner.get("/api/v1/exports").json()["items"][0]["rows"] == 2
    for task in shown.values():
        line = kept[task["event"]]
        assert line["prompt"] == task["prompt"]["text"]
        told = {one["text"] for one in line["responses"]}
        assert told == {one["text"] for one in task["responses"]}
    ranking = shown["ranking"]
    first, second = (one["text"] for one in ranking["responses"])
    seen = owner.get(f"/api/v1/judgements/{ranking['event']}").json()["ranked"]
    assert [(one["text"], one["place"], one["flags"]) for one in seen] == [
        (second, 1, ["false"]),
        (first, 2, []),
    ]
    about = owner.get(f"/api/v1/responses/{seen[0]['id']}").json()["judgements"]
    assert ranking["event"] in {one["event"] for one in about}
    assert "Place 1" in owner.get(f"/browse/judgements/{ranking['event']}").text


def test_a_judgements_lineage_reaches_the_snapshot_and_the_model(site: Site) -> None:
    reviewer, ada = site.sign_in("rev", "reviewer"), site.sign_in("ada")
    event = ada.judge(ada.task()["lease"], "key-00001").json()["answer"]
    site.project.store.take_snapshot("round-1")
    found = reviewer.get(f"/api/v1/judgements/{event}").json()
    assert found["snapshots"] == ["round-1"]
    assert found["annotator_name"] == "ada"
    assert found["comparison"]["first"]["text"].startswith("answer 0")
    response = found["comparison"]["first"]["id"]
    lineage = reviewer.get(f"/api/v1/responses/{response}").json()
    assert lineage["sampler"]["model"] == site.world.model.name
    assert [one["event"] for one in lineage["judgements"]] == [event]
    ada.post(f"/api/v1/answers/{event}/undo", key="undo-0001")
    after = reviewer.get(f"/api/v1/judgements/{event}").json()
    assert [one["kind"] for one in after["history"]] == ["judgement", "retract"]
    assert after["snapshots"] == ["round-1"]  # it stood when that was taken


def _compare(site: Site, number: int) -> None:
    store = site.project.store
    [prompt] = store.add_prompts([Prompt(text=f"question {number + 100}")])
    one, other = store.add_responses(
        [
            NewResponse(prompt_id=prompt, text=text, origin="import")
            for text in ("answer 1", "answer 2")
        ]
    )
    store.add_comparisons(
        [
            NewComparison(
                prompt_id=prompt,
                first_response_id=one,
                second_response_id=other,
                shown_order="first_left",
            )
        ]
    )
