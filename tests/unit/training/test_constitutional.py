"""Constitutions are read or refused; revisions follow drawn principles, step by step."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from assent.config.language_feedback import ConstitutionalSettings
from assent.errors import DataError, JudgeUnfit, UnreadableFile
from assent.models.kept_answers import KeptAnswers
from assent.models.requests import CRITIQUE, REVISION, Asking
from assent.training.constitutional import FILE, read_constitution, revise
from assent.types import Principle, SilentProgress, Unanswered

TOML = """
[[principle]]
name = "short"
critique = "What is too long?"
revision = "Make it shorter."
compare = "Choose the shorter one."

[[principle]]
critique = "What is rude?"
revision = "Make it polite."
compare = "Choose the more polite one."
"""


def written(tmp_path: Path, name: str, text: str) -> Path:
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    return file


def test_a_toml_constitution_has_a_request_for_each_use(tmp_path: Path) -> None:
    first, second = read_constitution(written(tmp_path, "c.toml", TOML))
    assert first == Principle(
        name="short", critique="What is too long?", revision="Make it shorter.",
        compare="Choose the shorter one.",
    )  # fmt: skip
    assert second.name == "principle 2"


def test_a_text_constitution_has_a_principle_a_line(tmp_path: Path) -> None:
    found = read_constitution(written(tmp_path, "c.txt", "# mine\n\nBe brief.\n  Be kind.\n"))
    assert [one.name for one in found] == ["Be brief.", "Be kind."]
    assert all("Be brief." in text for text in (found[0].critique, found[0].revision))
    assert "Be kind." in found[1].compare


def test_the_constitution_of_the_package_is_read() -> None:
    found = read_constitution(None)
    assert len(found) >= 5
    assert len({one.name for one in found}) == len(found)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("c.txt", "# nothing\n\n", "holds no principle; write one a line"),
        ("c.toml", "", "holds no principle"),
        ("c.toml", "principle = 3", "something else than"),
        ("c.toml", "[[principle]]\ncritique = 'x'", "principle 1 has no text under 'revision'"),
        ("c.toml", TOML + "\n[[principle]]\nfoo = 1", "principle 3 may have the keys name,"),
        ("c.toml", "[[", "is no TOML"),
        ("c.toml", "judge = 'x'", "something else than"),
    ],
)
def test_a_constitution_of_no_use_is_one_line(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    with pytest.raises((DataError, UnreadableFile)) as raised:
        read_constitution(written(tmp_path, name, text))
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_constitution_and_one_that_is_no_text_are_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match=r"none\.txt cannot be read: No such file"):
        read_constitution(tmp_path / "none.txt")
    (tmp_path / "c.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UnreadableFile, match="it is not in UTF-8"):
        read_constitution(tmp_path / "c.txt")


class Scripted:
    """Answers with what the rule makes of a prompt."""

    identity: ClassVar[dict[str, Any]] = {}
    batch, draws_together = 8, False

    def __init__(self, rule: Any) -> None:
        self.rule, self.asked = rule, list[str]()

    def write(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Any]:
        del seeds
        self.asked += prompts
        return [self.rule(prompt) for prompt in prompts]

    def choose(self, *_: Any) -> list[Any]:
        raise NotImplementedError


PROMPTS = [(f"id-{n}", f"Ask {n}:") for n in range(6)]
PRINCIPLES = read_constitution(None)


def revised(folder: Path, critic: Any, reviser: Any, **given: Any) -> tuple[Any, list[Scripted]]:
    policy = Scripted(lambda prompt: f" answer to {prompt[4]}")
    asked = [policy, Scripted(critic), Scripted(reviser)]
    found = revise(
        PROMPTS,
        PRINCIPLES,
        policy,
        Asking(asked[1], CRITIQUE, "text"),
        Asking(asked[2], REVISION, "text"),
        ConstitutionalSettings.model_validate(given),
        folder,
        KeptAnswers(folder, "this"),
        seed=4,
        progress=SilentProgress(),
    )
    return found, asked


def test_each_round_criticises_and_revises_the_last_answer_by_one_principle(tmp_path: Path) -> None:
    def critic(prompt: str) -> str:
        return f"critique of {prompt.count('better')}"

    def reviser(prompt: str) -> str:
        old = prompt.partition("<response>\n")[2].partition("\n</response>")[0].strip()
        return f"better {old}"

    found, (policy, critics, revisers) = revised(tmp_path, critic, reviser, revisions=2)
    assert len(policy.asked) == 6
    assert len(critics.asked) == len(revisers.asked) == 12
    for number, one in enumerate(found.revised):
        assert one.response == f" answer to {number}"
        assert [step.critique for step in one.steps] == ["critique of 0", "critique of 1"]
        assert one.last == f" better better answer to {number}"
    requests = {one.critique: one.name for one in PRINCIPLES}
    for one in found.revised:
        asked = next(text for text in critics.asked if f"answer to {one.prompt[4]}\n" in text)
        (name,) = [requests[text] for text in requests if text in asked]
        assert name == one.steps[0].principle
    assert len({one.steps[0].principle for one in found.revised}) > 1
    lines = (tmp_path / FILE).read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["steps"][1]["revision"] for line in lines] == [
        one.last for one in found.revised
    ]
    assert found.figures["changed_share"] == 1.0


def test_a_prompt_without_a_critique_is_left_out_and_counted(tmp_path: Path) -> None:
    def critic(prompt: str) -> Any:
        return Unanswered("nonsense") if "Ask 3" in prompt else "long"

    found, _ = revised(tmp_path, critic, lambda _: "short")
    assert [one.prompt[4] for one in found.revised] == list("01245")
    assert found.figures["critique_nonsense"] == 1
    with pytest.raises(JudgeUnfit, match=r"critique 1: 1 of 6 .*max_unusable_share = 0\.1"):
        revised(tmp_path / "strict", critic, lambda _: "x", usable={"max_unusable_share": 0.1})


def test_no_revision_to_learn_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none of 6 prompts got a response, a critique and"):
        revised(tmp_path, lambda _: "c", lambda _: " ")
