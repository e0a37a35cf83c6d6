"""Ask judges that are programs: each gets its share of the comparisons, as they are shown."""

from collections.abc import Mapping, Sequence
from typing import Final

from assent.objectives.seeds import derive_seed
from assent.store import NewJudgement, Store, StoredComparison
from assent.types import Judge, Progress, ResponsePair, Verdict

CHUNK = 500
BY_MODEL: Final = "reward-by-model"
"""Purpose of comparisons that models judge, so that they never stand among people's."""
_SWAPPED: dict[Verdict, Verdict] = {"first": "second", "second": "first"}


def judge_all(
    store: Store,
    comparisons: Sequence[StoredComparison],
    judges: Mapping[str, Judge],
    *,
    seed: int,
    progress: Progress,
) -> int:
    """Have every comparison judged by one of the judges (annotator id to judge); return the count.

    Judges see the responses in the order shown; what is stored names the sides as stored. The
    idempotency key is the comparison, so asking again after a kill records nothing twice.
    """
    names = sorted(judges)
    with progress.task("judge", len(comparisons)) as bar:
        for number, annotator_id in enumerate(names):
            share = list(comparisons[number :: len(names)])
            verdicts = judges[annotator_id].judge(
                [_as_shown(comparison) for comparison in share],
                derive_seed(seed, "judge", annotator_id, *_place(share)),
            )
            events = [
                NewJudgement(
                    comparison_id=comparison.id,
                    annotator_id=annotator_id,
                    verdict=_as_stored(comparison, verdict),
                    idempotency_key=f"judge/{comparison.id}",
                )
                for comparison, verdict in zip(share, verdicts, strict=True)
            ]
            for start in range(0, len(events), CHUNK):
                store.record_judgements(events[start : start + CHUNK])
                bar.advance(len(events[start : start + CHUNK]))
    return len(comparisons)


def _place(share: Sequence[StoredComparison]) -> tuple[object, ...]:
    """Where a share stands, without ids: those follow from settings that draw nothing."""
    return (share[0].purpose, share[0].round, share[0].index) if share else ()


def _as_shown(comparison: StoredComparison) -> ResponsePair:
    left, right = comparison.first, comparison.second
    if comparison.shown_order == "second_left":
        left, right = right, left
    return ResponsePair(prompt=comparison.prompt, first=left, second=right)


def _as_stored(comparison: StoredComparison, verdict: Verdict) -> Verdict:
    if comparison.shown_order == "first_left":
        return verdict
    return _SWAPPED.get(verdict, verdict)
