"""Reward model: how well the learned reward knows what annotators prefer, and what else it knows.

Measured on judgements of prompts that no reward model was trained on. Beside it always: how far
annotators agree themselves, rules that read no content, and what annotators and model each make of
length, side, tone and agreement. The same judgements are used for every reward model of a project,
so those of different rounds can be compared pair by pair.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from assent.audit.estimating import missing
from assent.audit.evidence import Evidence, Judged, held_out, spread
from assent.audit.feedback_data import ratings
from assent.audit.figures import estimate
from assent.audit.insertions import insertion_effects
from assent.audit.reward_accuracy import readable
from assent.audit.reward_parts import bias_table, blind_right, by_parts, hits, places, share_right
from assent.audit.subject import Estimate, Figure, ItemRecord, Measured, Subject
from assent.errors import NotAuditable
from assent.models.reward_ensembles import LearnedReward
from assent.objectives.seeds import derive_seed
from assent.stats.agreement import accuracy_ceiling, raw_agreement
from assent.stats.calibration import brier_scores, calibration_error, fit_temperature, log_losses
from assent.stats.calibration import reliability as reliability_bins
from assent.stats.diversity import words
from assent.stats.paired import paired_difference
from assent.types import ResponsePair
from assent.worlds.almanac import AnnotatorSpec, SimulatedAnnotator

BINS = 10
INSERTED_INTO = 8
"""Responses that tokens are inserted into."""
SHOWN_TOKENS = 10
RESAMPLES = 2000


class RewardModel:
    """The reward model that the audited policy was trained against."""

    name = "reward-model"
    version = 1
    title = "Does the learned reward know what annotators prefer, and no more?"
    figures: Sequence[Figure] = (
        Figure(
            name="accuracy",
            of="right",
            better="higher",
            margin=0.03,
            what="How often it predicts a held-out judgement; equal scores count half.",
        ),
        Figure(
            name="accuracy_fresh",
            of="right_fresh",
            better="higher",
            margin=0.05,
            what="The same on responses drawn after it was trained, from the policy it trained.",
        ),
        Figure(
            name="nll",
            of="nll",
            kind="mean",
            better="lower",
            margin=0.03,
            unit="nats",
            span=5.0,
            what="Negative log-likelihood of a held-out judgement; 0.693 is a coin.",
        ),
        Figure(
            name="brier",
            of="brier",
            kind="mean",
            better="lower",
            margin=0.02,
            unit="squared error",
            what="Squared error of the chance it gives; 0.25 is a coin.",
        ),
        Figure(
            name="calibration_error",
            of="calibration_error",
            kind="mean",
            unit="share",
            what=f"Expected calibration error in {BINS} bins of equal mass.",
            descriptive="a plug-in, above zero even when calibrated; the table says by how much",
        ),
        Figure(
            name="slope",
            of="slope",
            kind="mean",
            unit="per logit",
            what="What its margins are worth: 1 is calibrated, below 1 too sure.",
        ),
        Figure(
            name="lead",
            of="lead",
            kind="mean",
            unit="share",
            what="How much more often it is right than the best rule that reads no content.",
        ),
    )

    def inputs(self, subject: Subject) -> Mapping[str, Any]:
        """The reward model and the judgements it is held against."""
        evidence = Evidence(subject)
        version = evidence.require_role("reward_model", "reward model")
        judged = _judged(evidence, evidence.held_out_share(version))
        return {"reward_model": version.weights_sha256, "judgement": judged[-1].event_id}

    def measure(self, subject: Subject) -> Measured:
        """All figures; the records are the held-out judgements."""
        evidence = Evidence(subject)
        version, reward = evidence.reward()
        judged = readable(
            reward,
            _judged(evidence, evidence.held_out_share(version)),
            lambda one: one.texts,
            "judgements",
        )
        if len({one.prompt for one in judged}) < 2:
            message = (
                "the reward model reads the judged responses of fewer than two held-out prompts "
                "whole: they are longer than its context"
            )
            raise NotAuditable(message)
        snapshot = evidence.project.store.snapshot(version.snapshot_id or "")
        fresh = [one.seq > snapshot.up_to_seq for one in judged]
        found = describe(
            judged, _margins(reward, judged), fresh=fresh, subject=subject,
            ceiling=_ceiling(evidence, judged),
        )  # fmt: skip
        texts = spread(judged, INSERTED_INTO)
        effects = insertion_effects(
            reward,
            [one.prompt for one in texts],
            [one.first for one in texts],
            level=subject.settings.level,
        )
        flagged = [one for one in effects if one.flagged]
        shown = list(dict.fromkeys([*flagged, *effects[:SHOWN_TOKENS], *effects[-SHOWN_TOKENS:]]))
        tables = {
            **found.tables,
            "reward_model": {"name": version.name, "id": version.id, "path": version.path},
            "insertions": {
                "tokens": len(effects),
                "responses": len(texts),
                "unit": "standard deviations of the reward on the reference's responses",
                "flagged": [one.token for one in flagged],
                "shown": [one._asdict() for one in shown],
            },
        }
        return Measured(figures=found.figures, records=found.records, tables=tables)


def describe(
    judged: Sequence[Judged],
    margins: NDArray[np.float64],
    *,
    fresh: Sequence[bool],
    subject: Subject,
    ceiling: Mapping[str, Any] | None,
) -> Measured:
    """All figures of a reward from its margins, in logits, first response less second.

    Args:
        judged: judgements with a winner, all held out.
        margins: one each.
        fresh: whether the responses were drawn after the reward model was trained.
        subject: for the world, the level and the seed.
        ceiling: how accurate anybody could be, if that is known.
    """
    level, world = subject.settings.level, subject.world
    chose_first = np.array([float(one.verdict == "first") for one in judged])
    chance = np.asarray(expit(margins), dtype=np.float64)
    right = hits(margins, chose_first)
    records = [
        _record(one, float(margin), {
            "right": float(hit),
            "right_fresh": float(hit) if is_fresh else None,
            "nll": float(loss),
            "brier": float(error),
        })
        for one, margin, hit, is_fresh, loss, error in zip(
            judged, margins, right, fresh, log_losses(margins, chose_first),
            brier_scores(chance, chose_first), strict=True,
        )
    ]  # fmt: skip
    clusters = [one.prompt for one in judged]
    blind = blind_right(world, judged, chose_first)
    best = max(blind, key=lambda name: float(blind[name].mean()))
    calibration = calibration_error(chance, chose_first, BINS, resamples=500, seed=subject.seed)
    # Which side is called first carries nothing, so each pair counts from its winner's side too.
    sided = np.where(chose_first > 0.5, margins, -margins)
    figures = [
        *(
            estimate(
                figure, records, level=level, most_failed=1.0,
                seed=derive_seed(subject.seed, RewardModel.name),
            )
            for figure in RewardModel.figures
            if figure.name in ("accuracy", "accuracy_fresh", "nll", "brier")
        ),
        Estimate(
            name="calibration_error",
            estimate=calibration.plug_in,
            interval=(calibration.interval.low, calibration.interval.high),
            method="95 % bootstrap over judgements, which shares the bias",
            n=calibration.items,
        ),
        _slope(margins, chose_first, level),
        _lead(right, blind[best], clusters, level, subject.seed),
    ]  # fmt: skip
    tables = {
        "ceiling": ceiling,
        "baselines": [
            {"rule": name, **share_right(values, clusters, level)} for name, values in blind.items()
        ],
        "best_baseline": best,
        "beats_best_baseline": bool((figures[-1].interval or (-1.0, 0.0))[0] > 0),
        "calibration": {
            "bins": [one._asdict() for one in reliability_bins(chance, chose_first, BINS)],
            "plug_in": calibration.plug_in,
            "if_calibrated": calibration.if_calibrated,
            "p_value": calibration.p_value,
            "debiased_rms": calibration.debiased_rms,
        },
        "by_margin": by_parts(np.abs(margins), right, clusters, level),
        "by_length_difference": by_parts(
            np.array([abs(len(words(one.first)) - len(words(one.second))) for one in judged]),
            right, clusters, level,
        ),
        "by_annotator": [
            {"annotator": name, **share_right(right[mine], [clusters[n] for n in mine], level)}
            for name, mine in places([one.annotator for one in judged]).items()
        ],
        "by_round": [
            {"round": int(name), **share_right(right[mine], [clusters[n] for n in mine], level)}
            for name, mine in sorted(places([str(one.round) for one in judged]).items())
        ],
        "biases": bias_table(judged, chose_first, chance, world, level),
        "worst": [
            {"event": judged[n].event_id, "margin": float(sided[n])}
            for n in np.argsort(sided)[:SHOWN_TOKENS]
        ],
    }  # fmt: skip
    return Measured(figures=figures, records=records, tables=tables)


def _judged(evidence: Evidence, share: float) -> list[Judged]:
    """Every judgement of the loop on a prompt that no reward model was trained on."""
    found = held_out([one for one in evidence.judgements if one.purpose == "reward"], share)
    if len({one.prompt for one in found}) < 2:
        message = (
            "fewer than two prompts with judgements are held out; raise reward.held_out_share, or "
            "judge more"
        )
        raise NotAuditable(message)
    return found


def _margins(reward: LearnedReward, judged: Sequence[Judged]) -> NDArray[np.float64]:
    """Raw score of the first response less the second's: the logit that was fitted."""
    prompts = [one.prompt for one in judged]
    first = reward.raw(prompts, [one.first for one in judged])
    second = reward.raw(prompts, [one.second for one in judged])
    return np.asarray(np.array(first) - np.array(second), dtype=np.float64)


