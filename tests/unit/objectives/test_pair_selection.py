"""Which two responses make a pair."""

import torch

from assent.objectives.pair_selection import best_and_worst, most_uncertain


def test_the_best_and_the_worst_are_taken_and_of_equals_the_earlier() -> None:
    assert best_and_worst(torch.tensor([0.0, 3.0, -1.0, 3.0, -1.0])) == (1, 2)
    assert best_and_worst(torch.tensor([1.0, 1.0])) == (0, 0)


def test_one_model_is_most_uncertain_where_two_scores_are_nearest() -> None:
    scores = torch.tensor([[0.0, 2.0, 5.0, 2.4]])
    assert most_uncertain(scores) == (3, 1), "the one that scores higher stands first"


def test_several_models_are_asked_where_they_disagree_not_where_each_is_undecided() -> None:
    scores = torch.tensor(
        [
            [0.0, 0.1, 3.0, 1.0],
            [0.0, 0.1, -1.0, 1.0],
        ]
    )
    first, second = most_uncertain(scores)
    assert 2 in (first, second)
    assert most_uncertain(scores[:, :2]) == (1, 0)


def test_of_two_responses_the_pair_is_the_two() -> None:
    assert most_uncertain(torch.tensor([[1.0, 2.0]])) == (1, 0)
    assert most_uncertain(torch.tensor([[1.0, 1.0]])) == (0, 1)
