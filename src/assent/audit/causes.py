"""From a finding to its cause: the judgements that pushed the reward model most that way.

A regressed figure names items on which the audited model does worse than its baseline. There the
reward model was asked to prefer what the model says; the training comparisons whose gradient points
the same way are what it learned that from. Influence is taken in the reward model's last layer,
where it is a logistic regression and what a comparison did can be worked out.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit

from assent.audit.evidence import Evidence, Judged
from assent.audit.features import differences, features_of
from assent.audit.results import AuditResult
from assent.audit.runner import AuditRun
from assent.audit.subject import Figure, ItemRecord, Subject
from assent.config.files import write_file
from assent.errors import NotAuditable
from assent.models.loading import score_head
from assent.models.reading import ResponseEnd
from assent.models.rewards import TextReward
from assent.models.scoring import chunks
from assent.objectives.seeds import is_held_out
from assent.stats.logistic import fit_logistic
from assent.store.identity import canonical_json, sha256_hex
from assent.store.project import RUNS_FOLDER

VERSION = 1
"""Of what is worked out here; another makes kept causes anew."""
PROBES = 64
"""Pairs of responses that show a finding, at most."""
SHOWN = 12
"""Judgements shown for a finding."""
DAMPING = 0.01
"""Added to the curvature, as a share of its mean; the last layer has more directions than data."""


class Probe(NamedTuple):
    """What the model says where it does worse, and what its baseline said."""

    prompt: str
    worse: str
    better: str
    item: str


class Push(NamedTuple):
    """How one training judgement moved the reward model on a finding."""

    judged: Judged
    influence: float
    """Logits that it added to the reward of the worse responses over the better, on average."""


def probes_of(figure: Figure, model: AuditResult, baseline: AuditResult) -> list[Probe]:
    """Pairs of responses from the items on which a figure is worse than the baseline's.

    Of each question the commonest sample of each side; where both say the same there is none. The
    items that got worst come first.
    """
    theirs = {one.id: one for one in baseline.records}
    sign = -1.0 if figure.better == "lower" else 1.0
    worse: list[tuple[float, ItemRecord, ItemRecord]] = []
    for record in model.records:
        other = theirs.get(record.id)
        ours = record.scores.get(figure.of)
        before = other.scores.get(figure.of) if other else None
        if other is not None and ours is not None and before is not None:
            change = sign * (ours - before)
            if change < 0:
                worse.append((change, record, other))
    found = []
    for _, record, other in sorted(worse, key=lambda one: one[0]):
        for asked, asked_before in zip(record.asked, other.asked, strict=False):
            said, before_said = _commonest(asked), _commonest(asked_before)
            if said and before_said and said != before_said:
                found.append(Probe(str(asked["prompt"]), said, before_said, record.id))
    return found[:PROBES]


class Teaching:
    """What the reward model behind a policy was taught, read once for all of its findings.

    Raises:
        NotAuditable: the model was trained against no reward model of this project.
    """

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.evidence = Evidence(subject)
        self.version = self.evidence.require_role("reward_model", "reward model")
        self.snapshot = self.evidence.project.store.snapshot(self.version.snapshot_id or "")

    @cached_property
    def reward(self) -> TextReward:
        """The reward model.

        Raises:
            NotAuditable: there is no one last layer whose lesson could be told.
        """
        _, reward = self.evidence.reward()
        if not isinstance(reward, TextReward):
            message = f"{self.version.name} is an ensemble; influence is that on one last layer"
            raise NotAuditable(message)
        return reward

    @cached_property
    def training(self) -> list[Judged]:
        """The judgements that it learned from."""
        share = self.evidence.held_out_share(self.version)
        return [
            one
            for one in self.evidence.of_snapshot(self.snapshot)
            if one.decided and not is_held_out(one.prompt, share)
        ]

    @cached_property
    def rows(self) -> NDArray[np.float64]:
        """See `training_rows`."""
        return training_rows(self.reward, self.training)

    @cached_property
    def gaps(self) -> Mapping[str, NDArray[np.float64]]:
        """By feature, what the chosen response of each judgement has over the rejected one."""
        names, table = differences(self.training, features_of(self.subject.world))
        signs = np.array([1.0 if one.verdict == "first" else -1.0 for one in self.training])
        return {name: table[:, n] * signs for n, name in enumerate(names)}

    def kept_why(self, figure: Figure, ours: AuditRun, theirs: AuditRun) -> dict[str, Any]:
        """As `why`; worked out once for two runs and a reward model, then read.

        Raises:
            NotAuditable: as `why`.
        """
        behind = [figure.name, ours.run_id, theirs.run_id, self.version.id, self.snapshot.id]
        name = f"cause-{sha256_hex(canonical_json([VERSION, *behind]))[:12]}.json"
        file = self.evidence.project.root / RUNS_FOLDER / ours.run_id / name
        if file.exists():
            kept: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            return kept
        found = self.why(figure, ours.result, theirs.result)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_file(file, json.dumps(found, allow_nan=False) + "\n")
        return found

    def why(self, figure: Figure, model: AuditResult, baseline: AuditResult) -> dict[str, Any]:
        """The judgements behind a regressed figure, as JSON: which, how much, what they share.

        Raises:
            NotAuditable: no sampled text shows the finding, or the reward model is of a kind that
                influence cannot be taken in.
        """
        probes = probes_of(figure, model, baseline)
        if not probes:
            message = f"{figure.name}: no sampled text differs where it got worse"
            raise NotAuditable(message)
        pushes = pushed(self.reward, self.training, probes, self.rows)
        order = np.argsort([-one.influence for one in pushes], kind="stable")
        found = [pushes[n] for n in order]
        total = sum(one.influence for one in pushes if one.influence > 0)
        top = found[:SHOWN]
        return {
            "reward_model": self.version.name,
            "snapshot": self.snapshot.name,
            "judgements": len(self.training),
            "probes": [probe._asdict() for probe in probes[:3]],
            "probe_count": len(probes),
            "unit": "logits added to the reward of the worse responses over the better ones",
            "share_of_top": sum(one.influence for one in top) / total if total > 0 else None,
            "by_annotator": _by_annotator(pushes),
            "in_common": _in_common(self.gaps, order, share=0.05),
            "pushed_that_way": [_row(one) for one in top],
            "pushed_against": [_row(one) for one in found[::-1][: SHOWN // 3]],
        }


def training_rows(reward: TextReward, training: Sequence[Judged]) -> NDArray[np.float64]:
    """Last hidden state of each chosen response less that of the rejected one."""
    chosen = [one.first if one.verdict == "first" else one.second for one in training]
    rejected = [one.second if one.verdict == "first" else one.first for one in training]
    prompts = [one.prompt for one in training]
    found = _hidden(reward, prompts, chosen) - _hidden(reward, prompts, rejected)
    return np.asarray(found, dtype=np.float64)


def pushed(
    reward: TextReward,
    training: Sequence[Judged],
    probes: Sequence[Probe],
    rows: NDArray[np.float64] | None = None,
) -> list[Push]:
    r"""What each training judgement did to the reward of the worse responses over the better.

    .. math:: I_i = \bar d^\top (H + \rho I)^{-1} (1 - \sigma(w x_i))\, x_i, \qquad
              H = \sum_i \sigma(w x_i) \sigma(-w x_i)\, x_i x_i^\top

    x_i is the last hidden state of the chosen response less that of the rejected one, w the head,
    d the same difference of a probe's worse and better response, averaged.

    Args:
        reward: the reward model.
        training: judgements with a winner that it was trained on.
        probes: responses that show the finding.
        rows: `training_rows`, where they are at hand.

    Raises:
        NotAuditable: the reward model does not read its score at the response's end.

    Source: Koh & Liang 2017, "Understanding black-box predictions via influence functions", eq. 2,
    in the last layer (as Yeh et al. 2018, representer points).
    """
    taught = training_rows(reward, training) if rows is None else rows
    asked = [one.prompt for one in probes]
    directions = _hidden(reward, asked, [one.worse for one in probes])
    directions -= _hidden(reward, asked, [one.better for one in probes])
    head = score_head(reward.model).weight.detach().double().cpu().numpy()[0]
    found = influences(taught, head, directions.mean(axis=0))
    return [Push(one, float(value)) for one, value in zip(training, found, strict=True)]


def influences(
    rows: NDArray[np.float64], weights: NDArray[np.float64], direction: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The formula of `pushed`: (rows,), what leaving each row out would take off direction @ w."""
    chance = expit(rows @ weights)
    curvature = (rows.T * (chance * (1 - chance))) @ rows
    damping = DAMPING * float(np.trace(curvature)) / len(curvature)
    solved = np.linalg.solve(curvature + damping * np.eye(len(curvature)), direction)
    return np.asarray((1 - chance) * (rows @ solved), dtype=np.float64)