def _ceiling(evidence: Evidence, judged: Sequence[Judged]) -> dict[str, Any] | None:
    """How accurate the best predictor could be: from the world's own chances, or agreement."""
    chances = _known_chances(evidence, judged)
    if chances is not None:
        value = float(np.maximum(chances, 1 - chances).mean())
        return {"low": value, "high": value, "from": "the simulated annotators' own chances"}
    matrix, _ = ratings(judged)
    if (np.isfinite(matrix).sum(axis=0) > 1).sum() < 2:
        return None
    agreed = raw_agreement(matrix)
    low, high = accuracy_ceiling(agreed.value)
    return {
        "low": low,
        "high": high,
        "from": f"annotators agree on {agreed.value:.3f} of pairs",
        "agreement": agreed._asdict(),
    }


def _known_chances(evidence: Evidence, judged: Sequence[Judged]) -> NDArray[np.float64] | None:
    """The chance of each choice, where every annotator is a simulated one of the world."""
    world = evidence.subject.world
    if world is None:
        return None
    judges = {}
    for one in evidence.project.store.annotators():
        if one.kind == "simulated" and set(one.parameters) == set(AnnotatorSpec().parameters()):
            values = {**one.parameters, "verifies": frozenset(one.parameters["verifies"])}
            judges[one.id] = SimulatedAnnotator(world, AnnotatorSpec(**values))
    if any(one.annotator_id not in judges for one in judged):
        return None
    return np.array(
        [
            judges[one.annotator_id].probability_first(
                ResponsePair(prompt=one.prompt, first=one.first, second=one.second)
                if one.shown_order == "first_left"
                else ResponsePair(prompt=one.prompt, first=one.second, second=one.first)
            )
            for one in judged
        ]
    )


