"""Check items from a file: which files, what is refused and how it is said."""

import json
from pathlib import Path

import pytest

from assent.collect.check_items import import_check_items, read_check_rows
from assent.errors import UnfitRows, UnknownFormat, UnreadableFile
from assent.store import CheckItem, Project
from assent.types import ChatPrompt

GOOD = [
    {"prompt": "2 + 2?", "better": "4", "worse": "5", "why": "arithmetic"},
    {"prompt": "Where is Paris?", "better": "In France.", "worse": "In Spain."},
]


def written(folder: Path, name: str, rows: list[dict[str, object]]) -> Path:
    """A file of rows, as its ending says."""
    path = folder / name
    if name.endswith(".csv"):
        columns = list(rows[0])
        lines = [",".join(columns), *(",".join(str(row[one]) for one in columns) for row in rows)]
        path.write_text("\n".join(lines) + "\n")
    elif name.endswith(".json"):
        path.write_text(json.dumps(rows))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def items(project: Project) -> list[CheckItem]:
    """What the owner sees."""
    with project.store.work.look() as view:
        return view.checks()


def sides(item: CheckItem) -> tuple[str, str]:
    """The better response and the worse one."""
    if item.answer == "first":
        return item.first, item.second
    return item.second, item.first


@pytest.mark.parametrize("name", ["checks.jsonl", "checks.json", "checks.csv"])
def test_a_file_of_check_items_is_imported_whole_and_only_once(
    sqlite_project: Project, tmp_path: Path, name: str
) -> None:
    rows: list[dict[str, object]] = [{**one, "why": one.get("why", "")} for one in GOOD]
    path = written(tmp_path, name, rows)
    found = import_check_items(sqlite_project.store, path, seed=3)
    assert (found.added, found.known) == (2, 0)
    assert [(one.prompt, *sides(one), one.why) for one in items(sqlite_project)] == [
        ("2 + 2?", "4", "5", "arithmetic"),
        ("Where is Paris?", "In France.", "In Spain.", ""),
    ]
    assert all(one.split == "test" for one in sqlite_project.store.prompts())
    again = import_check_items(sqlite_project.store, path, seed=3)
    assert (again.added, again.known) == (0, 2)
    assert len(items(sqlite_project)) == 2


def test_comparisons_of_another_project_become_check_items(
    sqlite_project: Project, tmp_path: Path
) -> None:
    turns = [{"role": "user", "content": "2 + 2?"}]
    path = written(
        tmp_path,
        "trl.jsonl",
        [
            {
                "prompt": turns,
                "chosen": [{"role": "assistant", "content": "4"}],
                "rejected": [{"role": "assistant", "content": "5"}],
            }
        ],
    )
    [row], problems = read_check_rows(path)
    assert problems == []
    assert isinstance(row.prompt, ChatPrompt)
    assert import_check_items(sqlite_project.store, path).added == 1
    [item] = items(sqlite_project)
    assert sides(item) == ("4", "5")


def test_a_row_that_does_not_fit_keeps_the_whole_file_out_and_is_named(
    sqlite_project: Project, tmp_path: Path
) -> None:
    path = written(
        tmp_path,
        "checks.jsonl",
        [
            *GOOD,  # type: ignore[list-item]
            {"prompt": "3 + 3?", "better": "6"},
            {"prompt": "4 + 4?", "better": "8 ", "worse": " 8"},
            {"prompt": "  ", "better": "8", "worse": "9"},
            {"prompt": "2 + 2?", "better": "5", "worse": "4"},
            {"prompt": "5 + 5?", "better": 10, "worse": "11"},
        ],
    )
    with path.open("a") as file:
        file.write("not json\n")
    with pytest.raises(UnfitRows) as refused:
        import_check_items(sqlite_project.store, path)
    assert str(refused.value).startswith(
        "checks.jsonl: 6 of 8 rows cannot be check items, so nothing was added: row 3: "
    )
    assert [where for where, _ in refused.value.rows] == [f"row {n}" for n in range(3, 9)]
    said = dict(refused.value.rows)
    assert said["row 3"] == "column worse is missing or empty"
    assert "look the same" in said["row 4"]
    assert "prompt" in said["row 5"]
    assert said["row 6"] == "says the opposite of row 1 about the same two responses"
    assert "column better should be text" in said["row 7"]
    assert "JSON" in said["row 8"]
    assert items(sqlite_project) == []
    assert sqlite_project.store.prompts() == []


def test_a_row_against_a_stored_check_item_is_refused(
    sqlite_project: Project, tmp_path: Path
) -> None:
    import_check_items(sqlite_project.store, written(tmp_path, "a.jsonl", GOOD))  # type: ignore[arg-type]
    turned = [{"prompt": "2 + 2?", "better": "5", "worse": "4"}]
    with pytest.raises(UnfitRows, match="opposite of a check item of this project"):
        import_check_items(sqlite_project.store, written(tmp_path, "b.jsonl", turned))  # type: ignore[arg-type]


def test_what_has_no_better_side_is_no_check_item(sqlite_project: Project, tmp_path: Path) -> None:
    tie: dict[str, object] = {
        "type": "comparison", "prompt": "?", "responses": ["yes", "no"], "verdict": "tie",
    }  # fmt: skip
    prompt: dict[str, object] = {"type": "prompt", "prompt": "2 + 2?"}
    with pytest.raises(UnfitRows) as refused:
        import_check_items(sqlite_project.store, written(tmp_path, "own.jsonl", [tie, prompt]))
    assert [said for _, said in refused.value.rows] == [
        "its verdict is tie, so neither side is the better one",
        "a prompt has no better side; check items are comparisons",
    ]


def test_a_file_that_is_nothing_of_the_kind_is_refused_in_a_line(
    sqlite_project: Project, tmp_path: Path
) -> None:
    with pytest.raises(UnknownFormat, match="prompt, better, worse and why"):
        import_check_items(sqlite_project.store, written(tmp_path, "x.jsonl", [{"a": 1}]))
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    with pytest.raises(UnreadableFile, match="empty"):
        import_check_items(sqlite_project.store, empty)
    with pytest.raises(UnreadableFile):
        import_check_items(sqlite_project.store, tmp_path / "absent.jsonl")


def test_many_bad_rows_are_counted_and_the_first_are_named(
    sqlite_project: Project, tmp_path: Path
) -> None:
    rows: list[dict[str, object]] = [{"prompt": f"{n}?", "better": "yes"} for n in range(15)]
    with pytest.raises(UnfitRows, match=r"row 10: [^;]*; and 5 more$") as refused:
        import_check_items(sqlite_project.store, written(tmp_path, "x.jsonl", rows))
    assert len(refused.value.rows) == 15
