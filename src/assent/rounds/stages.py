"""The stages of a project, each from what the store holds to a recorded model version."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoConfig

from assent.audit.reward_accuracy import reward_accuracy
from assent.collect.asking import draw_responses
from assent.collect.preferences import PreferenceSplit, split_preferences
from assent.config.loop import AlmanacSettings
from assent.errors import DataError
from assent.models.loading import load_causal_lm, reward_model_from
from assent.models.rewards import TextReward
from assent.models.tokens import encode_prompts
from assent.objectives.seeds import derive_seed, permutation
from assent.rounds.workspace import Workspace, open_workspace
from assent.store import ModelVersion, NewDemonstration, Snapshot, StoredPrompt
from assent.training.ppo import OnPoint, train_ppo
from assent.training.pretrain import train_base
from assent.training.reward import train_reward
from assent.training.run_folder import RunFolder
from assent.training.sft import train_sft
from assent.types import Demonstration, Progress, RewardFunction
from assent.worlds.almanac import build_tokenizer, demonstrations, pretraining_documents

logger = logging.getLogger(__name__)

DEMONSTRATOR = "demonstrators"
BASE = "base"
"""Stage and name of a base model from outside."""


@dataclass(frozen=True, slots=True)
class ReferenceSamples:
    """Responses of the reference policy to training prompts: what rewards are normalised on."""

    prompts: list[str]
    responses: list[str]


def pretrain(workspace: Workspace) -> ModelVersion:
    """The base model, from the world's mixed corpus."""
    settings, world = workspace.settings.pretrain, workspace.require_world()

    def train(run: RunFolder) -> None:
        documents = pretraining_documents(
            world, settings.steps * settings.batch_size, workspace.seed
        )
        train_base(
            documents,
            build_tokenizer(),
            settings,
            run,
            seed=workspace.seed,
            progress=workspace.progress,
        )

    return workspace.run("pretrain", "pretrain", train, settings=settings.model_dump(mode="json"))


def fill_prompts(workspace: Workspace) -> None:
    """The world's prompts of all splits and its demonstrations, into the store."""
    store, world = workspace.project.store, workspace.require_world()
    for split in ("train", "validation", "test"):
        store.add_prompts([prompt.as_prompt() for prompt in world.prompts(split)])
    if store.demonstrations():
        return
    ids = {prompt.text: prompt.id for prompt in store.prompts("train")}
    settings = workspace.settings.world or AlmanacSettings()
    per_prompt = settings.demonstrations_per_prompt
    annotator = store.add_annotator(DEMONSTRATOR, "simulated", {"world": "almanac"})
    written = demonstrations(world, world.prompts("train"), per_prompt)
    store.record_demonstrations(
        [
            NewDemonstration(
                prompt_id=ids[one.prompt],
                text=one.response,
                annotator_id=annotator,
                idempotency_key=f"demonstration/{number}",
            )
            for number, one in enumerate(written)
        ]
    )


def base_model(workspace: Workspace) -> ModelVersion:
    """The base model that `assent init` put into the project.

    Raises:
        DataError: there is none.
    """
    for version in workspace.project.store.model_versions():
        if version.stage == BASE:
            return version
    message = (
        f"{workspace.project.root} has neither a base model nor a [world] that makes one; begin a "
        "project with: assent init DIR --model PATH_OR_ID"
    )
    raise DataError(message)


def reference_policy(workspace: Workspace, base: ModelVersion) -> ModelVersion:
    """The policy of round one and the reference of all: fine-tuned, where there is something to.

    Without demonstrations it is the base model as it came.
    """
    if workspace.world is None and not workspace.project.store.demonstrations():
        logger.info("no demonstrations: SFT is left out, and the base model is the reference")
        return base
    return sft(workspace, base)


def sft(workspace: Workspace, base: ModelVersion, name: str = "sft") -> ModelVersion:
    """The policy fine-tuned on all demonstrations; the reference of every round."""
    settings = workspace.settings.sft

    def train(run: RunFolder) -> None:
        train_sft(
            workspace.model(base),
            workspace.tokenizer(base),
            [
                Demonstration(prompt=one.prompt, response=one.response)
                for one in workspace.project.store.demonstrations()
            ],
            settings,
            run,
            seed=workspace.seed,
            progress=workspace.progress,
        )

    return workspace.run(
        name, "sft", train, settings=settings.model_dump(mode="json"), parent=base,
        parents={"base": base},
    )  # fmt: skip


