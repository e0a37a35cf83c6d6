"""Projects of the first version come up to the newest with every row, hash and snapshot."""

import shutil
from pathlib import Path

import pytest
from sqlalchemy import MetaData, delete, insert, select
from tests.store_fixtures import SETTINGS, fill, judge

from assent.errors import ProjectError
from assent.store import NewDemonstration, NewRating, Project, check_project, upgrade
from assent.store.database import Database, parse_url
from assent.store.migrating import migrate, revision
from assent.store.rows import by_name
from assent.store.schema import REVISIONS


def first_version_of(project: Project, url: str, root: Path) -> None:
    """The same rows in tables as the first migration made them."""
    target = Database(parse_url(url, root))
    try:
        with target.writing() as out, project.store.database.reading() as source:
            migrate(out, to="0001")
            tables = MetaData()
            tables.reflect(out)
            for table in reversed(tables.sorted_tables):
                if table.name != "alembic_version":
                    out.execute(delete(table))
            for table in tables.sorted_tables:
                if table.name == "alembic_version":
                    continue
                order = [table.c[name] for name in ("seq", "position") if name in table.c]
                rows = [
                    dict(by_name(row)) for row in source.execute(select(table).order_by(*order))
                ]
                if rows:
                    out.execute(insert(table), rows)
    finally:
        target.close()


def test_an_upgrade_from_the_first_version_keeps_every_row(
    tmp_path: Path, database_url: str | None, request: pytest.FixtureRequest
) -> None:
    with Project.create(tmp_path / "new", SETTINGS, database_url=database_url) as project:
        world = fill(project, pairs=5)
        annotator = world.annotators[1]
        events = judge(project.store, world.comparisons, annotator)
        project.store.record_demonstrations(
            [
                NewDemonstration(
                    prompt_id=world.prompts[0],
                    text="mine",
                    annotator_id=annotator,
                    idempotency_key="demo",
                )
            ]
        )
        project.store.take_snapshot("before")
        project.store.retract(events[2], annotator, "undo")
        snapshot = project.store.take_snapshot("after")
        root = tmp_path / "old"
        shutil.copytree(project.root, root, ignore=shutil.ignore_patterns("assent.db*"))
        url = f"sqlite:///{root / 'assent.db'}"
        if database_url is not None:
            url = request.getfixturevalue("new_postgresql")()
        first_version_of(project, url, root)
        with pytest.raises(ProjectError, match=r"schema 0001 .* run `assent db upgrade`"):
            Project.open(root, database_url=url)

        done = upgrade(root, database_url=url)

        assert (done.from_revision, done.to_revision) == ("0001", REVISIONS[-1])
        with Project.open(root, database_url=url) as old:
            with old.store.database.reading() as connection:
                assert revision(connection) == REVISIONS[-1]
            assert old.store.events() == project.store.events()
            assert old.store.prompts() == project.store.prompts()
            assert old.store.responses() == project.store.responses()
            assert old.store.judged_pairs(snapshot.id) == project.store.judged_pairs(snapshot.id)
            assert old.store.counts() == project.store.counts()
            old.store.record_ratings(
                [
                    NewRating(
                        response_id=world.responses[0],
                        annotator_id=annotator,
                        axes={"helpful": 1},
                        idempotency_key="rating",
                    )
                ]
            )
            assert check_project(old) == []
