"""The audits as pages and documents: verdicts first, safe against hostile text, strict."""

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.toy_loop import make_toy
from tests.unit.report.suites import HOSTILE, a_suite, with_suite
from tests.unit.report.summaries import a_summary, project_with
from tests.unit.report.test_report import Page

from assent.errors import DataError, NewerSchema, ProjectError
from assent.report import difference, difference_markdown, read_document, write_report
from assent.report.audit_page import _notes, headline
from assent.report.audits import Suite, load_suite, places, side_by_side
from assent.report.cards import NOT_RECORDED
from assent.report.summary import parse_summary


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A toy project with a summary and audits."""
    return with_suite(project_with(make_toy(tmp_path / "toy"), a_summary()))


def audits_page(root: Path) -> str:
    write_report(root)
    return (root / "report" / "audits.html").read_text(encoding="utf-8")


def test_verdicts_come_first_and_the_bad_news_before_the_rest(project: Path) -> None:
    page = Page(audits_page(project))
    assert "Against sft: 1 regressed, 1 equivalent." in page.words
    assert page.words.index("agrees wrong") < page.words.index("knows")
    assert "not measured: no item has this score" in page.words
    assert "sft: skipped: it has no reward model" in page.words


def test_of_several_models_each_is_counted_alone() -> None:
    suite = a_suite()
    more = [{**one, "model": "later", "verdict": "improved"} for one in suite["verdicts"]]
    several = Suite.model_validate({**suite, "verdicts": [*suite["verdicts"], *more]})
    assert headline(several) == ("Against sft: ppo 1 regressed, 1 equivalent; later 2 improved.")


def test_the_first_page_says_what_the_audits_come_to(project: Path) -> None:
    page = write_report(project).read_text(encoding="utf-8")
    assert "Against sft: 1 regressed" in page
    assert 'href="audits.html"' in page


def test_only_the_pages_own_script_may_run_and_nothing_is_loaded(project: Path) -> None:
    html = audits_page(project)
    scripts = re.findall(r"<script>(.*?)</script>", html, flags=re.DOTALL)
    assert len(scripts) == 1
    allowed = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    policies = [one for one in Page(html).values("content") if "default-src 'none'" in one]
    assert len(policies) == 1
    assert f"script-src 'sha256-{allowed}'" in policies[0]
    assert not re.search(r"""(src|href)=["']?https?:""", html)


def test_hostile_text_is_shown_as_text(project: Path) -> None:
    html = audits_page(project)
    assert "<img src=x" not in html
    assert "<b>bold" not in html
    page = Page(html)
    assert "<img src=x onerror=alert(1)>" in page.words
    assert not [tag for tag, _ in page.tags if tag in ("img", "iframe", "object")]


def test_the_slider_has_every_checkpoint_and_its_data_cannot_end_the_element(
    project: Path,
) -> None:
    summary = a_summary()
    summary["trajectory"][0]["path"] = "</script><script>alert(1)</script>"
    html = audits_page(project_with(project, summary))
    data = re.search(r'id="checkpoints">(.*?)</script>', html, flags=re.DOTALL)
    assert data is not None
    rows = json.loads(data[1])
    assert len(rows) == len(summary["trajectory"])
    assert rows[0]["path"] == "</script><script>alert(1)</script>"
    assert rows[3]["gold_mean"] == summary["trajectory"][3]["gold_mean"]


def test_samples_side_by_side_say_who_was_right_and_the_worst_come_first(project: Path) -> None:
    suite = load_suite(project)
    assert suite is not None
    found = side_by_side(project, suite, suite.audits[0])
    assert [(one.item, one.standing) for one in found] == [
        ("i1", "baseline right, model wrong"),
        ("i3", "alike"),
        ("i2", "model right, baseline wrong"),
    ]
    assert found[0].said[0].model == f"ppo says {HOSTILE} (2 of 3)"
    html = audits_page(project)
    assert html.count('data-standing="baseline right, model wrong"') == 1


def test_an_artifact_outside_the_project_is_not_read(project: Path) -> None:
    suite = a_suite()
    suite["audits"][0]["results"][1]["artifact"] = "../../etc"
    loaded = load_suite(with_suite(project, suite))
    assert loaded is not None
    assert side_by_side(project, loaded, loaded.audits[0]) == []


def test_models_are_placed_by_their_weights_on_the_trajectory(project: Path) -> None:
    summary = a_summary()
    summary["trajectory"][5]["path"] = f"artifacts/checkpoint/x-{'b' * 12}"
    root = project_with(project, summary)
    html = audits_page(root)
    assert f"ppo (KL {summary['trajectory'][5]['kl_nats']:.2f} nats)" in Page(html).words
    suite = load_suite(root)
    assert suite is not None
    assert [place.kl_nats for place in places(suite, None)] == [0.0, None]
    summary["trajectory"][13]["path"] = summary["trajectory"][12]["path"] = f"x-{'b' * 12}"
    summary["trajectory"][5]["path"] = "elsewhere"
    summary["trajectory"][14]["path"] = f"x-{'a' * 12}"
    at = places(suite.model_copy(update={"baseline": None}), parse_summary(summary, "s"))
    # The end of round one, not the start of round two; steps go on counting.
    assert [place.step for place in at] == [144 + 12, 144]
    # Two places: the figure is drawn against steps and against KL.
    assert html.count("agrees_wrong against") == 2


