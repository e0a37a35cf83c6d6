"""Who may do what: every route against every role, sessions, origins, invitations, passwords."""

import re
from typing import Any

import pytest
from fastapi.routing import APIRoute
from tests.web_fixtures import BASE, Browser, Site

from assent.store import Role
from assent.web.access import RANKS, access_of
from assent.web.app import routes_of
from assent.web.guarding import CONTENT_SECURITY_POLICY

ANYBODY = {
    ("GET", "/login"),
    ("POST", "/login"),
    ("GET", "/invite/{token}"),
    ("POST", "/invite/{token}"),
}
"""All that works without a session; adding to it is a decision."""

REVIEWERS = ("/api/v1/progress", "/api/v1/agreement", "/api/v1/prompts", "/api/v1/responses",
             "/api/v1/judgements", "/api/v1/rounds", "/progress", "/browse", "/rounds",
             "/annotators")  # fmt: skip
OWNERS = ("/api/v1/tasks", "/api/v1/checks", "/api/v1/exports", "/tasks", "/checks", "/exports",
          "/guidelines/edit")  # fmt: skip


def wanted(method: str, path: str) -> str:
    """Who a route is for, by its path alone: written down here once more, on purpose."""
    if (method, path) in ANYBODY:
        return "anybody"
    if path.startswith(OWNERS) or (
        path.startswith(("/api/v1/annotators", "/api/v1/guidelines")) and method != "GET"
    ):
        return "owner"
    if path.startswith((*REVIEWERS, "/api/v1/annotators")):
        return "reviewer"
    return "annotator"


def every_route(site: Site) -> list[tuple[str, APIRoute]]:
    return [
        (method, route) for route in routes_of(site.app) for method in sorted(route.methods or ())
    ]


def test_every_route_says_who_may_call_it_and_it_is_who_should(site: Site) -> None:
    found = {(method, route.path): access_of(route.endpoint) for method, route in every_route(site)}
    assert len(found) > 60
    assert set(site.app.openapi()["paths"]) <= {path for _, path in found}
    assert {key: access for key, access in found.items() if access != wanted(*key)} == {}


def test_a_route_that_does_not_say_cannot_be_added(site: Site) -> None:
    def unsaid() -> None:
        """Nothing."""

    with pytest.raises(RuntimeError, match="does not say who may call it"):
        site.app.get("/forgotten")(unsaid)


@pytest.mark.parametrize("role", [None, "annotator", "reviewer", "owner"])
def test_every_role_on_every_route_with_other_peoples_ids(site: Site, role: Role | None) -> None:
    victim = site.sign_in("victim")
    task = victim.task()
    answer = victim.judge(task["lease"], "victim-01").json()["answer"]
    held = victim.task()["lease"]
    other = site.sign_in("other")
    ids = {
        "lease": held,
        "answer_id": answer,
        "event": answer,
        "annotator_id": other.annotator_id,
        "prompt_id": site.world.prompts[0],
        "response_id": site.world.responses[0],
        "task": "0" * 32,
        "version": "0",
        "number": "1",
        "name": "prompts",
        "token": "nonsense",
    }
    rank = 0 if role is None else RANKS[role]
    client = site.client()
    browser = None if role is None else site.sign_in("attacker", role)
    before = site.project.store.events()
    for method, route in every_route(site):
        path = re.sub(r"\{(\w+)\}", lambda match: ids[match[1]], route.path)
        if path in ("/logout", "/api/v1/me/session"):
            continue  # it would end the session that the rest needs
        access = access_of(route.endpoint)
        if browser is None:
            response = client.request(method, path, headers={"Origin": BASE})
        else:
            response = browser.send(method, path, body_for(route.path), key="attack-01")
        said = f"{role} {method} {path}: {response.status_code} {response.text[:200]}"
        assert response.status_code < 500, said
        if access == "anybody":
            continue
        if browser is None:
            refused = 401 if path.startswith("/api") else 303
            assert response.status_code == refused, said
        elif RANKS[access] > rank:
            assert response.status_code == 403, said
        elif "lease" in route.path or "answer_id" in route.path:
            assert response.status_code in (404, 415), said
        else:
            assert response.status_code not in (401, 403), said
    # Nothing of the victim's was touched, and the lease is in their hands still.
    assert site.project.store.events()[: len(before)] == before
    assert [task["lease"] for task in victim.get("/api/v1/claims").json()["tasks"]] == [held]


