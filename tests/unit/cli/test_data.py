"""`assent data` on real files: what it says, what it writes, and how it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest

from assent.cli.main import main
from assent.models.checkpoints import save_model
from assent.models.loading import new_llama
from assent.store import NewModelVersion, Project
from assent.worlds.almanac import build_tokenizer

ROWS = [
    {"prompt": "Who is the king?", "chosen": " The king is Ode.", "rejected": " I do not know."},
    {"prompt": "Who is the king?", "chosen": " Ode\x1b[31m is.", "rejected": " No."},
    {"prompt": "Where is it?", "chosen": "same", "rejected": "same"},
    {"prompt": "the king is " * 30, "chosen": " Ode.", "rejected": " Who?"},
]


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return file


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    tokenizer = build_tokenizer()
    model = new_llama(
        tokenizer,
        hidden_size=8,
        intermediate_size=8,
        layers=1,
        heads=1,
        max_positions=48,
        initial_std=0.02,
        seed=1,
    )
    with Project.create(root, "schema_version = 1\n") as opened:
        folder = root / "runs" / "base"
        folder.mkdir()
        save_model(folder, model, tokenizer)
        kept = opened.artifacts.adopt_folder(folder, "base", "base")
        opened.store.add_model_version(
            NewModelVersion(stage="base", name="base", weights_sha256=kept.sha256, path=kept.path)
        )
    return root


def assent(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[Any, str, str]:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    shown = capsys.readouterr()
    return stopped.value.code, shown.out, shown.err


def test_inspect_tells_format_columns_counts_and_what_would_be_dropped(
    pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = assent(capsys, "data", "inspect", pairs)
    assert code == 0
    assert f"{pairs}: trl-preference (" in out
    assert "4 rows give 3 comparisons" in out
    assert "1: identical responses" in out
    assert "pairs.jsonl, row 3: the two responses are the same text" in out
    assert "chosen       The king is Ode." in out
    assert "texts only: --project DIR or --model DIR shows the tokens" in out


def test_control_characters_of_a_file_do_not_reach_the_terminal(
    pairs: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, plain, _ = assent(capsys, "data", "inspect", pairs)
    _, tokens, _ = assent(capsys, "data", "inspect", pairs, "--project", project)
    for out in (plain, tokens):
        assert "\x1b" not in out
        assert r"\x1b[31m" in out


def test_with_a_tokenizer_the_boundary_and_the_label_mask_are_shown(
    pairs: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = assent(capsys, "data", "inspect", pairs, "--project", project)
    assert code == 0
    assert "tokens in [brackets] are learned" in out
    _, out, _ = assent(capsys, "data", "inspect", pairs, "--project", project, "--json")
    told = json.loads(out)
    side = told["examples"][0]["sides"][0]
    tokenizer = build_tokenizer()
    asked = tokenizer(ROWS[0]["prompt"], add_special_tokens=False)["input_ids"]
    answered = tokenizer(ROWS[0]["chosen"], add_special_tokens=False)["input_ids"]
    assert side["prompt_tokens"] == len(asked)
    assert side["response_tokens"] == len(answered) + 1
    shown = [*side["boundary"], *side["end"]]
    assert [one["id"] for one in shown if not one["learned"]] == asked[-6:]
    learned = [one["id"] for one in shown if one["learned"]]
    assert learned == [*answered, tokenizer.eos_token_id]


def test_import_says_what_was_added_dropped_and_is_too_long_and_repeats_nothing(
    pairs: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = assent(capsys, "data", "import", project, pairs, "--split", "train")
    assert code == 0
    assert "added: 3 comparisons" in out
    assert "new prompts: 2 train" in out
    assert "stored, too long to train on: 1" in out
    assert "pairs.jsonl, row 4: the prompt has " in out
    assert "dropped: 1 (identical responses)" in out

    code, out, _ = assent(capsys, "data", "import", project, pairs, "--json")
    told = json.loads(out)
    assert (code, told["added"], told["known"]) == (0, {}, {"comparisons": 3})
    assert told["dropped"][0]["first"] == [
        "pairs.jsonl, row 3: the two responses are the same text"
    ]


def test_export_counts_what_is_lost_and_refuses_to_overwrite(
    pairs: Path, project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assent(capsys, "data", "import", project, pairs)
    out_file = tmp_path / "out.jsonl"
    arguments = ("data", "export", project, out_file, "--format", "hh-rlhf")
    code, out, _ = assent(capsys, *arguments)
    assert code == 0
    assert f"{out_file}: 3 rows as hh-rlhf" in out
    assert "lost: split, of 3 records" in out
    code, _, err = assent(capsys, *arguments)
    assert code == 2
    assert "exists; name another file" in err
    code, out, _ = assent(
        capsys, "data", "export", project, tmp_path / "o.csv", "--format", "assent", "--json"
    )
    assert (code, json.loads(out)["rows"]) == (0, 5)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        ("", "is empty"),
        ('{"left": 1, "right": 2}\n', "no format has the columns left, right"),
        ("not json\n", "bad.jsonl"),
    ],
)
def test_a_bad_file_is_one_line_and_status_2(
    project: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    content: str | None,
    said: str,
) -> None:
    file = tmp_path / "bad.jsonl"
    if content is not None:
        file.write_text(content)
    for arguments in (("data", "inspect", file), ("data", "import", project, file)):
        code, _, err = assent(capsys, *arguments)
        assert code == 2
        assert said in err
        assert err.count("\n") == 1
    with Project.open(project) as opened:
        assert opened.store.counts()["prompts"] == 0


def test_the_formats_are_listed_with_what_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = assent(capsys, "data", "formats")
    assert code == 0
    assert "hh-rlhf" in out
    told = json.loads(assent(capsys, "data", "formats", "--json")[1])
    assert {one["name"] for one in told if one["written"]} >= {"assent", "trl-preference"}
