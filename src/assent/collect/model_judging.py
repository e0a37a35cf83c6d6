"""Comparisons that a model judges by principles: both orders asked, and its bias counted.

Its judgements are those of an annotator of kind `model`, about comparisons of a purpose of their
own, so no snapshot of people's judgements ever holds one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from assent.collect.judging import CHUNK
from assent.errors import JudgeUnfit
from assent.models.kept_answers import ENOUGH, KeptAnswers, Question, unusable
from assent.models.requests import Asking, Choice
from assent.objectives.seeds import derive_seed
from assent.store import NewJudgement, Store, StoredComparison
from assent.types import Principle, Progress, Unanswered, Verdict

SIDES = ("A", "B")
"""What a judge of pairs may say: the response shown first, or second."""
Labels = Literal["soft", "hard", "consistent"]
EVEN = 0.5
INCONSISTENT = "orders-disagree"
"""A judgement's flag: what was shown decided, not what was said."""


class Preference(NamedTuple):
    """What a judge thinks of a pair."""

    first: float
    """Probability that the side stored first is better, from 0 to 1."""
    parts: tuple[float, float]
    """Of pairs: the same with it shown first, and with it shown second. Of responses judged alone:
    how good each is."""
    consistent: bool = True
    """Whether both orders favour one side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeReport:
    """How a judge did; counts are of comparisons unless they say otherwise."""

    comparisons: int
    judged: int
    """Those with a verdict; recorded under the judge's name."""
    unusable: int
    """Those of which an answer was late, nonsense, or did not fit; nothing is recorded of them."""
    late: int
    nonsense: int
    too_long: int
    """Answers of no use, by reason."""
    first_shown_share: float | None
    """Answers that chose the response shown first, of all; without a bias 0.5. None: no order."""
    inconsistent_share: float | None
    """Pairs whose two orders favour different sides."""
    mean_confidence: float | None
    """Mean probability of the favoured side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelJudge:
    """A model that judges, and how it is asked."""

    annotator_id: str
    asking: Asking
    """Of pairs with the places prompt, first, second, request; else prompt, response, request."""
    principles: Sequence[Principle]
    words: Choice | None = None
    """What it may say of a response alone; None where it is asked about pairs, in both orders."""
    labels: Labels = "soft"
    max_unusable_share: float = 0.2
    max_one_side_share: float = 0.95
    section: str = "constitutional"
    """Of the settings, for messages."""


def both_orders(shown_first: float, shown_second: float) -> Preference:
    r"""The preference of a pair from both orders.

    .. math:: p = \tfrac12 \left( P(A | 1, 2) + P(B | 2, 1) \right)

    Args:
        shown_first: probability that the judge chooses the side stored first where it is shown
            first.
        shown_second: the same where it is shown second.

    Source: Zheng et al. 2023, "Judging LLM-as-a-judge" (arXiv 2306.05685), section 3.4 (swap
    positions); Bai et al. 2022 (arXiv 2212.08073), section 4.1 (probabilities as labels).
    """
    agree = (shown_first - EVEN) * (shown_second - EVEN) >= 0
    return Preference((shown_first + shown_second) / 2, (shown_first, shown_second), agree)


def from_alone(first: float, second: float) -> Preference:
    r"""The preference of a pair from how good each response is found alone.

    .. math:: p = \frac{g_1 (1 - g_2)}{g_1 (1 - g_2) + g_2 (1 - g_1)}

    That is the probability that the first is good given that just one of them is; a half where the
    judge is certain of both. There is no order, hence no bias to one.
    """
    one, other = first * (1 - second), second * (1 - first)
    total = one + other
    return Preference(one / total if total > 0 else EVEN, (first, second))


def judge_by_model(
    store: Store,
    comparisons: Sequence[StoredComparison],
    judge: ModelJudge,
    kept: KeptAnswers,
    *,
    seed: int,
    progress: Progress,
) -> JudgeReport:
    """Ask a model about each comparison and record what it prefers; safe to repeat.

    A principle is drawn for each comparison. Half a pair's answers are no verdict: where one of the
    two is of no use, nothing is recorded.

    Raises:
        JudgeUnfit: too many answers are of no use, or the judge says the same whatever it is shown.
        WriterError: it cannot be reached; the answers so far are kept.
    """
    principles = {
        one.id: judge.principles[derive_seed(seed, "principle", one.id) % len(judge.principles)]
        for one in comparisons
    }
    answers = kept.ask(
        "judge",
        [
            question
            for one in comparisons
            for question in _questions(one, principles[one.id], judge)
        ],
        judge.asking.writer,
        options=SIDES if judge.words is None else judge.words.options,
        seed=seed,
        max_unusable_share=judge.max_unusable_share,
        progress=progress,
        key=f"{judge.section}.usable.max_unusable_share",
        check=lambda so_far: _require_two_minded(so_far, judge),
    )
    both = list(zip(answers[::2], answers[1::2], strict=True))
    found = {
        one.id: _preference(pair, judge.words)
        for one, pair in zip(comparisons, both, strict=True)
        if not any(isinstance(half, Unanswered) for half in pair)
    }
    _record(store, found, principles, judge, progress)
    return _report(comparisons, answers, found, judge)


def _questions(
    one: StoredComparison, principle: Principle, judge: ModelJudge
) -> tuple[Question, Question]:
    texts = {"prompt": one.prompt, "request": principle.compare}
    if judge.words is not None:
        return (
            judge.asking.question(f"{one.id}/first", response=one.first, **texts),
            judge.asking.question(f"{one.id}/second", response=one.second, **texts),
        )
    return (
        judge.asking.question(f"{one.id}/as-stored", first=one.first, second=one.second, **texts),
        judge.asking.question(f"{one.id}/swapped", first=one.second, second=one.first, **texts),
    )


def _preference(
    answers: tuple[Sequence[float], Sequence[float]], words: Choice | None
) -> Preference:
    one, other = answers
    if words is not None:
        return from_alone(words.share(one), words.share(other))
    return both_orders(one[0], other[1])


def _require_two_minded(answers: Sequence[Any], judge: ModelJudge) -> None:
    """Refuse a judge that only looks at the place, once it has said enough to tell.

    Raises:
        JudgeUnfit: says how often it chose which place.
    """
    most = judge.max_one_side_share
    said = [one for one in answers if not isinstance(one, Unanswered)]
    if len(said) < ENOUGH:
        return
    if judge.words is not None:
        if len({tuple(one) for one in said}) == 1:
            message = f"the judge says the same of all {len(said)} responses: {said[0]}"
            raise JudgeUnfit(message)
        return
    share = _first_shown(said)
    if not 1 - most <= share <= most:
        place = "first" if share > EVEN else "second"
        often = max(share, 1 - share)
        message = (
            f"the judge chose the response shown {place} in {often:.0%} of {len(said)} answers, "
            "each pair in both orders: it looks at the place, not at the responses; take another "
            f"model or request, or raise {judge.section}.usable.max_one_side_share = {most:g}"
        )
        raise JudgeUnfit(message)


def _first_shown(said: Sequence[Sequence[float]]) -> float:
    """Share of the answers that chose the first place; undecided ones count half."""
    return sum(EVEN if one[0] == one[1] else float(one[0] > one[1]) for one in said) / len(said)


def _record(
    store: Store,
    found: Mapping[str, Preference],
    principles: Mapping[str, Principle],
    judge: ModelJudge,
    progress: Progress,
) -> None:
    events = [
        NewJudgement(
            comparison_id=id_,
            annotator_id=judge.annotator_id,
            verdict=_verdict(one, judge.labels),
            idempotency_key=f"judge/{id_}",
            confidence=max(one.first, 1 - one.first) if judge.labels == "soft" else None,
            flags=() if one.consistent else (INCONSISTENT,),
            context={
                "judge": {
                    "principle": principles[id_].name,
                    "asked": "pairs" if judge.words is None else "alone",
                    "parts": list(one.parts),
                }
            },
        )
        for id_, one in found.items()
    ]
    with progress.task("record judgements", len(events)) as bar:
        for start in range(0, len(events), CHUNK):
            store.record_judgements(events[start : start + CHUNK])
            bar.advance(len(events[start : start + CHUNK]))


def _verdict(one: Preference, labels: Labels) -> Verdict:
    if labels == "consistent" and not one.consistent:
        return "cannot_judge"
    if one.first == EVEN:
        return "tie"
    return "first" if one.first > EVEN else "second"


def _report(
    comparisons: Sequence[StoredComparison],
    answers: Sequence[Any],
    found: Mapping[str, Preference],
    judge: ModelJudge,
) -> JudgeReport:
    wrong = unusable(answers)
    said = [one for one in answers if not isinstance(one, Unanswered)]
    pairs = judge.words is None and bool(found)
    sure = [max(one.first, 1 - one.first) for one in found.values()]
    return JudgeReport(
        comparisons=len(comparisons),
        judged=len(found),
        unusable=len(comparisons) - len(found),
        late=wrong.get("late", 0),
        nonsense=wrong.get("nonsense", 0),
        too_long=wrong.get("too_long", 0),
        first_shown_share=_first_shown(said) if pairs else None,
        inconsistent_share=(
            sum(not one.consistent for one in found.values()) / len(found) if pairs else None
        ),
        mean_confidence=sum(sure) / len(sure) if sure else None,
    )