@torch.no_grad()
def _hidden(
    reward: TextReward, prompts: Sequence[str], responses: Sequence[str]
) -> NDArray[np.float64]:
    """The last hidden state that each score is read from."""
    if not isinstance(reward.reading, ResponseEnd):
        message = "the reward model does not read its score at the response's end"
        raise NotAuditable(message)
    # A text that came often is read once.
    texts = list(dict.fromkeys(zip(prompts, responses, strict=True)))
    reads = reward.reading.encode([one for one, _ in texts], [one for _, one in texts])
    hidden = torch.cat(
        [
            reward.reading.states(reward.model, reads[part])
            for part in chunks(len(reads), reward.batch_size)
        ]
    )
    place = {text: number for number, text in enumerate(texts)}
    rows_of = [place[one] for one in zip(prompts, responses, strict=True)]
    return np.asarray(hidden.double().cpu().numpy()[rows_of], dtype=np.float64)


def _commonest(asked: Mapping[str, Any]) -> str | None:
    """The commonest sample of a question to the model; None for log-probabilities of answers."""
    reply = asked.get("reply")
    kind = (asked.get("ask") or {}).get("kind", "samples")
    if asked.get("role") != "model" or reply is None or kind != "samples":
        return None
    return Counter(reply["texts"]).most_common(1)[0][0] if reply.get("texts") else None


