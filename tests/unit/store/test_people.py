"""People: access, names, and being forgotten. Each test on both databases."""

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.labelling_fixtures import Start, verdict
from tests.store_fixtures import SETTINGS

from assent.errors import (
    DataError,
    GuidelinesChanged,
    IdempotencyConflict,
    InvitationSpent,
    UnknownRecord,
)
from assent.store import Project, backup_project, check_project

NAME = "Zyxwela Qhrungopp"
NOTE = "my aunt in Vlissingen said so"


def test_a_name_is_taken_whatever_its_capitals_and_form(project: Project) -> None:
    people = project.store.people
    ada = people.add("  Ada\u00a0 Lovelace ", "annotator")
    assert ada.name == "Ada Lovelace"
    for same in ("Ada Lovelace", "ADA LOVELACE", "\uff21da Lovelace"):
        with pytest.raises(IdempotencyConflict, match="choose another"):
            people.add(same, "annotator")
    found = people.named("ada lovelace")
    assert found is not None
    assert found[0].annotator_id == ada.annotator_id


@pytest.mark.parametrize("name", ["", "   ", "x" * 65, "a\x00b", "a\u202eb", "a\u200bb", "\ud800"])
def test_a_name_that_cannot_be_seen_or_stored_is_refused(project: Project, name: str) -> None:
    with pytest.raises(DataError):
        project.store.people.add(name, "annotator")
    assert project.store.people.everybody() == []


def test_whoever_judges_goes_by_a_pseudonym_in_every_other_table(labelling: Start) -> None:
    at = labelling()
    at.desk.answer(at.person(NAME), at.claim(NAME).lease.id, "key-00001", verdict(note=NOTE))
    [annotator] = [one for one in at.project.store.annotators() if one.id == at.person(NAME)]
    assert annotator.kind == "human"
    assert annotator.name.startswith("person-")
    [event] = at.project.store.events()
    assert NOTE not in str(event)
    assert len(event.payload["context"]["note"]) == 32


def test_erasing_a_person_leaves_what_they_judged_and_nothing_of_who_they_are(
    labelling: Start, tmp_path: Path
) -> None:
    at = labelling()
    store = at.project.store
    owner = store.people.add("owner", "owner")
    ada = at.person(NAME)
    store.people.set_password(ada, "hash-of-the-password-Wqzx")
    given = at.desk.answer(ada, at.claim(NAME).lease.id, "key-00001", verdict(note=NOTE))
    before = store.take_snapshot("before")
    assert store.people.session(store.people.open_session(ada), idle_hours=1, days=1) is not None

    erased = store.people.erase(ada)

    assert erased.state == "erased"
    assert erased.name.startswith("person-")
    assert store.people.named(NAME) is None
    assert store.judged_pairs(before.id)[0].event_id == given.event_id
    assert store.take_snapshot("after").content_sha256 == before.content_sha256
    assert check_project(at.project) == []
    assert store.people.erase(ada).state == "erased"  # again changes nothing
    with pytest.raises(DataError, match="erased"):
        store.people.invite(ada, 1)
    with pytest.raises(DataError, match="add them anew"):
        store.people.enable(ada)
    with pytest.raises(DataError, match="only owner"):
        store.people.erase(owner.annotator_id)

    backup = backup_project(at.project, tmp_path / "backup")
    files = [*at.project.root.rglob("*"), *backup.rglob("*")]
    assert any(file.name == "assent.db" for file in files)
    for file in files:
        if file.is_file():
            held = file.read_bytes()
            for said in (NAME, NAME.casefold(), NOTE, "hash-of-the-password-Wqzx"):
                assert said.encode() not in held, file
    with sqlite3.connect(backup / "assent.db") as copy:
        [count] = copy.execute("SELECT count(*) FROM events").fetchone()
        dump = "\n".join(copy.iterdump())
    copy.close()
    assert count == 1
    assert NAME not in dump


def test_an_invitation_is_used_once_and_ends_by_time(project: Project) -> None:
    people = project.store.people
    ada = people.add("ada", "annotator")
    assert ada.state == "active"
    first = people.invite(ada.annotator_id, 7)
    assert people.find(ada.annotator_id).state == "invited"
    second = people.invite(ada.annotator_id, 7)
    with pytest.raises(InvitationSpent):
        people.invited(first)
    assert people.invited(second).name == "ada"
    person, session = people.accept(second, "hash")
    assert person.annotator_id == ada.annotator_id
    assert people.session(session, idle_hours=1, days=1) is not None
    with pytest.raises(InvitationSpent):
        people.accept(second, None)
    assert people.find(ada.annotator_id).has_password
    with pytest.raises(InvitationSpent):
        people.accept("nonsense", None)


@pytest.mark.parametrize(("moved", "stands"), [(0, True), (-30, False), (30, False)])
def test_a_clock_that_jumps_ends_sessions_and_invitations_and_revives_none(
    tmp_path: Path, moved: int, stands: bool
) -> None:
    class Moved:
        now = datetime(2026, 6, 1, tzinfo=UTC)

        def __call__(self) -> datetime:
            return self.now

    clock = Moved()
    with Project.create(tmp_path / "project", SETTINGS, clock=clock) as project:
        people = project.store.people
        ada = people.add("ada", "annotator")
        token = people.invite(ada.annotator_id, 7)
        session = people.open_session(ada.annotator_id)
        clock.now += timedelta(days=moved)
        assert (people.session(session, idle_hours=12, days=14) is not None) == stands
        if stands:
            people.invited(token)
        else:
            with pytest.raises(InvitationSpent):
                people.invited(token)


def test_guidelines_are_only_ever_added(project: Project) -> None:
    book = project.store.guidelines
    assert book.read().version == 0
    first = book.write("one", based_on=0, author=None)
    assert book.write("one", based_on=0, author=None) == book.read()
    with pytest.raises(GuidelinesChanged, match="at version 1"):
        book.write("two", based_on=0, author=None)
    book.write("two", based_on=first.version, author=None)
    assert [one.text for one in book.versions()] == ["two", "one"]
    assert book.read(1).text == "one"
    with pytest.raises(UnknownRecord):
        book.read(3)
    for wrong in ("x" * 200_001, "\x00"):
        with pytest.raises(DataError):
            book.write(wrong, based_on=2, author=None)


def test_the_last_owner_cannot_lock_everybody_out(project: Project) -> None:
    people = project.store.people
    one, other = people.add("one", "owner"), people.add("other", "owner")
    people.disable(other.annotator_id)
    with pytest.raises(DataError, match="only owner"):
        people.set_role(one.annotator_id, "reviewer")
    with pytest.raises(DataError, match="only owner"):
        people.disable(one.annotator_id)
    people.enable(other.annotator_id)
    assert people.set_role(one.annotator_id, "reviewer").role == "reviewer"