def body_for(path: str) -> dict[str, Any]:
    """A body that is valid, so that it is not the body that is refused."""
    bodies: dict[str, dict[str, Any]] = {
        "/api/v1/leases/{lease}/answer": {"kind": "comparison", "verdict": "left"},
        "/api/v1/answers/{answer_id}": {"kind": "comparison", "verdict": "left"},
        "/api/v1/leases/{lease}/skip": {"reason": "unclear"},
        "/api/v1/me/password": {"new": "a password that is long"},
        "/api/v1/annotators": {"name": "somebody new", "role": "annotator"},
        "/api/v1/annotators/{annotator_id}/role": {"role": "annotator"},
        "/api/v1/guidelines": {"text": "Be kind.", "based_on": 0},
        "/api/v1/tasks": {"kind": "demonstration"},
        "/api/v1/checks": {"prompt": "1 + 1?", "better": "2", "worse": "3"},
        "/api/v1/tasks/overlap": {"kind": "rating", "overlap": 2},
        "/api/v1/tasks/{task}/overlap": {"overlap": 2},
        "/api/v1/checks/import": {
            "name": "checks.csv",
            "text": "prompt,better,worse\n1 + 1?,2,3\n",
        },
    }
    return bodies.get(path, {})


def test_a_session_cookie_is_signed_and_ends_where_it_should(site: Site) -> None:
    ada = site.sign_in("ada")
    cookie = ada.client.cookies["assent_session"]
    token, _, signature = cookie.rpartition(".")
    forged = site.client()
    for wrong in (token, f"{token}.{signature[::-1]}", f"x{cookie}", ""):
        forged.cookies.set("assent_session", wrong)
        assert forged.get("/api/v1/me").status_code == 401
    forged.cookies.clear()
    forged.cookies.set("assent_session", cookie)
    assert forged.get("/api/v1/me").status_code == 200
    assert ada.send("DELETE", "/api/v1/me/session").status_code == 204
    assert forged.get("/api/v1/me").status_code == 401  # on the server, not in the browser only


def test_the_cookie_is_http_only_and_same_site(site: Site) -> None:
    person = site.project.store.people.add("ada", "annotator")
    token = site.project.store.people.invite(person.annotator_id, 1)
    cookie = site.client().post(f"/invite/{token}").headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Path=/" in cookie
    assert "Domain" not in cookie


def test_a_changed_role_or_a_disabled_person_ends_sessions_at_once(site: Site) -> None:
    owner, ada = site.sign_in("owner", "owner"), site.sign_in("ada")
    role = owner.send("PUT", f"/api/v1/annotators/{ada.annotator_id}/role", {"role": "reviewer"})
    assert role.json()["role"] == "reviewer"
    assert ada.get("/api/v1/me").status_code == 401
    ada = site.sign_in("ada")
    assert ada.get("/api/v1/progress").status_code == 200
    assert owner.post(f"/api/v1/annotators/{ada.annotator_id}/disable").status_code == 200
    assert ada.get("/api/v1/me").status_code == 401
    assert owner.post(f"/api/v1/annotators/{ada.annotator_id}/invite").status_code == 422
    last = owner.post(f"/api/v1/annotators/{owner.annotator_id}/disable")
    assert last.status_code == 422
    assert "only owner" in last.json()["detail"]


def test_what_another_sites_page_sends_is_not_carried_out(site: Site) -> None:
    ada = site.sign_in("ada")
    for headers in (
        {"X-CSRF-Token": ada.csrf, "Origin": "http://evil.example"},
        {"X-CSRF-Token": ada.csrf, "Origin": "null"},
        {"X-CSRF-Token": ada.csrf, "Origin": "http://127.0.0.1:9999"},
        {"X-CSRF-Token": ada.csrf, "Sec-Fetch-Site": "cross-site"},
        {"X-CSRF-Token": ada.csrf, "Sec-Fetch-Site": "same-site"},
        {"Origin": BASE},
        {"Origin": BASE, "X-CSRF-Token": ada.csrf[::-1]},
    ):
        response = ada.client.post("/api/v1/claims", json={}, headers=headers)
        assert response.status_code == 403, headers
    login = site.client().post(
        "/login", data={"name": "ada", "password": "x"}, headers={"Origin": "http://evil.example"}
    )
    assert login.status_code == 403
    assert ada.get("/api/v1/claims").json() == {"tasks": []}


def test_a_form_cannot_stand_for_json_nor_json_for_a_form(site: Site) -> None:
    ada = site.sign_in("ada")
    headers = {"X-CSRF-Token": ada.csrf, "Origin": BASE}
    assert (
        ada.client.post("/api/v1/claims", data={"kinds": "x"}, headers=headers).status_code == 415
    )
    text = {**headers, "Content-Type": "text/plain"}
    assert ada.client.post("/api/v1/claims", content="{}", headers=text).status_code == 415
    files = ada.client.post("/logout", files={"file": b"x"}, headers=headers)
    assert files.status_code == 415


