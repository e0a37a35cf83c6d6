"""The sizes a project comes in are shipped, whole, and one word apart."""

import tomllib
from importlib.resources import files
from pathlib import Path

import pytest

import assent
from assent.config.load import load_settings
from assent.config.project import ProjectSettings
from assent.config.sizes import SIZES, size_settings
from assent.config.write import dump_toml
from assent.errors import ConfigError


def test_every_size_file_in_the_package_is_a_size_and_the_other_way_round() -> None:
    shipped = {Path(file.name).stem for file in (files("assent.config") / "sizes").iterdir()}
    assert shipped == set(SIZES)


@pytest.mark.parametrize("size", SIZES)
def test_a_size_is_sound_and_says_its_name(size: str) -> None:
    assert size_settings(size, {}).size == size


@pytest.mark.parametrize("size", SIZES)
def test_a_project_that_began_as_a_size_reads_back_as_the_same_settings(size: str) -> None:
    settings = size_settings(size, {"seed": 3})
    written = tomllib.loads(dump_toml(settings))
    assert load_settings(ProjectSettings, base=written, base_name="assent.toml") == settings


def test_larger_sizes_are_larger() -> None:
    widths = [size_settings(size, {}).pretrain.shape.hidden_size for size in SIZES]
    judgements = [size_settings(size, {}).loop.judgements_per_round for size in SIZES]
    assert widths == sorted(set(widths))
    assert judgements == sorted(set(judgements))


def test_what_is_given_goes_over_the_size_and_leaves_its_neighbours() -> None:
    plain = size_settings("small", {})
    given = size_settings("small", {"pretrain": {"shape": {"heads": 4}}})
    assert given.pretrain.shape.heads == 4
    assert given.pretrain.shape.hidden_size == plain.pretrain.shape.hidden_size
    assert given.pretrain.steps == plain.pretrain.steps


def test_an_unknown_size_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="'huge'; choose from tiny, small, gpu"):
        size_settings("huge", {})


def test_given_settings_that_do_not_fit_are_named_with_the_size() -> None:
    with pytest.raises(ConfigError) as caught:
        size_settings("tiny", {"loop": {"rounds": 0}, "sft": {"epoch": 1}})
    assert "loop.rounds" in str(caught.value)
    assert "sft.epoch" in str(caught.value)


def test_the_size_files_lie_beside_the_code_so_a_wheel_holds_them() -> None:
    folder = Path(assent.__file__).parent / "config" / "sizes"
    assert {file.name for file in folder.glob("*.toml")} == {f"{size}.toml" for size in SIZES}
