"""Doing tasks in a real browser: by mouse, by keyboard, interrupted, offline, two at once."""

import itertools

import pytest
from playwright.sync_api import Page, Route, expect
from tests.e2e.web.conftest import Person, Site

pytestmark = pytest.mark.xdist_group("browser")
_names = (f"Ann {number}" for number in itertools.count(1))


@pytest.fixture
def ann(site: Site) -> Person:
    """An annotator nobody has seen before."""
    return site.annotator(next(_names))


def begin(person: Person, kind: str) -> Page:
    """Have a task of one kind on the screen."""
    page = person.open(f"/judge?kind={kind}")
    page.wait_for_selector(f"form.task[data-kind={kind}]")
    return page


def saved(page: Page) -> None:
    """Wait until everything sent was acknowledged."""
    expect(page.locator("#saved")).to_have_attribute("data-state", "saved")
    page.wait_for_function(
        "() => Object.keys(localStorage).every((name) =>"
        " !name.startsWith('assent.draft.') || !JSON.parse(localStorage[name]).ready)"
    )


def answers(person: Person) -> list[dict[str, object]]:
    """What the server holds of a person, newest first."""
    found: list[dict[str, object]] = person.api("GET", "/answers")["answers"]
    return found


def test_a_comparison_takes_two_keys(ann: Person) -> None:
    page = begin(ann, "comparison")

    page.keyboard.press("2")
    page.keyboard.press("Enter")

    saved(page)
    assert [one["summary"] for one in answers(ann)] == ["left, clearly"]
    assert not ann.wrong


def test_a_comparison_by_mouse_with_a_flag_and_a_note(ann: Person) -> None:
    page = begin(ann, "comparison")

    page.locator(".choice", has_text="slightly").last.click()
    page.get_by_text("Something wrong with it").first.click()
    page.get_by_label("says something untrue").first.check()
    page.get_by_text("Add a note").click()
    page.get_by_label("Note").fill("the bridge is of wood")
    page.get_by_role("button", name="Send").click()

    saved(page)
    [answer] = answers(ann)
    body = ann.api("GET", f"/answers/{answer['answer']}")["body"]
    assert (body["verdict"], body["strength"]) == ("right", 2)
    assert body["flags"]["a"] == ["false"]
    assert body["note"] == "the bridge is of wood"
    assert body["seconds"] > 0


@pytest.mark.parametrize(
    ("key", "said"), [("t", "tie"), ("b", "both bad"), ("x", "cannot judge"), ("0", "right, much")]
)
def test_every_verdict_has_a_key(ann: Person, key: str, said: str) -> None:
    page = begin(ann, "comparison")

    page.keyboard.press(key)
    page.keyboard.press("Enter")

    saved(page)
    assert answers(ann)[0]["summary"] == said


def test_nothing_is_sent_before_something_is_chosen(ann: Person) -> None:
    page = begin(ann, "comparison")

    page.keyboard.press("Enter")

    expect(page.get_by_role("alert")).to_contain_text("Choose which response is better")
    assert answers(ann) == []


def test_a_ranking_by_keyboard_with_a_tie(ann: Person) -> None:
    page = begin(ann, "ranking")

    for key in ("2", "1", "2", "4"):
        page.keyboard.press(key)
    expect(page.locator(".order")).to_have_text("B \u203a A = C \u203a D")
    page.keyboard.press("Enter")

    saved(page)
    assert answers(ann)[0]["summary"] == "B > A = C > D"


def test_a_ranking_by_mouse_asks_for_what_is_missing(ann: Person) -> None:
    page = begin(ann, "ranking")
    cards = page.locator(".response")

    for card, place in enumerate((3, 1, 2)):
        cards.nth(card).locator(".places .choice").nth(place - 1).click()
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("alert")).to_contain_text("Give D a place too")
    cards.nth(3).locator(".places .choice").nth(3).click()
    page.get_by_role("button", name="Send").click()

    saved(page)
    assert answers(ann)[0]["summary"] == "B > C > A > D"


def test_a_rating_by_keyboard_and_by_mouse(ann: Person) -> None:
    page = begin(ann, "rating")

    page.keyboard.press("6")
    page.keyboard.press("7")
    page.locator("[data-axis=harmless] .choice").nth(4).click()
    page.keyboard.press("Enter")

    saved(page)
    [answer] = answers(ann)
    ratings = ann.api("GET", f"/answers/{answer['answer']}")["body"]["ratings"]
    assert ratings == {"helpful": 6, "honest": 7, "harmless": 5}


