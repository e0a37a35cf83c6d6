"""`db check` finds tasks and leases that were changed behind the store's back."""

import pytest
from sqlalchemy import text
from tests.labelling_fixtures import Start, verdict

from assent.store import check_project


@pytest.mark.parametrize(
    ("statement", "table", "said"),
    [
        ("UPDATE tasks SET remaining = remaining + 1 WHERE position = 1", "tasks", "places remain"),
        ("UPDATE tasks SET overlap = 7 WHERE position = 3", "tasks", "places remain"),
        (
            "UPDATE tasks SET kind = 'demonstration', comparison_id = NULL WHERE position = 3",
            "tasks",
            "its id does not fit",
        ),
        ("UPDATE leases SET counts = false WHERE ordinal = 1", "tasks", "places remain"),
        (
            "UPDATE leases SET annotator_id = (SELECT id FROM annotators WHERE name = 'ada')"
            " WHERE ordinal = 1",
            "leases",
            "names an answer of annotator",
        ),
        (
            "UPDATE leases SET state = 'undone', counts = false WHERE ordinal = 1",
            "leases",
            "the ledger says otherwise",
        ),
        ("DELETE FROM leases WHERE ordinal = 2", "tasks", "places remain"),
    ],
)
def test_a_change_is_found_and_named(
    labelling: Start, statement: str, table: str, said: str
) -> None:
    at = labelling()
    given = at.claim("zoe")
    at.desk.answer(at.person("zoe"), given.lease.id, "key-00001", verdict())
    at.claim("zoe")
    assert check_project(at.project) == []
    with at.project.store.database.writing() as connection:
        connection.execute(text(statement))
    found = [f"{one.table}: {one.problem}" for one in check_project(at.project)]
    assert any(one.startswith(f"{table}: ") and said in one for one in found), found
