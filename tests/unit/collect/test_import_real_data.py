"""The published files of ../shared/data, imported whole: counts as their README says."""

import os
from pathlib import Path

import pytest
from tests.store_fixtures import SETTINGS

from assent.collect.exporting import export_file
from assent.collect.importing import import_file
from assent.store import Project, check_project

DATA = Path(os.environ.get("ASSENT_DATA", Path(__file__).parents[4] / "shared" / "data"))

FILES = [
    ("demos/gsm8k_train_4000.jsonl.gz", {"demonstrations": 4000}, {}),
    ("demos/mt_bench_questions.jsonl", {"prompts": 48}, {}),
    ("demos/seed_tasks.jsonl", {"demonstrations": 175}, {}),
    ("demos/user_oriented_instructions.jsonl", {"demonstrations": 156}, {}),
    ("feedback/ilf_mbpp_human_feedback.jsonl.gz", {"criticisms": 113}, {}),
    (
        "preferences/hh_harmless_base_test.jsonl.gz",
        {"comparisons": 1345},
        {"empty response": 3, "prompt ends with the assistant": 1},
    ),
    ("preferences/llmbar_gptinst.jsonl", {"comparisons": 92}, {}),
    ("preferences/llmbar_natural.jsonl", {"comparisons": 100}, {}),
    ("preferences/llmbar_neighbor.jsonl", {"comparisons": 134}, {}),
    (
        "preferences/oasst1_en_validation_messages.jsonl.gz",
        {"rankings": 245, "demonstrations": 278, "prompts": 154},
        {"deleted or not approved": 52, "parent message missing": 1, "identical responses": 1},
    ),
    (
        "preferences/oasst1_en_validation_pairs.jsonl.gz",
        {"comparisons": 623},
        {"identical responses": 1},
    ),
    pytest.param(
        "preferences/truthfulqa_judge_info.jsonl.gz",
        {"ratings": 13195},
        {"empty response": 46},
        marks=pytest.mark.slow,
    ),
    pytest.param(
        "preferences/truthfulqa_judge_truth.jsonl.gz",
        {"ratings": 13195},
        {"empty response": 46},
        marks=pytest.mark.slow,
    ),
]


@pytest.mark.parametrize(("name", "added", "dropped"), FILES)
def test_a_published_file_is_imported_whole_once_and_in_one_split_a_prompt(
    tmp_path: Path, name: str, added: dict[str, int], dropped: dict[str, int]
) -> None:
    with Project.create(tmp_path / "project", SETTINGS) as project:
        store = project.store
        _, result = import_file(store, published(name))
        assert result.added == added
        assert {one.reason: one.count for one in result.dropped} == dropped
        splits: dict[str, set[str]] = {}
        for one in store.prompts():
            splits.setdefault(one.text, set()).add(one.split)
            splits.setdefault(f"group {one.group or one.text}", set()).add(one.split)
        assert all(len(split) == 1 for split in splits.values())
        _, again = import_file(store, published(name))
        assert (again.added, again.known) == ({}, added)
        assert check_project(project) == []


def test_published_pairs_go_out_to_trl_and_into_datasets(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="pip install 'assent[hub]'")
    with Project.create(tmp_path / "project", SETTINGS) as project:
        import_file(project.store, published("preferences/hh_harmless_base_test.jsonl.gz"))
        import_file(project.store, published("preferences/llmbar_natural.jsonl"))
        out = tmp_path / "trl.jsonl"
        written = export_file(project.store, out, "trl-preference-chat", what="preferences")
    loaded = datasets.load_dataset(
        "json", data_files=str(out), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert loaded.num_rows == written.rows == 1345 + 100
    assert loaded[0]["chosen"][-1]["role"] == "assistant"


def published(name: str) -> Path:
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"{path} is not there; set ASSENT_DATA to the folder of the published data")
    return path