def test_a_demonstration_survives_a_reload_and_is_sent_while_writing(ann: Person) -> None:
    page = begin(ann, "demonstration")

    page.locator("#demonstration").fill("It is of stone, since 1884.")
    page.wait_for_function(
        "() => Object.keys(localStorage).some((n) => n.startsWith('assent.draft'))"
    )
    page.reload()
    expect(page.locator("#demonstration")).to_have_value("It is of stone, since 1884.")
    page.locator("#demonstration").press("Control+Enter")

    saved(page)
    [answer] = answers(ann)
    assert ann.api("GET", f"/answers/{answer['answer']}")["body"]["text"] == (
        "It is of stone, since 1884."
    )


def test_letters_in_a_text_field_are_text(ann: Person) -> None:
    page = begin(ann, "comparison")

    page.keyboard.press("n")
    page.keyboard.type("2 best, skip us?")
    page.keyboard.press("Escape")
    page.keyboard.press("8")
    page.keyboard.press("Enter")

    saved(page)
    [answer] = answers(ann)
    body = ann.api("GET", f"/answers/{answer['answer']}")["body"]
    assert (body["note"], body["verdict"]) == ("2 best, skip us?", "right")


def test_offline_in_the_middle_loses_nothing(ann: Person) -> None:
    page = begin(ann, "comparison")
    page.wait_for_load_state("networkidle")

    ann.page.context.set_offline(offline=True)
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    expect(page.locator("#saved")).to_contain_text("1 answer is kept in this browser")
    page.wait_for_selector("form.task:not([inert])")
    page.keyboard.press("0")  # the task that was fetched ahead
    page.keyboard.press("Enter")
    expect(page.locator("#saved")).to_contain_text("2 answers are kept")
    ann.page.context.set_offline(offline=False)

    saved(page)
    assert sorted(str(one["summary"]) for one in answers(ann)) == ["left, much", "right, much"]


def test_an_answer_whose_acknowledgement_was_lost_is_stored_once(ann: Person) -> None:
    page = begin(ann, "comparison")
    lost: list[str] = []

    def lose_the_first(route: Route) -> None:
        if lost:
            route.continue_()
            return
        stored = route.fetch()
        lost.append(str(stored.status))
        route.abort()

    page.route("**/answer", lose_the_first)
    page.keyboard.press("3")
    page.keyboard.press("Enter")

    saved(page)
    assert lost == ["201"]
    assert [one["summary"] for one in answers(ann)] == ["left, slightly"]


def test_a_double_click_and_the_back_button_store_one_answer(ann: Person) -> None:
    page = begin(ann, "comparison")

    page.keyboard.press("1")
    page.get_by_role("button", name="Send").dblclick()
    saved(page)
    prompt = page.locator(".prompt .text").first.inner_text()
    ann.open("/history")
    page.go_back()
    page.wait_for_selector("form.task")

    assert page.locator(".prompt .text").first.inner_text() == prompt
    assert len(answers(ann)) == 1


def test_undo_brings_the_task_back_with_what_was_chosen(ann: Person) -> None:
    page = begin(ann, "comparison")
    prompt = page.locator(".prompt .text").first.inner_text()
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    saved(page)

    page.keyboard.press("u")
    expect(page.locator("#saved")).to_contain_text("Undone")
    assert page.locator(".prompt .text").first.inner_text() == prompt
    expect(page.locator("input[value='left:4']")).to_be_checked()
    page.keyboard.press("t")
    page.keyboard.press("Enter")

    saved(page)
    stand = [one["summary"] for one in answers(ann) if one["state"] == "stands"]
    assert stand == ["tie"]


def test_skipping_takes_a_reason_and_the_next_task_comes(ann: Person) -> None:
    page = begin(ann, "comparison")
    prompt = page.locator(".prompt .text").first.inner_text()

    page.keyboard.press("s")
    page.keyboard.press("2")
    page.get_by_role("button", name="Skip it").click()

    expect(page.locator("#saved")).to_have_text("Skipped.")
    expect(page.locator(".prompt .text").first).not_to_have_text(prompt)
    assert ann.api("GET", "/me/progress")["skipped"] == 1