def test_a_foreign_host_is_refused_whatever_it_asks(site: Site) -> None:
    for host in ("evil.example", "127.0.0.1.evil.example:8420", "", "127.0.0.2:8420"):
        response = site.client().get("/login", headers={"Host": host})
        assert response.status_code == 421, host
    for host in ("localhost:8420", "127.0.0.1:8420", "[::1]:8420", "LOCALHOST"):
        assert site.client().get("/login", headers={"Host": host}).status_code == 200, host


def test_every_answer_carries_the_headers_that_keep_pages_harmless(site: Site) -> None:
    ada = site.sign_in("ada")
    for path in ("/", "/login", "/api/v1/me", "/nowhere", "/api/v1/nowhere", "/static/assent.css"):
        headers = ada.get(path).headers
        assert headers["content-security-policy"] == CONTENT_SECURITY_POLICY, path
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert ("cache-control" in headers) == (path != "/static/assent.css")
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers
    assert "unsafe" not in CONTENT_SECURITY_POLICY


def test_an_invitation_works_once_and_looking_does_not_use_it_up(site: Site) -> None:
    people = site.project.store.people
    ada = people.add("ada", "annotator")
    first = people.invite(ada.annotator_id, 7)
    client = site.client()
    assert client.get(f"/invite/{first}").status_code == 200
    assert client.get(f"/invite/{first}").status_code == 200
    second = people.invite(ada.annotator_id, 7)
    assert client.get(f"/invite/{first}").status_code == 404  # the newer one ended it
    assert client.post(f"/invite/{second}", data={"password": "too short"}).status_code == 422
    assert (
        client.post(f"/invite/{second}", data={"password": "long enough to keep"}).status_code
        == 303
    )
    assert client.post(f"/invite/{second}").status_code == 404
    assert site.client().post(f"/invite/{second}").status_code == 404


def test_a_password_lets_in_and_wrong_ones_have_to_wait(site: Site) -> None:
    ada = site.sign_in("ada")
    assert ada.send("PUT", "/api/v1/me/password", {"new": "short"}).status_code == 422
    password = "correct horse battery"
    assert ada.send("PUT", "/api/v1/me/password", {"new": password}).status_code == 204
    assert ada.get("/api/v1/me").status_code == 200  # this session stays
    wrong = ada.send("PUT", "/api/v1/me/password", {"old": "no", "new": password})
    assert wrong.status_code == 403

    client = site.client()
    into = client.post("/login", data={"name": "ADA", "password": password, "next": "/history"})
    assert (into.status_code, into.headers["location"]) == (303, "/history")
    assert client.get("/api/v1/me").json()["name"] == "ada"
    assert client.post("/login", data={"name": "nobody", "password": password}).status_code == 403
    tries = [
        site.client().post("/login", data={"name": "ada", "password": f"wrong {n}"})
        for n in range(6)
    ]
    assert [one.status_code for one in tries] == [403, 403, 403, 403, 403, 429]
    assert int(tries[-1].headers["retry-after"]) >= 1
    right = site.client().post("/login", data={"name": "ada", "password": password})
    assert right.status_code == 429  # waiting holds for the right one too


@pytest.mark.parametrize(
    "target",
    ["//evil.example", "https://evil.example", "/\\evil.example", "\\\\evil", "javascript:alert(1)",
     "/%0d%0aSet-Cookie:x", "/\tx", "evil"],
)  # fmt: skip
def test_nobody_is_sent_elsewhere_after_coming_in(site: Site, target: str) -> None:
    ada = site.sign_in("ada")
    location = ada.client.get("/login", params={"next": target}).headers["location"]
    assert location in ("/", "/%0d%0aSet-Cookie:x")


def test_without_a_session_a_page_leads_to_the_login_and_back(site: Site) -> None:
    response = site.client().get("/history")
    assert (response.status_code, response.headers["location"]) == (303, "/login?next=/history")


def test_an_owner_that_is_served_on_loopback_has_a_secret_that_others_cannot_read(
    site: Site,
) -> None:
    secret = site.project.root / ".serve-secret"
    assert secret.stat().st_mode & 0o777 == 0o600
    assert len(secret.read_text()) == 64


def test_no_address_and_no_agent_is_stored(site: Site) -> None:
    client = site.client()
    client.headers["User-Agent"] = "telltale-browser/7"
    client.headers["X-Forwarded-For"] = "203.0.113.77"
    person = site.project.store.people.add("ada", "annotator")
    token = site.project.store.people.invite(person.annotator_id, 1)
    client.post(f"/invite/{token}")
    csrf = client.get("/api/v1/me").json()["csrf_token"]
    ada = Browser(client, person.annotator_id, csrf)
    ada.judge(ada.task()["lease"], "key-00001")
    files = list(site.project.root.glob("assent.db*"))
    stored = b"".join(file.read_bytes() for file in files)
    assert b"key-00001" in stored
    for telltale in (b"telltale-browser", b"203.0.113.77", b"testclient"):
        assert telltale not in stored
