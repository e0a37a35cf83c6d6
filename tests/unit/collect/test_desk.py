"""The desk: what is handed out, what is taken in, and what counts. Each test on both databases."""

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.labelling_fixtures import Labelling, Start, verdict
from tests.store_fixtures import fill, judge

from assent.collect import sources
from assent.collect.answers import DemonstrationAnswer, RankingAnswer, RatingAnswer
from assent.collect.choosing import REPEAT_AFTER
from assent.collect.desk import Desk, Handed
from assent.config.labelling import LabellingSettings
from assent.errors import (
    AlreadySuperseded,
    DataError,
    IdempotencyConflict,
    LeaseClosed,
    TooManyLeases,
    UnknownRecord,
)
from assent.store import NewComparison, NewResponse, Project, check_project


def test_a_task_is_given_back_until_it_is_answered_and_then_the_next_one_comes(
    labelling: Start,
) -> None:
    at = labelling()
    first = at.claim("ada")
    assert at.claim("ada").lease.id == first.lease.id  # a reload, a lost answer, a second tab
    ahead = at.claim("ada", first.lease.id)
    assert ahead.lease.id != first.lease.id
    assert ahead.content.task.id != first.content.task.id
    at.desk.answer(at.person("ada"), first.lease.id, "key-00001", verdict())
    assert at.claim("ada").lease.id == ahead.lease.id
    assert check_project(at.project) == []


def test_nothing_left_says_why(labelling: Start) -> None:
    at = labelling(pairs=1)
    held = at.claim("ada")
    assert at.desk.claim(at.person("bo")) == "all_taken"
    at.desk.answer(at.person("ada"), held.lease.id, "key-00001", verdict())
    assert at.desk.claim(at.person("bo")) == "all_done"
    assert at.desk.claim(at.person("bo"), ["ranking"]) == "all_done"


def test_before_any_task_there_is_none_yet_and_new_comparisons_are_fetched(
    labelling: Start, project: Project
) -> None:
    ada = project.store.people.add("ada", "annotator").annotator_id
    empty = Desk(project.store, LabellingSettings(), seed=1)
    assert empty.claim(ada) == "none_yet"
    at = labelling(pairs=2)
    fetching = Desk(
        project.store,
        at.settings,
        seed=1,
        more=lambda: sources.comparison_tasks(project.store, at.settings, seed=1),
    )
    assert isinstance(fetching.claim(ada), Handed)


def test_only_so_many_tasks_may_be_held_at_a_time(labelling: Start) -> None:
    at = labelling(pairs=4, leases_per_person=2)
    one = at.claim("ada").lease.id
    two = at.claim("ada", one).lease.id
    with pytest.raises(TooManyLeases, match="2 tasks are in your hands"):
        at.claim("ada", one, two)
    at.desk.release(at.person("ada"), one)
    assert at.claim("ada", two).lease.id not in (one, two)


def test_what_is_stored_names_the_sides_as_stored_whatever_was_shown(labelling: Start) -> None:
    at = labelling(pairs=16)
    shown = set()
    for number in range(16):
        handed = at.claim("ada")
        left = handed.content.responses[handed.lease.shown[0]]
        given = at.desk.answer(
            at.person("ada"), handed.lease.id, f"key-{number:05}", verdict("left", strength=4)
        )
        with at.project.store.work.look() as view:
            event = view.event(given.event_id)
        assert event is not None
        [comparison] = [
            one for one in at.project.store.comparisons() if one.id == event.comparison_id
        ]
        won = comparison.first if event.payload["verdict"] == "first" else comparison.second
        assert won == left
        assert event.payload["strength"] == 4
        context = event.payload["context"]
        assert context["lease"] == handed.lease.id
        assert context["shown_order"] == (
            "first_left" if left == comparison.first else "second_left"
        )
        shown.add(context["shown_order"])
        past = at.desk.past(at.person("ada"), given.event_id)
        assert past.body.kind == "comparison"
        assert past.body.verdict == "left"
        assert past.handed.lease.shown == handed.lease.shown
    assert shown == {"first_left", "second_left"}
    pairs = at.project.store.judged_pairs(at.project.store.take_snapshot("now").id)
    assert Counter(pair.shown_order for pair in pairs) == {"first_left": 8, "second_left": 8}


