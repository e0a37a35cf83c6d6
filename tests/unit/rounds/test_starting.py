"""`assent init` takes any causal LM, mends what can be mended, and leaves nothing half-made."""

from pathlib import Path

import pytest
import torch
from tests.own_project import save_base
from transformers import AutoModelForCausalLM, AutoTokenizer

from assent.config.files import whole_folder
from assent.config.load import load_settings
from assent.config.project import ProjectSettings
from assent.errors import (
    AssentError,
    ConfigError,
    DataError,
    NotAModel,
    ProjectError,
    TokenizerUnfit,
)
from assent.models.loading import load_causal_lm, load_tokenizer
from assent.rounds.starting import Started, init_project
from assent.store import Project, check_project


def start(
    root: Path, model: Path | str, prompts: Path | None = None, size: str = "tiny"
) -> Started:
    return init_project(root, model=str(model), prompts=prompts, size=size, seed=0)


def padless(folder: Path) -> Path:
    """A model as most are published: eos, and no pad token of its own."""
    save_base(folder, "gpt2", None)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(folder)
    return folder


def test_the_base_is_copied_as_it_is_with_the_hash_of_its_weights(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base")
    (base / "pytorch_model.bin").write_bytes(b"a pickle")
    (base / "modeling.py").write_text("raise SystemExit")
    made = start(tmp_path / "own", base)
    copy = tmp_path / "own" / made.model
    assert (copy / "model.safetensors").read_bytes() == (base / "model.safetensors").read_bytes()
    assert not {"pytorch_model.bin", "modeling.py"} & {file.name for file in copy.iterdir()}
    with Project.open(tmp_path / "own") as project:
        (version,) = project.store.model_versions()
        assert (version.stage, version.name) == ("base", "base")
        assert version.weights_sha256 == made.weights_sha256
        assert check_project(project) == []
    # The original may go.
    theirs = AutoModelForCausalLM.from_pretrained(copy)
    assert made.parameters == sum(weight.numel() for weight in theirs.parameters())
    assert made.chat == "the tokenizer's chat template"


def test_a_model_without_a_pad_token_gets_one_and_says_the_same_as_before(tmp_path: Path) -> None:
    base = padless(tmp_path / "base")
    made = start(tmp_path / "own", base)
    assert "added" in made.pad_token
    copy = tmp_path / "own" / made.model
    tokenizer = load_tokenizer(copy)
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    tokens = torch.tensor([[5, 6, 7]])
    before = load_causal_lm(base)(tokens).logits
    after = load_causal_lm(copy)(tokens).logits
    torch.testing.assert_close(after[..., : before.shape[-1]], before)
    # The same model gives the same copy, its new embedding included.
    assert start(tmp_path / "again", base).weights_sha256 == made.weights_sha256


def test_links_as_the_hubs_cache_has_them_become_files(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base")
    cache = tmp_path / "cache"
    cache.mkdir()
    for file in base.iterdir():
        (cache / file.name).symlink_to(file)
    copy = tmp_path / "own" / start(tmp_path / "own", cache).model
    assert not any(file.is_symlink() for file in copy.iterdir())


def test_prompts_come_from_lines_or_rows_and_never_straddle_splits(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base")
    lines = tmp_path / "prompts.txt"
    lines.write_text("".join(f"prompt {n}\n" for n in range(200)) + "prompt 3\n\n", "utf-8")
    made = start(tmp_path / "text", base, lines)
    assert sum(made.prompts.values()) == 200
    assert made.dropped == {"said before": 1}
    assert set(made.prompts) == {"train", "validation", "test"}
    rows = tmp_path / "prompts.jsonl"
    rows.write_text("".join(f'{{"prompt": "prompt {n}"}}\n' for n in range(200)), "utf-8")
    start(tmp_path / "rows", base, rows)
    with Project.open(tmp_path / "text") as one, Project.open(tmp_path / "rows") as other:
        assert {(p.text, p.split) for p in one.store.prompts()} == {
            (p.text, p.split) for p in other.store.prompts()
        }


def test_the_settings_are_documented_and_load_again(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base")
    start(tmp_path / "own", base, size="gpu")
    file = tmp_path / "own" / "assent.toml"
    settings = load_settings(ProjectSettings, [file])
    assert (settings.size, settings.world, settings.base_model) == ("gpu", None, str(base))
    assert settings.ppo.precision == "bfloat16"
    text = file.read_text(encoding="utf-8")
    assert "# Where the base model came from" in text
    assert "[pretrain]" not in text
    assert "[world]" not in text


def refusals(tmp_path: Path) -> list[tuple[str, object, Path | None, str, type[AssentError], str]]:
    """What is given, and what is said about it."""
    base = save_base(tmp_path / "base")
    broken = save_base(tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"not weights")
    endless = save_base(tmp_path / "endless")
    tokenizer = AutoTokenizer.from_pretrained(endless)
    tokenizer.eos_token = None
    tokenizer.save_pretrained(endless)
    empty = tmp_path / "empty.txt"
    empty.write_text("\n\n")
    latin = tmp_path / "latin.txt"
    latin.write_bytes("grüße\n".encode("latin-1"))
    return [
        ("no folder", tmp_path / "nowhere", None, "tiny", NotAModel, "does not exist"),
        ("no model", tmp_path, None, "tiny", NotAModel, "holds no tokenizer_config.json"),
        ("broken weights", broken, None, "tiny", NotAModel, "no CausalLM model loads"),
        ("no eos", endless, None, "tiny", TokenizerUnfit, "has no eos token"),
        ("no size", base, None, "huge", ConfigError, "choose from tiny, small, gpu"),
        ("no prompts", base, tmp_path / "absent.txt", "tiny", DataError, "cannot be read"),
        ("empty prompts", base, empty, "tiny", DataError, "is empty"),
        ("other encoding", base, latin, "tiny", DataError, "is not in UTF-8"),
    ]


def test_what_cannot_be_used_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    for name, model, prompts, size, error, said in refusals(tmp_path):
        before = {path.name for path in tmp_path.iterdir()}
        with pytest.raises(error, match=said) as told:
            start(tmp_path / "own", str(model), prompts, size)
        assert "\n" not in str(told.value), name
        assert {path.name for path in tmp_path.iterdir()} == before, name


def test_a_hub_id_without_the_network_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object, **__: object) -> str:
        message = "connection\nrefused"
        raise ConnectionError(message)

    monkeypatch.setattr("assent.rounds.starting.snapshot_download", unreachable)
    with pytest.raises(NotAModel, match=r"hub gave no model .*connection refused.*network") as told:
        start(tmp_path / "own", "somebody/something")
    assert "\n" not in str(told.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base")
    (tmp_path / "own").mkdir()
    start(tmp_path / "own", base)  # empty is free
    with pytest.raises(ProjectError, match="is not empty; give a new or empty folder"):
        start(tmp_path / "own", base)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(ProjectError, match="is not empty"):
        start(tmp_path / "mine", base)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_what_a_killed_init_left_is_cleared(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base")
    left = tmp_path / ".own.init"
    with whole_folder(left) as aside:
        (aside / "assent.db").write_text("half")
    start(tmp_path / "own", base)
    assert not left.exists()
