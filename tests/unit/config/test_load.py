"""The loader: what wins over what, and what a user is told when it does not fit."""

import logging
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import pytest
from pydantic import Field, model_validator

from assent.config.base import NonNegativeFloat, PositiveFloat, PositiveInt, Settings
from assent.config.load import load_settings, read_toml
from assent.config.project import ProjectSettings
from assent.errors import ConfigError


class FixedKl(Settings):
    """A constant penalty."""

    kind: Literal["fixed"] = "fixed"
    coef: NonNegativeFloat = 0.05


class AdaptiveKl(Settings):
    """A penalty steered towards a target."""

    kind: Literal["adaptive"] = "adaptive"
    target_nats: PositiveFloat = 6.0
    horizon_episodes: PositiveInt = 10_000


AnyKl = Annotated[FixedKl | AdaptiveKl, Field(discriminator="kind")]


class Ppo(Settings):
    """One stage."""

    renamed: ClassVar[dict[str, str]] = {"batch": "ppo.rollouts"}

    rollouts: PositiveInt = 64
    minibatches: PositiveInt = 4
    temperature: float | Literal["greedy"] = 1.0
    kl: AnyKl = AdaptiveKl()
    warm_up_kl: AnyKl | None = None

    @model_validator(mode="after")
    def _rollouts_divide_evenly(self) -> Self:
        if self.rollouts % self.minibatches:
            message = (
                f"rollouts ({self.rollouts}) must be a multiple of minibatches ({self.minibatches})"
            )
            raise ValueError(message)
        return self


class Everything(Settings):
    """A whole project."""

    name: str = "unnamed"
    seed: int = 0
    model: Path = Path("model")
    sizes: tuple[int, ...] = (1, 2)
    ppo: Ppo = Ppo(rollouts=32, kl=AdaptiveKl(target_nats=3.0))


class Collections(Settings):
    """Arrays of tables, and tables whose keys are the user's own."""

    stages: tuple[Ppo, ...] = ()
    named: dict[str, Ppo] = Field(default_factory=dict)
    penalties: tuple[AnyKl, ...] = ()


class Optimiser(Settings):
    """Shared by stages."""

    lr: PositiveFloat = 0.1


class Stage(Settings):
    """A stage that has one."""

    optimiser: Optimiser = Optimiser()


class Stages(Settings):
    """Two of them."""

    sft: Stage = Stage()
    reward: Stage = Stage()


class Required(Settings):
    """Something the user must say."""

    where: Path
    steps: int


def write(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def problems(
    *overrides: str, cls: type[Settings] = Everything, files: tuple[Path, ...] = ()
) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(cls, files, overrides)
    return str(caught.value)


def test_with_nothing_given_the_defaults_stand() -> None:
    assert load_settings(Everything) == Everything()


def test_base_then_files_in_order_then_overrides_win(tmp_path: Path) -> None:
    first = write(tmp_path, "first.toml", "seed = 2\nname = 'first'\n[ppo]\nrollouts = 16\n")
    second = write(tmp_path, "second.toml", "name = 'second'\n[ppo]\nminibatches = 8\n")

    loaded = load_settings(
        Everything, [first, second], ["ppo.minibatches=2"], base={"seed": 1, "sizes": [7]}
    )

    assert (loaded.seed, loaded.name, loaded.sizes) == (2, "second", (7,))
    assert (loaded.ppo.rollouts, loaded.ppo.minibatches) == (16, 2)


def test_setting_one_key_of_a_table_keeps_the_rest_of_its_default() -> None:
    ppo = load_settings(Everything, [], ["ppo.kl.horizon_episodes=5"]).ppo

    assert ppo.rollouts == 32
    assert ppo.kl == AdaptiveKl(target_nats=3.0, horizon_episodes=5)


def test_an_override_is_read_as_toml_and_failing_that_as_a_string() -> None:
    loaded = load_settings(
        Everything, [], ["sizes=[3, 4]", "name=plain words", "model=runs/sft", "seed=1_000"]
    )
    assert (loaded.sizes, loaded.name) == ((3, 4), "plain words")
    assert (loaded.model, loaded.seed) == (Path("runs/sft"), 1000)


@pytest.mark.parametrize("text", ["5", "true", "2026-11-21", "1 # not a comment"])
def test_an_override_of_a_text_key_is_the_text_as_typed(text: str) -> None:
    assert load_settings(Everything, [], [f"name={text}"]).name == text


def test_a_number_for_a_text_key_is_no_problem_beside_one_that_is() -> None:
    assert problems("name=5", "seed=x") == "--set: seed = 'x': should be a valid integer"


def test_a_newline_in_an_override_cannot_set_a_second_key() -> None:
    assert load_settings(Everything, [], ["name=1\nseed = 9"]).name == "1\nseed = 9"


def test_the_last_override_of_a_key_wins() -> None:
    assert load_settings(Everything, [], ["seed=1", "seed=2"]).seed == 2


def test_an_empty_override_puts_the_default_back(tmp_path: Path) -> None:
    file = write(tmp_path, "a.toml", "seed = 5\n[ppo]\nrollouts = 8\n[ppo.kl]\ntarget_nats = 9.0\n")
    loaded = load_settings(Everything, [file], ["seed=", "ppo.kl="])
    assert (loaded.seed, loaded.ppo.rollouts) == (0, 8)
    assert loaded.ppo.kl == AdaptiveKl(target_nats=3.0)


def test_a_table_without_its_kind_is_the_default_one_and_the_log_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, logger="assent.config"):
        kl = load_settings(Everything, [], ["ppo.kl.target_nats=2"]).ppo.kl
    assert kl == AdaptiveKl(target_nats=2.0)
    assert caplog.messages == ["ppo.kl.kind is not given: using the default, 'adaptive'"]


