"""The first guidelines, and the parts that are for one kind of task."""

from assent.collect.guidelines import begin_guidelines, first_guidelines, parts
from assent.store import Project


def test_a_project_without_guidelines_gets_the_first_ones_once(sqlite_project: Project) -> None:
    store = sqlite_project.store
    begin_guidelines(store, ["helpful"], looks_up=False)
    first = store.guidelines.read()
    assert (first.version, "Looking up" in first.text) == (1, False)
    begin_guidelines(store, ["helpful"], looks_up=True)
    assert store.guidelines.read() == first
    store.guidelines.write("", based_on=1, author=None)
    begin_guidelines(store, ["helpful"], looks_up=True)
    assert store.guidelines.read().text == ""  # emptied by somebody who meant it


def test_every_kind_of_task_has_a_part_and_nothing_is_lost() -> None:
    text = first_guidelines(["helpful", "honest"], looks_up=True)
    found = parts(text)
    assert [kind for kind, _ in found] == [
        None, "comparison", "ranking", "rating", "demonstration",
    ]  # fmt: skip
    assert "".join(said for _, said in found) == text


def test_a_heading_that_names_no_kind_ends_a_part() -> None:
    text = "all\n## Ratings ##\nr\n### Detail\nd\n## Comparison of towns\nt\n# Top\n"
    assert parts(text) == [
        (None, "all\n"),
        ("rating", "## Ratings ##\nr\n### Detail\nd\n"),
        (None, "## Comparison of towns\nt\n# Top\n"),
    ]


def test_a_heading_inside_code_begins_nothing() -> None:
    text = "````\n```\n## Ratings\n````\n# Ratings\n#Ratings\n    ## Ratings\n"
    assert parts(text) == [(None, text)]
    assert parts("") == []