def test_an_answer_is_changed_and_taken_back_from_the_history(ann: Person) -> None:
    page = begin(ann, "comparison")
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    saved(page)

    ann.open("/history")
    page.locator("td.excerpt a").first.click()
    page.locator("form.task .choice", has_text="Both bad").click()
    page.get_by_role("button", name="Save the change").click()
    page.wait_for_url("**/history/*?changed=1")
    expect(page.locator("#said")).to_contain_text("Saved.")
    assert answers(ann)[0]["summary"] == "both bad"
    page.get_by_role("button", name="Take it back").click()

    page.wait_for_url("**/judge")
    assert [one["state"] for one in answers(ann) if one["state"] == "stands"] == []


def test_two_people_at_once_and_a_second_tab(site: Site) -> None:
    one, other = site.annotator(next(_names)), site.annotator(next(_names))
    pages = [begin(one, "comparison"), begin(other, "comparison")]
    tab = one.page.context.new_page()
    tab.goto(f"{one.url}/judge?kind=comparison")
    tab.wait_for_selector("form.task")
    assert (
        tab.locator(".prompt .text").first.inner_text()
        == pages[0].locator(".prompt .text").first.inner_text()
    )

    for _ in range(5):
        for page in pages:
            page.wait_for_selector("form.task:not([inert])")
            page.keyboard.press("4")
            page.keyboard.press("Enter")
    for page in pages:
        saved(page)

    assert len(answers(one)) == len(answers(other)) == 5
    owner = site.owner()
    owner.open("/annotators")
    rows = {row["name"]: row for row in owner.api("GET", "/annotators")["items"]}
    assert {rows[name]["answers"] for name in list(rows)[-2:]} == {5}


def test_the_guidelines_are_beside_the_task_and_their_version_is_kept(ann: Person) -> None:
    page = begin(ann, "comparison")
    expect(page.locator("#guidelines-text")).to_contain_text("Prefer what is true")
    shown = page.locator("#guidelines-version").inner_text()

    page.keyboard.press("g")
    expect(page.locator("#guidelines")).to_be_hidden()
    page.keyboard.press("5")  # no key of a comparison: nothing happens
    page.keyboard.press("1")
    page.keyboard.press("Enter")

    saved(page)
    [answer] = answers(ann)
    task = ann.api("GET", f"/answers/{answer['answer']}")["task"]
    assert shown == f"version {task['guidelines_version']}"


def test_new_guidelines_appear_with_the_first_task_under_them(site: Site) -> None:
    person, owner = site.annotator(next(_names)), site.owner()
    owner.open("/guidelines/edit")
    page = begin(person, "comparison")
    version = owner.api("GET", "/guidelines")["version"]

    owner.page.locator("#text").fill("Prefer what is true, and short.")
    owner.page.get_by_role("button", name=f"Save as version {version + 1}").click()
    owner.page.wait_for_url("**/guidelines")
    for _ in range(2):  # the next task was fetched ahead, under the old version
        page.wait_for_selector("form.task:not([inert])")
        page.keyboard.press("1")
        page.keyboard.press("Enter")

    expect(page.locator("#guidelines-version")).to_have_text(f"version {version + 1}")
    expect(page.locator("#guidelines-text")).to_have_text("Prefer what is true, and short.")


def test_keys_are_listed_and_can_be_changed(ann: Person) -> None:
    page = ann.open("/settings")
    page.get_by_role("button", name="About equal: key t, change").click()
    page.keyboard.press("e")
    expect(page.locator("#said")).to_contain_text("About equal: e")

    begin(ann, "comparison")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("About equale")
    page.keyboard.press("Escape")
    page.keyboard.press("e")
    page.keyboard.press("Enter")

    saved(page)
    assert answers(ann)[0]["summary"] == "tie"


def test_when_nothing_is_left_the_page_says_so(site: Site) -> None:
    person = site.annotator(next(_names))
    page = person.open("/judge?kind=demonstration")
    page.wait_for_selector("form.task")
    page.route("**/claims", lambda route: route.fulfill(json={"task": None, "nothing": "all_done"}))
    page.reload()

    expect(page.locator("#task")).to_contain_text("You have answered everything")
    expect(page.get_by_role("button", name="Send")).to_be_hidden()
