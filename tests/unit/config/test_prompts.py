"""The mix of prompt kinds: shares that add up, from a file and from the command line."""

from pathlib import Path

import pytest

from assent.config.load import load_settings
from assent.config.project import ProjectSettings
from assent.errors import ConfigError


def test_a_mix_is_read_from_a_file_as_an_inline_table(tmp_path: Path) -> None:
    file = tmp_path / "mix.toml"
    file.write_text("[prompts]\nmix = {user = 0.6, few_shot = 0.3, plain = 0.1}\n")
    mix = load_settings(ProjectSettings, [file], []).prompts.mix
    assert mix is not None
    assert mix.shares == {"user": 0.6, "few_shot": 0.3, "plain": 0.1}


def test_without_a_mix_every_prompt_is_asked_alike() -> None:
    assert ProjectSettings().prompts.mix is None


def test_shares_that_do_not_add_up_are_refused_with_their_sum() -> None:
    with pytest.raises(ConfigError, match=r"prompts\.mix.*add up to 0\.9"):
        load_settings(ProjectSettings, [], ["prompts.mix.user=0.6", "prompts.mix.plain=0.3"])


def test_a_kind_that_is_not_named_is_not_asked() -> None:
    mix = load_settings(ProjectSettings, [], ["prompts.mix.user=1.0"]).prompts.mix
    assert mix is not None
    assert mix.shares == {"user": 1.0, "few_shot": 0.0, "plain": 0.0}
