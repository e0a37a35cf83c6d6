"""Groups of annotators come from a file, and what does not fit in it is named with its line."""

from pathlib import Path

import pytest

from assent.audit.annotator_groups import groups_of
from assent.errors import DataError
from assent.store import StoredAnnotator

PEOPLE = [
    StoredAnnotator(id="id-ada", name="ada", kind="human", parameters={}),
    StoredAnnotator(id="id-ben", name="ben", kind="human", parameters={}),
    StoredAnnotator(
        id="id-sim", name="sim", kind="simulated", parameters={"groups": {"language": "Welsh"}}
    ),
]


def written(folder: Path, text: str) -> Path:
    file = folder / "groups.csv"
    file.write_text(text, encoding="utf-8")
    return file


def test_people_are_found_by_name_or_id_and_unknown_cells_say_nothing(tmp_path: Path) -> None:
    file = written(tmp_path, "annotator, language ,trade\nada,English,nurse\nid-ben,Hindi,\n")
    assert groups_of(PEOPLE, file) == {
        "ada": {"language": "English", "trade": "nurse"},
        "ben": {"language": "Hindi"},
        "sim": {"language": "Welsh"},
    }
    assert groups_of(PEOPLE, None)["ada"] == {}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "it is empty"),
        ("name,language\nada,English\n", "it is name,language"),
        ("annotator\nada\n", "it is annotator"),
        ("annotator,x,x\nada,1,2\n", "it is annotator,x,x"),
        ("annotator,language\nzoe,English\n", "line 2: no annotator is called 'zoe'"),
        ("annotator,language\nada,English\nid-ada,Hindi\n", "line 3: 'id-ada' is there twice"),
        ("annotator,language\nada\n", "line 2: not one cell for each of 2 columns"),
        ("annotator,language\nada,a,b\n", "line 2: not one cell for each of 2 columns"),
    ],
)
def test_a_file_that_does_not_fit_is_one_line_that_says_where(
    tmp_path: Path, text: str, problem: str
) -> None:
    with pytest.raises(DataError, match=problem):
        groups_of(PEOPLE, written(tmp_path, text))


def test_a_file_that_is_not_there_or_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read as CSV"):
        groups_of(PEOPLE, tmp_path / "none.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot be read as CSV"):
        groups_of(PEOPLE, tmp_path / "binary.csv")
