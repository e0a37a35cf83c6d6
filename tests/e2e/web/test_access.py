"""Every page for everybody: axe finds nothing at WCAG 2.2 AA, and nothing runs over the edge."""

import itertools
from collections.abc import Iterator
from typing import Final

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page
from tests.e2e.web.conftest import Person, Site

pytestmark = pytest.mark.xdist_group("browser")

RULES: Final = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
}
PHONE, TABLET, DESKTOP = (360, 740), (768, 1024), (1280, 800)
LOOKS: Final = [(theme, size) for theme in ("light", "dark") for size in (PHONE, TABLET, DESKTOP)]
PAGES: Final = (
    "/",
    "/judge?kind=comparison",
    "/judge?kind=ranking",
    "/judge?kind=rating",
    "/judge?kind=demonstration",
    "/history",
    "/history/{answer}",
    "/guidelines",
    "/settings",
    "/progress",
    "/annotators",
    "/browse",
    "/browse?q=bridge",
    "/browse/prompts/{prompt}",
    "/browse/responses/{response}",
    "/browse/judgements",
    "/browse/judgements/{event}",
    "/rounds",
    "/tasks",
    "/checks",
    "/guidelines/edit",
    "/exports",
    "/nothing/here",
)
OUTSIDE: Final = ("/login", "/invite/notatoken")


@pytest.fixture(scope="module")
def owner(_site: Site) -> Iterator[tuple[Person, dict[str, str]]]:
    """The owner, who has judged once, and the ids that paths need."""
    person = _site.owner()
    page = person.open("/judge?kind=comparison")
    page.wait_for_selector("form.task")
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    page.wait_for_selector("#saved[data-state=saved]")
    answer = person.api("GET", "/answers")["answers"][0]["answer"]
    row = person.api("GET", f"/judgements/{answer}")
    person.api(
        "POST", "/checks", {"prompt": "2 + 2?", "better": "4", "worse": "5", "why": "arithmetic"}
    )
    person.api("POST", "/annotators", {"name": "Bo", "role": "annotator"})
    ids = {
        "answer": answer,
        "event": answer,
        "prompt": row["comparison"]["id"] and row["prompt_id"],
        "response": row["comparison"]["first"]["id"],
    }
    yield person, ids
    _site.close()


def look(person: Person, path: str, theme: str, size: tuple[int, int]) -> Page:
    """A page in one theme and width, when it has settled."""
    person.page.set_viewport_size({"width": size[0], "height": size[1]})
    person.page.emulate_media(
        color_scheme="dark" if theme == "dark" else "light", reduced_motion="reduce"
    )
    page = person.open(path)
    if path.startswith(("/judge?", "/history/")):
        page.wait_for_selector("form.task")
        # At the end of the page the bar with the buttons lies over nothing.
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
    return page


def problems(page: Page) -> list[str]:
    """What axe finds, and text that runs over the edge of the window."""
    found = [
        f"{one['id']}: {node['html'][:200]} {node.get('failureSummary', '')[:300]}"
        for one in Axe().run(page, options=RULES).response["violations"]
        for node in one["nodes"]
    ]
    over = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    return [*found, *([f"{over} px over the edge"] if over > 0 else [])]


@pytest.mark.parametrize(
    ("path", "seen"), list(zip(PAGES, itertools.cycle(LOOKS), strict=False)), ids=PAGES
)
def test_axe_finds_nothing(
    owner: tuple[Person, dict[str, str]], path: str, seen: tuple[str, tuple[int, int]]
) -> None:
    person, ids = owner

    assert problems(look(person, path.format(**ids), *seen)) == []


@pytest.mark.slow
@pytest.mark.parametrize("seen", LOOKS, ids=[f"{theme}-{size[0]}" for theme, size in LOOKS])
@pytest.mark.parametrize("path", PAGES)
def test_axe_finds_nothing_in_any_theme_or_width(
    owner: tuple[Person, dict[str, str]], path: str, seen: tuple[str, tuple[int, int]]
) -> None:
    person, ids = owner

    assert problems(look(person, path.format(**ids), *seen)) == []


@pytest.mark.parametrize("path", OUTSIDE)
def test_axe_finds_nothing_before_the_door(site: Site, path: str) -> None:
    visitor = site.visitor()

    for theme, size in (LOOKS[0], LOOKS[5]):
        assert problems(look(visitor, path, theme, size)) == []


def test_axe_finds_nothing_in_the_dialogs(owner: tuple[Person, dict[str, str]]) -> None:
    person, _ = owner
    page = look(person, "/judge?kind=comparison", "light", DESKTOP)

    for key in ("?", "s"):
        page.keyboard.press(key)
        page.wait_for_selector("dialog[open]")
        assert problems(page) == []
        page.keyboard.press("Escape")
        page.wait_for_selector("dialog", state="detached")


def test_the_first_stop_of_the_tab_key_skips_to_the_content(site: Site) -> None:
    page = site.owner().open("/history")

    page.keyboard.press("Tab")

    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_every_stop_of_the_tab_key_is_in_view_and_marked(site: Site) -> None:
    page = site.owner().open("/judge?kind=comparison")
    page.wait_for_selector("form.task")

    for _ in range(30):
        page.keyboard.press("Tab")
        hidden = page.evaluate(
            """() => {
                const stop = document.activeElement;
                if (stop === document.body) return null;
                const shown = stop.matches("input[type=radio]") ? stop.nextElementSibling : stop;
                const box = shown.getBoundingClientRect();
                const style = getComputedStyle(shown);
                const visible = box.width > 0 && box.bottom > 0 && box.top < innerHeight;
                const marked = visible && style.outlineStyle !== "none";
                return marked ? null : stop.outerHTML.slice(0, 120);
            }"""
        )
        assert hidden is None


@pytest.mark.parametrize(
    "path", ["/annotators", "/tasks", "/browse", "/browse/judgements", "/progress", "/exports"]
)
def test_a_table_fits_a_phone_and_its_cells_say_what_they_are(
    owner: tuple[Person, dict[str, str]], path: str
) -> None:
    person, _ = owner

    page = look(person, path, "light", PHONE)

    over = page.locator(".scroll").evaluate_all(
        "(boxes) => boxes.map((box) => box.scrollWidth - box.clientWidth)"
    )
    assert over == [0] * len(over)
    assert over
    table = page.get_by_role("table").first
    assert table.get_by_role("columnheader").count() > 1
    row = table.get_by_role("row").nth(1)
    assert row.get_by_role("cell").last.is_visible()
    assert row.locator("[data-label]").count() > 0
