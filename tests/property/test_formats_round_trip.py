"""Whatever is written in a format is read back as it was, but for what is counted as lost."""

from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.format_records import chat, exact, records_of

from assent.errors import DataError
from assent.formats import (
    FORMATS,
    WRITABLE,
    AnyRecord,
    ComparisonRecord,
    DemonstrationRecord,
    FeedbackRecord,
    PromptRecord,
    RankingRecord,
    RatingRecord,
    UnpairedRecord,
    as_comparisons,
    write_file_as,
)
from assent.formats.own import NAMES
from assent.types import ChatPrompt, Message

KINDS = [".jsonl", ".json.gz", ".csv", ".csv.gz", ".parquet"]

# No NUL and no surrogates: files with those are refused, and tested where that is.
characters = st.characters(codec="utf-8", exclude_characters="\0")
texts = st.text(characters, min_size=1, max_size=30).filter(str.strip)
names = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8)
Drawn = TypeVar("Drawn")


def some(one: st.SearchStrategy[Drawn]) -> st.SearchStrategy[list[Drawn]]:
    return st.lists(one, min_size=1, max_size=5)


@st.composite
def chats(draw: st.DrawFn) -> ChatPrompt:
    """A chat that every format of chats can hold: a system turn or none, then turn and turn."""
    said = draw(st.lists(texts, min_size=1, max_size=5).filter(lambda all_: len(all_) % 2))
    roles = ("user", "assistant")
    spoken = [Message(roles[at % 2], text) for at, text in enumerate(said)]
    system = [Message("system", draw(texts))] if draw(st.booleans()) else []
    return ChatPrompt([*system, *spoken])


prompts = texts | chats()


def said(**more: st.SearchStrategy[Any]) -> dict[str, st.SearchStrategy[Any]]:
    return {
        "prompt": prompts,
        "kind": st.sampled_from([None, "plain", "few_shot", "user"]),
        "source": st.just("") | names,
        "split": st.sampled_from([None, "train", "validation", "test"]),
        "group": st.just("") | names,
        **more,
    }


annotators = st.none() | names
pairs = st.tuples(texts, texts).filter(lambda pair: pair[0] != pair[1])
comparisons = st.builds(
    ComparisonRecord,
    **said(
        responses=pairs,
        verdict=st.sampled_from(["first", "second", "tie", "both_bad", "cannot_judge"]),
        strength=st.sampled_from([None, 1, 2, 3, 4]),
        confidence=st.none() | st.integers(1, 9).map(float),
        annotator=annotators,
        note=st.none() | texts,
        flags=st.lists(names, max_size=2).map(tuple),
    ),
)
demonstrations = st.builds(DemonstrationRecord, **said(response=texts, annotator=annotators))


@st.composite
def rankings(draw: st.DrawFn) -> RankingRecord:
    responses = draw(st.lists(texts, min_size=2, max_size=5, unique=True))
    drawn = draw(st.lists(st.integers(0, 3), min_size=len(responses), max_size=len(responses)))
    levels = sorted({*drawn})
    ranked = sorted(zip([levels.index(one) for one in drawn], responses, strict=True))
    base = draw(st.builds(PromptRecord, **said()))
    return RankingRecord(
        prompt=base.prompt,
        kind=base.kind,
        source=base.source,
        split=base.split,
        group=base.group,
        responses=tuple(text for _, text in ranked),
        ranks=tuple(rank for rank, _ in ranked),
        annotator=draw(annotators),
    )


axes = st.dictionaries(names, st.integers(-3, 10).map(float), min_size=1, max_size=3)
anything = st.one_of(
    comparisons,
    demonstrations,
    rankings(),
    st.builds(PromptRecord, **said()),
    st.builds(RatingRecord, **said(response=texts, axes=axes, annotator=annotators)),
    st.builds(UnpairedRecord, **said(response=texts, good=st.booleans(), annotator=annotators)),
    st.builds(
        FeedbackRecord,
        **said(response=texts, criticism=texts, refinement=st.none() | texts, annotator=annotators),
    ),
)

once = settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("kind", KINDS)
@once
@given(records=some(anything))
def test_our_own_format_loses_nothing_in_any_kind_of_file(
    tmp_path: Path, kind: str, records: list[AnyRecord]
) -> None:
    path = tmp_path / f"records{kind}"
    written = write_file_as(path, "assent", records)
    assert (written.rows, written.lost, written.left_out) == (len(records), {}, {})
    assert exact(records_of(path, "assent")) == exact(records)


WITH_TIES = ["arena", "alpacafarm", "assent"]


@pytest.mark.parametrize("name", WITH_TIES)
@once
@given(records=some(comparisons))
def test_ties_survive_where_the_format_has_a_place_for_them(
    tmp_path: Path, name: str, records: list[ComparisonRecord]
) -> None:
    verdicts = {
        "arena": ("first", "second", "tie", "both_bad"),
        "alpacafarm": ("first", "second", "tie"),
    }.get(name, ("first", "second", "tie", "both_bad", "cannot_judge"))
    kept = [one for one in records if one.verdict in verdicts]
    if not kept:
        with pytest.raises(DataError, match="no record can be written"):
            write_file_as(tmp_path / "none.jsonl", name, records)
        return
    path = tmp_path / "votes.jsonl"
    written = write_file_as(path, name, records)
    back = records_of(path, name)
    assert written.rows == len(kept) == len(records) - sum(written.left_out.values())
    assert [
        (one.responses, one.verdict, one.annotator)
        for one in back
        if isinstance(one, ComparisonRecord)
    ] == [(one.responses, one.verdict, one.annotator) for one in kept]


CARRYING = sorted(name for name in WRITABLE if ComparisonRecord in FORMATS[name].gives)


