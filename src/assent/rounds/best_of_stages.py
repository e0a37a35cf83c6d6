"""The stages best-of-n and raft of a project: what `training.best_of` needs, out of the store."""

from collections.abc import Sequence

from assent.config.best_of import BestOfNSettings, RaftSettings
from assent.models.loading import load_causal_lm
from assent.objectives.seeds import derive_seed
from assent.rounds import stages
from assent.rounds.material import train_prompts
from assent.rounds.trajectory import point_steps
from assent.rounds.workspace import Workspace
from assent.store import ModelVersion, Snapshot
from assent.training.best_of import train_best_of
from assent.training.points import OnPoint
from assent.training.run_folder import RunFolder


def best_of_n(
    workspace: Workspace,
    name: str,
    *,
    policy: ModelVersion,
    reference: ModelVersion,
    reward_model: ModelVersion | None,
    snapshot: Snapshot | None,  # noqa: ARG001 - it sees judgements through the reward model
    points: int = 0,
    on_point: OnPoint | None = None,
) -> ModelVersion:
    """Best-of-n once, from a policy."""
    settings = workspace.settings.best_of_n
    return _best_of(
        workspace, name, settings, policy=policy, reference=reference, reward_model=reward_model,
        points=point_steps(settings.steps, points) if points else (), on_point=on_point,
    )  # fmt: skip


def raft(
    workspace: Workspace,
    name: str,
    *,
    policy: ModelVersion,
    reference: ModelVersion,
    reward_model: ModelVersion | None,
    snapshot: Snapshot | None,  # noqa: ARG001 - it sees judgements through the reward model
    points: int = 0,
    on_point: OnPoint | None = None,
) -> ModelVersion:
    """RAFT from a policy."""
    settings = workspace.settings.raft
    steps = settings.iterations * settings.steps
    return _best_of(
        workspace, name, settings, policy=policy, reference=reference, reward_model=reward_model,
        points=point_steps(steps, points) if points else (), on_point=on_point,
    )  # fmt: skip


def _best_of(
    workspace: Workspace,
    name: str,
    settings: BestOfNSettings,
    *,
    policy: ModelVersion,
    reference: ModelVersion,
    reward_model: ModelVersion | None,
    points: Sequence[int],
    on_point: OnPoint | None,
) -> ModelVersion:
    def train(run: RunFolder) -> None:
        prompts = train_prompts(workspace)
        # As for PPO: an adapter that is switched off may be the reference.
        switched_off = settings.lora is not None and policy.id == reference.id
        train_best_of(
            workspace.model(policy),
            None if switched_off else load_causal_lm(workspace.path(reference), workspace.device),
            workspace.tokenizer(policy),
            [prompt.text for prompt in prompts],
            stages.reward_function(workspace, reward_model, settings.reward),
            settings,
            run,
            seed=derive_seed(workspace.seed, name),
            mix=stages.prompt_mix(workspace, [prompt.kind for prompt in prompts], name),
            points=points,
            on_point=on_point,
            progress=workspace.progress,
        )

    return workspace.run(
        name, "raft" if isinstance(settings, RaftSettings) else "best-of-n", train,
        settings=settings, parent=policy,
        parents={"reference": reference} | ({"reward_model": reward_model} if reward_model else {}),
        snapshot_id=reward_model.snapshot_id if reward_model else None,
    )  # fmt: skip