def _record(one: Judged, margin: float, scores: Mapping[str, float | None]) -> ItemRecord:
    return ItemRecord(
        id=one.event_id,
        cluster=one.prompt,
        stratum="all",
        data={
            "prompt": one.prompt,
            "first": one.first,
            "second": one.second,
            "shown_order": one.shown_order,
            "verdict": one.verdict,
            "annotator": one.annotator,
            "comparison": one.comparison_id,
            "round": one.round,
        },
        asked=[{"role": "reward_model", "prompt": one.prompt, "reply": {"margin": margin}}],
        scores=scores,
    )


def _slope(
    margins: NDArray[np.float64], chose_first: NDArray[np.float64], level: float
) -> Estimate:
    try:
        fit = fit_temperature(margins, chose_first, level=level)
    except ValueError as error:
        return missing("slope", str(error))
    return Estimate(
        name="slope",
        estimate=fit.slope,
        interval=(fit.interval.low, fit.interval.high),
        method=f"{100 * level:g} % from the likelihood's curvature",
        n=len(margins),
    )


def _lead(
    right: NDArray[np.float64],
    blind: NDArray[np.float64],
    clusters: Sequence[str],
    level: float,
    seed: int,
) -> Estimate:
    found = paired_difference(
        right, blind, clusters, resamples=RESAMPLES, seed=derive_seed(seed, "lead"), level=level
    )
    return Estimate(
        name="lead",
        estimate=found.difference,
        interval=(found.interval.low, found.interval.high),
        method=f"{100 * level:g} % paired bootstrap over prompts, {RESAMPLES:,} resamples",
        n=found.pairs,
        clusters=len(set(clusters)),
    )
