"""Feedback data: whether the judgements behind a model can carry it.

Agreement between annotators and with themselves, which side wins, how long an item takes, prompts
that are nearly the same, test prompts that training gives away, and items that a judge could not
check. Each figure comes with the rows behind it. Nothing here depends on the audited model but its
snapshot, so there are no verdicts.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assent.audit.duplicates import GIVEN_AWAY, NEAR, given_away, near_duplicates
from assent.audit.estimating import ends, mean_over, median_over, missing, share_of_many
from assent.audit.evidence import Evidence, Judged
from assent.audit.figures import estimate
from assent.audit.subject import Estimate, Figure, ItemRecord, Measured, Subject
from assent.errors import NotAuditable
from assent.stats.agreement import Agreement, alpha_interval, raw_agreement, self_agreement
from assent.worlds.almanac import World

ROWS = 100
"""Rows kept for each finding; how many there were is kept too."""
NO_OVERLAP = "no pair of responses was judged by two annotators"
NO_REPEATS = "no annotator judged the same pair twice"


class FeedbackData:
    """What the judgements are worth, before any model is trained on them."""

    name = "feedback-data"
    version = 2
    title = "Can the judgements carry a reward model?"
    figures: Sequence[Figure] = (
        Figure(
            name="alpha",
            of="alpha",
            kind="mean",
            what="Krippendorff's alpha (nominal): agreement beyond chance, 1 is perfect.",
        ),
        Figure(
            name="agreement",
            of="agreement",
            what="How often two annotators of one pair of responses give the same verdict.",
        ),
        Figure(
            name="self_agreement",
            of="self_agreement",
            what="How often an annotator who sees a pair again gives the same verdict.",
        ),
        Figure(name="left", of="left", what="How often the response shown on the left wins."),
        Figure(name="undecided", of="undecided", what="Verdicts without a winner."),
        Figure(
            name="seconds",
            of="seconds",
            kind="mean",
            unit="seconds",
            what="Median time an item took.",
        ),
        Figure(
            name="repeated_prompts",
            of="repeated",
            what=f"Judged prompts with a near duplicate (overlap of word runs {NEAR:g} or more) "
            "about something else.",
        ),
        Figure(
            name="contaminated",
            of="contaminated",
            what=f"Test prompts of which a training text holds {GIVEN_AWAY} words in a row, or "
            "all of them.",
        ),
        Figure(
            name="uncheckable",
            of="uncheckable",
            what="Judgements of an item that the judge could not check: the world's own count, "
            "otherwise those that say so.",
        ),
    )

    def inputs(self, subject: Subject) -> Mapping[str, Any]:
        """The judgements and the prompts."""
        evidence = Evidence(subject)
        store = evidence.project.store
        snapshot = evidence.snapshot()
        return {
            "snapshot": snapshot.content_sha256 if snapshot else None,
            "judgements": _judged(evidence)[-1].event_id,
            "prompts": store.counts()["prompts"],
            "demonstrations": len(store.demonstrations()),
        }

    def measure(self, subject: Subject) -> Measured:
        """All figures, with rows."""
        evidence = Evidence(subject)
        store = evidence.project.store
        judged = _judged(evidence)
        training = [one.text for one in store.prompts("train")]
        training += [f"{one.prompt} {one.response}" for one in store.demonstrations()]
        return describe(
            judged,
            groups={one.text: one.group or one.text for one in store.prompts()},
            training=training,
            test=[one.text for one in store.prompts("test")],
            world=subject.world,
            level=subject.settings.level,
        )


def describe(
    judged: Sequence[Judged],
    *,
    groups: Mapping[str, str],
    training: Sequence[str],
    test: Sequence[str],
    world: World | None,
    level: float,
) -> Measured:
    """All figures of some judgements.

    Args:
        judged: the judgements.
        groups: of each prompt, what it is about.
        training: every text a model of the project was trained on.
        test: prompts that are measured on.
        world: whose kinds of facts say what a judge can check, if there is one.
        level: of the intervals.
    """
    matrix, annotators = ratings(judged)
    prompts = list(dict.fromkeys(one.prompt for one in judged))
    pairs = [
        pair
        for pair in near_duplicates(prompts)
        if groups.get(prompts[pair.first], "") != groups.get(prompts[pair.second], "")
        or prompts[pair.first] not in groups
    ]
    near = {number for pair in pairs for number in (pair.first, pair.second)}
    known = given_away(test, training)
    hidden = [one for one in judged if _uncheckable(one, world)]
    lefts = [(one, one.chose_left) for one in judged if one.decided]
    again = _repeats(judged)
    timed = [one.seconds for one in judged if one.seconds is not None]
    undecided = [one for one in judged if not one.decided]
    clusters = [one.comparison_id for one in judged]
    figures = [
        *_agreement(matrix, level),
        _self(again, level),
        mean_over(
            "left",
            [float(bool(left)) for _, left in lefts],
            [one.comparison_id for one, _ in lefts],
            level,
            what="comparisons",
        ),
        mean_over(
            "undecided", [float(not one.decided) for one in judged], clusters, level,
            what="comparisons",
        ),
        median_over("seconds", timed, level)
        if timed
        else missing("seconds", "no judgement says how long it took"),
        share_of_many("repeated_prompts", len(near), len(prompts), level),
        share_of_many("contaminated", len(known), len(test), level)
        if test
        else missing("contaminated", "there are no test prompts"),
        _uncheckable_share(judged, world, level),
    ]  # fmt: skip
    rows: dict[str, list[dict[str, Any]]] = {
        "disagreements": [
            {"prompt": unit[0], "texts": list(unit[1:]), "verdicts": verdicts}
            for unit, verdicts in _disagreements(judged)
        ],
        "changed_their_mind": [
            {"annotator": one.annotator, "prompt": one.prompt, "events": [one.event_id, b.event_id]}
            for one, b in again
            if one.rating != b.rating
        ],
        "near_duplicates": [
            {"prompts": [prompts[p.first], prompts[p.second]], "overlap": p.overlap} for p in pairs
        ],
        "contaminated": [{"prompt": test[number]} for number in known],
        "uncheckable": [_row(one) for one in hidden],
        "undecided": [_row(one) for one in undecided],
        "slowest": [
            _row(one) for one in sorted(judged, key=lambda one: -(one.seconds or 0)) if one.seconds
        ],
    }
    tables = {
        "counts": {
            "judgements": len(judged),
            "comparisons": len({one.comparison_id for one in judged}),
            "prompts": len(prompts),
            "annotators": len(annotators),
            "judged_twice": int((np.isfinite(matrix).sum(axis=0) > 1).sum()),
            "repeats": len(again),
        },
        "verdicts": dict(Counter(one.verdict for one in judged)),
        "annotators": _by_annotator(judged, matrix, annotators),
        "rows": {
            name: {"count": len(found), "shown": found[:ROWS]} for name, found in rows.items()
        },
    }
    return Measured(figures=figures, records=_records(rows), tables=tables)


def ratings(judged: Sequence[Judged]) -> tuple[NDArray[np.float64], list[str]]:
    """Verdicts as (annotators, units), NaN where there is none, and the annotators' names.

    A unit is a pair of responses to a prompt, whichever way round; of repeats the first counts.
    """
    units = list(dict.fromkeys(one.unit for one in judged))
    annotators = sorted({one.annotator for one in judged})
    rows = {name: number for number, name in enumerate(annotators)}
    columns = {unit: number for number, unit in enumerate(units)}
    table = np.full((len(annotators), len(units)), np.nan)
    for one in judged:
        place = rows[one.annotator], columns[one.unit]
        if np.isnan(table[place]):
            table[place] = one.rating
    return table, annotators


def _judged(evidence: Evidence) -> list[Judged]:
    """The judgements to describe: the model's snapshot, or all that stand if there is none yet."""
    snapshot = evidence.snapshot()
    judged = evidence.of_snapshot(snapshot) if snapshot else evidence.judgements
    if not judged:
        message = f"{evidence.project.root} has no judgements yet"
        raise NotAuditable(message)
    return judged