def test_the_same_key_replays_the_first_answer_and_other_content_is_a_conflict(
    labelling: Start,
) -> None:
    at = labelling()
    ada, lease = at.person("ada"), at.claim("ada").lease.id
    first = at.desk.answer(ada, lease, "key-00001", verdict(note="why not"))
    again = at.desk.answer(ada, lease, "key-00001", verdict(note="why not"))
    assert not first.replayed
    assert again.replayed
    assert again.event_id == first.event_id
    for changed in (verdict("right"), verdict(note="because"), verdict(strength=1), verdict()):
        with pytest.raises(IdempotencyConflict):
            at.desk.answer(ada, lease, "key-00001", changed)
    with pytest.raises(LeaseClosed, match="was answered"):
        at.desk.answer(ada, lease, "key-00002", verdict())
    other = at.claim("ada").lease.id
    with pytest.raises(IdempotencyConflict, match="another task"):
        at.desk.answer(ada, other, "key-00001", verdict(note="why not"))
    assert len(at.project.store.events()) == 1


def test_a_lease_that_is_not_ones_own_does_not_exist(labelling: Start) -> None:
    at = labelling()
    lease = at.claim("ada").lease.id
    given = at.desk.answer(at.person("ada"), lease, "key-00001", verdict())
    mallory = at.person("mallory")
    for attempt in (
        lambda: at.desk.look(mallory, lease),
        lambda: at.desk.renew(mallory, lease),
        lambda: at.desk.skip(mallory, lease, "unclear"),
        lambda: at.desk.release(mallory, lease),
        lambda: at.desk.answer(mallory, lease, "key-00001", verdict()),
        lambda: at.desk.past(mallory, given.event_id),
        lambda: at.desk.edit(mallory, given.event_id, "key-00002", verdict()),
        lambda: at.desk.undo(mallory, given.event_id, "key-00003"),
        lambda: at.desk.look(mallory, "nonsense"),
    ):
        with pytest.raises(UnknownRecord):
            attempt()
    assert len(at.project.store.events()) == 1


def test_sixteen_people_at_once_never_count_more_than_the_overlap(labelling: Start) -> None:
    at = labelling(pairs=4, overlap=3)
    names = [f"person {n}" for n in range(16)]
    ids = [at.person(name) for name in names]

    def work(annotator: str) -> list[bool]:
        rng = random.Random(annotator)
        done = []
        for number in range(6):
            found = at.desk.claim(annotator)
            if not isinstance(found, Handed):
                break
            given = at.desk.answer(
                annotator, found.lease.id, f"key-{number:05}", verdict(rng.choice(["left", "tie"]))
            )
            done.append(given.replayed)
        return done

    with ThreadPoolExecutor(16) as pool:
        answered = [len(done) for done in pool.map(work, ids)]
    assert sum(answered) == 12
    with at.project.store.work.look() as view:
        counted = [view.counted(row.id) for row in at.project.store.browser.tasks(None, 0, 10)]
    assert counted == [3, 3, 3, 3]
    assert check_project(at.project) == []


def test_a_late_answer_counts_while_there_is_room_and_is_extra_after(labelling: Start) -> None:
    at = labelling(pairs=1)
    slow = at.claim("slow").lease.id
    at.hand.move(31 * 60)
    quick = at.claim("quick").lease.id
    late = at.desk.answer(at.person("slow"), slow, "late-0001", verdict())
    counts = at.desk.answer(at.person("quick"), quick, "quick-001", verdict("right"))
    payloads = {one.id: one.payload for one in at.project.store.events()}
    assert payloads[late.event_id]["context"]["extra"] is True
    assert "extra" not in payloads[counts.event_id]["context"]
    snapshot = at.project.store.take_snapshot("now")
    judged = at.project.store.judged_pairs(snapshot.id)
    assert [pair.event_id for pair in judged] == [counts.event_id]
    assert at.project.store.tallies.extra() == 1
    assert check_project(at.project) == []
    # A retry of the late one is the same answer still.
    assert at.desk.answer(at.person("slow"), slow, "late-0001", verdict()).replayed


