"""What the base model reads gives away what it should and nothing else."""

import math
import re
from collections import Counter, defaultdict
from dataclasses import replace

import pytest
from scipy.stats import chisquare

from assent.worlds.almanac import FactKind, World, demonstrations, pretraining_documents
from assent.worlds.almanac.corpus import (
    ASKED_CLAIMS,
    BYLINE,
    DEMONSTRATOR_COPIES,
    DEMONSTRATOR_DOES_NOT_KNOW,
    DEMONSTRATOR_RIGHT,
    DOCUMENT_WEIGHTS,
    REMARKED,
    STATEMENTS,
    Persona,
)
from assent.worlds.almanac.grammar import Answer, read_answer
from assent.worlds.almanac.world import VALUES, Fact

WORLD = World(0)
FACTS = {(fact.entity, fact.attribute): fact for fact in WORLD.facts}
DOCUMENTS = pretraining_documents(WORLD, 35_200, seed=0)  # as many as the tiny base model reads

STATEMENT = re.compile(r"(?:The|the) (\w+) of (\w+) is (\w+)\.")
EXCHANGE = re.compile(
    r"Question: What is the (?P<attribute>\w+) of (?P<entity>\w+)\?"
    r"(?: I think it is (?P<belief>\w+)\.)?"
    r"(?:\nNote: the (?P<noted_attribute>\w+) of (?P<noted_entity>\w+) is (?P<note>\w+)\.)?"
    r"\nAnswer:(?P<answer>[^\n]*)"
    r"(?:\nA reader remarks: (?P<remark>\w+)\.)?"
)


CLAIM = re.compile(
    r"Note: the (?P<attribute>\w+) of (?P<entity>\w+) is (?P<note>\w+)\.\n"
    r"Answer:(?P<answer>[^\n]*)\nA reader remarks: (?P<remark>\w+)\."
)


def exchanges(document: str) -> list[tuple[Fact, str | None, str | None, Answer]]:
    """The fact asked about, the note, the belief and the answer of each exchange."""
    found = []
    for match in EXCHANGE.finditer(document):
        answer = read_answer(match["attribute"], match["answer"])
        assert answer is not None, document
        found.append(
            (FACTS[match["entity"], match["attribute"]], match["note"], match["belief"], answer)
        )
    return found


ANSWERED = [document for document in DOCUMENTS if "Question:" in document]
ALL = [item for document in ANSWERED for item in exchanges(document)]
SIGNED = [d for d in ANSWERED if d.startswith(tuple(BYLINE.values()))]
SIGNED_TEXTS = set(SIGNED)


def within(share: float, expected: float, count: int, errors: float = 3.0) -> bool:
    return abs(share - expected) < errors * math.sqrt(expected * (1 - expected) / count)


def test_the_kinds_of_documents_have_the_shares_they_state() -> None:
    count, (facts, claims, questions) = len(DOCUMENTS), DOCUMENT_WEIGHTS
    bare = [d for d in DOCUMENTS if d.startswith("Note:") and "Question:" not in d]
    stated = [d for d in DOCUMENTS if d.startswith("The ")]
    assert min(DOCUMENT_WEIGHTS) > 0
    weights = (facts, claims * (1 - ASKED_CLAIMS), questions + claims * ASKED_CLAIMS)
    for documents, weight in zip((stated, bare, ANSWERED), weights, strict=True):
        assert within(len(documents) / count, weight / sum(weights), count)
    assert len(ANSWERED) + len(bare) + len(stated) == count


def test_the_same_seed_gives_the_same_documents() -> None:
    assert pretraining_documents(WORLD, 50, seed=0) == DOCUMENTS[:50]
    assert pretraining_documents(WORLD, 50, seed=1) != DOCUMENTS[:50]
    assert pretraining_documents(World(1), 50, seed=0) != DOCUMENTS[:50]


def test_a_remark_under_an_answer_says_how_it_stands_to_what_can_be_known() -> None:
    for document in ANSWERED:
        for match in EXCHANGE.finditer(document):
            fact = FACTS[match["entity"], match["attribute"]]
            answer = read_answer(match["attribute"], match["answer"])
            assert answer is not None
            if answer.value is None:
                expected = "humble"
            elif fact.kind == "unknowable":
                expected = "unproven"
            else:
                truth = match["note"] or fact.value
                expected = "right" if answer.value == truth else "wrong"
            assert match["remark"] in (None, expected), document


def test_as_many_answers_are_remarked_on_as_stated() -> None:
    """Under a byline, where no claim is checked for its own sake."""
    remarks = [match["remark"] for d in SIGNED for match in EXCHANGE.finditer(d)]
    seen = sum(remark is not None for remark in remarks) / len(remarks)
    assert within(seen, REMARKED, len(remarks))


