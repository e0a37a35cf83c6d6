"""Tables behind the figures: every list of rows is found, and said as people read it."""

from assent.report.detail_tables import SHOWN, detail_tables

TABLES = {
    "ceiling": {"low": 0.6, "high": 0.7},
    "by_margin": [
        {"from": 0.0, "to": 0.5, "accuracy": 0.5644, "interval": [0.5, 0.62], "n": 225},
        {"from": 0.5, "to": 1.0, "accuracy": None, "interval": None, "n": 0},
    ],
    "biases": {
        "unit": "logits",
        "rows": [
            {
                "feature": "sounds certain",
                "model": {"value": 1.25, "interval": [1.0, 1.5]},
                "amplified": {"difference": -0.5, "interval": [-0.8, -0.2]},
            }
        ],
    },
    "calibration": {"bins": [{"predicted": 0.5, "observed": 0.4}]},
    "insertions": {"shown": [{"token": " Tarn", "effect": 0.125, "flagged": False}]},
    "rows": {
        "disagreements": {
            "count": 395,
            "shown": [{"texts": ["one", "two"], "verdicts": {"ada": 0.0, "ben": 1.0}}] * 100,
        },
        "undecided": {"count": 0, "shown": []},
    },
    "annotators": [{"annotator": "ada", "median_seconds": None, "new": True}],
}


def test_every_list_of_rows_is_a_table_with_its_place_as_the_caption() -> None:
    found = {table.caption: table for table in detail_tables(TABLES)}
    assert list(found) == [
        "by margin", "biases: rows", "insertions", f"rows: disagreements ({SHOWN} of 395)",
        "annotators",
    ]  # fmt: skip


def test_an_interval_stands_beside_what_it_is_of() -> None:
    found = {table.caption: table for table in detail_tables(TABLES)}
    margin = found["by margin"]
    assert margin.columns == ["from", "to", "accuracy", "n"]
    assert margin.rows == [
        ["0.000", "0.500", "0.564 [0.500, 0.620]", "225"],
        ["0.500", "1.000", "", "0"],
    ]
    assert found["biases: rows"].rows == [
        ["sounds certain", "1.250 [1.000, 1.500]", "-0.500 [-0.800, -0.200]"]
    ]


def test_cells_are_words_and_columns_without_any_are_left_out() -> None:
    found = {table.caption: table for table in detail_tables(TABLES)}
    assert found["insertions"].rows == [["Tarn", "0.125", "no"]]
    assert found[f"rows: disagreements ({SHOWN} of 395)"].rows[0] == [
        "one | two", "ada 0.000; ben 1.000",
    ]  # fmt: skip
    assert (found["annotators"].columns, found["annotators"].rows) == (
        ["annotator", "new"], [["ada", "yes"]],
    )  # fmt: skip