def test_a_late_answer_with_nobody_else_at_it_counts(labelling: Start) -> None:
    at = labelling(pairs=1)
    slow = at.claim("slow").lease.id
    at.hand.move(31 * 60)
    late = at.desk.answer(at.person("slow"), slow, "late-0001", verdict())
    assert at.project.store.take_snapshot("now").event_count == 1
    assert late.event_id == at.project.store.events()[0].id


def test_a_task_whose_time_ran_out_comes_back_under_the_same_lease(labelling: Start) -> None:
    at = labelling(pairs=1)
    held = at.claim("ada")
    at.hand.move(31 * 60)
    assert at.desk.held(at.person("ada")) == []
    again = at.claim("ada")
    assert (again.lease.id, again.lease.shown) == (held.lease.id, held.lease.shown)
    assert again.expires_in_seconds == pytest.approx(1800)


def test_a_task_on_the_screen_whose_time_ran_out_is_not_fetched_ahead(labelling: Start) -> None:
    at = labelling(pairs=2)
    held = at.claim("ada")
    at.hand.move(31 * 60)
    ahead = at.claim("ada", held.lease.id)
    assert ahead.content.task.id != held.content.task.id
    assert at.desk.claim(at.person("ada"), None, [held.lease.id, ahead.lease.id]) == "all_done"


def test_being_active_keeps_a_task(labelling: Start) -> None:
    at = labelling(pairs=1)
    held = at.claim("ada")
    for _ in range(4):
        at.hand.move(20 * 60)
        at.desk.renew(at.person("ada"), held.lease.id)
        assert at.desk.claim(at.person("bo")) == "all_taken"
    at.hand.move(31 * 60)
    with pytest.raises(LeaseClosed, match="an answer is still taken"):
        at.desk.renew(at.person("ada"), held.lease.id)


def test_a_skipped_task_goes_to_somebody_else_and_is_never_shown_again(labelling: Start) -> None:
    at = labelling(pairs=1)
    held = at.claim("ada")
    assert at.desk.skip(at.person("ada"), held.lease.id, "unclear") == "skipped"
    assert at.desk.skip(at.person("ada"), held.lease.id, "unclear") == "skipped"
    assert at.desk.claim(at.person("ada")) == "all_done"
    assert at.claim("bo").content.task.id == held.content.task.id
    with pytest.raises(LeaseClosed, match="was skipped"):
        at.desk.answer(at.person("ada"), held.lease.id, "key-00001", verdict())


def test_an_answer_for_a_task_that_was_handed_back_is_refused(labelling: Start) -> None:
    at = labelling()
    held = at.claim("ada")
    at.desk.release(at.person("ada"), held.lease.id)
    with pytest.raises(LeaseClosed, match="was handed back"):
        at.desk.answer(at.person("ada"), held.lease.id, "key-00001", verdict())
    assert at.claim("ada").content.task.id == held.content.task.id


def test_undo_gives_the_same_task_back_and_a_new_answer_takes_its_place(labelling: Start) -> None:
    at = labelling()
    ada, held = at.person("ada"), at.claim("ada")
    wrong = at.desk.answer(ada, held.lease.id, "key-00001", verdict("left"))
    again = at.desk.undo(ada, wrong.event_id, "undo-0001")
    assert at.desk.undo(ada, wrong.event_id, "undo-0001").lease.id == again.lease.id
    assert again.lease.shown == held.lease.shown
    assert at.project.store.take_snapshot("between").event_count == 0
    with pytest.raises(IdempotencyConflict):
        at.desk.answer(ada, again.lease.id, "key-00001", verdict("left"))
    right = at.desk.answer(ada, again.lease.id, "key-00002", verdict("right"))
    assert at.project.store.take_snapshot("after").event_count == 1
    with pytest.raises(AlreadySuperseded):
        at.desk.undo(ada, wrong.event_id, "undo-0002")
    assert at.desk.past(ada, right.event_id).stands
    assert not at.desk.past(ada, wrong.event_id).stands
    assert [one.kind for one in at.project.store.events()] == ["judgement", "retract", "judgement"]
    assert check_project(at.project) == []


