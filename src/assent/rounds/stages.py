"""The stages of a project, each from what the store holds to a recorded model version."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assent.audit.reward_accuracy import reward_accuracy
from assent.collect.asking import draw_responses
from assent.collect.preferences import PreferenceSplit, split_preferences
from assent.errors import DataError
from assent.models.loading import load_causal_lm, reward_model_from
from assent.models.rewards import TextReward
from assent.objectives.seeds import derive_seed, permutation
from assent.rounds.workspace import Workspace, open_workspace
from assent.store import ModelVersion, NewDemonstration, Snapshot
from assent.training.ppo import OnPoint, train_ppo
from assent.training.pretrain import train_base
from assent.training.reward import train_reward
from assent.training.run_folder import RunFolder
from assent.training.sft import train_sft
from assent.types import Demonstration, Progress
from assent.worlds.almanac import build_tokenizer, demonstrations, pretraining_documents

DEMONSTRATOR = "demonstrators"


@dataclass(frozen=True, slots=True)
class ReferenceSamples:
    """Responses of the reference policy to training prompts: what rewards are normalised on."""

    prompts: list[str]
    responses: list[str]


def pretrain(workspace: Workspace) -> ModelVersion:
    """The base model, from the world's mixed corpus."""
    settings = workspace.settings.pretrain

    def train(run: RunFolder) -> None:
        documents = pretraining_documents(
            workspace.world, settings.steps * settings.batch_size, workspace.seed
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
    store, world = workspace.project.store, workspace.world
    for split in ("train", "validation", "test"):
        store.add_prompts([prompt.as_prompt() for prompt in world.prompts(split)])
    if store.demonstrations():
        return
    ids = {prompt.text: prompt.id for prompt in store.prompts("train")}
    annotator = store.add_annotator(DEMONSTRATOR, "simulated", {"world": "almanac"})
    written = demonstrations(
        world, world.prompts("train"), workspace.settings.world.demonstrations_per_prompt
    )
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
    prompts = [prompt.text for prompt in workspace.project.store.prompts("train")]
    if not prompts:
        message = f"{workspace.project.root} holds no training prompts; add some before training"
        raise DataError(message)
    return prompts


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


def preferences(workspace: Workspace, snapshot: Snapshot) -> PreferenceSplit:
    """The judgements of a snapshot as training and held-out pairs."""
    return split_preferences(
        workspace.project.store.judged_pairs(snapshot.id),
        workspace.settings.reward.held_out_share,
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
            made = sft(workspace, newest(workspace, "pretrain", "assent loop run"), name)
            return _result(workspace, made)
        reference = newest(workspace, "sft", "assent train sft")
        if stage == "reward":
            snapshot = workspace.project.store.take_snapshot(name)
            made = reward(workspace, name, snapshot, reference)
            held_out = preferences(workspace, snapshot).held_out
            if not held_out:
                return {**_result(workspace, made), "accuracy": "no comparison is held out"}
            found = reward_accuracy(TextReward.load(workspace.path(made)), held_out)
            return {**_result(workspace, made), **found.as_dict()}
        made = ppo(
            workspace,
            name,
            policy=reference,
            reference=reference,
            reward_model=newest(workspace, "reward", "assent train reward"),
        )
        return _result(workspace, made)


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