def _agreement(matrix: NDArray[np.float64], level: float) -> list[Estimate]:
    """Alpha and raw agreement, or why there is none."""
    if (np.isfinite(matrix).sum(axis=0) > 1).sum() < 2:
        return [missing("alpha", NO_OVERLAP), missing("agreement", NO_OVERLAP)]
    found = [_agreed("agreement", raw_agreement(matrix, coverage=level), level)]
    try:
        alpha = _agreed("alpha", alpha_interval(matrix, coverage=level), level)
    except ValueError as error:  # every verdict the same: agreement, but no alpha
        alpha = missing("alpha", str(error))
    return [alpha, *found]


def _agreed(name: str, found: Agreement, level: float) -> Estimate:
    return Estimate(
        name=name,
        estimate=found.value,
        interval=ends(found.interval),
        method=f"{100 * level:g} % bootstrap over pairs of responses",
        n=found.ratings,
        clusters=found.items,
    )


def _self(again: Sequence[tuple[Judged, Judged]], level: float) -> Estimate:
    if not again:
        return missing("self_agreement", NO_REPEATS)
    found = self_agreement([one.rating for one, _ in again], [b.rating for _, b in again])
    same = round(found.value * len(again))
    return share_of_many("self_agreement", same, len(again), level)


def _repeats(judged: Sequence[Judged]) -> list[tuple[Judged, Judged]]:
    """The same pair before the same annotator again: the first time, and each later one."""
    first: dict[tuple[str, tuple[str, str, str]], Judged] = {}
    found = []
    for one in judged:
        before = first.setdefault((one.annotator, one.unit), one)
        if before is not one:
            found.append((before, one))
    return found


