"""Whose values: whose judgements the reward model stands for, and whose it does not.

Annotators agree with one another or do not; where groups of them are recorded, agreement within
groups stands beside that between groups, and the reward model's accuracy by group. Annotators that
had no part in its training say most. Groups of fewer than five are put together, so that nobody
can be told by their group.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assent.audit.annotator_groups import Groups, groups_of
from assent.audit.estimating import ends, missing
from assent.audit.evidence import Evidence, Judged, held_out
from assent.audit.feedback_data import NO_OVERLAP, ratings
from assent.audit.figures import estimate
from assent.audit.reading import file_path
from assent.audit.reward_accuracy import readable
from assent.audit.reward_parts import hits, places, share_right
from assent.audit.subject import Estimate, Figure, ItemRecord, Measured, Subject
from assent.errors import NotAuditable
from assent.models.reward_ensembles import LearnedReward
from assent.stats.agreement import alpha_interval
from assent.stats.consensus import group_agreement, held_out_accuracy

SMALLEST = 5
"""Annotators a group must have to be shown by itself."""
TOO_SMALL = f"groups of fewer than {SMALLEST}"


class WhoseValues:
    """Agreement and accuracy by annotators and their groups."""

    name = "whose-values"
    version = 1
    title = "Whose judgements does the reward model stand for?"
    figures: Sequence[Figure] = (
        Figure(
            name="accuracy",
            of="right",
            what="How often the reward model predicts a held-out judgement, over all annotators.",
        ),
        Figure(
            name="accuracy_new_annotators",
            of="right_new",
            what="The same for annotators with no judgement in its training.",
        ),
        Figure(
            name="accuracy_lowest",
            of="right_lowest",
            what="The same for the annotator it predicts worst, among those with 20 judgements.",
            descriptive="the lowest of several is low partly by chance",
        ),
        Figure(
            name="alpha",
            of="alpha",
            kind="mean",
            what="Krippendorff's alpha between annotators.",
        ),
        Figure(
            name="consensus",
            of="consensus",
            what="How often the others' consensus predicts an annotator who had no part in it.",
        ),
        Figure(
            name="consensus_lowest_tenth",
            of="consensus_lowest_tenth",
            what="The same for the tenth of annotators it predicts worst.",
            descriptive="the lowest of several are low partly by chance; `spread` takes that off",
        ),
        Figure(
            name="spread",
            of="spread",
            kind="mean",
            unit="share",
            what="How unlike annotators are in how well the consensus predicts them, chance aside.",
        ),
        Figure(
            name="apart",
            of="apart",
            kind="mean",
            unit="share",
            what="How much more annotators agree within their group than between groups.",
        ),
    )

    def inputs(self, subject: Subject) -> Mapping[str, Any]:
        """The reward model and the judgements."""
        evidence = Evidence(subject)
        version = evidence.require_role("reward_model", "reward model")
        judged = [one for one in evidence.judgements if one.purpose == "reward"]
        if not judged:
            message = f"{evidence.project.root} has no judgements"
            raise NotAuditable(message)
        behind = {"reward_model": version.weights_sha256, "judgement": judged[-1].event_id}
        groups = _groups(evidence)
        return {**behind, "groups": groups} if any(groups.values()) else behind

    def measure(self, subject: Subject) -> Measured:
        """All figures; the records are the held-out judgements."""
        evidence = Evidence(subject)
        version, reward = evidence.reward()
        judged = [one for one in evidence.judgements if one.purpose == "reward"]
        trained_on = evidence.project.store.snapshot(version.snapshot_id or "")
        known = {one.annotator for one in judged if one.seq <= trained_on.up_to_seq}
        groups = _groups(evidence)
        level = subject.settings.level
        measured = readable(
            reward,
            held_out(judged, evidence.held_out_share(version)),
            lambda one: one.texts,
            "judgements",
        )
        if not measured:
            message = "no judgement that the reward model can read is held out of its training"
            raise NotAuditable(message)
        records = _records(reward, measured, known)
        found = [
            estimate(figure, records, level=level, most_failed=1.0, seed=subject.seed)
            for figure in self.figures[:2]
        ]
        if found[1].estimate is None:
            found[1] = missing(
                "accuracy_new_annotators", "every annotator had a part in its training"
            )
        right = np.array([one.scores["right"] or 0.0 for one in records])
        by_annotator = [
            {"annotator": name, "new": name not in known,
             **share_right(right[mine], [measured[n].prompt for n in mine], level)}
            for name, mine in places([one.annotator for one in measured]).items()
        ]  # fmt: skip
        panel = describe_panel(judged, groups, level=level, seed=subject.seed)
        tables = {
            **panel.tables,
            "by_annotator": by_annotator,
            "by_group": _by_group(measured, right, groups, level),
        }
        return Measured(
            figures=[*found, _lowest(by_annotator), *panel.figures], records=records, tables=tables
        )


def describe_panel(
    judged: Sequence[Judged],
    groups: Groups,
    *,
    level: float,
    seed: int = 0,
) -> Measured:
    """What the annotators of some judgements have in common."""
    matrix, annotators = ratings(judged)
    return panel_of(matrix, annotators, groups, level=level, seed=seed)


def panel_of(
    matrix: NDArray[np.float64],
    annotators: Sequence[str],
    groups: Groups,
    *,
    level: float,
    seed: int = 0,
) -> Measured:
    """What a panel has in common, from its ratings (annotators, items).

    Args:
        matrix: NaN where there is none; the numbers are names.
        annotators: a name for each row.
        groups: of some annotators, for each attribute (a language, an age) its value.
        level: of the intervals.
        seed: of resampling and folds.
    """
    names = ("alpha", "consensus", "consensus_lowest_tenth", "spread", "apart")
    if (np.isfinite(matrix).sum(axis=0) > 1).sum() < 2:
        return Measured(figures=[missing(name, NO_OVERLAP) for name in names])
    alpha = alpha_interval(matrix, coverage=level, seed=seed)
    alone = held_out_accuracy(matrix, seed=seed, level=level)
    method = f"{100 * level:g} % bootstrap over"
    figures = [
        Estimate(
            name="alpha",
            estimate=alpha.value,
            interval=ends(alpha.interval),
            method=f"{method} items",
            n=alpha.ratings,
            clusters=alpha.items,
        ),
        Estimate(
            name="consensus",
            estimate=alone.mean,
            interval=ends(alone.interval),
            method=f"{method} annotators, each held out of the consensus",
            n=len(annotators),
            clusters=len(annotators),
        ),
        Estimate(
            name="consensus_lowest_tenth",
            estimate=alone.lowest_tenth,
            method="none: a selection",
            n=max(1, round(len(annotators) / 10)),
        ),
        Estimate(name="spread", estimate=alone.spread, method="none", n=len(annotators)),
    ]
    attributes = sorted({key for one in groups.values() for key in one})
    tables: dict[str, Any] = {"groups": {}}
    widest: Estimate | None = None
    for attribute in attributes:
        labels = _labels(annotators, groups, attribute)
        known = [n for n, label in enumerate(labels) if label]
        try:
            found = group_agreement(
                matrix[known], [labels[n] for n in known], seed=seed, level=level
            )
        except ValueError as error:
            tables["groups"][attribute] = {"problem": str(error)}
            continue
        tables["groups"][attribute] = {
            **found._asdict(),
            "sizes": dict(Counter(labels[n] for n in known)),
        }
        if widest is None or found.difference > (widest.estimate or 0.0):
            widest = Estimate(
                name="apart",
                estimate=found.difference,
                interval=ends(found.interval),
                method=f"{method} items; by {attribute}, the widest of {len(attributes)}",
                n=len(known),
            )
    tables["held_out_annotators"] = sorted(
        (
            {"annotator": name, "accuracy": float(value)}
            for name, value in zip(annotators, alone.accuracy, strict=True)
            if np.isfinite(value)
        ),
        key=lambda row: float(str(row["accuracy"])),
    )
    none = missing("apart", "no group of any annotator is recorded; see audits.group_file")
    return Measured(figures=[*figures, widest or none], tables=tables)


def _labels(annotators: Sequence[str], groups: Groups, attribute: str) -> list[str]:
    """Each annotator's value, small groups put together; empty where none is recorded."""
    said = [groups.get(name, {}).get(attribute, "") for name in annotators]
    sizes = Counter(said)
    return [one if not one or sizes[one] >= SMALLEST else TOO_SMALL for one in said]


