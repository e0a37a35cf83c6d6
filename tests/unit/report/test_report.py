"""The report: whole, self-contained, safe against hostile text, and the same twice."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from tests.unit.report.summaries import a_summary, project_with

from assent.errors import DataError, NewerSchema, ProjectError
from assent.report import write_report
from assent.report.summary import SummaryPart

DOCS = Path(__file__).parents[3] / "docs" / "reference" / "summary.md"
BLOCKS = {"td", "th", "p", "li", "h1", "h2", "h3", "h4"}
VOID = {"meta", "link", "br", "hr", "img", "input"}
GOLD_KEYS = (
    "gold_mean",
    "gold_ci",
    "accuracy_easy",
    "accuracy_hard",
    "idk_unknowable",
    "bluff",
    "kl_to_optimum_nats",
)


class Page(HTMLParser):
    """Every tag with its attributes, all text, and whether tags close in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.text += " " if tag in BLOCKS else ""
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def values(self, attribute: str) -> list[str]:
        return [value for _, found in self.tags if (value := found.get(attribute)) is not None]

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


def report_of(folder: Path, summary: dict[str, Any]) -> str:
    return write_report(project_with(folder, summary)).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of the ordinary summary."""
    return report_of(tmp_path_factory.mktemp("project"), a_summary())


def without_gold() -> dict[str, Any]:
    summary = a_summary()
    for point in summary["trajectory"]:
        for key in GOLD_KEYS:
            point[key] = None
    for name in ("promoted", "last", "promoted_without_lookup"):
        for key in ("gold_mean", "gold_ci"):
            del summary[name][key]
    summary["fall"] = None
    return summary


def test_the_page_stands_in_the_report_folder(tmp_path: Path) -> None:
    root = project_with(tmp_path, a_summary())
    assert write_report(root) == root / "report" / "index.html"
    assert [file.name for file in (root / "report").iterdir()] == ["index.html"]


def test_the_same_summary_gives_the_same_bytes(tmp_path: Path, html: str) -> None:
    written = write_report(project_with(tmp_path, a_summary()))
    assert written.read_bytes() == html.encode()


def test_the_page_loads_nothing(html: str) -> None:
    page = Page(html)
    names = {tag for tag, _ in page.tags}
    assert names & {"script", "img", "iframe", "object", "embed", "audio", "video"} == set()
    assert page.values("src") == []
    assert [link for link in page.values("href") if not link.startswith("#")] == ["data:,"]
    assert re.search(r"https?:|//\w|@import|url\((?!#)", html) is None
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert policy in page.values("content")


def test_ids_are_unique_and_every_reference_leads_somewhere(html: str) -> None:
    page = Page(html)
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    inside = [link.removeprefix("#") for link in page.values("href") if link.startswith("#")]
    labels = page.values("aria-labelledby")
    clips = re.findall(r"url\(#([^)]*)\)", html)
    assert clips
    assert {*inside, *labels, *clips} - set(ids) == set()


def test_every_plot_and_table_says_in_words_what_it_shows(html: str) -> None:
    page = Page(html)
    plots = [found for tag, found in page.tags if tag == "svg"]
    assert len(plots) == 2 + 9
    assert all(plot["role"] == "img" for plot in plots)
    assert (plots[1]["aria-label"] or "").startswith(
        "Round 2: from KL 0.00 to 4.20 nats the learned reward rose from 0.00 to 1.55; "
        "gold is -0.054 at the start, highest at 0.128 (step 48, KL 0.73 nats)"
    )
    tags = [tag for tag, _ in page.tags]
    assert tags.count("table") == tags.count("caption") > 5
    assert tags.count("h1") == 1


def test_the_page_tells_the_whole_story(html: str) -> None:
    words = Page(html).words
    for part in (
        "In round 2 the learned reward rose from 0.00 to 1.55 while gold peaked at 0.13 "
        "(KL 0.73 nats) and fell to -0.04.",
        "Seed 7, size tiny, annotator flawed, 2 rounds, 3 min 53 s in all.",
        "Gold fell by 0.148 [0.101, 0.196] in round 2.",
        "0.689 [0.661, 0.716] of 1100",
        "most confident (0.602)",
        "400 held-out comparisons and 212 look-ups",
        "promoted without look-ups 2 120 400 0 0.710 [0.620, 0.790] 0.031 [0.000, 0.060]",
        "KL is therefore a lower bound.",
        "accuracy: Wilson, 95 %",
        "β is 0.05 in round 1, 0.05 in round 2.",
        "24 train, 96 test",
        "You are right, it is certainly Mere, as is well known.",
        "unknowable fact; truth: nobody can know; the asker believes: Fell",
        "ppo.kl.coef 0.05",
        "ppo.dropout false",
        "5a5a5a5a5a5a",
    ):
        assert part in words


HOSTILE = "</style></svg>\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7*7 }}"


def hostile(value: object) -> object:
    """The same structure with every text replaced, and every key of a free table too."""
    if isinstance(value, dict):
        return {key: hostile(item) for key, item in value.items()}
    if isinstance(value, list):
        return [hostile(item) for item in value]
    return HOSTILE if isinstance(value, str) else value


def test_text_from_the_data_is_shown_and_never_obeyed(tmp_path: Path) -> None:
    summary = hostile(a_summary())
    assert isinstance(summary, dict)
    for table in ("settings", "machine", "versions", "intervals", "prompts", "seconds"):
        summary[table] = {HOSTILE: 1 if table in ("prompts", "seconds") else HOSTILE}
    for result in summary["rounds"]:
        result["reward_model"]["baselines"] = {HOSTILE: {"accuracy": 0.5}}
    html = report_of(tmp_path, summary)
    page = Page(html)
    assert {tag for tag, _ in page.tags} & {"script", "img"} == set()
    assert [name for _, found in page.tags for name in found if name.startswith("on")] == []
    assert page.text.count(HOSTILE) > 30
    assert "<script" not in html


def test_text_that_no_page_can_hold_becomes_a_visible_mark(tmp_path: Path) -> None:
    summary = a_summary()
    summary["examples"][0]["answers"]["end"]["text"] = "half \ud83d a face,\x00 nil"
    assert "half \N{REPLACEMENT CHARACTER} a face,\N{REPLACEMENT CHARACTER} nil" in report_of(
        tmp_path, summary
    )


def test_without_gold_its_parts_are_left_out_and_the_page_says_why(tmp_path: Path) -> None:
    html = report_of(tmp_path, without_gold())
    page = Page(html)
    assert "No gold: nobody knows the truth in this project" in page.words
    assert "no truth is known here, so nothing says whether quality went with it" in page.words
    titles = {"Right on easy facts", "Confident bluff", "KL to the optimum"}
    assert [title for title in titles if title in page.words] == []
    assert "Sycophancy" in page.words
    assert "gold, lower plot" not in page.words
    assert "var(--gold)" not in re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL)
    assert "highest gold of all" not in page.words


def test_a_summary_with_only_the_four_required_keys_has_a_page(tmp_path: Path) -> None:
    bare = {"schema_version": 1, "seed": 0, "rounds": [{"round": 1}], "trajectory": []}
    words = Page(report_of(tmp_path, bare)).words
    assert "No policy has been trained against a learned reward yet." in words
    assert "There is no PPO point yet, so there is nothing to plot." in words
    assert "No checkpoint has been promoted yet." in words
    assert "Lineage" not in words


def test_judgements_of_people_are_told_apart(tmp_path: Path, html: str) -> None:
    assert "given by people" not in html
    summary = a_summary()
    summary["rounds"][-1]["by_people"] = 23
    page = Page(write_report(project_with(tmp_path, summary)).read_text())
    assert "4000 judgements by 5 annotators, 23 of them given by people" in page.words


def test_unknown_keys_are_left_to_newer_readers(tmp_path: Path, html: str) -> None:
    summary = a_summary()
    summary["weather"] = "fair"
    summary["trajectory"][0]["mood"] = 3
    assert report_of(tmp_path, summary) == html


def test_a_missing_summary_is_one_line_that_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(ProjectError) as caught:
        write_report(tmp_path)
    assert f"{tmp_path / 'summary.json'} is missing" in str(caught.value)
    assert f"`assent loop run {tmp_path}`" in str(caught.value)
    with pytest.raises(ProjectError, match="nowhere is not a folder"):
        write_report(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"seed": 1,\n "rounds": [}', "summary.json, line 2, column 13: not JSON"),
        (b'{"seed": "\xff"}', "summary.json: not UTF-8 text (byte 10)"),
        (b"[]", "summary.json: the whole file: input should be"),
    ],
)
def test_a_file_that_is_no_summary_is_named_with_the_place(
    tmp_path: Path, content: bytes, expected: str
) -> None:
    (tmp_path / "summary.json").write_bytes(content)
    with pytest.raises(DataError) as caught:
        write_report(tmp_path)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "report").exists()


def test_a_wrong_value_is_one_line_that_names_its_key(tmp_path: Path) -> None:
    summary = a_summary()
    summary["trajectory"][3]["kl_nats"] = "far"
    del summary["rounds"][1]["reward_model"]["accuracy"]
    with pytest.raises(DataError) as caught:
        write_report(project_with(tmp_path, summary))
    message = str(caught.value)
    assert "summary.json: rounds[1].reward_model.accuracy: field required (and 1 more)" in message
    assert "\n" not in message
    summary["rounds"][1]["reward_model"]["accuracy"] = 0.7
    with pytest.raises(DataError, match=r"trajectory\[3\]\.kl_nats: input should be a valid numb"):
        write_report(project_with(tmp_path, summary))


def test_a_figure_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    summary = a_summary()
    summary["trajectory"][0]["gold_mean"] = float("nan")
    with pytest.raises(DataError, match=r"trajectory\[0\]\.gold_mean: input should be a finite"):
        write_report(project_with(tmp_path, summary))


def test_a_newer_summary_asks_for_a_newer_version(tmp_path: Path) -> None:
    summary = a_summary() | {"schema_version": 2}
    with pytest.raises(NewerSchema, match="schema_version is 2, newer than 1"):
        write_report(project_with(tmp_path, summary))


def test_a_failed_report_leaves_the_old_page(tmp_path: Path) -> None:
    old = report_of(tmp_path, a_summary())
    with pytest.raises(DataError):
        report_of(tmp_path, {"schema_version": 1})
    assert (tmp_path / "report" / "index.html").read_text(encoding="utf-8") == old


def test_every_key_is_in_the_reference() -> None:
    text = DOCS.read_text()
    fields = {name for part in SummaryPart.__subclasses__() for name in part.model_fields}
    assert len(fields) > 50
    assert sorted(name for name in fields if f"`{name}`" not in text) == []


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_text_and_lines_stand_out_from_light_and_dark_paper(html: str) -> None:
    themes = re.findall(r":root \{(.*?)\}", html, flags=re.DOTALL)
    assert len(themes) == 2
    for theme in themes:
        colours = dict(re.findall(r"--(\w+): (#\w{6})", theme))
        for paper in ("paper", "card", "note"):
            weakest = min(
                contrast(colours[name], colours[paper])
                for name in ("ink", "quiet", "proxy", "gold")
            )
            assert weakest >= 4.5  # WCAG 2.2, AA for small text


@pytest.mark.parametrize(
    "points",
    [
        [{"kl_nats": 0.0}],
        [{"kl_nats": 0.0}, {"kl_nats": 0.0}],
        [{"kl_nats": -0.001}, {"kl_nats": 0.4}, {"kl_nats": 0.2}],
        [{"kl_nats": 0.0, "gold_mean": 0.1}, {"kl_nats": 0.3}, {"kl_nats": 0.5}],
        [{"kl_nats": 0.0}, {"kl_nats": 0.3, "gold_mean": 0.1, "gold_ci": [0.0, 0.2]}],
        [{"kl_nats": 50.0, "bluff": 0.5, "gold_mean": -1.0}, {"kl_nats": 4e4, "bluff": None}],
    ],
    ids=["one", "no KL", "KL turns back", "gold at the start", "gold at the end", "far"],
)
def test_odd_trajectories_have_a_page_too(tmp_path: Path, points: list[dict[str, Any]]) -> None:
    summary = a_summary() | {"fall": None}
    filled = [{"round": 1, "step": i, "proxy_mean": 0.5} | one for i, one in enumerate(points)]
    summary["trajectory"] = [*filled, *({**point, "round": 2} for point in filled)]
    page = Page(report_of(tmp_path, summary))
    plots = [found for tag, found in page.tags if tag == "svg"]
    assert len(plots) == (3 if "bluff" in points[0] else 2)
    golds = sum(one.get("gold_mean") is not None for one in points)
    assert ("gold, lower plot" in page.words) == (golds > 0)


def test_a_curve_whose_kl_turns_back_has_upright_intervals(tmp_path: Path, html: str) -> None:
    summary = a_summary()
    summary["trajectory"][5]["kl_nats"] = 9.0
    turned = report_of(tmp_path, summary)
    assert html.count("FillBetweenPolyCollection") == turned.count("FillBetweenPolyCollection") * 2
    assert "LineCollection" in turned
    assert "LineCollection" not in html


def test_the_rounds_follow_one_another_whether_or_not_steps_start_again(
    tmp_path: Path, html: str
) -> None:
    summary = a_summary()
    for point in summary["trajectory"]:
        point["step"] += 144 * (point["round"] - 1)

    def drawing(page: str) -> str:
        return page[
            page.index("behaviour-bluff-figure") : page.index("behaviour-sycophancy-figure")
        ]

    # The words of the caption and the next plot's label are the same as well: only steps differ.
    assert drawing(report_of(tmp_path, summary)) == drawing(html)
