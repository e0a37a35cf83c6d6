"""Settings written as TOML come back equal, whatever the text and the numbers."""

import tomllib
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from assent.config.base import PositiveInt, Settings
from assent.config.load import load_settings, settings_hash
from assent.config.project import ProjectSettings
from assent.config.write import dump_toml, with_value
from assent.errors import ConfigError


class Left(Settings):
    """One variant."""

    kind: Literal["left"] = "left"
    steps: PositiveInt = 1


class Right(Settings):
    """The other."""

    kind: Literal["right"] = "right"
    notes: tuple[str, ...] = ()


class Part(Settings):
    """A table in the table."""

    side: Annotated[Left | Right, Field(discriminator="kind")] = Left()
    stop_at: int | None = None


class Whole(Settings):
    """Everything at once."""

    title: str = ""
    """What people call it."""
    rate: float = 1
    count: int = 0
    on: bool = False
    where: Path = Path("runs")
    part: Part = Part()
    several: tuple[Left, ...] = ()
    weights: dict[str, float] = Field(default_factory=dict)


text = st.text(st.characters(exclude_categories=["Cs"]))
part = st.builds(
    Part,
    side=st.builds(Left, steps=st.integers(1, 9)) | st.builds(Right, notes=st.tuples(text, text)),
    stop_at=st.none() | st.integers(),
)
whole = st.builds(
    Whole,
    title=text,
    rate=st.floats(allow_nan=False),
    count=st.integers(-(2**63), 2**63 - 1),
    on=st.booleans(),
    part=part,
    several=st.lists(st.builds(Left), max_size=2).map(tuple),
    weights=st.dictionaries(text, st.floats(allow_nan=False), max_size=3),
)


@given(settings=whole, comments=st.booleans())
def test_what_is_written_loads_equal_with_the_same_hash(settings: Whole, comments: bool) -> None:
    table = tomllib.loads(dump_toml(settings, comments=comments))
    loaded = load_settings(Whole, base=table)
    assert loaded == settings
    assert settings_hash(loaded) == settings_hash(settings)


def test_a_float_written_as_an_integer_has_the_hash_of_the_float() -> None:
    assert settings_hash(Whole()) == settings_hash(Whole(rate=1.0))


@pytest.mark.parametrize(
    "other", [Whole(rate=2.0), Whole(part=Part(stop_at=1)), Whole(part=Part(side=Right()))]
)
def test_any_other_value_has_another_hash(other: Whole) -> None:
    assert settings_hash(other) != settings_hash(Whole())


def test_fields_are_explained_above_their_values() -> None:
    assert '# What people call it.\ntitle = ""\n' in dump_toml(Whole())
    assert "#" not in dump_toml(Whole(), comments=False)


def test_one_key_is_set_and_every_other_line_stays() -> None:
    text = "# mine\nseed = 1\n\n[loop]\n# how often\nrounds = 2\n\n[ppo]\nrounds = 7\n"
    assert with_value(text, "loop", "rounds", "3") == text.replace("rounds = 2", "rounds = 3")
    added = with_value(text, "loop", "points", "4")
    assert tomllib.loads(added)["loop"] == {"rounds": 2, "points": 4}
    assert tomllib.loads(with_value("a = 1\n", "loop", "rounds", "3"))["loop"] == {"rounds": 3}
    with pytest.raises(ConfigError, match=r"a \[loop\] table yourself: rounds = 3"):
        with_value("loop = {rounds = 1}\n", "loop", "rounds", "3")


def test_tables_that_are_left_out_keep_their_defaults() -> None:
    text = dump_toml(ProjectSettings(), leave_out=["pretrain"])
    assert "pretrain" not in tomllib.loads(text)
    assert ProjectSettings.model_validate(tomllib.loads(text)) == ProjectSettings()
