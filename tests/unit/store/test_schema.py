"""The tables: migrations and code agree, enumerations are checked, events cannot be changed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import CheckConstraint, func, inspect, select, text
from tests.store_fixtures import fill, judge

from assent.errors import StoreError
from assent.store import Project
from assent.store.migrating import revision, revisions
from assent.store.schema import REVISIONS, comparisons, events, metadata

DOCS = Path(__file__).parents[3] / "docs" / "reference" / "store.md"


def test_the_migrations_make_the_tables_that_the_code_expects(project: Project) -> None:
    with project.store.database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        assert revision(connection) == REVISIONS[-1]


def test_every_check_of_the_code_is_in_the_database(project: Project) -> None:
    with project.store.database.reading() as connection:
        inspector = inspect(connection)
        for table in metadata.sorted_tables:
            declared = {
                str(one.name) for one in table.constraints if isinstance(one, CheckConstraint)
            }
            found = {str(one["name"]) for one in inspector.get_check_constraints(table.name)}
            assert found == declared, table.name


def test_the_code_knows_every_migration() -> None:
    assert revisions() == REVISIONS


def test_an_event_can_be_neither_changed_nor_removed(project: Project) -> None:
    world = fill(project)
    judge(project.store, world.comparisons, world.annotators[1])
    before = project.store.events()
    statements = ["UPDATE events SET payload = '{}'", "DELETE FROM events"]
    if not project.store.database.is_sqlite:
        statements.append("TRUNCATE events CASCADE")
    for statement in statements:
        with refused(project, "events are only ever added") as change:
            change(statement)
    assert project.store.events() == before


def test_an_unknown_enumeration_or_reference_is_refused_by_the_database(project: Project) -> None:
    world = fill(project)
    with refused(project, "ck_comparisons_shown_order") as change:
        change("UPDATE comparisons SET shown_order = 'left'")
    with refused(project, "ck_prompts_split") as change:
        change("UPDATE prompts SET split = 'dev'")
    with refused(project, "(?i)foreign key") as change:
        change("UPDATE comparisons SET prompt_id = 'nowhere'")
    with refused(project, "ck_comparisons_two_responses") as change:
        change("UPDATE comparisons SET second_response_id = first_response_id")
    assert len(project.store.comparisons()) == len(world.comparisons)


@contextmanager
def refused(project: Project, said: str) -> Iterator[Callable[[str], object]]:
    with pytest.raises(StoreError, match=said), project.store.database.writing() as connection:
        yield lambda statement: connection.execute(text(statement))


def test_a_reader_sees_one_moment_while_others_write(project: Project) -> None:
    world = fill(project)
    with project.store.database.reading() as connection:
        count = select(func.count()).select_from(events)
        assert connection.scalar(count) == 0
        judge(project.store, world.comparisons, world.annotators[1])
        assert connection.scalar(count) == 0
        assert connection.scalar(select(func.count()).select_from(comparisons)) == 3
    assert project.store.counts()["events"] == 3


def test_the_reference_page_describes_every_table_and_column() -> None:
    page = DOCS.read_text(encoding="utf-8")
    for table in metadata.sorted_tables:
        assert f"### {table.name}" in page, table.name
        section = page.split(f"### {table.name}\n")[1].split("\n### ")[0]
        for column in table.columns:
            assert f"`{column.name}`" in section, f"{table.name}.{column.name}"