def _by_annotator(pushes: Sequence[Push]) -> list[dict[str, Any]]:
    """Mean influence of each annotator's judgements, highest first."""
    by: dict[str, list[float]] = {}
    for one in pushes:
        by.setdefault(one.judged.annotator, []).append(one.influence)
    rows = [
        {"annotator": name, "judgements": len(found), "mean": float(np.mean(found))}
        for name, found in by.items()
    ]
    return sorted(rows, key=lambda row: -float(str(row["mean"])))


def _in_common(
    gaps: Mapping[str, NDArray[np.float64]], order: NDArray[np.intp], *, share: float
) -> list[dict[str, Any]]:
    """What the chosen response has over the rejected one: in the pushing judgements and in all.

    The top share of judgements by influence beside all of them: the mean difference of each
    feature, in its own units.
    """
    top = order[: max(1, round(share * len(order)))]
    rows = [
        {
            "feature": name,
            "pushing": float(gap[top].mean()),
            "all": float(gap.mean()),
            "standardised": float((gap[top].mean() - gap.mean()) / max(gap.std(), 1e-12)),
        }
        for name, gap in gaps.items()
    ]
    return sorted(rows, key=lambda row: -abs(float(str(row["standardised"]))))


def _row(one: Push) -> dict[str, Any]:
    judged = one.judged
    chosen = judged.first if judged.verdict == "first" else judged.second
    return {
        "event": judged.event_id,
        "comparison": judged.comparison_id,
        "annotator": judged.annotator,
        "prompt": judged.prompt,
        "chosen": chosen,
        "rejected": judged.second if chosen == judged.first else judged.first,
        "influence": one.influence,
    }


def coefficient_influence(
    judged: Sequence[Judged], subject: Subject, feature: str
) -> list[tuple[Judged, float]]:
    """How much each judgement moved one bias coefficient of the annotators, highest first.

    Raises:
        KeyError: no such feature differs in these judgements.
    """
    names, table = differences(judged, features_of(subject.world))
    if feature not in names:
        raise KeyError(feature)
    outcomes = [float(one.verdict == "first") for one in judged]
    fit = fit_logistic(table, outcomes, ridge=1e-6)
    moved = fit.influence[:, names.index(feature)]
    order = np.argsort(-moved)
    return [(judged[int(n)], float(moved[n])) for n in order]