def _uncheckable(one: Judged, world: World | None) -> bool:
    read = world.read(one.prompt) if world else None
    return one.verdict == "cannot_judge" if read is None else read.fact.kind != "easy"


def _uncheckable_share(judged: Sequence[Judged], world: World | None, level: float) -> Estimate:
    """Judgements of one prompt are about one thing: the interval counts prompts."""
    [figure] = [one for one in FeedbackData.figures if one.name == "uncheckable"]
    records = [
        ItemRecord(
            id=one.event_id,
            cluster=one.prompt,
            stratum="all",
            data={},
            scores={"uncheckable": float(_uncheckable(one, world))},
        )
        for one in judged
    ]
    return estimate(figure, records, level=level, most_failed=1.0, seed=0)


def _disagreements(judged: Sequence[Judged]) -> list[tuple[tuple[str, str, str], dict[str, float]]]:
    """Units on which annotators differ, with each one's first verdict."""
    said: defaultdict[tuple[str, str, str], dict[str, float]] = defaultdict(dict)
    for one in judged:
        said[one.unit].setdefault(one.annotator, one.rating)
    return [(unit, found) for unit, found in said.items() if len(set(found.values())) > 1]


def _by_annotator(
    judged: Sequence[Judged], matrix: NDArray[np.float64], annotators: Sequence[str]
) -> list[dict[str, Any]]:
    """How each annotator judges: how many, which side, how fast, and agreeing with the others."""
    found = []
    for number, name in enumerate(annotators):
        mine = [one for one in judged if one.annotator == name]
        decided = [one for one in mine if one.decided]
        seconds = [one.seconds for one in mine if one.seconds is not None]
        others = np.delete(matrix, number, axis=0)
        same = others == matrix[number]
        both = np.isfinite(others) & np.isfinite(matrix[number])
        found.append(
            {
                "annotator": name,
                "judgements": len(mine),
                "left": sum(bool(one.chose_left) for one in decided) / len(decided)
                if decided
                else None,
                "undecided": 1 - len(decided) / len(mine),
                "median_seconds": float(np.median(seconds)) if seconds else None,
                "agrees_with_others": float(same[both].mean()) if both.any() else None,
                "compared_with_others": int(both.sum()),
            }
        )
    return found


def _records(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[ItemRecord]:
    return [
        ItemRecord(id=f"{name}/{number}", cluster=f"{name}/{number}", stratum=name, data=dict(row))
        for name, found in rows.items()
        for number, row in enumerate(found[:ROWS])
    ]


def _row(one: Judged) -> dict[str, Any]:
    return {
        "event": one.event_id,
        "comparison": one.comparison_id,
        "annotator": one.annotator,
        "prompt": one.prompt,
        "first": one.first,
        "second": one.second,
        "shown_order": one.shown_order,
        "verdict": one.verdict,
        "seconds": one.seconds,
    }
