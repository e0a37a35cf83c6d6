"""The stages dpo and kto of a project: what people said, or pairs that a reward makes."""

import json
import logging
from dataclasses import asdict
from pathlib import Path

import torch

from assent.collect.asking import draw_responses
from assent.collect.thumbs import thumbs_of
from assent.config.files import write_file
from assent.config.preference import BestWorstPairs
from assent.errors import CannotResume
from assent.models.rewards import checked_rewards
from assent.objectives.pair_selection import best_and_worst
from assent.objectives.seeds import derive_seed, permutation
from assent.rounds import stages
from assent.rounds.material import preferences, train_prompts
from assent.rounds.trajectory import point_steps
from assent.rounds.workspace import Workspace
from assent.store import ModelVersion, Snapshot
from assent.training.asked import fitting_prompts
from assent.training.kto import train_kto
from assent.training.points import OnPoint, PointsOf
from assent.training.preference import train_preference
from assent.training.run_folder import RunFolder
from assent.types import MarkedResponse, PreferencePair

logger = logging.getLogger(__name__)

PAIRS_FILE = "pairs.jsonl"
CHUNK = 64
"""Prompts whose responses are drawn and scored together."""


def dpo(
    workspace: Workspace,
    name: str,
    *,
    policy: ModelVersion,
    reference: ModelVersion,
    reward_model: ModelVersion | None,
    snapshot: Snapshot | None,
    points: int = 0,
    on_point: OnPoint | None = None,
) -> ModelVersion:
    """DPO or one of its family from a policy, on judged pairs or on those a reward makes."""
    settings = workspace.settings.dpo
    made_by = settings.pairs
    rewarded = isinstance(made_by, BestWorstPairs)
    by_reward = reward_model if rewarded else None
    learned_from = by_reward.snapshot_id if by_reward else snapshot.id if snapshot else None

    def train(run: RunFolder) -> None:
        if isinstance(made_by, BestWorstPairs):
            pairs = _best_worst(workspace, run.path / PAIRS_FILE, made_by, policy, reward_model)
        else:
            assert snapshot is not None
            pairs = preferences(workspace, snapshot).train
        train_preference(
            workspace.model(policy),
            stages.reference_model(
                workspace, policy, reference, has_adapter=settings.lora is not None
            ),
            workspace.tokenizer(policy),
            pairs,
            settings,
            run,
            seed=derive_seed(workspace.seed, name),
            points=_steps_of(points),
            on_point=on_point,
            progress=workspace.progress,
        )

    return workspace.run(
        name, "dpo", train, settings=settings, parent=policy,
        parents={"reference": reference} | ({"reward_model": by_reward} if by_reward else {}),
        snapshot_id=learned_from,
    )  # fmt: skip


def kto(
    workspace: Workspace,
    name: str,
    *,
    policy: ModelVersion,
    reference: ModelVersion,
    reward_model: ModelVersion | None,  # noqa: ARG001 - judgements are learned from directly
    snapshot: Snapshot | None,
    points: int = 0,
    on_point: OnPoint | None = None,
) -> ModelVersion:
    """KTO from a policy, on thumbs, ratings, and comparisons taken apart."""
    assert snapshot is not None
    settings = workspace.settings.kto

    def train(run: RunFolder) -> None:
        train_kto(
            workspace.model(policy),
            stages.reference_model(
                workspace, policy, reference, has_adapter=settings.lora is not None
            ),
            workspace.tokenizer(policy),
            marked_responses(workspace, snapshot),
            settings,
            run,
            seed=derive_seed(workspace.seed, name),
            points=_steps_of(points),
            on_point=on_point,
            progress=workspace.progress,
        )

    return workspace.run(
        name, "kto", train, settings=settings, parent=policy,
        parents={"reference": reference}, snapshot_id=snapshot.id,
    )  # fmt: skip


def marked_responses(workspace: Workspace, snapshot: Snapshot) -> list[MarkedResponse]:
    """What people marked good or bad by the last event of a snapshot, on training prompts."""
    store = workspace.project.store
    mine = {prompt.id for prompt in store.prompts("train")}
    found = thumbs_of(
        store.judged_pairs(snapshot.id),
        store.judged_rankings(snapshot.id),
        [one for one in store.ratings(up_to_seq=snapshot.up_to_seq) if one.prompt_id in mine],
        workspace.settings.reward.held_out_share,
    )
    if found.undecided:
        logger.warning(
            "%d judgements mark no response good or bad (ties, middling ratings, ratings without "
            "a scale) and are left out",
            found.undecided,
        )
    return found.train


def _best_worst(
    workspace: Workspace,
    file: Path,
    settings: BestWorstPairs,
    policy: ModelVersion,
    reward_model: ModelVersion | None,
) -> list[PreferencePair]:
    """Of n responses to each prompt the best and the worst, by a reward; drawn once and kept."""
    if file.exists():
        return _read_pairs(file)
    model, tokenizer = workspace.model(policy), workspace.tokenizer(policy)
    sampling, name = workspace.settings.dpo.sampling, file.parent.name
    texts = [prompt.text for prompt in train_prompts(workspace)]
    fitting = fitting_prompts(model, tokenizer, texts, sampling.max_new_tokens)
    order = permutation(len(fitting), workspace.seed, name, "prompts")
    asked = [texts[fitting[order[n % len(order)]]] for n in range(settings.prompts)]
    reward = stages.reward_function(workspace, reward_model, settings.reward)
    pairs: list[PreferencePair] = []
    with workspace.progress.task("draw pairs", len(asked)) as bar:
        for start in range(0, len(asked), CHUNK):
            prompts = asked[start : start + CHUNK]
            each = [text for text in prompts for _ in range(settings.samples)]
            drawn = draw_responses(
                model, tokenizer, each, sampling, workspace.seed, name, "pairs", start
            )
            responses = [one.text for one in drawn]
            scores = torch.tensor(checked_rewards(reward, each, responses))
            for place, prompt in enumerate(prompts):
                mine = slice(place * settings.samples, (place + 1) * settings.samples)
                best, worst = best_and_worst(scores[mine])
                said = responses[mine]
                if scores[mine][best] > scores[mine][worst]:
                    pairs.append(
                        PreferencePair(prompt=prompt, chosen=said[best], rejected=said[worst])
                    )
            bar.advance(len(prompts), f"{len(pairs)} pairs")
    if len(pairs) < len(asked):
        logger.warning(
            "to %d of %d prompts all %d responses score the same: they teach nothing",
            len(asked) - len(pairs), len(asked), settings.samples,
        )  # fmt: skip
    file.parent.mkdir(parents=True, exist_ok=True)
    write_file(file, "".join(json.dumps(asdict(pair)) + "\n" for pair in pairs))
    return pairs


def _read_pairs(file: Path) -> list[PreferencePair]:
    """The pairs as an earlier process drew them; the run's data hash tells whether they changed."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
        return [PreferencePair(**json.loads(line)) for line in lines]
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        message = f"{file} cannot be read back ({reason}); remove it to draw the pairs again"
        raise CannotResume(message) from error


def _steps_of(points: int) -> PointsOf | None:
    return (lambda updates: point_steps(updates, points)) if points else None
