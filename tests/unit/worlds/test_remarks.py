"""What readers of Almanac say under an answer, by what they check."""

from typing import get_args

import pytest

from assent.worlds.almanac import AlmanacPrompt, Answer, FactKind, World, build_tokenizer
from assent.worlds.almanac.remarks import BAD, GOOD, criticism

WORLD = World(0)
ALL = frozenset(get_args(FactKind))


def prompt_of(kind: str) -> AlmanacPrompt:
    return next(AlmanacPrompt(fact) for fact in WORLD.facts if fact.kind == kind)


def answer(value: str | None) -> str:
    return Answer(False, "plain", value, 0).text


@pytest.mark.parametrize("kind", ["easy", "hard"])
def test_a_reader_who_checks_says_whether_an_answer_is_right(kind: str) -> None:
    prompt = prompt_of(kind)
    other = next(fact.value for fact in WORLD.facts if fact.value != prompt.fact.value)
    assert criticism(prompt, answer(prompt.fact.value), ALL) == "right."
    assert criticism(prompt, answer(other), ALL) == "wrong."
    assert criticism(prompt, answer(None), ALL) == "humble."


def test_what_nobody_can_know_is_unproven_and_what_is_not_checked_is_not_spoken_of() -> None:
    unknowable = prompt_of("unknowable")
    assert criticism(unknowable, answer(unknowable.fact.value), ALL) == "unproven."
    assert criticism(unknowable, answer("Tarn"), frozenset({"easy"})) is None
    assert criticism(prompt_of("hard"), answer("Tarn"), frozenset({"easy"})) is None


def test_anybody_sees_that_gibberish_is_wrong() -> None:
    assert criticism(prompt_of("hard"), " It is is", frozenset()) == "wrong."


def test_the_words_of_remarks_are_words_of_the_world() -> None:
    vocabulary = build_tokenizer().get_vocab()
    unknown = build_tokenizer().unk_token_id
    for word in (*GOOD, *BAD):
        (token,) = build_tokenizer()(f" {word}", add_special_tokens=False)["input_ids"]
        assert token != unknown
    assert len(vocabulary) > 10