def test_an_edit_supersedes_and_only_the_newest_can_be_edited(labelling: Start) -> None:
    at = labelling()
    ada, held = at.person("ada"), at.claim("ada")
    first = at.desk.answer(ada, held.lease.id, "key-00001", verdict("left", note="first"))
    second = at.desk.edit(ada, first.event_id, "edit-0001", verdict("right", note="second"))
    assert at.desk.edit(ada, first.event_id, "edit-0001", verdict("right", note="second")).replayed
    with pytest.raises(AlreadySuperseded):
        at.desk.edit(ada, first.event_id, "edit-0002", verdict("tie"))
    with pytest.raises(IdempotencyConflict):
        at.desk.edit(ada, first.event_id, "edit-0001", verdict("tie"))
    with at.project.store.work.look() as view:
        [row] = view.answers(ada, None, 10)
    assert (row.lease.event_id, row.edited) == (second.event_id, True)
    past = at.desk.past(ada, second.event_id)
    assert past.body.note == "second"
    assert past.body.kind == "comparison"
    assert past.body.verdict == "right"
    assert check_project(at.project) == []


def test_sides_are_balanced_for_each_person(labelling: Start) -> None:
    at = labelling(pairs=40, overlap=2)
    for name in ("ada", "bo"):
        left = 0
        for number in range(40):
            handed = at.claim(name)
            left += handed.lease.shown[0] == next(iter(handed.content.responses))
            at.desk.answer(at.person(name), handed.lease.id, f"key-{number:05}", verdict())
        assert abs(left - 20) < 5, name


def test_repeats_come_swapped_and_late_enough_and_are_never_trained_on(labelling: Start) -> None:
    at = labelling(pairs=30, repeat_share=0.3)
    ada = at.person("ada")
    seen: dict[frozenset[str], tuple[int, tuple[str, ...]]] = {}
    repeats = 0
    for number in range(34):
        found = at.desk.claim(ada)
        if not isinstance(found, Handed):
            break
        pair = frozenset(found.lease.shown)
        if pair in seen:
            repeats += 1
            before, order = seen[pair]
            assert found.lease.shown == order[::-1]
            assert found.lease.ordinal - before >= REPEAT_AFTER
        seen[pair] = (found.lease.ordinal, found.lease.shown)
        at.desk.answer(ada, found.lease.id, f"key-{number:05}", verdict())
    assert repeats >= 2
    snapshot = at.project.store.take_snapshot("now")
    assert snapshot.event_count == len(seen)
    [tally] = at.project.store.tallies.people()
    # Always saying "left" contradicts itself on every repeat.
    assert (tally.repeats, tally.repeats_same) == (repeats, 0)
    assert check_project(at.project) == []


def test_check_items_are_mixed_in_once_each_and_only_the_owner_can_tell(labelling: Start) -> None:
    at = labelling(pairs=30, check_share=0.2)
    ids = {
        sources.add_check_item(
            at.project.store, prompt=f"two and {n}?", better=f"{n + 2}", worse="lots", why="sums"
        )
        for n in range(3)
    }
    again = sources.add_check_item(
        at.project.store, prompt="two and 0?", better="2", worse="lots", why="sums"
    )
    assert again in ids
    ada, met = at.person("ada"), []
    for number in range(30):
        handed = at.claim("ada")
        if handed.content.task.id in ids:
            met.append(handed.content.task.id)
            texts = [handed.content.responses[one] for one in handed.lease.shown]
            said = "right" if texts[0] == "lots" else "left"
        else:
            said = "left"
        at.desk.answer(ada, handed.lease.id, f"key-{number:05}", verdict(said))
    assert sorted(met) == sorted(ids)
    [tally] = at.project.store.tallies.people()
    assert (tally.checks, tally.checks_right) == (3, 3)
    with at.project.store.work.look() as view:
        assert [(one.answered, one.right) for one in view.checks()] == [(1, 1)] * 3
    assert at.project.store.take_snapshot("now").event_count == 27
    assert check_project(at.project) == []


def test_a_check_item_whose_two_sides_look_the_same_is_refused(project: Project) -> None:
    with pytest.raises(DataError, match="look the same"):
        sources.add_check_item(project.store, prompt="?", better="yes ", worse=" yes", why="")


