"""Whoever changes the records behind the store's back is found, and the record is named."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from tests.store_fixtures import World, fill, judge

from assent.store import (
    Finding,
    NewCriticism,
    NewRanking,
    NewResponse,
    NewResponseSet,
    NewRun,
    Project,
    check_project,
)
from assent.store.identity import canonical_json
from assent.store.ledger import HASHED, HASHED_SINCE, event_hash
from assent.store.times import to_text
from assent.types import ChatPrompt, Message, Prompt


@pytest.fixture
def judged(project: Project) -> World:
    """A project with four judgements, one of them undone, a run and two snapshots."""
    world = fill(project, pairs=4)
    events = judge(project.store, world.comparisons, world.annotators[1])
    project.store.take_snapshot("before")
    project.store.retract(events[3], world.annotators[1], "undo")
    project.store.take_snapshot("after")
    project.store.start_run(
        NewRun(stage="sft", name="sft", settings={"lr": 1}, seed=1, code_version="0")
    )
    assert check_project(project) == []
    return world


def tamper(project: Project, *statements: str) -> None:
    """Change rows with triggers and foreign keys out of the way, as an intruder would."""
    database = project.store.database
    if database.path is not None:
        with closing(sqlite3.connect(database.path)) as file, file:
            guards = file.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
            triggers = guards.fetchall()
            for name, _ in triggers:
                file.execute(f"DROP TRIGGER {name}")
            for statement in (*statements, *(sql for _, sql in triggers)):
                file.execute(statement)
        return
    with database.writing() as connection:
        connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        for statement in statements:
            connection.exec_driver_sql(statement)


def named(project: Project) -> dict[tuple[str, str], str]:
    return {(one.table, one.record): one.problem for one in check_project(project)}


def event_at(project: Project, seq: int) -> str:
    (event,) = project.store.events(after_seq=seq - 1, limit=1)
    return f"{event.id} (seq {seq})"


@pytest.mark.parametrize(
    "change",
    [
        "payload = replace(payload, 'first', 'second')",
        "annotator_id = (SELECT id FROM annotators WHERE name = 'flawed')",
        "created_at = '2020-01-01T00:00:00.000000Z'",
        "comparison_id = (SELECT comparison_id FROM events WHERE seq = 3)",
        "hash = id",
        "idempotency_key = 'other'",
    ],
)
@pytest.mark.usefixtures("judged")
def test_a_changed_event_is_named(project: Project, change: str) -> None:
    record = event_at(project, 2)
    tamper(project, f"UPDATE events SET {change} WHERE seq = 2")
    assert "was changed" in named(project)["events", record]


def forge(project: Project, seq: int, **changes: str) -> None:
    """Change an event and compute its hash again, as somebody who has read this code would."""
    (old,) = project.store.events(after_seq=seq - 1, limit=1)
    fields = {name: getattr(old, name) for name in HASHED}
    fields["payload"] = canonical_json(dict(old.payload))
    fields["created_at"] = to_text(old.created_at)
    fields |= changes
    later = {name: getattr(old, name) for name in HASHED_SINCE}
    assignments = {**changes, "hash": event_hash(*fields.values(), **later)}
    said = ", ".join(f"{name} = '{value}'" for name, value in assignments.items())
    tamper(project, f"UPDATE events SET {said} WHERE seq = {seq}")


@pytest.mark.usefixtures("judged")
def test_a_changed_event_with_a_new_hash_does_not_fit_the_chain(project: Project) -> None:
    after = event_at(project, 3)
    forge(project, 2, payload='{"v":1,"verdict":"second"}')
    found = named(project)
    assert "does not follow the event before it" in found["events", after]
    assert ("snapshots", "before") in found
    assert ("snapshots", "after") in found


@pytest.mark.usefixtures("judged")
def test_a_forged_last_event_does_not_fit_the_head(project: Project) -> None:
    forge(project, 5, created_at="2020-01-01T00:00:00.000000Z")
    assert named(project) == {
        ("ledger_heads", "head"): "does not fit event 5, where the ledger ends"
    }


@pytest.mark.usefixtures("judged")
@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("payload", '{"v":1,"verdict":"left"}', "holds no verdict"),
        ("payload", "nothing", "holds no verdict"),
        ("idempotency_key", "other", "was changed: its id does not fit its annotator and key"),
    ],
)
def test_a_forged_event_must_still_make_sense(
    project: Project, name: str, value: str, problem: str
) -> None:
    record = event_at(project, 2)
    forge(project, 2, **{name: value})
    assert named(project)["events", record] == problem


@pytest.mark.usefixtures("judged")
def test_a_missing_event_is_named(project: Project) -> None:
    after = event_at(project, 3)
    tamper(project, "DELETE FROM events WHERE seq = 2")
    found = named(project)
    assert found["events", after] == "event 2 is missing before it"
    assert "held 4 judgements" in found["snapshots", "before"]


@pytest.mark.usefixtures("judged")
def test_missing_events_at_the_end_are_named(project: Project) -> None:
    tamper(project, "DELETE FROM events WHERE seq = 5")
    assert named(project)["ledger_heads", "head"].endswith("so event 5 is missing")
    tamper(project, "DELETE FROM events WHERE seq > 2")
    assert named(project)["ledger_heads", "head"].endswith("so events 3 on are missing")
    tamper(project, "DELETE FROM events", "DELETE FROM ledger_heads")
    assert "is missing" in named(project)["ledger_heads", "head"]


@pytest.mark.usefixtures("judged")
def test_a_hole_closed_by_renumbering_is_found(project: Project) -> None:
    tamper(
        project,
        "DELETE FROM events WHERE seq = 2",
        "UPDATE events SET seq = seq - 1 WHERE seq = 3",
        "UPDATE events SET seq = seq - 1 WHERE seq = 4",
        "UPDATE events SET seq = seq - 1 WHERE seq = 5",
        "UPDATE ledger_heads SET seq = 4",
    )
    found = named(project)
    assert "does not follow the event before it" in found["events", event_at(project, 2)]


@pytest.mark.usefixtures("judged")
def test_moved_events_are_named(project: Project) -> None:
    tamper(
        project,
        "UPDATE events SET seq = 100 WHERE seq = 1",
        "UPDATE events SET seq = 1 WHERE seq = 2",
        "UPDATE events SET seq = 2 WHERE seq = 100",
    )
    found = named(project)
    for seq in (1, 2, 3):
        assert "does not follow the event before it" in found["events", event_at(project, seq)]
    assert not any(problem.startswith("was changed") for problem in found.values())


@pytest.mark.usefixtures("judged")
def test_a_doubled_event_is_named(project: Project) -> None:
    doubled = project.store.events()[1]
    tamper(  # a table without constraints takes the place of the real one
        project,
        "CREATE TABLE loose AS SELECT * FROM events",
        "DROP TABLE events" + ("" if project.store.database.is_sqlite else " CASCADE"),
        "ALTER TABLE loose RENAME TO events",
        "INSERT INTO events SELECT * FROM events WHERE seq = 2",
    )
    found = named(project)
    assert found["events", doubled.id] == "is there 2 times"
    assert found["events", f"{doubled.id} (seq 2)"] == "seq 2 occurs twice"


def test_a_judgement_slipped_in_under_another_key_is_found(project: Project, judged: World) -> None:
    tamper(
        project,
        "INSERT INTO events (seq, id, kind, comparison_id, response_id, annotator_id,"
        " idempotency_key, supersedes, payload, created_at, prev_hash, hash)"
        " SELECT 6, 'slipped', kind, comparison_id, response_id, annotator_id,"
        " 'slipped', supersedes, payload, created_at, 'x', 'x' FROM events WHERE seq = 2",
    )
    found = named(project)
    assert "was changed" in found["events", "slipped (seq 6)"]
    assert "2 standing judgements" in found["comparisons", judged.comparisons[1]]
    assert "does not fit event 6" in found["ledger_heads", "head"]


@pytest.mark.parametrize(
    ("statement", "table", "record", "problem"),
    [
        (
            "UPDATE responses SET text = 'forged' WHERE id = '{0.responses[1]}'",
            "responses",
            "{0.responses[1]}",
            "its id does not fit",
        ),
        (
            "UPDATE responses SET content_sha256 = '0' WHERE id = '{0.responses[1]}'",
            "responses",
            "{0.responses[1]}",
            "content_sha256 does not fit",
        ),
        (
            "UPDATE prompts SET split = 'test' WHERE id = '{0.prompts[0]}'",
            "prompts",
            "{0.prompts[0]}",
            "its id does not fit",
        ),
        (
            "UPDATE comparisons SET shown_order = 'first_left' WHERE id = '{0.comparisons[0]}'",
            "comparisons",
            "{0.comparisons[0]}",
            "its id does not fit",
        ),
        (
            "UPDATE comparisons SET dedupe_key = '0' WHERE id = '{0.comparisons[0]}'",
            "comparisons",
            "{0.comparisons[0]}",
            "dedupe_key does not fit",
        ),
        (
            "DELETE FROM responses WHERE id = '{0.responses[1]}'",
            "comparisons",
            "{0.comparisons[0]}",
            "second_response_id names {0.responses[1]}, which responses does not have",
        ),
        (
            "DELETE FROM annotators WHERE name = 'ada'",
            "events",
            "1",
            "annotator_id names {0.annotators[1]}, which annotators does not have",
        ),
        (
            "DELETE FROM artifacts",
            "model_versions",
            "{0.model.id}",
            "path names {0.model.path}, which artifacts does not have",
        ),
        (
            "UPDATE samplers SET parameters = '{{}}'",
            "samplers",
            "{0.sampler}",
            "its id does not fit",
        ),
        (
            "UPDATE annotators SET name = 'eve' WHERE name = 'ada'",
            "annotators",
            "{0.annotators[1]}",
            "its id does not fit",
        ),
        (
            "UPDATE snapshots SET event_count = 9 WHERE name = 'after'",
            "snapshots",
            "after",
            "held 9 judgements",
        ),
        (
            "UPDATE snapshots SET up_to_seq = 1 WHERE name = 'before'",
            "snapshots",
            "before",
            "now gives 1",
        ),
        ("DROP TABLE run_parents", "run_parents", "the whole table", "is missing"),
    ],
)
def test_a_changed_record_is_named(
    project: Project, judged: World, statement: str, table: str, record: str, problem: str
) -> None:
    tamper(project, statement.format(judged))
    assert problem.format(judged) in named(project)[table, record.format(judged)]


@pytest.mark.usefixtures("judged")
def test_changed_settings_of_a_run_are_named(project: Project) -> None:
    (run,) = project.store.runs()
    tamper(project, "UPDATE runs SET settings = replace(settings, '1', '2')")
    assert "settings_sha256 does not fit" in named(project)["runs", run.id]


@pytest.mark.usefixtures("judged")
def test_a_guard_that_is_off_is_named(project: Project) -> None:
    on = "" if project.store.database.is_sqlite else " ON events"
    with project.store.database.writing() as connection:
        connection.exec_driver_sql(f"DROP TRIGGER events_no_delete{on}")
    assert check_project(project) == [
        Finding(
            table="events",
            record="events_no_delete",
            problem="the trigger that keeps events from being changed or removed is off",
        )
    ]


def _flip(path: Path, offset: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


def _remove(path: Path) -> None:
    path.unlink()


def _add(path: Path) -> None:
    path.with_name("extra").write_text("extra")


@pytest.mark.parametrize("damage", [_flip, _remove, _add])
def test_a_damaged_artifact_is_named(
    project: Project, judged: World, damage: Callable[[Path], None]
) -> None:
    damage(project.artifacts.path(judged.artifact) / "model.safetensors")
    path, sha256 = judged.artifact.path, judged.artifact.sha256
    problem = f"{path} was changed: it no longer has the hash {sha256[:12]}"
    assert named(project) == {("artifacts", path): problem}


def test_a_missing_artifact_is_named(project: Project, judged: World) -> None:
    path = project.artifacts.path(judged.artifact)
    path.rename(path.with_name("elsewhere"))
    assert named(project) == {
        ("artifacts", judged.artifact.path): f"{judged.artifact.path} is missing"
    }


@pytest.mark.parametrize("bit", [0x01, 0x80])
def test_a_flipped_bit_in_a_stored_text_is_found_even_where_it_is_no_text_any_more(
    sqlite_project: Project, bit: int
) -> None:
    world = fill(sqlite_project)
    judge(sqlite_project.store, world.comparisons, world.annotators[1])
    sqlite_project.close()  # moves the log into the file
    file = sqlite_project.root / "assent.db"
    content = bytearray(file.read_bytes())
    content[content.index(b"answer 1 to 2")] ^= bit
    file.write_bytes(content)
    with Project.open(sqlite_project.root) as project:
        found = named(project)
    assert "was changed" in found["responses", world.responses[5]]


def test_a_torn_database_file_is_reported(sqlite_project: Project) -> None:
    fill(sqlite_project, pairs=400)
    sqlite_project.close()
    file = sqlite_project.root / "assent.db"
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 20_000] = bytes(20_000)
    file.write_bytes(content)
    with Project.open(sqlite_project.root) as project:
        findings = check_project(project)
    assert any(one.table == "database" for one in findings)


@pytest.fixture
def criticised(project: Project) -> str:
    """A project with a ranking of three responses to a chat, and a refined criticism of one."""
    store = project.store
    ada = store.add_annotator("ada", "human")
    (prompt,) = store.add_prompts([Prompt(text=ChatPrompt([Message("user", "Hi")]))])
    ids = store.add_responses(
        [NewResponse(prompt_id=prompt, text=text, origin="import") for text in "abc"]
    )
    (set_,) = store.add_response_sets([NewResponseSet(prompt_id=prompt, response_ids=tuple(ids))])
    store.record_rankings(
        [
            NewRanking(
                response_set_id=set_,
                annotator_id=ada,
                ranks=dict.fromkeys(ids, 0),
                idempotency_key="ranking",
            )
        ]
    )
    store.record_criticisms(
        [
            NewCriticism(
                response_id=ids[0],
                annotator_id=ada,
                text="short",
                refinement="longer",
                idempotency_key="criticism",
            )
        ]
    )
    store.take_snapshot("ranked")
    assert check_project(project) == []
    return set_


@pytest.mark.parametrize(
    ("change", "table", "problem"),
    [
        ("UPDATE response_set_members SET place = 9 WHERE place = 1", "response_sets", "members"),
        ("DELETE FROM response_set_members WHERE place = 3", "response_sets", "members"),
        ("UPDATE response_sets SET purpose = 'test'", "response_sets", "its id does not fit"),
        ("UPDATE prompts SET messages = '[]'", "prompts", "its id does not fit"),
        ("UPDATE prompts SET messages = NULL", "snapshots", "held 1 judgements"),
        ("UPDATE events SET refinement_id = response_id WHERE seq = 2", "events", "was changed"),
    ],
)
@pytest.mark.usefixtures("criticised")
def test_changed_rankings_chats_and_criticisms_are_named(
    project: Project, change: str, table: str, problem: str
) -> None:
    tamper(project, change)
    assert any(one.table == table and problem in one.problem for one in check_project(project))


@pytest.mark.usefixtures("criticised")
@pytest.mark.parametrize(("seq", "what"), [(1, "ranks"), (2, "text")])
def test_a_forged_event_without_what_it_says_is_named(
    project: Project, seq: int, what: str
) -> None:
    record = event_at(project, seq)
    forge(project, seq, payload='{"v":1}')
    assert named(project)["events", record] == f"holds no {what}"
