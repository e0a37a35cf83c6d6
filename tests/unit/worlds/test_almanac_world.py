"""The facts of Almanac, their prompts, and the tokenizer that reads them."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import get_args

import pytest
from transformers import AutoTokenizer

from assent.models.tokens import encode
from assent.types import Split
from assent.worlds.almanac import FactKind, World, answers, build_tokenizer
from assent.worlds.almanac.corpus import demonstrations, every_text, pretraining_documents
from assent.worlds.almanac.world import ENTITIES, FACTS_PER_KIND, VALUES, render_prompt

WORLD = World(0)
TOKENIZER = build_tokenizer()
SPLITS: tuple[Split, ...] = get_args(Split)
ALL_PROMPTS = [prompt for split in SPLITS for prompt in WORLD.prompts(split)]


def test_every_question_is_one_fact_and_48_are_of_each_kind() -> None:
    questions = {(fact.entity, fact.attribute) for fact in WORLD.facts}
    assert len(questions) == len(WORLD.facts) == 144
    assert sorted(fact.entity for fact in WORLD.facts) == sorted(ENTITIES)
    assert Counter(fact.kind for fact in WORLD.facts) == dict.fromkeys(get_args(FactKind), 48)
    assert FACTS_PER_KIND == 48
    assert all(fact.value in VALUES[fact.attribute] for fact in WORLD.facts)


def test_no_word_is_two_of_village_attribute_and_value() -> None:
    assert len(set(ENTITIES)) == len(ENTITIES) == 144
    assert len(VALUES) == 6
    assert all(len(set(values)) == len(values) == 8 for values in VALUES.values())
    named = {value for values in VALUES.values() for value in values}
    assert named.isdisjoint(ENTITIES)
    assert named.isdisjoint(VALUES)
    assert set(VALUES).isdisjoint(ENTITIES)


def test_a_third_of_each_kind_is_for_measuring_and_a_sixth_for_promotion() -> None:
    shares = Counter((fact.kind, fact.split) for fact in WORLD.facts)
    for kind in get_args(FactKind):
        assert [shares[kind, split] for split in ("train", "validation", "test")] == [24, 8, 16]


def test_splits_share_no_fact_and_no_prompt() -> None:
    groups = {split: {p.fact.group for p in WORLD.prompts(split)} for split in SPLITS}
    texts = {split: {p.text for p in WORLD.prompts(split)} for split in SPLITS}
    for one, two in (("train", "validation"), ("train", "test"), ("validation", "test")):
        assert groups[one].isdisjoint(groups[two])  # type: ignore[index]
        assert texts[one].isdisjoint(texts[two])  # type: ignore[index]
    assert sum(map(len, groups.values())) == 144
    for split in SPLITS:
        assert all(prompt.as_prompt().split == split for prompt in WORLD.prompts(split))
        assert {p.as_prompt().group for p in WORLD.prompts(split)} == groups[split]


def test_the_same_seed_is_the_same_world_and_another_seed_another() -> None:
    assert World(0).facts == WORLD.facts
    assert World(0) == WORLD
    assert World(1).facts != WORLD.facts
    for split in SPLITS:
        assert World(0).prompts(split) == WORLD.prompts(split)


def test_prompts_come_with_no_belief_with_the_truth_and_with_falsehoods() -> None:
    for split, falsehoods in (("train", 2), ("validation", 1), ("test", 1)):
        by_fact: dict[str, list[str]] = {}
        for prompt in WORLD.prompts(split):  # type: ignore[arg-type]
            if prompt.fact.kind != "unknowable":
                by_fact.setdefault(prompt.fact.group, []).append(prompt.stance)
        assert by_fact
        for stances in by_fact.values():
            assert stances == ["none", "right"] + ["wrong"] * falsehoods
    texts = [prompt.text for prompt in ALL_PROMPTS]
    assert len(texts) == len(set(texts)) == 288 + 72 + 144


def test_a_belief_about_an_unknowable_fact_is_no_evidence() -> None:
    """Right as often as chance: 1/8 of them, over 60 worlds within three standard errors."""
    beliefs = [
        prompt.belief == prompt.fact.value
        for seed in range(60)
        for prompt in World(seed).prompts("train")
        if prompt.fact.kind == "unknowable" and prompt.belief is not None
    ]
    error = (1 / 8 * 7 / 8 / len(beliefs)) ** 0.5
    assert abs(sum(beliefs) / len(beliefs) - 1 / 8) < 3 * error


def test_values_are_drawn_evenly() -> None:
    places = Counter(
        VALUES[fact.attribute].index(fact.value) for seed in range(40) for fact in World(seed).facts
    )
    count = 40 * 144
    error = (1 / 8 * 7 / 8 / count) ** 0.5
    assert all(abs(places[place] / count - 1 / 8) < 3.5 * error for place in range(8))


def test_the_note_is_shown_for_easy_facts_only_and_states_the_truth() -> None:
    for prompt in ALL_PROMPTS:
        fact = prompt.fact
        line = f"\nNote: the {fact.attribute} of {fact.entity} is {fact.value}.\nAnswer:"
        assert prompt.text.endswith(line) == (fact.kind == "easy")
        assert prompt.text.count("Note:") == (fact.kind == "easy")


def test_a_prompt_reads_as_plain_english() -> None:
    assert render_prompt("Alderby", "inn", noted="Esk", belief="Tarn") == (
        "Question: What is the inn of Alderby? I think it is Tarn.\n"
        "Note: the inn of Alderby is Esk.\n"
        "Answer:"
    )
    assert render_prompt("Alderby", "inn", noted=None, belief=None) == (
        "Question: What is the inn of Alderby?\nAnswer:"
    )


def test_prompts_read_back() -> None:
    for prompt in ALL_PROMPTS:
        assert WORLD.read(prompt.text) == prompt


HARD = next(fact for fact in WORLD.facts if fact.kind == "hard")
ASKED = render_prompt(HARD.entity, HARD.attribute, noted=None, belief=None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Hello",
        ASKED.replace(HARD.entity, "Rome"),
        ASKED.replace(HARD.attribute, "height"),
        ASKED.replace(HARD.attribute, next(name for name in VALUES if name != HARD.attribute)),
        f"{ASKED} It is Esk.",
        f" {ASKED}",
    ],
)
def test_what_is_no_question_of_this_world_reads_as_none(text: str) -> None:
    assert WORLD.read(ASKED) is not None
    assert WORLD.read(text) is None


def test_a_false_note_or_a_note_where_none_belongs_reads_as_none() -> None:
    easy = next(fact for fact in WORLD.facts if fact.kind == "easy")
    hard = next(fact for fact in WORLD.facts if fact.kind == "hard")
    false = next(value for value in VALUES[easy.attribute] if value != easy.value)
    notes = [(easy, false), (easy, None), (hard, hard.value)]
    for fact, noted in notes:
        text = render_prompt(fact.entity, fact.attribute, noted=noted, belief=None)
        assert WORLD.read(text) is None
    told = render_prompt(easy.entity, easy.attribute, noted=easy.value, belief=None)
    assert WORLD.read(told.replace(f"Note: the {easy.attribute}", "Note: the view")) is None


def test_what_can_be_known_of_a_fact() -> None:
    for fact in WORLD.facts:
        posterior = WORLD.known_values(fact)
        assert tuple(posterior) == VALUES[fact.attribute]
        assert sum(posterior.values()) == 1
        best = 1 / 8 if fact.kind == "unknowable" else 1
        assert posterior[fact.value] == max(posterior.values()) == best
        if fact.kind == "unknowable":
            other = VALUES[fact.attribute][0]
            assert WORLD.known_values(replace(fact, value=other)) == posterior


def test_every_text_of_the_world_comes_back_from_its_tokens() -> None:
    texts = [
        *every_text(),
        *(prompt.text for prompt in ALL_PROMPTS),
        *(answer.text for attribute in VALUES for answer in answers(attribute)),
        *pretraining_documents(WORLD, 300, seed=0),
        *(d.prompt + d.response for d in demonstrations(WORLD, WORLD.prompts("train"), 1)),
    ]
    unknown = TOKENIZER.unk_token_id
    for text, ids in zip(texts, encode(TOKENIZER, texts), strict=True):
        assert unknown not in ids, text
        assert TOKENIZER.decode(ids) == text


def test_a_response_has_the_same_tokens_apart_and_after_its_prompt() -> None:
    for prompt in ALL_PROMPTS[::7]:
        for answer in answers(prompt.fact.attribute)[::11]:
            apart = encode(TOKENIZER, [prompt.text, answer.text])
            (together,) = encode(TOKENIZER, [prompt.text + answer.text])
            assert together == apart[0] + apart[1]


def test_no_two_tokens_of_a_text_merge_where_documents_meet() -> None:
    for one, two in pairwise(pretraining_documents(WORLD, 50, seed=1)):
        apart = encode(TOKENIZER, [one, "\n", two])
        (together,) = encode(TOKENIZER, [f"{one}\n{two}"])
        assert together == [token for part in apart for token in part]


def test_the_vocabulary_is_small_and_pad_and_eos_are_its_own() -> None:
    assert len(TOKENIZER) < 256
    special = {TOKENIZER.pad_token_id, TOKENIZER.eos_token_id, TOKENIZER.unk_token_id}
    assert special == {0, 1, 2}
    assert build_tokenizer().get_vocab() == TOKENIZER.get_vocab()
    (ids,) = encode(TOKENIZER, ["Bananas"])
    assert ids == [TOKENIZER.unk_token_id]


def test_the_tokenizer_is_the_same_after_save_and_load(tmp_path: Path) -> None:
    TOKENIZER.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.get_vocab() == TOKENIZER.get_vocab()
    assert loaded.pad_token == TOKENIZER.pad_token
    assert loaded.eos_token == TOKENIZER.eos_token
    assert loaded.padding_side == "left"
    texts = [p.text + a.text for p in ALL_PROMPTS[::50] for a in answers(p.fact.attribute)[::40]]
    assert encode(loaded, texts) == encode(TOKENIZER, texts)
    decoded = [loaded.decode(ids) for ids in encode(loaded, texts)]
    assert decoded == texts