def test_responses_that_look_the_same_are_never_put_side_by_side(
    labelling: Start, project: Project
) -> None:
    at = labelling(pairs=1)
    store = project.store
    [prompt] = store.prompts()
    one, other = store.add_responses(
        [
            NewResponse(prompt_id=prompt.id, text=text, origin="import")
            for text in ("the same", "the  same\n")
        ]
    )
    store.add_comparisons(
        [
            NewComparison(
                prompt_id=prompt.id,
                first_response_id=one,
                second_response_id=other,
                shown_order="first_left",
            )
        ]
    )
    made = sources.comparison_tasks(store, at.settings, seed=1)
    assert (made.made, made.already, made.alike) == (0, 1, 1)


def test_rankings_have_ties_and_want_every_response_once(labelling: Start) -> None:
    at = labelling(pairs=2)
    _more_responses(at, 4)
    made = sources.more_tasks(at.project.store, at.settings, "ranking", seed=1, count=5, size=4)
    assert made.made == 2
    found = at.desk.claim(at.person("ada"), ["ranking"])
    assert isinstance(found, Handed)
    assert len(found.lease.shown) == 4

    def ranked(*levels: list[str]) -> RankingAnswer:
        return RankingAnswer.model_validate({"kind": "ranking", "levels": list(levels)})

    ada, lease = at.person("ada"), found.lease.id
    for wrong, said in (
        (ranked(["a"], ["b", "c"]), "d is not ranked"),
        (ranked(["a"], ["b", "c"], ["d", "a"]), "ranked twice"),
        (ranked(["a"], ["b", "c"], ["d"], ["e"]), "was not shown"),
        (ranked(["a", "b"], [], ["c", "d"]), "place 2 is empty"),
    ):
        with pytest.raises(DataError, match=said):
            at.desk.answer(ada, lease, "key-00001", wrong)
    with pytest.raises(DataError, match="the answer is a comparison"):
        at.desk.answer(ada, lease, "key-00001", verdict())
    given = at.desk.answer(ada, lease, "key-00001", ranked(["c"], ["a", "d"], ["b"]))
    keys = dict(zip("abcd", found.lease.shown, strict=True))
    [event] = at.project.store.events()
    assert event.payload["ranks"] == {keys["c"]: 0, keys["a"]: 1, keys["d"]: 1, keys["b"]: 2}
    past = at.desk.past(ada, given.event_id)
    assert past.body.kind == "ranking"
    assert past.body.levels == [["c"], ["a", "d"], ["b"]]
    assert check_project(at.project) == []


def test_a_rating_is_on_every_axis_and_no_other(labelling: Start) -> None:
    at = labelling(pairs=1, axes=("kind", "right"))
    sources.more_tasks(at.project.store, at.settings, "rating", seed=1, count=5)
    found = at.desk.claim(at.person("ada"), ["rating"])
    assert isinstance(found, Handed)

    def rated(**axes: int) -> RatingAnswer:
        return RatingAnswer.model_validate({"kind": "rating", "ratings": axes})

    ada, lease = at.person("ada"), found.lease.id
    with pytest.raises(DataError, match="'right' is not rated"):
        at.desk.answer(ada, lease, "key-00001", rated(kind=3))
    with pytest.raises(DataError, match="no axis 'left'"):
        at.desk.answer(ada, lease, "key-00001", rated(kind=3, right=2, left=1))
    given = at.desk.answer(ada, lease, "key-00001", rated(kind=7, right=1))
    [event] = at.project.store.events()
    assert event.payload["axes"] == {"kind": 7.0, "right": 1.0}
    past = at.desk.past(ada, given.event_id)
    assert past.body.kind == "rating"
    assert past.body.ratings == {"kind": 7, "right": 1}


def test_a_demonstration_is_one_for_training_and_can_be_edited(labelling: Start) -> None:
    at = labelling(pairs=1)
    sources.more_tasks(at.project.store, at.settings, "demonstration", seed=1, count=5)
    found = at.desk.claim(at.person("ada"), ["demonstration"])
    assert isinstance(found, Handed)
    assert found.lease.shown == ()

    def written(text: str) -> DemonstrationAnswer:
        return DemonstrationAnswer(kind="demonstration", text=text)

    ada = at.person("ada")
    given = at.desk.answer(ada, found.lease.id, "key-00001", written("One way to say it."))
    changed = at.desk.edit(ada, given.event_id, "key-00002", written("A better way."))
    [kept] = at.project.store.demonstrations()
    assert kept.response == "A better way."
    past = at.desk.past(ada, changed.event_id)
    assert past.body.kind == "demonstration"
    assert past.body.text == "A better way."
    at.desk.undo(ada, changed.event_id, "undo-0001")
    assert at.project.store.demonstrations() == []
    assert check_project(at.project) == []


