"""Exported feedback imports back as the same judgements; what a format cannot hold is counted."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.store_fixtures import SETTINGS, fill

from assent.collect.exporting import export_file, records_of
from assent.collect.importing import ImportOptions, import_file, import_records
from assent.errors import DataError, UnknownFormat, UnknownRecord
from assent.formats import (
    AnyRecord,
    ComparisonRecord,
    DemonstrationRecord,
    FeedbackRecord,
    Place,
    PromptRecord,
    RankingRecord,
    RatingRecord,
    UnpairedRecord,
)
from assent.formats.catalogue import FORMATS, WRITABLE
from assent.formats.format import as_comparisons
from assent.store import NewJudgement, Project
from assent.types import ChatPrompt, Message, Verdict

VERDICTS: tuple[Verdict, ...] = ("first", "second", "tie", "both_bad", "first", "cannot_judge")
KINDS: Any = ("prompts", "demonstrations", "preferences", "rankings", "ratings", "criticisms")


def asked(number: int) -> ChatPrompt:
    return ChatPrompt([Message("user", f"question {number}")])


def everything() -> list[AnyRecord]:
    """All that can be said, on prompts of one split, by two annotators and by nobody."""
    said: dict[str, Any] = {"split": "train", "kind": "user"}
    records: list[AnyRecord] = [
        ComparisonRecord(
            prompt=asked(number),
            responses=(f"one {number}", f"other {number}"),
            verdict=verdict,
            strength=1 + number % 4 if verdict in ("first", "second") else None,
            confidence=number if number % 2 else None,
            annotator=(None, "ada", "bob")[number % 3],
            note="a note" if number == 1 else None,
            flags=("rude",) if number == 2 else (),
            meta={"id": number},
            **said,
        )
        for number, verdict in enumerate(VERDICTS)
    ]
    return [
        *records,
        PromptRecord(prompt=asked(10), **said),
        DemonstrationRecord(prompt=asked(11), response="mine", annotator="ada", **said),
        RankingRecord(
            prompt=asked(12),
            responses=("r0", "r1", "r2"),
            ranks=(1, 0, 1),
            annotator="ada",
            note="close",
            **said,
        ),
        RatingRecord(prompt=asked(13), response="rated", axes={"helpful": 4.5, "x": -1}, **said),
        UnpairedRecord(prompt=asked(14), response="thumbed", good=False, **said),
        FeedbackRecord(
            prompt=asked(15), response="dull", criticism="say more", refinement="lively", **said
        ),
    ]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project.create(tmp_path / "project", SETTINGS)
    import_records(made.store, everything(), ImportOptions(source="here"))
    return made


@pytest.fixture
def imported_back(tmp_path: Path) -> Callable[[Path, str], Project]:
    def make(file: Path, name: str) -> Project:
        back = Project.create(tmp_path / f"back from {file.name}", SETTINGS)
        import_file(back.store, file, format_name=name)
        return back

    return make


def test_our_own_format_brings_everything_back(
    project: Project, tmp_path: Path, imported_back: Callable[[Path, str], Project]
) -> None:
    out = tmp_path / "all.jsonl"
    written = export_file(project.store, out, "assent")
    assert (written.lost, written.left_out) == ({}, {})
    back = imported_back(out, "assent")
    first, second = (
        [replace(one, where=Place(), source="") for one in records_of(store, KINDS)]
        for store in (project.store, back.store)
    )
    assert sorted(map(repr, first)) == sorted(map(repr, second))


@pytest.mark.parametrize(
    "name",
    [
        one
        for one in WRITABLE
        if ComparisonRecord in FORMATS[one].takes
        and {ComparisonRecord, RankingRecord} & set(FORMATS[one].gives)
    ],
)
def test_judgements_come_back_from_every_format_that_takes_them(
    project: Project, tmp_path: Path, imported_back: Callable[[Path, str], Project], name: str
) -> None:
    out = tmp_path / f"{name}.jsonl"
    written = export_file(project.store, out, name, what="preferences")
    back = said(imported_back(out, name))
    there = said(project)
    assert not back - there
    missing = there - back
    assert all(verdict in ("tie", "both_bad", "cannot_judge") for _, verdict in missing)
    assert missing.total() == sum(written.left_out.values())


def said(project: Project) -> Counter[tuple[frozenset[str], str]]:
    """Each judgement as its two texts and the text that won, or the verdict."""
    counted: Counter[tuple[frozenset[str], str]] = Counter()
    for one in records_of(project.store, ("preferences", "rankings")):
        # A format without comparisons writes and gives rankings of two.
        for pair in as_comparisons(one) if isinstance(one, RankingRecord) else (one,):
            assert isinstance(pair, ComparisonRecord)
            if "r0" in pair.responses or "r1" in pair.responses:
                continue
            won = {"first": pair.responses[0], "second": pair.responses[1]}
            verdict = won.get(pair.verdict, pair.verdict)
            counted[frozenset(pair.responses), verdict] += 1
    return counted


def test_the_order_shown_comes_back(
    tmp_path: Path, imported_back: Callable[[Path, str], Project]
) -> None:
    with Project.create(tmp_path / "shown", SETTINGS) as project:
        world = fill(project, pairs=6)
        project.store.record_judgements(
            [
                NewJudgement(
                    comparison_id=one,
                    annotator_id=world.annotators[1],
                    verdict="first",
                    idempotency_key=one,
                )
                for one in world.comparisons
            ]
        )
        out = tmp_path / "shown.jsonl"
        export_file(project.store, out, "assent", what="preferences")
        back = imported_back(out, "assent")
        there, here = (
            {
                (one.responses, one.verdict)
                for one in records_of(store, ("preferences",))
                if isinstance(one, ComparisonRecord)
            }
            for store in (project.store, back.store)
        )
    assert there == here
    assert {verdict for _, verdict in here} == {"first", "second"}


def test_a_snapshot_is_exported_as_it_was_taken(project: Project, tmp_path: Path) -> None:
    store = project.store
    store.take_snapshot("then")
    more = ComparisonRecord(prompt=asked(99), responses=("a", "b"), verdict="first", split="train")
    import_records(store, [more], ImportOptions(source="later"))
    now = export_file(store, tmp_path / "now.jsonl", "assent", what="preferences")
    then = export_file(
        store, tmp_path / "then.jsonl", "assent", what="preferences", snapshot="then"
    )
    assert (now.rows, then.rows) == (len(VERDICTS) + 1, len(VERDICTS))
    with pytest.raises(UnknownRecord, match="no snapshot is called 'them'; there are then"):
        export_file(store, tmp_path / "x.jsonl", "assent", snapshot="them")
    with pytest.raises(DataError, match="a snapshot holds preferences and rankings"):
        export_file(store, tmp_path / "x.jsonl", "assent", what="ratings", snapshot="then")


def test_people_go_out_under_pseudonyms_and_undone_judgements_stay(tmp_path: Path) -> None:
    with Project.create(tmp_path / "people", SETTINGS) as project:
        world = fill(project, pairs=2)
        simulated, ada = world.annotators
        recorded = project.store.record_judgements(
            [
                NewJudgement(
                    comparison_id=one, annotator_id=who, verdict="first", idempotency_key=one
                )
                for one in world.comparisons
                for who in (simulated, ada)
            ]
        )
        project.store.retract(recorded[1].event_id, ada, "undo")
        names = [
            one.annotator
            for one in records_of(project.store, ("preferences",))
            if isinstance(one, ComparisonRecord)
        ]
    assert sorted(filter(None, names)) == ["flawed", "flawed", f"person-{ada[:8]}"]


def test_workers_of_two_files_are_told_apart(tmp_path: Path) -> None:
    with Project.create(tmp_path / "two", SETTINGS) as project:
        for source in ("a/b", "c"):
            records = [replace(one, source="") for one in everything()[:3]]
            import_records(project.store, records, ImportOptions(source=source))
        names = {
            one.annotator
            for one in records_of(project.store, ("preferences",))
            if isinstance(one, ComparisonRecord)
        }
    assert names == {None, "a-b/ada", "a-b/bob", "c/ada", "c/bob"}


def test_what_cannot_be_exported_is_refused_before_anything_is_written(
    project: Project, tmp_path: Path
) -> None:
    store, out = project.store, tmp_path / "out.jsonl"
    with pytest.raises(DataError, match="hh-rlhf has no place for ratings; it takes"):
        export_file(store, out, "hh-rlhf", what="ratings")
    with pytest.raises(UnknownFormat):
        export_file(store, out, "trl-preferences")
    with pytest.raises(DataError, match="holds no preferences of test prompts"):
        export_file(store, out, "assent", what="preferences", split="test")
    assert not out.exists()
    out.write_text("mine")
    with pytest.raises(DataError, match="exists; name another file"):
        export_file(store, out, "assent")
    assert out.read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "what", "columns"),
    [
        ("trl-preference-chat", "preferences", {"prompt", "chosen", "rejected"}),
        ("trl-unpaired-chat", "ratings", {"prompt", "completion", "label"}),
        ("trl-prompt-completion-chat", "demonstrations", {"prompt", "completion"}),
    ],
)
def test_datasets_loads_what_is_written_for_trl(
    project: Project, tmp_path: Path, name: str, what: Any, columns: set[str]
) -> None:
    datasets = pytest.importorskip("datasets", reason="pip install 'assent[hub]'")
    if name not in FORMATS:
        pytest.fail(f"{name} is not a format: {', '.join(FORMATS)}")
    out = tmp_path / "trl.jsonl"
    written = export_file(project.store, out, name, what=what)
    loaded = datasets.load_dataset(
        "json", data_files=str(out), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert loaded.num_rows == written.rows > 0
    assert columns <= set(loaded.column_names)
