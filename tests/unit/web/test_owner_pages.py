"""What owners do in pages: check items from a file, overlap, guidelines."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from tests.web_fixtures import Site

from assent.collect.guidelines import first_guidelines
from assent.store import check_project

ROWS = [
    {"prompt": "2 + 2?", "better": "4", "worse": "5", "why": "arithmetic"},
    {"prompt": "3 + 3?", "better": "6", "worse": "7"},
]


def lines(rows: list[dict[str, str]]) -> str:
    """A file of rows."""
    return "".join(f"{json.dumps(row)}\n" for row in rows)


def test_an_owner_sends_a_file_of_check_items(site: Site) -> None:
    owner = site.sign_in("owner", "owner")
    body = {"name": "C:\\things\\checks.jsonl", "text": lines(ROWS)}
    sent = owner.post("/api/v1/checks/import", body)
    assert (sent.status_code, sent.json()) == (201, {"added": 2, "known": 0})
    assert owner.post("/api/v1/checks/import", body).json() == {"added": 0, "known": 2}
    shown = owner.get("/api/v1/checks").json()["items"]
    assert [(one["better"], one["worse"], one["why"]) for one in shown] == [
        ("4", "5", "arithmetic"),
        ("6", "7", ""),
    ]


def test_rows_of_a_sent_file_that_do_not_fit_are_listed_one_by_one(site: Site) -> None:
    owner = site.sign_in("owner", "owner")
    text = lines([*ROWS, {"prompt": "4 + 4?", "better": "8"}]) + "{]\n"
    refused = owner.post("/api/v1/checks/import", {"name": "../../checks.jsonl", "text": text})
    assert refused.status_code == 422
    told = refused.json()
    assert told["title"] == "UnfitRows"
    assert told["detail"].startswith("checks.jsonl: 2 of 4 rows cannot be check items")
    assert [one["where"] for one in told["errors"]] == ["row 3", "row 4"]
    assert told["errors"][0]["problem"] == "column worse is missing or empty"
    assert owner.get("/api/v1/checks").json()["items"] == []


def test_a_sent_file_that_cannot_be_read_is_refused_without_a_path_of_the_server(
    site: Site,
) -> None:
    owner = site.sign_in("owner", "owner")
    for name, text in (
        ("x.parquet", "PAR1 not really"),
        ("x.jsonl.gz", "not gzip"),
        ("x.csv", "a,b\n1,2\n"),
        ("...", "\x00"),
        ("x.json", "[1, 2"),
        ("x.jsonl", "\ud83d"),
    ):
        headers = {"X-CSRF-Token": owner.csrf, "Content-Type": "application/json"}
        sent = owner.client.post(
            "/api/v1/checks/import",
            content=json.dumps({"name": name, "text": text}),
            headers=headers,
        )
        assert sent.status_code == 422, (name, sent.text)
        assert "assent-upload" not in sent.text, sent.text
    assert owner.get("/api/v1/checks").json()["items"] == []


def test_a_check_item_can_be_asked_no_more(site: Site) -> None:
    owner = site.sign_in("owner", "owner")
    owner.post("/api/v1/checks/import", {"name": "x.jsonl", "text": lines(ROWS)})
    item = owner.get("/api/v1/checks").json()["items"][0]["id"]
    assert owner.post(f"/api/v1/tasks/{item}/halt").status_code == 200
    assert [one["halted"] for one in owner.get("/api/v1/checks").json()["items"]] == [True, False]


def test_an_owner_changes_how_many_people_a_task_is_asked_of(site: Site) -> None:
    owner, ada, bob = (
        site.sign_in("owner", "owner"), site.sign_in("ada"), site.sign_in("bob"),
    )  # fmt: skip
    lease = ada.task()["lease"]
    ada.judge(lease, "key-00001")
    [done] = [row for row in owner.get("/api/v1/tasks").json()["items"] if row["answers"] == 1]
    told = owner.send("PUT", f"/api/v1/tasks/{done['id']}/overlap", {"overlap": 2})
    assert told.json() == {"id": done["id"], "overlap": 2}
    prompt = bob.task()["prompt"]["text"]
    assert prompt == done["prompt"]  # the oldest: it opened again, for somebody else
    assert ada.task()["prompt"]["text"] != done["prompt"]
    told = owner.send("PUT", f"/api/v1/tasks/{done['id']}/overlap", {"overlap": 1})
    assert told.json()["overlap"] == 2  # bob is at it
    everything = owner.send("PUT", "/api/v1/tasks/overlap", {"kind": "comparison", "overlap": 3})
    assert everything.json() == {"kind": "comparison", "changed": 6}
    again = owner.send("PUT", "/api/v1/tasks/overlap", {"kind": "comparison", "overlap": 3})
    assert again.json()["changed"] == 0
    assert {row["overlap"] for row in owner.get("/api/v1/tasks").json()["items"]} == {3}
    assert check_project(site.project) == []


def test_the_overlap_of_a_check_item_and_of_nothing_is_refused(site: Site) -> None:
    owner = site.sign_in("owner", "owner")
    body = {"prompt": "2 + 2?", "better": "4", "worse": "5", "why": ""}
    check = owner.post("/api/v1/checks", body).json()["id"]
    refused = owner.send("PUT", f"/api/v1/tasks/{check}/overlap", {"overlap": 2})
    assert (refused.status_code, "check item" in refused.json()["detail"]) == (422, True)
    assert owner.send("PUT", "/api/v1/tasks/nothing/overlap", {"overlap": 2}).status_code == 404
    for wrong in (0, 100, "2", None, True):
        sent = owner.send("PUT", "/api/v1/tasks/overlap", {"kind": "rating", "overlap": wrong})
        assert sent.status_code == 422, wrong


def test_a_task_that_was_halted_and_resumed_comes_back_to_who_had_passed_it(site: Site) -> None:
    owner, ada = site.sign_in("owner", "owner"), site.sign_in("ada")
    first = owner.get("/api/v1/tasks").json()["items"][0]
    owner.post(f"/api/v1/tasks/{first['id']}/halt")
    lease = ada.task()["lease"]
    ada.judge(lease, "key-00001")
    owner.post(f"/api/v1/tasks/{first['id']}/resume")
    assert ada.task()["prompt"]["text"] == first["prompt"]


def test_guidelines_come_in_parts_for_each_kind_of_task(site: Site) -> None:
    owner = site.sign_in("owner", "owner")
    text = first_guidelines(["helpful", "well_written"], looks_up=True)
    owner.send("PUT", "/api/v1/guidelines", {"text": text, "based_on": 0})
    told = owner.get("/api/v1/guidelines").json()["parts"]
    assert [part["kind"] for part in told] == [
        None, "comparison", "ranking", "rating", "demonstration",
    ]  # fmt: skip
    assert "well written" in told[3]["html"]
    judge = owner.get("/judge").text
    assert judge.count('data-part="comparison"') == 1


def test_whether_things_are_looked_up_at_all_is_told(site: Site) -> None:
    assert site.sign_in("ada").task()["looks_up"] is False


def test_what_many_ask_for_at_once_is_counted_once(site: Site) -> None:
    server = site.app.state.server
    begun, go_on = threading.Event(), threading.Event()
    counts: list[int] = []

    def count() -> int:
        begun.set()
        assert go_on.wait(30)
        time.sleep(0.2)  # what takes long is kept for longer
        counts.append(1)
        return 7

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(server.counted, "figure", count) for _ in range(8)]
        assert begun.wait(30)
        go_on.set()
        assert [one.result(30) for one in asked] == [7] * 8
    assert counts == [1]
