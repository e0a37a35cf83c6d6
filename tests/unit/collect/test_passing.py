"""What is passed over, and what brings it back."""

from tests.labelling_fixtures import Hand

from assent.collect.passing import REMEMBERED_SECONDS, PassedOver


def test_what_was_passed_over_stays_so_for_a_minute() -> None:
    hand = Hand()
    passed = PassedOver(hand)
    assert passed.after("ada", "rating") == 0
    passed.passed("ada", "rating", 7)
    hand.move(REMEMBERED_SECONDS / 2)
    passed.passed("ada", "rating", 9)
    assert passed.after("ada", "rating") == 9
    assert passed.after("ada", "comparison") == passed.after("bob", "rating") == 0
    hand.move(REMEMBERED_SECONDS / 2)  # from the first, however often it was renewed
    assert passed.after("ada", "rating") == 0
    passed.passed("ada", "rating", 9)
    assert passed.after("ada", "rating") == 9


def test_a_task_that_is_free_again_is_looked_at_by_everybody() -> None:
    passed = PassedOver(Hand())
    passed.passed("ada", "rating", 9)
    passed.passed("bob", "rating", 4)
    passed.freed(6, "lease")
    assert (passed.after("ada", "rating"), passed.after("bob", "rating")) == (5, 4)


def test_nothing_is_passed_over_for_the_sake_of_a_task_on_a_screen() -> None:
    passed = PassedOver(Hand())
    passed.passed("ada", "rating", 3)
    passed.freed(6, "ran-out")
    passed.passed("ada", "rating", 9, besides=["ran-out"])
    assert passed.after("ada", "rating") == 3
    passed.taken_up("ran-out")
    passed.passed("ada", "rating", 9, besides=["ran-out"])
    assert passed.after("ada", "rating") == 9
    passed.forget("ada")
    assert passed.after("ada", "rating") == 0