def test_naming_another_kind_drops_what_lower_layers_said_of_the_old_one(tmp_path: Path) -> None:
    file = write(tmp_path, "a.toml", "[ppo.kl]\ntarget_nats = 4.0\n")
    kl = load_settings(Everything, [file], ["ppo.kl.kind=fixed", "ppo.kl.coef=0.5"]).ppo.kl
    assert kl == FixedKl(coef=0.5)


def test_naming_the_same_kind_again_drops_nothing(tmp_path: Path) -> None:
    file = write(tmp_path, "a.toml", "[ppo.kl]\ntarget_nats = 4.0\n")
    kl = load_settings(Everything, [file], ["ppo.kl.kind=adaptive"]).ppo.kl
    assert kl == AdaptiveKl(target_nats=4.0)


def test_the_callers_tables_are_left_alone() -> None:
    base = {"ppo": {"kl": {"target_nats": 4.0}}}
    load_settings(Everything, [], ["ppo.kl.horizon_episodes=7"], base=base)
    assert base == {"ppo": {"kl": {"target_nats": 4.0}}}


def test_every_problem_is_reported_at_once_with_its_key_and_its_source(tmp_path: Path) -> None:
    file = write(tmp_path, "mine.toml", "sed = 3\n[ppo]\nminibatches = 'four'\nrollouts = -1\n")

    message = problems("sizes=[1, 'two']", "nonsense", "ppo.kl.coef=0.1", files=(file,))

    assert message.splitlines() == [
        "6 problems in the settings:",
        "  --set nonsense: must be KEY=VALUE, as in --set ppo.epochs=2",
        "  --set: sizes[1] = 'two': should be a valid integer",
        f"  {file}: ppo.rollouts = -1: should be greater than 0",
        f"  {file}: ppo.minibatches = 'four': should be a valid integer",
        "  --set: ppo.kl.coef = 0.1: belongs to kind = 'fixed', "
        "and this table has kind = 'adaptive'",
        f"  {file}: sed = 3: unknown key; did you mean seed?",
    ]


def test_a_single_problem_is_a_single_line() -> None:
    assert (
        problems("ppo.rolouts=8") == "--set: ppo.rolouts = 8: unknown key; did you mean rollouts?"
    )


def test_an_unknown_key_that_stands_elsewhere_is_pointed_there() -> None:
    expected = "--set: rollouts = 8: unknown key here; did you mean ppo.rollouts?"
    assert problems("rollouts=8") == expected


def test_a_key_one_table_too_high_is_pointed_to_its_own_stage() -> None:
    expected = "--set: reward.lr = 1: unknown key here; did you mean reward.optimiser.lr?"
    assert problems("reward.lr=1", cls=Stages) == expected
    both = "--set: lr = 1: unknown key here; did you mean sft.optimiser.lr or reward.optimiser.lr?"
    assert problems("lr=1", cls=Stages) == both


def test_an_unknown_key_like_no_other_gets_the_list() -> None:
    expected = "--set: zzz = 1: unknown key; there are name, seed, model, sizes, ppo"
    assert problems("zzz=1") == expected