def _groups(evidence: Evidence) -> Groups:
    file = evidence.subject.settings.group_file
    path = file_path(evidence.subject, file) if file else None
    return groups_of(evidence.project.store.annotators(), path)


def _by_group(
    judged: Sequence[Judged],
    right: NDArray[np.float64],
    groups: Groups,
    level: float,
) -> list[dict[str, Any]]:
    """The reward model's accuracy for each group of each attribute."""
    found = []
    names = sorted({one.annotator for one in judged})
    for attribute in sorted({key for one in groups.values() for key in one}):
        label = dict(zip(names, _labels(names, groups, attribute), strict=True))
        for group, mine in places([label[one.annotator] for one in judged]).items():
            if group:
                prompts = [judged[n].prompt for n in mine]
                found.append(
                    {
                        "attribute": attribute,
                        "group": group,
                        **share_right(right[mine], prompts, level),
                    }
                )
    return found


def _records(reward: LearnedReward, judged: Sequence[Judged], known: set[str]) -> list[ItemRecord]:
    prompts = [one.prompt for one in judged]
    first = reward.raw(prompts, [one.first for one in judged])
    second = reward.raw(prompts, [one.second for one in judged])
    chose_first = np.array([float(one.verdict == "first") for one in judged])
    right = hits(np.array(first) - np.array(second), chose_first)
    return [
        ItemRecord(
            id=one.event_id,
            cluster=one.prompt,
            stratum="all",
            data={"prompt": one.prompt, "annotator": one.annotator, "verdict": one.verdict},
            scores={
                "right": float(hit),
                "right_new": None if one.annotator in known else float(hit),
            },
        )
        for one, hit in zip(judged, right, strict=True)
    ]


def _lowest(rows: Sequence[Mapping[str, Any]]) -> Estimate:
    enough = [row for row in rows if row["n"] >= 20]
    if len(enough) < 2:
        return missing("accuracy_lowest", "fewer than two annotators have 20 held-out judgements")
    row = min(enough, key=lambda one: float(one["accuracy"]))
    return Estimate(
        name="accuracy_lowest",
        estimate=row["accuracy"],
        interval=tuple(row["interval"]) if row["interval"] else None,
        method="as for one annotator alone, the lowest picked",
        n=row["n"],
    )
