"""What owners do in pages: check items from a file, overlap, guidelines."""

import json

from tests.web_fixtures import Site

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
