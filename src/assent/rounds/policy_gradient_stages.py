"""The stages rloo and grpo of a project, from what the store holds."""

from assent.config.policy_gradient import PolicyGradientSettings
from assent.models.loading import load_causal_lm
from assent.objectives.seeds import derive_seed
from assent.rounds import stages
from assent.rounds.material import train_prompts
from assent.rounds.trajectory import point_steps
from assent.rounds.workspace import Workspace
from assent.store import ModelVersion, Snapshot
from assent.training.points import OnPoint
from assent.training.policy_gradient import train_policy_gradient
from assent.training.run_folder import RunFolder


def rloo(
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
    """The settings of `[rloo]`, from a policy."""
    return _policy_gradient(
        workspace, name, workspace.settings.rloo, policy=policy, reference=reference,
        reward_model=reward_model, points=points, on_point=on_point,
    )  # fmt: skip


def grpo(
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
    """The settings of `[grpo]`, from a policy."""
    return _policy_gradient(
        workspace, name, workspace.settings.grpo, policy=policy, reference=reference,
        reward_model=reward_model, points=points, on_point=on_point,
    )  # fmt: skip


def _policy_gradient(
    workspace: Workspace,
    name: str,
    settings: PolicyGradientSettings,
    *,
    policy: ModelVersion,
    reference: ModelVersion,
    reward_model: ModelVersion | None,
    points: int,
    on_point: OnPoint | None,
) -> ModelVersion:
    def train(run: RunFolder) -> None:
        prompts = train_prompts(workspace)
        # As for PPO: an adapter that is switched off may be the reference.
        switched_off = settings.lora is not None and policy.id == reference.id
        train_policy_gradient(
            workspace.model(policy),
            None if switched_off else load_causal_lm(workspace.path(reference), workspace.device),
            workspace.tokenizer(policy),
            [prompt.text for prompt in prompts],
            stages.reward_function(workspace, reward_model, settings.reward),
            settings,
            run,
            seed=derive_seed(workspace.seed, name),
            mix=stages.prompt_mix(workspace, [prompt.kind for prompt in prompts], name),
            points=point_steps(settings.updates, points) if points else (),
            on_point=on_point,
            progress=workspace.progress,
        )

    return workspace.run(
        name, settings.stage, train, settings=settings, parent=policy,
        parents={"reference": reference} | ({"reward_model": reward_model} if reward_model else {}),
        snapshot_id=reward_model.snapshot_id if reward_model else None,
    )  # fmt: skip
