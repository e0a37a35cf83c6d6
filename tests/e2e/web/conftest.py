"""A real `assent serve` on a small project, and a real browser that notices what it must not do."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

import assent
from assent.store import NewComparison, NewModelVersion, NewResponse, Project
from assent.types import Prompt

FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WIDE: Final = {"width": 1280, "height": 800}
SETTINGS: Final = """schema_version = 1
seed = 1

[labelling]
overlap = 60
check_share = 0.0
repeat_share = 0.0
"""
KINDS: Final = ("comparison", "ranking", "rating", "demonstration")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield launched
        launched.close()


@dataclass
class Serving:
    """A server process and what came out of it."""

    url: str
    root: Path
    process: subprocess.Popen[str]
    owner_link: str

    def stop(self) -> None:
        """Ctrl-C, and wait."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=30)


@contextmanager
def serve(root: Path) -> Iterator[Serving]:
    """`assent serve` on a free port, until the block ends."""
    source = str(Path(assent.__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, "-m", "assent.cli", "serve", str(root), "--port", "0", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    assert process.stderr is not None
    lines: list[str] = []
    while not lines or lines[-1].rstrip() != "}":
        lines.append(process.stdout.readline())
        if not lines[-1]:
            pytest.fail(f"the server did not start: {process.stderr.read()}")
    told = json.loads("".join(lines))
    if "url" not in told:
        process.communicate(timeout=30)
        pytest.fail(f"the server did not start: {told}")
    serving = Serving(told["url"], root, process, told["owner_link"])
    try:
        yield serving
    finally:
        serving.stop()


@dataclass
class Person:
    """Somebody at a browser: their page, and what must never happen in it."""

    page: Page
    url: str
    wrong: list[str] = field(default_factory=list)

    def open(self, path: str) -> Page:
        """Go to a page of the server and wait until it has loaded."""
        self.page.goto(f"{self.url}{path}")
        return self.page

    def api(self, method: str, path: str, body: object = None) -> Any:
        """Call the API as this person, from within their page."""
        result = self.page.evaluate(
            """async ([method, path, body]) => {
                const { call } = await import("/static/js/http.js");
                try { return [await call(method, path, body ?? undefined), null]; }
                catch (problem) { return [null, `${problem.status}: ${problem.message}`]; }
            }""",
            [method, path, body],
        )
        assert result[1] is None, f"{method} {path}: {result[1]}"
        return result[0]

    def watch(self) -> None:
        """Note dialogs, requests to anywhere else, breaches of the page's policy, and errors."""
        self.page.on("dialog", lambda dialog: self._note(f"dialog: {dialog.message}"))
        self.page.on("pageerror", lambda error: self._note(f"script error: {error}"))
        self.page.on("console", self._console)
        self.page.context.on("request", lambda request: self._request(request.url))
        self.page.context.on("page", lambda page: self._note(f"new window: {page.url}"))

    def _request(self, url: str) -> None:
        if not url.startswith((f"{self.url}/", "data:")):
            self._note(f"request: {url}")

    def _console(self, message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text or "TrustedHTML" in message.text:
            self._note(f"policy: {message.text}")

    def _note(self, what: str) -> None:
        self.wrong.append(what)


class Site:
    """A project that is served, and the people who come to it."""

    def __init__(self, browser: Browser, serving: Serving) -> None:
        self.serving = serving
        self.url = serving.url
        self._browser = browser
        self._contexts: list[BrowserContext] = []
        self._owner_state: Any = None

    def owner(self, **options: Any) -> Person:
        """The owner; the link that `serve` printed is used the first time."""
        if self._owner_state is None:
            person = self._enter(self.serving.owner_link)
            self._owner_state = person.page.context.storage_state()
        return self._come(storage_state=self._owner_state, **options)

    def annotator(self, name: str, role: str = "annotator") -> Person:
        """Somebody new, invited by the owner."""
        owner = self.owner()
        owner.open("/annotators")
        added = owner.api("POST", "/annotators", {"name": name, "role": role})
        return self._enter(added["link"])

    def visitor(self, **options: Any) -> Person:
        """Somebody who has not logged in."""
        return self._come(**options)

    def close(self, but: int = 0) -> None:
        """Everybody goes but the first so many."""
        for context in self._contexts[but:]:
            context.close()
        del self._contexts[but:]

    @property
    def people(self) -> int:
        """How many there are."""
        return len(self._contexts)

    def _enter(self, link: str) -> Person:
        person = self._come()
        person.page.goto(link)
        person.page.get_by_role("button", name="Begin").click()
        person.page.wait_for_url(f"{self.url}/")
        return person

    def _come(self, **options: Any) -> Person:
        context = self._browser.new_context(**{"viewport": WIDE, **options})
        context.set_default_timeout(15_000)
        self._contexts.append(context)
        person = Person(context.new_page(), self.url)
        person.watch()
        return person


def make_project(
    root: Path, asked: Sequence[tuple[str, Sequence[str]]], settings: str = SETTINGS
) -> Path:
    """A project with prompts, responses of one model, and a comparison of the first two of each."""
    with Project.create(root, settings) as project:
        store = project.store
        folder = root / "runs" / "folder"
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_text("weights")
        artifact = project.artifacts.adopt_folder(folder, "checkpoints", "sft")
        model = store.add_model_version(
            NewModelVersion(
                stage="sft", name="sft", weights_sha256=artifact.sha256, path=artifact.path
            )
        )
        sampler = store.add_sampler(model.id, {"temperature": 1.0}, "transformers")
        prompts = store.add_prompts([Prompt(text=text) for text, _ in asked])
        for prompt, (_, texts) in zip(prompts, asked, strict=True):
            responses = store.add_responses(
                [
                    NewResponse(
                        prompt_id=prompt,
                        text=text,
                        sampler_id=sampler,
                        seed=7,
                        logprob_sum=-1.0,
                        token_count=4,
                        finish_reason="stop",
                        index=index,
                    )
                    for index, text in enumerate(texts)
                ]
            )
            store.add_comparisons(
                [
                    NewComparison(
                        prompt_id=prompt,
                        first_response_id=responses[0],
                        second_response_id=responses[1],
                        shown_order="first_left",
                    )
                ]
            )
    return root


ORDINARY: Final = [
    (
        f"Question {number}: what is the bridge of Fernby?",
        [
            f"It is of **stone**, and {number} years old.",
            f"I do not know, number {number}.",
            f"Nobody crosses it since {number}.",
            f"Wood, painted green {number} times.",
        ],
    )
    for number in range(1, 41)
]

MakeSite = Callable[[Path], AbstractContextManager[Site]]


@pytest.fixture(scope="session")
def make_site(browser: Browser) -> MakeSite:
    """Serves a project folder while a block lasts."""

    @contextmanager
    def make(root: Path) -> Iterator[Site]:
        with ExitStack() as stack:
            site = Site(browser, stack.enter_context(serve(root)))
            stack.callback(site.close)
            yield site

    return make


@pytest.fixture(scope="module")
def _site(make_site: MakeSite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    root = make_project(tmp_path_factory.mktemp("web") / "bridges", ORDINARY)
    with make_site(root) as site:
        owner = site.owner()
        owner.open("/tasks")
        for kind in KINDS:
            owner.api("POST", "/tasks", {"kind": kind, "count": 40, "size": 4})
        owner.api("PUT", "/guidelines", {"text": "Prefer what is **true**.", "based_on": 1})
        yield site


@pytest.fixture
def site(_site: Site) -> Iterator[Site]:
    """A served project of one module's tests, with tasks of every kind; nobody is there yet."""
    before = _site.people
    yield _site
    _site.close(but=before)
