"""Gold and proxy of each prompt at the points of training, where gold is known of any text.

In the embedded world the loop enumerated them as it went, and wrote them into the run's folder.
Elsewhere checkpoints are sampled and a gold reward scores them: a reward model that was never
trained on, a program, or a server (`audits.gold`).
"""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assent.audit.almanac import measured_prompts
from assent.audit.evidence import Evidence, spread
from assent.audit.kl_accounting import account
from assent.config.rewards import CallableReward, HttpReward, RewardSource, SumReward
from assent.config.stages import POLICY
from assent.errors import NotAuditable, StoreDamaged
from assent.models.loading import load_causal_lm, load_tokenizer
from assent.models.reward_sources import open_reward
from assent.models.rewards import checked_rewards
from assent.stats.scaling import within_prompt_covariance
from assent.store import ModelVersion
from assent.store.disk import hash_tree
from assent.types import RewardFunction
from assent.worlds.almanac.grammar import gold_of_text

POINTS = "points"
CHECKPOINTS = 7
"""Sampled along a run, its first and last among them."""
PROMPTS, SAMPLES = 32, 8

_STEP = re.compile(r"-step-(\d+)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """One checkpoint, prompt by prompt."""

    step: int
    kl_nats: float
    gold: NDArray[np.float64]
    proxy: NDArray[np.float64] | None = None
    covariance: NDArray[np.float64] | None = None
    """Of gold and proxy over the responses to each prompt."""
    figures: Mapping[str, Any]
    """As the trajectory has them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldCurve:
    """The points of one run, the reference first, and what its prompts are."""

    points: Sequence[CurvePoint]
    prompts: Sequence[str]
    clusters: Sequence[str]
    strata: Sequence[str]
    source: str
    """Where gold comes from, in words."""

    @property
    def distances(self) -> NDArray[np.float64]:
        """Square root of KL at each point; the first is the reference itself, so 0."""
        found = np.sqrt([max(point.kl_nats, 0.0) for point in self.points])
        found[0] = 0.0
        return np.asarray(found, dtype=np.float64)

    @property
    def gold(self) -> NDArray[np.float64]:
        """(points, prompts)."""
        return np.array([point.gold for point in self.points])


def gold_reward(evidence: Evidence) -> tuple[RewardFunction, str]:
    """Gold as a function of texts, and its name.

    Raises:
        NotAuditable: neither a world nor `audits.gold` says what gold is.
    """
    world, source = evidence.subject.world, evidence.subject.settings.gold
    if world is not None:

        def worth(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
            read = [world.read(prompt) for prompt in prompts]
            return [
                0.0 if prompt is None else gold_of_text(world, prompt, text)
                for prompt, text in zip(read, responses, strict=True)
            ]

        return worth, "the embedded world"
    if source is None:
        message = (
            "nothing here knows gold of any text: set audits.gold to a reward model that was never "
            "trained on, a program or a server"
        )
        raise NotAuditable(message)
    return open_reward(source, None, evidence.subject.device), f"audits.gold ({source.kind})"


def content_of(source: RewardSource) -> dict[str, object] | str | None:
    """What stands behind an opened source of gold, by hash, so that a change of it is seen.

    A folder, or the file of a function's module; None for a model of a hub and for a server, whose
    content is not at hand: a result got with one of those is kept until its name changes.
    """
    if isinstance(source, SumReward):
        return {name: content_of(part.source) for name, part in source.parts.items()}
    if isinstance(source, HttpReward):
        return None
    if isinstance(source, CallableReward):
        file = getattr(sys.modules.get(source.function.partition(":")[0]), "__file__", None)
    else:
        file = source.path
    return hash_tree(Path(file))[0] if file and Path(file).exists() else None


def enumerated_curve(evidence: Evidence, version: ModelVersion) -> GoldCurve:
    """What the loop wrote at each point; the reference's point is that of the first run."""
    world = evidence.subject.world
    assert world is not None
    last = _STEP.search(version.name)
    upto = int(last[1]) if last else None
    points = read_points(evidence.project.root / "runs" / (version.run_id or ""))
    points = [point for point in points if upto is None or point.step <= upto]
    first = _first_run(evidence)
    if first is not None and first != version.run_id:
        points = [read_points(evidence.project.root / "runs" / first)[0], *points]
    if len(points) < 2:
        message = f"{evidence.subject.name} has no point of training behind it but its start"
        raise NotAuditable(message)
    test, _ = measured_prompts(world)
    return GoldCurve(
        points=points,
        prompts=[prompt.text for prompt in test],
        clusters=[prompt.fact.group for prompt in test],
        strata=[prompt.fact.kind for prompt in test],
        source="the embedded world, by enumeration",
    )


def read_points(run: Path) -> list[CurvePoint]:
    """The points of a run that have gold, in order.

    Raises:
        NotAuditable: there is none.
        StoreDamaged: a file is not what the loop wrote.
    """
    found = []
    for file in sorted((run / POINTS).glob("step-*.json")):
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
            found.append(
                CurvePoint(
                    step=int(values["step"]),
                    kl_nats=float(values["figures"]["kl_nats"]),
                    gold=np.array(values["gold"], dtype=np.float64),
                    proxy=_kept(values.get("proxy")),
                    covariance=_kept(values.get("covariance")),
                    figures=values["figures"],
                )
            )
        except (ValueError, KeyError, TypeError) as error:
            message = f"{file} is no point of a trajectory ({type(error).__name__}: {error})"
            raise StoreDamaged(message) from error
    known = [point for point in found if len(point.gold)]
    if not known:
        message = f"{run} holds no point of training with gold"
        raise NotAuditable(message)
    return known


def _kept(values: list[float] | None) -> NDArray[np.float64] | None:
    return np.array(values, dtype=np.float64) if values else None


def _first_run(evidence: Evidence) -> str | None:
    """The run that started from the reference, where rounds went on from one another."""
    runs = [link.run.id for link in evidence.lineage if link.run and link.run.stage in POLICY]
    return runs[-1] if runs else None


def sampled_curve(evidence: Evidence, version: ModelVersion) -> GoldCurve:
    """Checkpoints of the run sampled on held-out prompts."""
    subject = evidence.subject
    gold, name = gold_reward(evidence)
    _, proxy = evidence.reward()
    reference = evidence.require_role("reference", "reference")
    kept = checkpoints(evidence, version)
    if not kept:
        message = f"{subject.name} has no checkpoints to sample"
        raise NotAuditable(message)
    prompts = evidence.prompts(PROMPTS)
    texts = [text for text, _, _ in prompts]
    base = load_causal_lm(evidence.path(reference), subject.device)
    tokenizer = load_tokenizer(evidence.path(reference))
    points = []
    with subject.progress.task("gold along training", min(len(kept), CHECKPOINTS) + 1) as bar:
        for one in [reference, *spread(kept, CHECKPOINTS)]:
            policy = load_causal_lm(evidence.path(one), subject.device)
            found = account(
                (policy, base), tokenizer, texts, subject.sampling, subject.seed, samples=SAMPLES
            )
            asked = [text for text in texts for _ in range(SAMPLES)]
            said = [text for samples in found.texts for text in samples]
            shape = (len(texts), SAMPLES)
            proxies = np.array(checked_rewards(proxy, asked, said)).reshape(shape)
            golds = np.array(checked_rewards(gold, asked, said)).reshape(shape)
            points.append(
                CurvePoint(
                    step=0 if one is reference else step_of(one),
                    kl_nats=float(found.values["exact"].mean()),
                    gold=golds.mean(1),
                    proxy=proxies.mean(1),
                    covariance=within_prompt_covariance(proxies, golds),
                    figures={},
                )
            )
            bar.advance()
    return GoldCurve(
        points=points,
        prompts=texts,
        clusters=[group for _, group, _ in prompts],
        strata=["all"] * len(prompts),
        source=name,
    )


def checkpoints(evidence: Evidence, version: ModelVersion) -> list[ModelVersion]:
    """Those that the run of a model kept, as far as the model itself, in order of steps."""
    kept = [
        one
        for one in evidence.project.store.model_versions()
        if one.run_id == version.run_id and _STEP.search(one.name)
    ]
    last = _STEP.search(version.name)
    return [one for one in kept if not last or step_of(one) <= int(last[1])]


def step_of(version: ModelVersion) -> int:
    """After how many steps a checkpoint was kept; 0 for what is none."""
    found = _STEP.search(version.name)
    return int(found[1]) if found else 0