def train_prompts(workspace: Workspace) -> list[str]:
    """What the policy is asked in training.

    Raises:
        DataError: the project has no training prompts.
    """
    return [prompt.text for prompt in stored_train_prompts(workspace)]


def stored_train_prompts(workspace: Workspace) -> list[StoredPrompt]:
    """The training prompts with their kinds.

    Raises:
        DataError: the project has none.
    """
    prompts = workspace.project.store.prompts("train")
    if not prompts:
        root = workspace.project.root
        message = f"{root} holds no training prompts; add some: assent data import {root} FILE"
        raise DataError(message)
    return prompts


def fitting(
    workspace: Workspace, version: ModelVersion, prompts: Sequence[StoredPrompt], room: int
) -> list[StoredPrompt]:
    """Prompts that leave room for a response in the model's context; the others are counted.

    Args:
        workspace: the project.
        version: whose positions and tokenizer count.
        prompts: none is cut.
        room: tokens of the longest response.

    Raises:
        DataError: none fits.
    """
    config = AutoConfig.from_pretrained(workspace.path(version))
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    if positions is None:
        return list(prompts)
    lengths = map(
        len, encode_prompts(workspace.tokenizer(version), [prompt.text for prompt in prompts])
    )
    kept = [
        prompt
        for prompt, length in zip(prompts, lengths, strict=True)
        if length + room <= positions
    ]
    if len(kept) == len(prompts):
        return kept
    told = (
        f"{len(prompts) - len(kept)} of {len(prompts)} prompts leave no room for a response of "
        f"{room} tokens in the model's {positions} positions"
    )
    if not kept:
        message = f"{told}; lower ppo.sampling.max_new_tokens or give shorter prompts"
        raise DataError(message)
    logger.warning("%s; they are left out", told)
    return kept


def reference_samples(workspace: Workspace, reference: ModelVersion) -> ReferenceSamples:
    """Samples of the reference for normalising rewards; the same every time."""
    prompts = train_prompts(workspace)
    count = workspace.settings.reward.normalise_samples
    order = permutation(len(prompts), workspace.seed, "reference samples")
    asked = [prompts[order[number % len(order)]] for number in range(count)]
    drawn = draw_responses(
        workspace.model(reference),
        workspace.tokenizer(reference),
        asked,
        workspace.settings.ppo.sampling,
        workspace.seed,
        "reference samples",
    )
    return ReferenceSamples(asked, [one.text for one in drawn])


def reward_function(workspace: Workspace, reward_model: ModelVersion) -> RewardFunction:
    """What PPO is rewarded with: the learned reward model."""
    return TextReward.load(workspace.path(reward_model), workspace.device)


def preferences(workspace: Workspace, snapshot: Snapshot) -> PreferenceSplit:
    """The judgements of a snapshot as training and held-out pairs."""
    return split_preferences(
        workspace.project.store.judged_pairs(snapshot.id),
        workspace.settings.reward.held_out_share,
        workspace.project.store.judged_rankings(snapshot.id),
    )


def reward(
    workspace: Workspace, name: str, snapshot: Snapshot, reference: ModelVersion
) -> ModelVersion:
    """A reward model on the reference's trunk, from the judgements of a snapshot."""
    settings = workspace.settings.reward

    def train(run: RunFolder) -> None:
        samples = reference_samples(workspace, reference)
        train_reward(
            reward_model_from(
                workspace.path(reference),
                derive_seed(workspace.seed, name, "head"),
                workspace.device,
            ),
            workspace.tokenizer(reference),
            preferences(workspace, snapshot).train,
            (samples.prompts, samples.responses),
            settings,
            run,
            seed=derive_seed(workspace.seed, name),
            progress=workspace.progress,
        )

    return workspace.run(
        name, "reward", train, settings=settings.model_dump(mode="json"), parent=reference,
        parents={"reference": reference}, snapshot_id=snapshot.id,
    )  # fmt: skip


