"""Near duplicates against all pairs, and test texts that training gives away."""

import random

from assent.audit.duplicates import given_away, near_duplicates
from assent.stats.diversity import words


def overlap(first: str, second: str) -> float:
    one, other = (
        {tuple(words(text)[n : n + 3]) for n in range(len(words(text)) - 2)}
        for text in (first, second)
    )
    return len(one & other) / len(one | other)


def test_the_near_duplicates_are_those_of_all_pairs() -> None:
    rng = random.Random(0)
    texts = []
    for _ in range(40):
        base = [rng.choice("abcdefgh") for _ in range(20)]
        texts.append(" ".join(base))
        changed = list(base)
        for _ in range(rng.randrange(3)):
            changed[rng.randrange(20)] = "z"
        texts.append(" ".join(changed))
    expected = {
        (one, other)
        for one in range(len(texts))
        for other in range(one + 1, len(texts))
        if overlap(texts[one], texts[other]) >= 0.7
    }
    found = near_duplicates(texts, 0.7)
    assert {(pair.first, pair.second) for pair in found} == expected
    assert len(expected) > 5
    for pair in found:
        assert pair.overlap == overlap(texts[pair.first], texts[pair.second])
    assert [pair.overlap for pair in found] == sorted((p.overlap for p in found), reverse=True)


def test_case_and_punctuation_make_no_difference_and_short_texts_count_whole() -> None:
    found = near_duplicates(["Is it so?", "is it so", "Yes", "yes!", "", ""])
    assert [(pair.first, pair.second) for pair in found] == [(0, 1), (2, 3), (4, 5)]


def test_a_test_text_is_given_away_by_a_long_run_or_whole() -> None:
    run = "one two three four five six seven eight nine ten eleven twelve thirteen"
    training = [f"so {run} and on", "The capital of Tarn is Esk, they say."]
    test = [
        f"{run} but otherwise",  # the whole run
        run.replace("seven", "7"),  # no run of 13
        "the capital of tarn",  # short, and there whole
        "the capital of brae",
        "",
    ]
    assert given_away(test, training) == [0, 2]
    assert given_away(test, []) == []
