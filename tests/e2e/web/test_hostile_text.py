"""Hostile texts on every page that shows text: nothing runs, nothing is asked of other hosts."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect
from tests.e2e.web.conftest import MakeSite, Person, Site, make_project
from tests.hostile_texts import HOSTILE

pytestmark = pytest.mark.xdist_group("browser")

NAMES = ("<script>alert(1)</script>", "p\u0430ypal", "=HYPERLINK('https://attacker.example')")


@pytest.fixture(scope="module")
def hostile(
    make_site: MakeSite, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Site, Person]]:
    """A project that holds nothing else, and its owner, who judged each and said it back."""
    root = make_project(
        tmp_path_factory.mktemp("web") / "<b>hostile",
        [(text, [f"{text}\n\none", f"two\n\n{text}"]) for text in HOSTILE.values()],
    )
    with make_site(root) as site:
        owner = site.owner()
        owner.open("/tasks")
        for kind in ("comparison", "rating", "demonstration"):
            owner.api("POST", "/tasks", {"kind": kind, "count": 100})
        for name in NAMES:
            owner.api("POST", "/annotators", {"name": name, "role": "annotator"})
        owner.api("PUT", "/guidelines", {"text": "\n\n".join(HOSTILE.values()), "based_on": 1})
        check = dict.fromkeys(("prompt", "better", "why"), "\n\n".join(HOSTILE.values())[:3_000])
        owner.api("POST", "/checks", {**check, "worse": "no"})
        yield site, owner


def test_judging_every_one_of_them_runs_nothing(hostile: tuple[Site, Person]) -> None:
    _, owner = hostile
    page = owner.open("/judge?kind=comparison")

    for text in HOSTILE.values():
        page.wait_for_selector("form.task:not([inert])")
        page.keyboard.press("w")
        page.keyboard.press("n")
        page.get_by_label("Note").fill(text.replace("\x07", "").replace("\x1b", "")[:3_900])
        page.keyboard.press("Escape")
        page.keyboard.press("w")
        page.keyboard.press("1")
        page.keyboard.press("Enter")
    page.wait_for_function(
        "() => Object.keys(localStorage).every((name) =>"
        " !name.startsWith('assent.draft.') || !JSON.parse(localStorage[name]).ready)"
    )

    assert len(owner.api("GET", "/answers?limit=100")["answers"]) >= len(HOSTILE)
    assert owner.wrong == []


@pytest.mark.parametrize(
    "path",
    [
        "/", "/judge?kind=rating", "/judge?kind=demonstration", "/history", "/guidelines",
        "/guidelines/edit", "/annotators", "/browse", "/browse/judgements", "/tasks", "/checks",
        "/progress", "/rounds", "/exports", "/settings",
        "/browse?q=<script>alert(1)</script>", "/browse/judgements?q=<img src=x onerror=alert(1)>",
        "/<script>alert(1)</script>", "/login?next=javascript:alert(1)",
    ],
)  # fmt: skip
def test_lists_and_forms_run_nothing(hostile: tuple[Site, Person], path: str) -> None:
    _, owner = hostile

    page = owner.open(path)
    page.wait_for_load_state("networkidle")

    assert owner.wrong == []
    assert (
        page.evaluate("document.querySelectorAll('main script, main img, main iframe').length") == 0
    )
    assert page.evaluate("document.querySelectorAll('main [style], main [onerror]').length") == 0


def every_text(owner: Person, names: list[str]) -> None:
    prompts = owner.api("GET", "/prompts?limit=100")["items"]
    wanted = [row for row in prompts if any(HOSTILE[name][:400] == row["text"] for name in names)]
    assert len(wanted) == len(names)
    for row in wanted:
        owner.open(f"/browse/prompts/{row['id']}")
        response = owner.api("GET", f"/prompts/{row['id']}")["responses"][0]
        owner.open(f"/browse/responses/{response['id']}")
        said = owner.api("GET", f"/responses/{response['id']}")["judgements"]
        for one in said[:1]:
            owner.open(f"/browse/judgements/{one['event']}")
    assert owner.wrong == []


def test_the_pages_of_some_run_nothing(hostile: tuple[Site, Person]) -> None:
    every_text(
        hostile[1], ["script", "mutation", "javascript in pieces", "link out", "turned round"]
    )


@pytest.mark.slow
def test_the_pages_of_all_run_nothing(hostile: tuple[Site, Person]) -> None:
    every_text(hostile[1], list(HOSTILE))


def test_a_link_in_a_response_asks_before_it_leads_away(hostile: tuple[Site, Person]) -> None:
    _, owner = hostile
    rows = owner.api("GET", "/prompts?q=your%20bank")["items"]
    row = next(one for one in rows if one["text"] == HOSTILE["link out"])
    page = owner.open(f"/browse/prompts/{row['id']}")

    page.get_by_role("link", name="bank", exact=True).first.click()

    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("https://attacker.example/login")
    dialog.get_by_role("button", name="Stay here").click()
    expect(dialog).to_have_count(0)
    assert owner.wrong == []
