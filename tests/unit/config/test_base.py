"""The base of all settings."""

import pytest
from pydantic import ValidationError

from assent.config.base import Fraction, Settings


class Sample(Settings):
    """Something to set."""

    share: Fraction = 0.5
    """How much of it."""


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Sample().share = 0.1  # type: ignore[misc]


def test_the_text_under_a_field_documents_it() -> None:
    assert Sample.model_json_schema()["properties"]["share"]["description"] == "How much of it."


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_fraction_lies_between_its_ends(share: float) -> None:
    with pytest.raises(ValidationError):
        Sample(share=share)


def test_a_field_that_may_be_none_defaults_to_none_because_toml_has_no_null() -> None:
    with pytest.raises(TypeError, match=r"Bad\.limit may be None and so must default to None"):

        class Bad(Settings):
            limit: int | None = 3

    with pytest.raises(TypeError, match="must default to None"):

        class AlsoBad(Settings):
            limit: int | None