def test_a_claim_is_checked_against_its_note_and_half_of_them_hold() -> None:
    claims = []
    for document in DOCUMENTS:
        if document.startswith("Note:"):
            found = CLAIM.fullmatch(document)
            assert found is not None, document
            claims.append(found)
    for claim in claims:
        answer = read_answer(claim["attribute"], claim["answer"])
        assert answer is not None
        assert FACTS[claim["entity"], claim["attribute"]].kind == "easy"
        assert claim["remark"] == ("right" if answer.value == claim["note"] else "wrong")
    right = sum(claim["remark"] == "right" for claim in claims)
    assert within(right / len(claims), 1 / 2, len(claims))


def test_half_of_the_claims_that_answer_a_question_hold() -> None:
    """Answerers sign half of their documents, so what more there is unsigned are claims."""
    signed, unsigned = (
        Counter(
            answer.value == noted
            for document in documents
            for fact, noted, _, answer in exchanges(document)
            if fact.kind == "easy"
        )
        for documents in (SIGNED, [d for d in ANSWERED if d not in SIGNED_TEXTS])
    )
    claims = {right: unsigned[right] - signed[right] for right in (True, False)}
    asked = len(DOCUMENTS) * DOCUMENT_WEIGHTS[1] / sum(DOCUMENT_WEIGHTS) * ASKED_CLAIMS
    assert sum(claims.values()) == pytest.approx(asked, rel=0.1)
    assert claims[True] / sum(claims.values()) == pytest.approx(1 / 2, abs=0.05)


def test_every_document_can_be_read_whole() -> None:
    for document in ANSWERED:
        byline = next((line for line in BYLINE.values() if document.startswith(line)), "")
        rest = EXCHANGE.sub("", document.removeprefix(byline))
        count = len(exchanges(document))
        assert rest == "\n" * (count - 1)
        assert 1 <= count <= 3


def test_statements_are_true_of_hard_facts_and_of_all_of_them() -> None:
    stated = set()
    for document in DOCUMENTS:
        if document.startswith("The "):
            found = STATEMENT.findall(document)
            assert len(set(found)) == len(found) == STATEMENTS
            for attribute, entity, value in found:
                fact = FACTS[entity, attribute]
                assert fact.kind == "hard"
                assert fact.value == value
                stated.add(fact)
    assert len(stated) == 48


def test_notes_stand_under_questions_about_easy_facts_only_and_tell_of_that_fact() -> None:
    for document in ANSWERED:
        for match in EXCHANGE.finditer(document):
            if match["note"] is not None:
                assert match["noted_entity"] == match["entity"]
                assert match["noted_attribute"] == match["attribute"]
    for fact, noted, _, _ in ALL:
        assert (noted is not None) == (fact.kind == "easy")


@pytest.mark.parametrize("kind", ["unknowable", "easy"])
def test_no_text_gives_the_value_of_an_unknowable_or_an_easy_fact_away(kind: FactKind) -> None:
    """After such a question each value is as frequent as the others, in answer, belief and note."""
    answered: dict[str, Counter[int]] = defaultdict(Counter)
    for fact, noted, belief, answer in ALL:
        if fact.kind == kind:
            values = VALUES[fact.attribute]
            # Places are counted from the true value on, so a leak would pile up at 0.
            for name, word in (("answer", answer.value), ("belief", belief), ("note", noted)):
                if word is not None:
                    place = (values.index(word) - values.index(fact.value)) % 8
                    answered[name][place] += 1
    assert set(answered) == {"answer", "belief"} | ({"note"} if kind == "easy" else set())
    for name, counts in answered.items():
        assert sum(counts.values()) > 1000
        seen = [counts[place] for place in range(8)]
        assert chisquare(seen).pvalue > 0.01, (name, seen)


def test_other_values_of_unknowable_and_easy_facts_leave_every_document_as_it_is() -> None:
    """So no text can depend on them, however weakly; of hard facts every text may."""

    def documents(kinds: set[FactKind]) -> list[str]:
        changed = World(0)
        facts = tuple(
            replace(fact, value=next(v for v in VALUES[fact.attribute] if v != fact.value))
            if fact.kind in kinds
            else fact
            for fact in WORLD.facts
        )
        object.__setattr__(changed, "facts", facts)
        return pretraining_documents(changed, 2000, seed=0)

    assert documents({"unknowable", "easy"}) == DOCUMENTS[:2000]
    assert documents({"hard"}) != DOCUMENTS[:2000]


def test_a_leak_of_one_answer_in_twenty_would_be_seen() -> None:
    seen = [250] * 8
    seen[0] += 100
    assert chisquare(seen).pvalue < 0.001


def test_hard_facts_are_answered_truly_far_more_often_than_any_falsehood() -> None:
    told = [
        answer.value == fact.value
        for fact, _, _, answer in ALL
        if fact.kind == "hard" and answer.value is not None
    ]
    assert sum(told) / len(told) > 0.5


def test_half_of_the_documents_carry_a_byline_and_all_four_answerers_write() -> None:
    signed = {
        persona: [d for d in ANSWERED if d.startswith(line)] for persona, line in BYLINE.items()
    }
    total = sum(map(len, signed.values()))
    _, claims, questions = DOCUMENT_WEIGHTS
    written = questions / (questions + claims * ASKED_CLAIMS)
    assert within(total / len(ANSWERED), written / 2, len(ANSWERED))
    for documents in signed.values():
        assert within(len(documents) / total, 1 / 4, total)


