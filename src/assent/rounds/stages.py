"""The stages of a project, each from what the store holds to a recorded model version."""

import logging
from collections.abc import Sequence

from transformers import PreTrainedModel

from assent.config.loop import AlmanacSettings
from assent.config.rewards import ModelReward, RewardSource
from assent.config.stages import section_of
from assent.errors import DataError
from assent.models.loading import load_causal_lm, open_tokenizer, reward_model_from
from assent.models.reward_ensembles import LearnedReward, load_reward
from assent.models.reward_sources import open_reward
from assent.objectives.seeds import derive_seed
from assent.objectives.selection import draw_by_kind
from assent.rounds.material import (
    base_model,
    demonstrations_of,
    reference_samples,
    reward_examples,
)
from assent.rounds.workspace import Workspace
from assent.store import ModelVersion, NewDemonstration, Snapshot
from assent.training.asked import PromptMix
from assent.training.pretrain import train_base
from assent.training.reward import train_reward
from assent.training.reward_data import axis_weights
from assent.training.reward_ensemble import train_ensemble
from assent.training.run_folder import RunFolder
from assent.training.sft import train_sft
from assent.types import Demonstration, RewardFunction
from assent.worlds.almanac import build_tokenizer, demonstrations, pretraining_documents

logger = logging.getLogger(__name__)

DEMONSTRATOR = "demonstrators"


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

    return workspace.run("pretrain", "pretrain", train, settings=settings)


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


def reference_policy(workspace: Workspace, base: ModelVersion) -> ModelVersion:
    """The policy of round one and the reference of all: fine-tuned, where there is something to.

    Without demonstrations it is the base model as it came. Once a round was begun the reference
    stays, whatever demonstrations are added.
    """
    if workspace.world is not None:
        return sft(workspace, base)
    store = workspace.project.store
    for run in store.runs():
        if run.id == "round-1-reward":
            return store.model_version(run.parents["reference"])
    if demonstrations_of(workspace):
        return sft(workspace, base)
    logger.warning("no demonstrations: SFT is left out, and the base model is the reference")
    return base


def sft(workspace: Workspace, base: ModelVersion, name: str = "sft") -> ModelVersion:
    """The policy fine-tuned on all demonstrations; the reference of every round."""
    settings = workspace.settings.sft

    def train(run: RunFolder) -> None:
        train_sft(
            workspace.model(base),
            workspace.tokenizer(base),
            [
                Demonstration(prompt=one.prompt, response=one.response)
                for one in demonstrations_of(workspace)
            ],
            settings,
            run,
            seed=workspace.seed,
            progress=workspace.progress,
        )

    return workspace.run(
        name, "sft", train, settings=settings, parent=base,
        parents={"base": base},
    )  # fmt: skip


def reward(
    workspace: Workspace, name: str, snapshot: Snapshot, reference: ModelVersion
) -> ModelVersion:
    """A reward model from the judgements of a snapshot, on the reference's trunk or another."""
    settings = workspace.settings.reward
    parent = start_of(workspace) if settings.start == "base" else reference
    start = workspace.path(parent) if settings.start in {None, "base"} else settings.start

    def train(run: RunFolder) -> None:
        samples = reference_samples(workspace, reference)
        examples = reward_examples(workspace, snapshot)
        axes = axis_weights(examples, settings.axes) if settings.objective == "ratings" else {}
        seed = derive_seed(workspace.seed, name, "head")
        (train_ensemble if settings.ensemble else train_reward)(
            reward_model_from(start, seed, workspace.device, outputs=len(axes) or 1),
            open_tokenizer(start),
            examples,
            (samples.prompts, samples.responses),
            settings,
            run,
            seed=derive_seed(workspace.seed, name),
            progress=workspace.progress,
        )

    return workspace.run(
        name, "reward", train, settings=settings, parent=parent,
        parents={"reference": reference}, snapshot_id=snapshot.id,
    )  # fmt: skip


def reference_model(
    workspace: Workspace, policy: ModelVersion, reference: ModelVersion, *, has_adapter: bool
) -> PreTrainedModel | None:
    """What a policy is held near; None where that is the policy with its adapter switched off.

    An adapter that is switched off is the policy as it was: a second copy if that is not the
    reference, none if it is.
    """
    if has_adapter and policy.id == reference.id:
        return None
    return load_causal_lm(workspace.path(reference), workspace.device)


def learned_reward(workspace: Workspace, reward_model: ModelVersion) -> LearnedReward:
    """A reward model, an ensemble combined as the loop's method combines it."""
    method = getattr(workspace.settings, section_of(workspace.settings.loop.method))
    source = getattr(method, "reward", None)
    given = source if isinstance(source, ModelReward) else ModelReward()
    return load_reward(
        workspace.path(reward_model),
        workspace.device,
        how=given.aggregate,
        coef=given.uncertainty_coef,
    )


def reward_function(
    workspace: Workspace, reward_model: ModelVersion | None, source: RewardSource | None = None
) -> RewardFunction:
    """What a policy is rewarded with: the settings' own source, or else this reward model.

    The source is that of PPO where none is given.

    Raises:
        ConfigError, NotAModel: neither can be used; says why.
    """
    own = workspace.path(reward_model) if reward_model else None
    return open_reward(source or workspace.settings.ppo.reward, own, workspace.device)


def prompt_mix(workspace: Workspace, kinds: Sequence[str], name: str) -> PromptMix:
    """Which prompts are asked when: by the shares of `prompts.mix`, where it is set.

    Raises:
        DataError: a kind has a share and no prompt.
    """
    mix = workspace.settings.prompts.mix
    if mix is None:
        # One kind needs no figures of its own.
        return PromptMix(kinds=kinds if len(set(kinds)) > 1 else None)
    shares = {str(kind): share for kind, share in mix.shares.items() if share > 0}
    for kind in shares:
        if kind not in kinds:
            message = (
                f"prompts.mix.{kind} = {shares[kind]:g}, and no training prompt is of that kind; "
                f"import some with `assent data import {workspace.project.root} FILE --kind {kind}`"
            )
            raise DataError(message)

    def choose(update: int, count: int, fitting: Sequence[int]) -> list[int]:
        places = draw_by_kind(
            [kinds[at] for at in fitting], shares, update * count, count, workspace.seed, name
        )
        return [fitting[place] for place in places]

    return PromptMix(kinds=kinds, choose=choose)


def start_of(workspace: Workspace) -> ModelVersion:
    """What SFT starts from."""
    if workspace.world is None:
        return base_model(workspace)
    return newest(workspace, "pretrain", "assent loop run")


def reference_of(workspace: Workspace) -> ModelVersion:
    """The newest fine-tuned policy; the base model of a project of one's own that has none.

    A policy that learned a constitution is one: RL from a model's judgements begins there (Bai et
    al. 2022, section 4).
    """
    made = [v for v in workspace.project.store.model_versions() if v.stage in _FINE_TUNED]
    if made:
        return made[-1]
    if workspace.world is None:
        return base_model(workspace)
    return newest(workspace, "sft", "assent train sft")


_FINE_TUNED = ("sft", "constitutional")


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