def test_a_renamed_key_is_refused_with_its_new_name() -> None:
    assert problems("ppo.batch=8") == "--set: ppo.batch = 8: is now called ppo.rollouts"


def test_a_check_over_two_keys_names_both_numbers_and_both_sources(tmp_path: Path) -> None:
    file = write(tmp_path, "a.toml", "[ppo]\nrollouts = 9\n")
    text = problems("ppo.minibatches=2", "seed=3", files=(file,))
    assert text == f"{file} and --set: ppo: rollouts (9) must be a multiple of minibatches (2)"


def test_a_wrong_kind_gets_the_right_ones() -> None:
    expected = "--set: ppo.kl.kind = 'fixd': should be one of 'fixed', 'adaptive'"
    assert problems("ppo.kl.kind=fixd", "ppo.kl.coef=1") == expected


def test_a_kind_that_has_no_default_must_be_said() -> None:
    expected = "--set: ppo.warm_up_kl.kind: is required: it says which kind of table this is"
    assert problems("ppo.warm_up_kl.coef=1") == expected


def test_a_value_that_fits_no_type_of_a_union_is_one_problem() -> None:
    expected = "--set: ppo.temperature = 'warm': should be a valid number or should be 'greedy'"
    assert problems("ppo.temperature=warm") == expected


@pytest.mark.parametrize("value", ["true", "'3'", "3.5"])
def test_nothing_is_silently_turned_into_a_number(value: str) -> None:
    assert "seed" in problems(f"seed={value}")


def test_a_number_where_a_table_belongs_is_refused() -> None:
    assert problems("ppo=3").startswith("--set: ppo = 3: ")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("stages=[{rollouts = 8}, {rolouts = 8}]", "stages[1].rolouts = 8: unknown key; did you"),
        ("named.mine.rolouts=8", "named.mine.rolouts = 8: unknown key; did you mean rollouts?"),
        ("named.mine.rollouts=0", "named.mine.rollouts = 0: should be greater than 0"),
        ("penalties=[{kind = 'fixed', coef = -1}]", "penalties[0].coef = -1: should be greater"),
        ("penalties=[{kind = 'fixed', coeff = 1}]", "penalties[0].coeff = 1: unknown key"),
        ("penalties=[{kind = 'fxd'}]", "penalties[0].kind = 'fxd': should be one of 'fixed',"),
    ],
)
def test_problems_inside_collections_are_named_by_position_and_by_key(
    override: str, expected: str
) -> None:
    assert problems(override, cls=Collections).startswith(f"--set: {expected}")


def test_a_long_value_is_shortened() -> None:
    text = problems(f"seed={'x' * 500}")
    assert "…" in text
    assert len(text) < 120


def test_missing_keys_are_all_named() -> None:
    assert problems(cls=Required).splitlines()[1:] == [
        "  where: is required, and nothing sets it",
        "  steps: is required, and nothing sets it",
    ]


def test_a_file_that_cannot_be_read_hides_no_other_problem_and_invents_none(tmp_path: Path) -> None:
    absent = tmp_path / "absent.toml"
    text = problems("stps=3", cls=Required, files=(absent,))
    assert text.splitlines() == [
        "2 problems in the settings:",
        f"  {absent}: cannot be read: No such file or directory",
        "  --set: stps = 3: unknown key; did you mean steps?",
    ]


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [("a = 1\nb = = 2\n", 2, 5), ("a = [1,\n", 2, 1), ("a = 1\n\na = 2\n", 3, 6)],
)
def test_bad_toml_is_named_by_line_and_column(
    tmp_path: Path, text: str, line: int, column: int
) -> None:
    file = write(tmp_path, "bad.toml", text)
    with pytest.raises(ConfigError, match=f"bad.toml, line {line}, column {column}: not TOML: "):
        read_toml(file)


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    file = tmp_path / "model.bin"
    file.write_bytes(b"name = '\xff\xfe'")
    with pytest.raises(ConfigError, match=r"model.bin: not a UTF-8 text file \(byte 8\)"):
        read_toml(file)


def test_a_password_in_an_address_is_refused_and_not_written_down() -> None:
    given = ["ppo.reward.kind=http", "ppo.reward.url=https://me:s3cret@rewards.example/score"]
    with pytest.raises(ConfigError, match="no user and password in an address") as raised:
        load_settings(ProjectSettings, [], given)
    assert "//***@rewards.example/score" in str(raised.value)
    assert "s3cret" not in str(raised.value)
