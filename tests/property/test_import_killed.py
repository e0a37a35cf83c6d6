"""An import that stops anywhere and is run again ends as one that was never stopped."""

import itertools
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.store_fixtures import SETTINGS, Ticking

from assent.collect import importing
from assent.collect.importing import ImportOptions, import_records
from assent.formats import (
    AnyRecord,
    ComparisonRecord,
    DemonstrationRecord,
    FeedbackRecord,
    PromptRecord,
    RankingRecord,
    RatingRecord,
    UnpairedRecord,
)
from assent.store import Project, check_project
from assent.store.database import Database
from assent.types import ChatPrompt, Message

prompts = st.sampled_from(["p", "q", ChatPrompt([Message("user", "p")])])
few = st.sampled_from("abcd")
names = st.sampled_from([None, "ada", "bob"])
pairs = st.sampled_from([("a", "b"), ("b", "a"), ("a", "c")])
records = st.one_of(
    st.builds(PromptRecord, prompt=prompts),
    st.builds(DemonstrationRecord, prompt=prompts, response=few, annotator=names),
    st.builds(
        ComparisonRecord,
        prompt=prompts,
        responses=pairs,
        verdict=st.sampled_from(["first", "second", "tie"]),
        strength=st.sampled_from([None, 1, 4]),
        annotator=names,
    ),
    st.builds(
        RankingRecord,
        prompt=prompts,
        responses=st.permutations("abc").map(tuple),
        ranks=st.tuples(*[st.integers(0, 2)] * 3),
        annotator=names,
    ),
    st.builds(
        RatingRecord,
        prompt=prompts,
        response=few,
        axes=st.just({"helpful": 1.0}),
        annotator=names,
    ),
    st.builds(UnpairedRecord, prompt=prompts, response=few, good=st.booleans(), annotator=names),
    st.builds(
        FeedbackRecord,
        prompt=prompts,
        response=few,
        criticism=few,
        refinement=st.sampled_from([None, "better"]),
        annotator=names,
    ),
)


class Killed(BaseException):
    """Stands for kill -9 between two transactions."""


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(said=st.lists(records, max_size=12), after=st.integers(1, 25), order=st.booleans())
def test_a_stopped_import_is_finished_by_running_it_again(
    tmp_path_factory: pytest.TempPathFactory, said: list[AnyRecord], after: int, order: bool
) -> None:
    root = tmp_path_factory.mktemp("import")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importing, "BATCH", 4)
        options = ImportOptions(source="file", order_is_shown=order)
        whole = project(root / "whole")
        import_records(whole.store, said, options)
        stopped = project(root / "stopped")
        with patch.context() as inner:
            stop_after(inner, stopped, after)
            with suppress(Killed):
                import_records(stopped.store, said, options)
        result = import_records(stopped.store, said, options)
        assert sum(result.added.values()) + sum(result.known.values()) == len(said)
        assert content(stopped) == content(whole)
        assert check_project(stopped) == []
        assert import_records(stopped.store, said, options).added == {}
    for one in (whole, stopped):
        one.close()


def project(root: Path) -> Project:
    return Project.create(root, SETTINGS, clock=Ticking())


def stop_after(patch: pytest.MonkeyPatch, stopped: Project, transactions: int) -> None:
    """Let this many writing transactions commit, and refuse the next."""
    counted = itertools.count(1)
    write = stopped.store.database.writing

    def writing(self: Database) -> Any:
        del self
        if next(counted) > transactions:
            raise Killed
        return write()

    patch.setattr(Database, "writing", writing)


def content(project: Project) -> list[Any]:
    """Everything but times and the hashes that cover them."""
    store = project.store

    def events() -> Iterator[Any]:
        for event in store.events():
            yield (event.seq, event.id, event.kind, event.comparison_id, event.response_id)
            yield (event.response_set_id, event.refinement_id, event.payload)

    return [
        store.prompts(),
        store.responses(),
        store.comparisons(),
        store.response_sets(),
        store.annotators(),
        list(events()),
    ]