def ppo(
    workspace: Workspace,
    name: str,
    *,
    policy: ModelVersion,
    reference: ModelVersion,
    reward_model: ModelVersion,
    points: Sequence[int] = (),
    on_point: OnPoint | None = None,
) -> ModelVersion:
    """PPO from a policy against a reward model, held near the reference."""
    settings = workspace.settings.ppo

    def train(run: RunFolder) -> None:
        train_ppo(
            workspace.model(policy),
            load_causal_lm(workspace.path(reference), workspace.device),
            workspace.tokenizer(policy),
            train_prompts(workspace),
            TextReward.load(workspace.path(reward_model), workspace.device),
            settings,
            run,
            seed=derive_seed(workspace.seed, name),
            points=points,
            on_point=on_point,
            progress=workspace.progress,
        )

    return workspace.run(
        name, "ppo", train, settings=settings.model_dump(mode="json"), parent=policy,
        parents={"reference": reference, "reward_model": reward_model},
        snapshot_id=reward_model.snapshot_id,
    )  # fmt: skip


def run_stage(
    root: Path,
    stage: str,
    *,
    config: list[Path],
    overrides: list[str],
    resume: bool,
    progress: Progress,
) -> dict[str, Any]:
    """One stage by itself, for `assent train`: from the newest models and judgements of a project.

    With `resume` the newest unfinished run of the stage goes on; else a new run is begun.

    Raises:
        DataError: what the stage starts from does not exist yet; says which command makes it.
    """
    with open_workspace(
        root, progress, files=tuple(config), overrides=tuple(overrides)
    ) as workspace:
        name = _run_name(workspace, stage, resume=resume)
        if stage == "sft":
            return _result(workspace, sft(workspace, _start(workspace), name))
        reference = _reference(workspace)
        if stage == "reward":
            snapshot = _snapshot_of(workspace, name)
            made = reward(workspace, name, snapshot, reference)
            split = preferences(workspace, snapshot)
            # Bradley-Terry has no place for a tie; say how many were left out.
            left_out = {"without_winner": split.undecided, "ties": split.ties}
            result = {**_result(workspace, made), **left_out}
            if not split.held_out:
                return {**result, "accuracy": "no comparison is held out"}
            found = reward_accuracy(TextReward.load(workspace.path(made)), split.held_out)
            return {**result, **found.as_dict()}
        made = ppo(
            workspace,
            name,
            policy=reference,
            reference=reference,
            reward_model=newest(workspace, "reward", "assent train reward"),
        )
        return _result(workspace, made)


def _start(workspace: Workspace) -> ModelVersion:
    """What SFT starts from."""
    if workspace.world is None:
        return base_model(workspace)
    return newest(workspace, "pretrain", "assent loop run")


def _reference(workspace: Workspace) -> ModelVersion:
    """The newest SFT policy; the base model of a project of one's own that has none."""
    made = any(version.stage == "sft" for version in workspace.project.store.model_versions())
    if workspace.world is None and not made:
        return base_model(workspace)
    return newest(workspace, "sft", "assent train sft")


def _snapshot_of(workspace: Workspace, name: str) -> Snapshot:
    """The snapshot of a run that was begun, or of all judgements as they are now.

    Its name holds the last event it covers: a process killed between the snapshot and the record of
    the run leaves one that a later run, with more judgements, does not mistake for its own.
    """
    store = workspace.project.store
    for run in store.runs():
        if run.id == name and run.snapshot_id is not None:
            return store.snapshot(run.snapshot_id)
    last = store.counts()["events"]
    return store.take_snapshot(f"{name}-at-{last}", up_to_seq=last)


def newest(workspace: Workspace, stage: str, command: str) -> ModelVersion:
    """The newest finished model of a stage.

    Raises:
        DataError: there is none; names the command that makes one.
    """
    found = [v for v in workspace.project.store.model_versions() if v.stage == stage]
    if not found:
        root = workspace.project.root
        message = f"{root} has no {stage} model yet; make one with: {command} {root}"
        raise DataError(message)
    return found[-1]


def _run_name(workspace: Workspace, stage: str, *, resume: bool) -> str:
    prefix = f"{stage}-"
    mine = [run for run in workspace.project.store.runs() if run.id.startswith(prefix)]
    if resume:
        unfinished = [run for run in mine if run.status != "done"]
        if not unfinished:
            message = f"no unfinished {stage} run to resume in {workspace.project.root}"
            raise DataError(message)
        return unfinished[-1].id
    return f"{prefix}{len(mine) + 1}"


def _result(workspace: Workspace, made: ModelVersion) -> dict[str, Any]:
    return {
        "run": made.run_id,
        "model": made.path,
        "metrics": workspace.project.relative(workspace.folder(made.name).path / "metrics.jsonl"),
        "seed": workspace.seed,
    }
