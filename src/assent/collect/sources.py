"""Where tasks come from: comparisons of a round, sets to rank, responses, prompts.

Making tasks is idempotent: what was asked already is left as it is. Two responses that look the
same are never put side by side.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from assent.collect import picking
from assent.collect.choosing import REPEAT
from assent.config.labelling import LabellingSettings
from assent.errors import DataError
from assent.store import (
    CheckAnswer,
    NewComparison,
    NewResponse,
    NewResponseSet,
    NewTask,
    Store,
    StoredResponse,
    TaskKind,
    task_id,
)
from assent.types import Prompt

REWARD: Final = "reward"
PROMOTION: Final = "promotion"
"""Purposes of comparisons that choose a checkpoint begin so."""
GOLD: Final = "gold"
"""Purposes of comparisons that say whether a round made things better begin so."""
CHECK: Final = "check"
"""The purpose of comparisons with a known answer, and the source of prompts written for them."""
EVERYBODY: Final = 1_000_000
"""The overlap of a check item: everybody may be asked."""
CHUNK: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What making tasks came to."""

    made: int
    already: int
    alike: int = 0
    """Comparisons left out because the two responses look the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundStanding:
    """How far people are with the comparisons of a round."""

    round: int
    comparisons: int
    judged: int
    """Of these, with at least one judgement that stands and counts, by whomever."""
    by_people: int
    """Of these, judged by a person."""


def newest_round(store: Store, purpose: str = REWARD) -> int | None:
    """The last round that has comparisons for a purpose; None before the first."""
    return store.browser.newest_round(purpose)


def comparison_tasks(
    store: Store,
    settings: LabellingSettings,
    *,
    seed: int,
    round_number: int | None = None,
    purpose: str = REWARD,
    count: int | None = None,
    overlap: int | None = None,
    judged_by_nobody: bool = False,
) -> Made:
    """Ask people about the comparisons of a round, the newest if none is named.

    What people have judged already (imported feedback, above all) is not asked again.

    Args:
        store: of the project.
        settings: how many answers a task wants, and how often the fact may be looked up.
        seed: of the project; which tasks allow a look-up is drawn from it.
        round_number: of the comparisons; the newest round if None.
        purpose: of the comparisons.
        count: at most so many of those not asked yet; all if None.
        overlap: answers that count for each, if not the settings' own.
        judged_by_nobody: leave out what anybody has judged, simulated annotators too.
    """
    wanted = newest_round(store, purpose) if round_number is None else round_number
    if wanted is None:
        return Made(made=0, already=0)
    unasked = store.browser.unasked_comparisons(purpose, wanted, judged_by_nobody=judged_by_nobody)
    alike = [one for one in unasked if looks(one.first) == looks(one.second)]
    left_out = {one.id for one in alike}
    new = [
        NewTask(
            kind="comparison",
            prompt_id=one.prompt_id,
            source=f"round-{wanted}" if purpose == REWARD else purpose,
            overlap=settings.overlap if overlap is None else overlap,
            look_up=picking.chosen(settings.look_up_share, seed, "look-up", one.id),
            comparison_id=one.id,
        )
        for one in unasked
        if one.id not in left_out
    ]
    already = store.browser.asked_comparisons(purpose, wanted)
    made, _ = _add(store, new if count is None else new[:count])
    return Made(made=made, already=already, alike=len(alike))


def waiting_tasks(store: Store, settings: LabellingSettings, *, seed: int) -> Made:
    """Make tasks of all that waits for people: the newest round, and what is held out from it.

    A server calls this when it starts and when it has nothing left to hand out, so what the loop
    asks while people judge reaches them.
    """
    found = comparison_tasks(store, settings, seed=seed)
    for purpose in store.browser.purposes():
        if purpose.startswith((PROMOTION, GOLD)):
            more = comparison_tasks(
                store, settings, seed=seed, purpose=purpose, judged_by_nobody=True
            )
            found = Made(
                made=found.made + more.made,
                already=found.already + more.already,
                alike=found.alike + more.alike,
            )
    return found


def round_standing(store: Store, round_number: int, purpose: str = REWARD) -> RoundStanding:
    """How far people are with the comparisons of a round."""
    comparisons, judged, by_people = store.browser.judged_counts(purpose, round_number)
    return RoundStanding(
        round=round_number, comparisons=comparisons, judged=judged, by_people=by_people
    )


def more_tasks(
    store: Store,
    settings: LabellingSettings,
    kind: TaskKind,
    *,
    seed: int,
    count: int,
    overlap: int | None = None,
    size: int = 4,
    round_number: int | None = None,
) -> Made:
    """Ask people for more of one kind.

    Args:
        store: of the project.
        settings: how tasks are handed out.
        kind: of the tasks.
        seed: of the project; what is picked is drawn from it.
        count: how many tasks to make at most.
        overlap: answers that count for each, if not the settings' own.
        size: responses to a ranking, 2 to 9.
        round_number: of the comparisons; the newest round if None.

    Raises:
        DataError: there is nothing of the kind to ask about.
    """
    wanted = settings.overlap if overlap is None else overlap
    if kind == "comparison":
        return comparison_tasks(
            store,
            settings,
            seed=seed,
            round_number=round_number,
            count=count,
            overlap=wanted,
        )
    if kind == "demonstration":
        prompts = [one for one in store.prompts("train") if one.source not in (CHECK, REPEAT)]
        candidates: Iterable[NewTask] = (
            NewTask(kind=kind, prompt_id=one.id, source="prompts", overlap=wanted)
            for one in picking.shuffled(prompts, seed, kind)
        )
    elif kind == "rating":
        candidates = (
            NewTask(
                kind=kind,
                prompt_id=one.prompt_id,
                source="responses",
                overlap=wanted,
                look_up=picking.chosen(settings.look_up_share, seed, "look-up", one.id),
                response_id=one.id,
            )
            for one in picking.shuffled(
                [one for _, group in _answers(store) for one in group], seed, kind
            )
        )
    else:
        candidates = _ranking_tasks(store, settings, seed, size, wanted)
    asked = store.browser.task_ids(kind)
    fresh = list(islice((one for one in candidates if task_id(one) not in asked), count))
    if not fresh and not asked:
        message = _NOTHING[kind].format(size=size)
        raise DataError(message)
    made, _ = _add(store, fresh)
    return Made(made=made, already=len(asked))


def add_check_item(
    store: Store,
    *,
    prompt: str,
    better: str,
    worse: str,
    why: str,
    author: str | None = None,
    seed: int = 0,
) -> str:
    """A comparison whose answer is known, to be mixed in among the tasks; its task's id.

    Adding it again changes nothing. Its prompt is never trained on: it goes to the split `test`.

    Raises:
        DataError: the two responses look the same, or a text cannot be stored.
    """
    if looks(better) == looks(worse):
        message = "the two responses look the same; nobody could tell which one is better"
        raise DataError(message)
    found = store.browser.prompts_reading(prompt)
    known = found[0].id if found else None
    prompt_id = (
        known
        or store.add_prompts(
            [
                Prompt(
                    text=prompt, kind="user", source=CHECK, split="test", group=f"{CHECK}/{prompt}"
                )
            ]
        )[0]
    )
    ids = store.add_responses(
        [NewResponse(prompt_id=prompt_id, text=text, origin="import") for text in (better, worse)]
    )
    answer: CheckAnswer = "second" if picking.chosen(0.5, seed, "check side", *ids) else "first"
    first, second = ids if answer == "first" else reversed(ids)
    with store.work.change() as change:
        comparison = change.add_comparison(
            NewComparison(
                prompt_id=prompt_id,
                first_response_id=first,
                second_response_id=second,
                shown_order="first_left",
                purpose=CHECK,
            )
        )
        new = NewTask(
            kind="comparison",
            prompt_id=prompt_id,
            source=CHECK,
            overlap=EVERYBODY,
            comparison_id=comparison,
        )
        change.add_tasks([new])
        change.add_check(task_id(new), answer, why, author)
    return task_id(new)


_NOTHING: Final[dict[TaskKind, str]] = {
    "comparison": "there are no comparisons; `assent loop run` samples some",
    "ranking": "no prompt has {size} different responses; use a smaller size, or run another round",
    "rating": "there are no sampled or imported responses to rate; run a round, or import some",
    "demonstration": "there are no training prompts; import some",
}


def _ranking_tasks(
    store: Store, settings: LabellingSettings, seed: int, size: int, overlap: int
) -> Iterable[NewTask]:
    groups = [(prompt, group) for prompt, group in _answers(store) if len(group) >= size]
    sets = [
        NewResponseSet(
            prompt_id=prompt,
            response_ids=tuple(one.id for one in picking.shuffled(group, seed, prompt)[:size]),
        )
        for prompt, group in picking.shuffled(groups, seed, "ranking")
    ]
    for start in range(0, len(sets), CHUNK):
        block = sets[start : start + CHUNK]
        for one, id_ in zip(block, store.add_response_sets(block), strict=True):
            yield NewTask(
                kind="ranking",
                prompt_id=one.prompt_id,
                source="responses",
                overlap=overlap,
                look_up=picking.chosen(settings.look_up_share, seed, "look-up", id_),
                response_set_id=id_,
            )


def _answers(store: Store) -> list[tuple[str, list[StoredResponse]]]:
    """Prompts with their sampled and imported responses, newest first, no two alike."""
    checks = {one.id for one in store.prompts(source=CHECK)}
    found: dict[str, dict[str, StoredResponse]] = {}
    for origin in ("sample", "import"):
        for one in reversed(store.responses(origin=origin)):
            if one.prompt_id not in checks:
                found.setdefault(one.prompt_id, {}).setdefault(looks(one.text), one)
    return [(prompt, list(group.values())) for prompt, group in found.items()]


def looks(text: str) -> str:
    """What two texts have in common that a reader could not tell apart."""
    return " ".join(text.split())


def _add(store: Store, new: Sequence[NewTask]) -> tuple[int, int]:
    made = already = 0
    for start in range(0, len(new), CHUNK):
        fresh, known = store.work.add_tasks(new[start : start + CHUNK])
        made, already = made + fresh, already + known
    return made, already