@pytest.mark.parametrize("name", CARRYING)
@once
@given(records=some(comparisons))
def test_a_comparison_comes_back_but_for_what_is_counted(
    tmp_path: Path, name: str, records: list[ComparisonRecord]
) -> None:
    path = tmp_path / "comparisons.csv"
    try:
        written = write_file_as(path, name, records)
    except DataError:
        assert not path.exists()
        return
    back = records_of(path, name)
    assert len(back) == written.rows == len(records) - sum(written.left_out.values())
    path.unlink()
    carried = FORMATS[name].carries
    for field in ("annotator", "strength", "confidence", "split", "source", "kind", "note"):
        came = [getattr(one, field) for one in back]
        if field in carried:
            assert {one for one in came if one} <= {getattr(one, field) for one in records}
            assert field not in written.lost
        else:
            assert not any(came)
            gave = sum(bool(getattr(one, field)) for one in records)
            lost = written.lost.get(field, 0)
            assert lost <= gave if written.left_out else lost == gave


CHATS = [
    "hh-rlhf",
    "trl-preference-chat",
    "ultrafeedback-binarized",
    "arena",
    "sharegpt",
    "assent",
]


@pytest.mark.parametrize("kind", [".jsonl", ".csv", ".parquet"])
@pytest.mark.parametrize("name", CHATS)
@once
@given(prompt=chats(), responses=pairs)
def test_the_turns_of_a_chat_survive(
    tmp_path: Path, name: str, kind: str, prompt: ChatPrompt, responses: tuple[str, str]
) -> None:
    record = ComparisonRecord(prompt=prompt, responses=responses, verdict="first")
    path = tmp_path / f"chat{kind}"
    try:
        write_file_as(path, name, [record])
    except DataError:
        # Only where the text has the very marks that hh-rlhf parts turns by.
        assert name == "hh-rlhf"
        return
    (back,) = records_of(path, name)
    assert isinstance(back, ComparisonRecord)
    assert isinstance(back.prompt, ChatPrompt)
    assert (back.prompt.messages, back.responses) == (prompt.messages, responses)


@pytest.mark.parametrize("name", ["trl-preference", "openrlhf-preference", "openai-comparisons"])
@once
@given(prompt=texts, responses=pairs, strength=st.sampled_from([None, 1, 2, 3, 4]))
def test_plain_text_stays_plain_text(
    tmp_path: Path, name: str, prompt: str, responses: tuple[str, str], strength: int | None
) -> None:
    record = ComparisonRecord(
        prompt=prompt, responses=responses, verdict="first", strength=strength
    )
    path = tmp_path / "plain.csv"
    write_file_as(path, name, [record])
    if "strength" not in FORMATS[name].carries:
        record = replace(record, strength=None)
    (back,) = records_of(path, name)
    assert exact([replace(back, meta={})]) == exact([record])


@pytest.mark.parametrize("name", ["oasst-trees", "oasst-messages"])
@once
@given(records=some(rankings()))
def test_a_ranking_survives_with_its_ties(
    tmp_path: Path, name: str, records: list[RankingRecord]
) -> None:
    kept = [one for one in records if not _has_system(one)]
    path = tmp_path / "ranked.jsonl"
    if not kept:
        return
    written = write_file_as(path, name, records)
    assert sum(written.left_out.values()) == len(records) - len(kept)
    back = records_of(path, name)
    assert [NAMES[type(one)] for one in back] == ["ranking"] * len(kept)
    assert [(one.responses, one.ranks) for one in back if isinstance(one, RankingRecord)] == [
        (one.responses, one.ranks) for one in kept
    ]


def _has_system(record: AnyRecord) -> bool:
    prompt = record.prompt
    return isinstance(prompt, ChatPrompt) and prompt.messages[0].role == "system"


@once
@given(ranking=rankings())
def test_the_pairs_of_a_ranking_are_its_order(ranking: RankingRecord) -> None:
    places = dict(zip(ranking.responses, ranking.ranks, strict=True))
    made = list(as_comparisons(ranking))
    assert {frozenset(one.responses) for one in made} == {
        frozenset((one, other)) for one in places for other in places if one != other
    }
    for one in made:
        first, second = (places[text] for text in one.responses)
        assert (one.verdict == "tie") == (first == second)
        assert first <= second


DEMONSTRATING = sorted(name for name in WRITABLE if DemonstrationRecord in FORMATS[name].takes)


@pytest.mark.parametrize("name", DEMONSTRATING)
@once
@given(records=some(demonstrations))
def test_every_demonstration_comes_back(
    tmp_path: Path, name: str, records: list[DemonstrationRecord]
) -> None:
    path = tmp_path / "demonstrations.jsonl"
    kept = [one for one in records if not (name.startswith("oasst") and _has_system(one))]
    if not kept:
        return
    write_file_as(path, name, records)
    back = records_of(path, name)
    assert [one.response for one in back if isinstance(one, DemonstrationRecord)] == [
        one.response for one in kept
    ]


@once
@given(axes=some(axes), source=names)
def test_ratings_come_back_from_ultrafeedback(
    tmp_path: Path, axes: list[dict[str, float]], source: str
) -> None:
    records = [
        RatingRecord(
            prompt=chat(f"user: question {at // 2}"), response=f"r{at}", axes=one, source=source
        )
        for at, one in enumerate(axes)
    ]
    path = tmp_path / "ratings.jsonl"
    written = write_file_as(path, "ultrafeedback", records)
    assert written.rows == (len(records) + 1) // 2
    back = [replace(one, meta={}) for one in records_of(path, "ultrafeedback")]
    assert exact(back) == exact(records)