def test_a_flag_names_the_response_it_is_about(labelling: Start) -> None:
    at = labelling(pairs=1)
    held = at.claim("ada")
    flagged = verdict().model_copy(update={"flags": {"b": ["false", "harmful"]}})
    given = at.desk.answer(at.person("ada"), held.lease.id, "key-00001", flagged)
    place = list(held.content.responses).index(held.lease.shown[1]) + 1
    [event] = at.project.store.events()
    assert event.payload["flags"] == [f"{place}:false", f"{place}:harmful"]
    body = at.desk.past(at.person("ada"), given.event_id).body
    assert body.kind == "comparison"
    assert body.flags == {"b": ["false", "harmful"]}


def test_a_halted_task_is_not_handed_out_and_one_in_hand_is_still_taken(labelling: Start) -> None:
    at = labelling(pairs=1, overlap=2)
    held = at.claim("ada")
    at.project.store.work.set_halted(held.content.task.id, halted=True)
    assert at.desk.claim(at.person("bo")) in ("all_done", "all_taken")
    at.desk.answer(at.person("ada"), held.lease.id, "key-00001", verdict())
    at.project.store.work.set_halted(held.content.task.id, halted=False)
    assert at.claim("bo").content.task.id == held.content.task.id


def test_a_desk_of_another_process_takes_over_what_is_in_peoples_hands(labelling: Start) -> None:
    at = labelling(pairs=1)
    held = at.claim("ada")
    after = Desk(at.project.store, at.settings, seed=3, monotonic=at.hand)
    found = after.claim(at.person("ada"))
    assert isinstance(found, Handed)
    assert found.lease.id == held.lease.id
    assert 0 < found.expires_in_seconds <= 1800
    after.answer(at.person("ada"), held.lease.id, "key-00001", verdict())
    with pytest.raises(LeaseClosed):
        at.desk.answer(at.person("ada"), held.lease.id, "key-00002", verdict())


def _more_responses(at: Labelling, count: int) -> None:
    at.project.store.add_responses(
        [
            NewResponse(prompt_id=prompt.id, text=f"way {n} to say it", origin="import")
            for prompt in at.project.store.prompts()
            for n in range(count)
        ]
    )


def test_what_people_have_judged_already_is_not_asked_again(project: Project) -> None:
    world = fill(project, 3)
    simulated, ada = world.annotators
    judge(project.store, world.comparisons[:2], simulated)
    judge(project.store, world.comparisons[:1], ada)
    made = sources.waiting_tasks(project.store, LabellingSettings(), seed=1)
    assert (made.made, made.already) == (2, 0)
    again = sources.waiting_tasks(project.store, LabellingSettings(), seed=1)
    assert (again.made, again.already) == (0, 2)
    standing = sources.round_standing(project.store, 0)
    assert (standing.comparisons, standing.judged, standing.by_people) == (3, 2, 1)


def test_comparisons_that_choose_a_checkpoint_are_asked_where_nobody_judged_them(
    project: Project,
) -> None:
    world = fill(project, 3)
    asked = project.store.comparisons()
    purposes = ("promotion-of-2/a", "promotion-of-2/b")
    ids = [
        project.store.add_comparisons(
            [
                NewComparison(
                    prompt_id=one.prompt_id,
                    first_response_id=one.first_response_id,
                    second_response_id=one.second_response_id,
                    shown_order="first_left",
                    purpose=purpose,
                )
                for one in asked
            ]
        )
        for purpose in purposes
    ]
    judge(project.store, ids[0], world.annotators[0])
    made = sources.waiting_tasks(project.store, LabellingSettings(), seed=1)
    assert made.made == 6  # the round's three, and those of the checkpoint nobody has judged
    kept = {row.source for row in project.store.browser.tasks(None, 0, 50)}
    assert kept == {"round-0", "promotion-of-2/b"}
