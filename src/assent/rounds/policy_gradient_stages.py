"""The stages rloo and grpo of a project, from what the store holds."""

from assent.rounds import stages
from assent.rounds.trajectory import point_steps
from assent.rounds.workspace import Workspace
from assent.store import ModelVersion, Snapshot
from assent.training.points import OnPoint
from assent.training.policy_gradient import train_policy_gradient


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
    settings = workspace.settings.rloo
    return stages.rewarded(
        workspace, name, "rloo", settings, train_policy_gradient,
        policy=policy, reference=reference, reward_model=reward_model,
        points=point_steps(settings.updates, points) if points else (), on_point=on_point,
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
    settings = workspace.settings.grpo
    return stages.rewarded(
        workspace, name, "grpo", settings, train_policy_gradient,
        policy=policy, reference=reference, reward_model=reward_model,
        points=point_steps(settings.updates, points) if points else (), on_point=on_point,
    )  # fmt: skip
