"""Gold from judgements that no reward model learned from: checkpoints against the reference.

What the loop asks to choose a checkpoint, and after a round, compares a checkpoint with the policy
it came from on held-out prompts. Its win rate less one half is gold, and the reference's is 0.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from assent.audit.curves import POINTS, CurvePoint, GoldCurve, step_of
from assent.audit.evidence import Evidence
from assent.errors import NotAuditable, StoreDamaged
from assent.store import ModelVersion

FEWEST = 20
"""Prompts judged at every checkpoint from which a curve is made."""
SOURCE = "held-out judgements: win rate against the reference less one half"

Wins = dict[str, list[float]]
"""Of each prompt asked, what the judgements give the checkpoint: .5 a win, -.5 a loss."""


def judged_curve(evidence: Evidence, kept: Sequence[ModelVersion], run: str) -> GoldCurve:
    """The checkpoints of a run that people compared with the reference.

    Only prompts that were judged at every one of them count. A checkpoint that said just what the
    reference said to a prompt that the others were asked about tied there, and nobody was asked.

    Args:
        evidence: the project as the audit sees it.
        kept: the checkpoints of the run, in order of steps.
        run: its id.

    Raises:
        NotAuditable: too few were judged.
    """
    known = _figures(evidence.project.root / "runs" / run)
    kept = [one for one in kept if step_of(one) in known]
    judged = _most_judged(evidence, kept)
    prompts = [
        prompt
        for prompt in dict.fromkeys(prompt for wins in judged.values() for prompt in wins)
        if all(wins.get(prompt, [0.0]) for wins in judged.values())
    ]
    if len(prompts) < FEWEST:
        message = (
            "nothing here knows gold: set audits.gold to a reward model that was never trained on, "
            "a program or a server, or have people compare checkpoints with the reference on "
            f"validation prompts, as the loop asks them for the promotion ({len(prompts)} prompts "
            f"are judged at every checkpoint, and {FEWEST} are wanted)"
        )
        raise NotAuditable(message)
    groups = {one.text: one.group or one.text for one in evidence.project.store.prompts()}
    start = CurvePoint(step=0, kl_nats=0.0, gold=np.zeros(len(prompts)), figures=known.get(0, {}))
    points = [
        CurvePoint(
            step=step_of(one),
            kl_nats=float(known[step_of(one)]["kl_nats"]),
            gold=np.array([np.mean(judged[one.id].get(prompt, [0.0])) for prompt in prompts]),
            figures=known[step_of(one)],
        )
        for one in kept
        if one.id in judged
    ]
    return GoldCurve(
        points=[start, *points],
        prompts=prompts,
        clusters=[groups.get(prompt, prompt) for prompt in prompts],
        strata=["all"] * len(prompts),
        source=SOURCE,
    )


def _most_judged(evidence: Evidence, kept: Sequence[ModelVersion]) -> dict[str, Wins]:
    """Of the times that checkpoints were asked about, the one at which most were judged.

    All that is asked at one time is about the same prompts: the purpose, but for the checkpoint.
    """
    store = evidence.project.store
    reference = evidence.require_role("reference", "reference").weights_sha256
    by_weights = {one.weights_sha256: one.id for one in kept if one.weights_sha256 != reference}
    weights = {one.id: one.weights_sha256 for one in store.model_versions()}
    drawn_by = {one.id: weights.get(one.model_version_id) for one in store.samplers()}
    made_by = {one.id: drawn_by.get(one.sampler_id or "") for one in store.responses()}
    said = _verdicts(evidence)
    times: dict[str, dict[str, Wins]] = {}
    for one in store.comparisons():
        sides = (made_by.get(one.first_response_id), made_by.get(one.second_response_id))
        time, _, _ = one.purpose.rpartition("/")
        if not time or reference not in sides:
            continue
        sign = 1 if sides[1] == reference else -1
        ours = by_weights.get(sides[0 if sign > 0 else 1] or "")
        if ours is not None:
            wins = times.setdefault(time, {}).setdefault(ours, {}).setdefault(one.prompt, [])
            wins += [sign * worth for worth in said.get(one.id, ())]
    judged = [
        {one: wins for one, wins in time.items() if any(wins.values())} for time in times.values()
    ]
    return max(judged, key=len, default={})


def _verdicts(evidence: Evidence) -> dict[str, list[float]]:
    """What the judgements that no reward model learned from give each first response."""
    learned = _learned(evidence)
    found: dict[str, list[float]] = {}
    for one in evidence.judgements:
        if one.event_id not in learned and one.verdict != "cannot_judge":
            worth = 0.0 if not one.decided else 0.5 if one.verdict == "first" else -0.5
            found.setdefault(one.comparison_id, []).append(worth)
    return found


def _learned(evidence: Evidence) -> Collection[str]:
    """Judgements behind the reward models of the project."""
    store = evidence.project.store
    behind = {one.snapshot_id for one in store.model_versions() if one.stage == "reward"}
    return {
        pair.event_id for snapshot in behind if snapshot for pair in store.judged_pairs(snapshot)
    }


def _figures(run: Path) -> Mapping[int, Mapping[str, Any]]:
    """By step, what was measured at each point of a run."""
    found = {}
    for file in sorted((run / POINTS).glob("step-*.json")):
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
            found[int(values["step"])] = {"kl_nats": None, **values["figures"]}
        except (ValueError, KeyError, TypeError) as error:
            message = f"{file} is no point of a trajectory ({type(error).__name__}: {error})"
            raise StoreDamaged(message) from error
    return found