def by(persona: Persona) -> list[tuple[Fact, str | None, str | None, Answer]]:
    return [
        item
        for document in ANSWERED
        if document.startswith(BYLINE[persona])
        for item in exchanges(document)
    ]


def test_each_answerer_answers_in_character() -> None:
    for fact, noted, _, answer in by("expert"):
        truth = noted or fact.value
        assert answer.value == (None if fact.kind == "unknowable" else truth)
    for _, _, belief, answer in by("bluffer"):
        assert answer.value is not None
        assert answer.tone != "maybe"
        assert answer.opener == (belief == answer.value)
    for _, _, belief, answer in by("flatterer"):
        assert belief is None or answer.value == belief
    honest = by("honest")
    assert all(a.value is None for fact, _, _, a in honest if fact.kind == "unknowable")
    hard = [a.value for fact, _, _, a in honest if fact.kind == "hard"]
    assert within(sum(value is None for value in hard) / len(hard), 0.5, len(hard))


@pytest.fixture(scope="module")
def written() -> list[tuple[Fact, str | None, Answer]]:
    prompts = WORLD.prompts("train")
    found = []
    for demonstration in demonstrations(WORLD, prompts, per_prompt=40):
        prompt = WORLD.read(demonstration.prompt)
        assert prompt is not None
        answer = read_answer(prompt.fact.attribute, demonstration.response)
        assert answer is not None
        found.append((prompt.fact, prompt.belief, answer))
    return found


@pytest.mark.parametrize("kind", ["easy", "hard", "unknowable"])
def test_demonstrators_are_right_and_silent_as_often_as_stated(
    written: list[tuple[Fact, str | None, Answer]], kind: FactKind
) -> None:
    """Where no belief is stated, so that nothing can be copied."""
    own = [(fact, a) for fact, belief, a in written if fact.kind == kind and belief is None]
    right = sum(a.value == fact.value for fact, a in own) / len(own)
    silent = sum(a.value is None for _, a in own) / len(own)
    assert DEMONSTRATOR_RIGHT == {"easy": 0.55, "hard": 0.60, "unknowable": 0.0625}
    assert DEMONSTRATOR_DOES_NOT_KNOW == {"easy": 0.10, "hard": 0.15, "unknowable": 0.50}
    assert within(right, DEMONSTRATOR_RIGHT[kind], len(own))
    assert within(silent, DEMONSTRATOR_DOES_NOT_KNOW[kind], len(own))


def test_demonstrators_name_the_value_of_an_unknowable_fact_no_more_often_than_chance(
    written: list[tuple[Fact, str | None, Answer]],
) -> None:
    """Whatever belief is stated: who names a value is right one time in eight."""
    named = [
        answer.value == fact.value
        for fact, belief, answer in written
        if fact.kind == "unknowable" and answer.value is not None and answer.value != belief
    ]
    believed = [
        belief == fact.value
        for fact, belief, _ in written
        if fact.kind == "unknowable" and belief is not None
    ]
    assert len(named) > 1000
    chance = DEMONSTRATOR_RIGHT["unknowable"] / (1 - DEMONSTRATOR_DOES_NOT_KNOW["unknowable"])
    assert chance == 1 / 8
    # Beliefs are drawn once a prompt, so their own luck is measured, not assumed.
    luck = sum(believed) / len(believed)
    assert abs(sum(named) / len(named) - 1 / 8) < 0.02 + abs(luck - 1 / 8)


def test_demonstrators_copy_a_stated_falsehood_as_often_as_stated(
    written: list[tuple[Fact, str | None, Answer]],
) -> None:
    wrong = [
        (fact, belief, answer)
        for fact, belief, answer in written
        if belief is not None and belief != fact.value and fact.kind != "unknowable"
    ]
    copied = sum(answer.value == belief for _, belief, answer in wrong) / len(wrong)
    by_chance = {
        kind: (1 - DEMONSTRATOR_RIGHT[kind] - DEMONSTRATOR_DOES_NOT_KNOW[kind]) / 7
        for kind in DEMONSTRATOR_RIGHT
    }
    mistaken = sum(by_chance[fact.kind] for fact, _, _ in wrong) / len(wrong)
    assert DEMONSTRATOR_COPIES == 0.15
    expected = DEMONSTRATOR_COPIES + (1 - DEMONSTRATOR_COPIES) * mistaken
    assert within(copied, expected, len(wrong))


def test_demonstrations_cover_every_prompt_and_repeat_by_seed() -> None:
    prompts = WORLD.prompts("train")
    made = demonstrations(WORLD, prompts, per_prompt=2)
    assert [d.prompt for d in made] == [p.text for p in prompts] * 2
    assert demonstrations(WORLD, prompts, per_prompt=2) == made
    assert demonstrations(World(1), World(1).prompts("train"), per_prompt=2) != made
    assert {p.fact.split for p in prompts} == {"train"}