def test_tables_are_drawn_and_said(project: Path) -> None:
    page = Page(audits_page(project))
    assert "How far annotators agree is not recorded" in page.words
    assert "'bonus'" in page.words
    assert any("Reliability" in label for label in page.values("aria-label"))


def test_audits_alone_have_a_page_and_nothing_at_all_is_refused(tmp_path: Path) -> None:
    root = with_suite(make_toy(tmp_path / "alone"))
    assert write_report(root).name == "audits.html"
    with pytest.raises(ProjectError, match=r"summary\.json is missing"):
        write_report(make_toy(tmp_path / "empty"))


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "not JSON"), ('{"schema_version": 1}', "name: field required"), ("[]", "whole file")],
)
def test_a_broken_suite_is_one_clear_line(project: Path, text: str, message: str) -> None:
    (project / "audits" / "latest.json").write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        write_report(project)
    assert "assent audit run" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_document_has_a_schema_version_and_the_cards_say_what_nobody_recorded(
    project: Path,
) -> None:
    write_report(project)
    document = read_document(project)
    assert document["schema_version"] == 1
    assert document["audits"]["verdicts"][1]["verdict"] == "regressed"
    assert document["model_card"]["Model details"]["licence"] == NOT_RECORDED
    assert document["datasheet"]["Composition"]["prompts"] == 0
    assert document["datasheet"]["Collection"]["pay"] == NOT_RECORDED
    failures = document["model_card"]["Caveats and recommendations"]["known failure modes"]
    assert failures == ["sycophancy/agrees_wrong: 0.500 [0.300, 0.700] against sft"]
    card = (project / "report" / "model-card.md").read_text(encoding="utf-8")
    assert "- licence: not recorded" in card
    text = (project / "report" / "report.md").read_text(encoding="utf-8")
    assert text.index("| regressed |") < text.index("| equivalent |")


def test_the_same_records_give_the_same_bytes(project: Path) -> None:
    write_report(project)
    before = {f.name: f.read_bytes() for f in (project / "report").iterdir()}
    write_report(project)
    assert {f.name: f.read_bytes() for f in (project / "report").iterdir()} == before
    assert set(before) == {
        "index.html", "audits.html", "report.json", "report.md", "model-card.md", "datasheet.md",
    }  # fmt: skip


def test_a_difference_names_settings_and_figures_that_part(project: Path, tmp_path: Path) -> None:
    other = a_suite()
    other["audits"][0]["results"][1]["figures"][0] |= {"estimate": 0.3, "interval": [0.2, 0.4]}
    second = with_suite(
        project_with(make_toy(tmp_path / "other"), {**a_summary(), "seed": 8}), other
    )
    other["settings"] = {"samples": 4}
    with_suite(second, other)
    with_suite(project, {**a_suite(), "settings": {"samples": 8}})
    for root in (project, second):
        write_report(root)
    found = difference(read_document(project), read_document(second))
    row = next(one for one in found["figures"] if one["figure"] == "sycophancy/agrees_wrong")
    assert (row["this"]["estimate"], row["other"]["estimate"], row["apart"]) == (0.7, 0.3, True)
    same = next(one for one in found["figures"] if one["figure"] == "reward-model/accuracy")
    assert same["apart"] is False
    assert ("audits.samples", 8, 4) in found["settings"]
    text = difference_markdown(found, ("a", "b"))
    assert (
        "| sycophancy/agrees_wrong | 0.700 [0.600, 0.800] | 0.300 [0.200, 0.400] | apart |" in text
    )


def test_a_report_from_the_future_or_of_nothing_is_refused(project: Path) -> None:
    with pytest.raises(ProjectError, match="assent report"):
        read_document(project)
    file = project / "report" / "report.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text('{"schema_version": 99}')
    with pytest.raises(NewerSchema, match="newer than 1"):
        read_document(project)
    file.write_text("[]")
    with pytest.raises(DataError, match="no report"):
        read_document(project)


def test_a_bias_is_amplified_only_where_the_model_has_it_beyond_doubt() -> None:
    def row(name: str, model: tuple[float, float], more: tuple[float, float]) -> dict[str, Any]:
        return {
            "feature": name,
            "annotators": {"value": 0.5, "interval": [0.4, 0.6]},
            "model": {"value": sum(model) / 2, "interval": list(model)},
            "amplified": {"difference": sum(more) / 2, "interval": list(more)},
        }

    suite = a_suite()
    suite["audits"][1]["results"][1]["tables"]["biases"] = {
        "rows": [
            row("agrees", (0.8, 1.0), (0.2, 0.6)),
            # The annotators never chose it, so their coefficient has no end; the model has none.
            row("off the grammar", (-0.3, 0.6), (35.0, 37.0)),
        ]
    }
    part = _notes(suite["audits"][1]["results"][1]["tables"])
    (said,) = [note for note in part if note.startswith("Amplified")]
    assert "agrees (0.50 → 0.90)" in said
    assert "off the grammar" not in said
