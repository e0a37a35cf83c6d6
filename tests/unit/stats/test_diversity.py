"""Diversity by hand on texts small enough to count, and entropies where they are known."""

import math

import numpy as np
import pytest

from assent.stats.diversity import (
    distinct_n,
    entropy,
    expectation_adjusted_distinct,
    overlap,
    repetition,
    self_bleu,
    words,
)


def test_distinct_n_counts_over_the_whole_set() -> None:
    texts = [["a", "b", "a"], ["a", "b"]]
    assert distinct_n(texts, 1) == 2 / 5
    assert distinct_n(texts, 2) == 2 / 3  # (a b), (b a), (a b)
    with pytest.raises(ValueError, match="no text is 4 tokens long"):
        distinct_n(texts, 4)
    with pytest.raises(ValueError, match="at least 1 token"):
        distinct_n(texts, 0)


def test_the_adjusted_distinct_does_not_move_with_length_and_the_plain_one_does() -> None:
    rng = np.random.default_rng(0)
    plain, adjusted = [], []
    for length in (20, 200, 2000):
        texts = [rng.integers(100, size=length).tolist() for _ in range(20)]
        plain.append(distinct_n(texts, 1))
        adjusted.append(expectation_adjusted_distinct(texts, 100))
    assert plain[0] > 5 * plain[2]
    assert adjusted == pytest.approx([1, 1, 1], abs=0.02)


def test_the_adjusted_distinct_is_its_formula_and_survives_a_large_vocabulary() -> None:
    assert expectation_adjusted_distinct([["a", "b", "a"]], 10) == pytest.approx(
        2 / (10 * (1 - 0.9**3)), abs=1e-12
    )
    assert expectation_adjusted_distinct([["a", "b"]], 10**15) == pytest.approx(1, abs=1e-9)
    assert expectation_adjusted_distinct([["a", "a"]], 1) == 1
    with pytest.raises(ValueError, match="2 distinct tokens in a vocabulary of 1"):
        expectation_adjusted_distinct([["a", "b"]], 1)
    with pytest.raises(ValueError, match="no token"):
        expectation_adjusted_distinct([[]], 5)


def test_self_bleu_is_one_for_copies_and_by_hand_for_two_texts() -> None:
    assert self_bleu([["a", "b", "c", "d", "e"]] * 3) == pytest.approx(1)
    # First against second: precisions 3/4, 2/3, 1/2 and half a match of one; equally long.
    texts = [["a", "b", "c", "d"], ["a", "b", "c", "e"]]
    expected = (3 / 4 * 2 / 3 * 1 / 2 * 0.5 / 1) ** 0.25
    assert self_bleu(texts) == pytest.approx(expected, abs=1e-12)


def test_a_short_text_pays_the_brevity_penalty() -> None:
    short, long = ["a", "b"], ["a", "b", "c", "d"]
    of_short = math.exp(1 - 4 / 2) * 1.0  # both orders match wholly
    of_long = (2 / 4 * 1 / 3 * 0.5 / 2 * 0.5 / 1) ** 0.25
    assert self_bleu([short, long]) == pytest.approx((of_short + of_long) / 2, abs=1e-12)


def test_an_empty_response_shares_nothing_but_with_another_empty_one() -> None:
    assert self_bleu([[], ["a"]]) == pytest.approx((0 + math.exp(0) * 0.5) / 2)
    assert self_bleu([[], []]) == 1
    with pytest.raises(ValueError, match="at least 2 texts"):
        self_bleu([["a"]])


def test_repetition_and_overlap_by_hand() -> None:
    assert repetition(["a", "b", "a", "b", "a", "b"], 2) == pytest.approx(1 - 2 / 5)
    assert repetition(["a"], 4) == 0
    assert overlap(["a", "b"], ["b", "c"]) == pytest.approx(1 / 3)
    assert overlap([], []) == 1


def test_the_entropies_are_their_formulas() -> None:
    found = entropy([3, 1, 0])
    plug_in = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert found.plug_in == pytest.approx(plug_in)
    assert found.miller_madow == pytest.approx(plug_in + 1 / 8)
    assert found.bias_nats == -1 / 8
    # Grassberger's G by its recursion: G(1) = -gamma - ln 2, G(2) = 2 + G(1), G(2n+1) = G(2n).
    first = -np.euler_gamma - math.log(2)
    g = {1: first, 2: 2 + first, 3: 2 + first}
    assert found.grassberger == pytest.approx(math.log(4) - (3 * g[3] + 1 * g[1]) / 4, abs=1e-12)


def test_the_corrected_entropies_are_nearer_the_truth_than_the_plug_in() -> None:
    rng = np.random.default_rng(0)
    chances = rng.dirichlet(np.ones(20))
    truth = float(-(chances * np.log(chances)).sum())
    found = [entropy(rng.multinomial(30, chances)) for _ in range(400)]
    bias = {
        name: np.mean([getattr(one, name) for one in found]) - truth
        for name in ("plug_in", "miller_madow", "grassberger")
    }
    assert bias["plug_in"] < -0.15
    assert abs(bias["miller_madow"]) < abs(bias["plug_in"]) / 2
    assert abs(bias["grassberger"]) < abs(bias["plug_in"]) / 4
    assert np.mean([one.bias_nats for one in found]) < -0.1


def test_one_outcome_has_no_entropy_and_impossible_counts_are_refused() -> None:
    assert entropy([7]).plug_in == 0
    assert entropy([40]).effective_number == pytest.approx(1, abs=0.05)
    for counts in ([0], [-1, 2], [0.5]):
        with pytest.raises(ValueError, match="whole numbers"):
            entropy(counts)


def test_words_are_lower_case_without_punctuation() -> None:
    assert words("You are right, it's Tarn-7!") == ["you", "are", "right", "it", "s", "tarn", "7"]
