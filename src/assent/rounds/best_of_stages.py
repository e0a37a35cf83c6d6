"""The stages best-of-n and raft of a project: what `training.best_of` needs, out of the store."""

from assent.rounds import stages
from assent.rounds.trajectory import point_steps
from assent.rounds.workspace import Workspace
from assent.store import ModelVersion, Snapshot
from assent.training.best_of import train_best_of
from assent.training.points import OnPoint


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
    return stages.rewarded(
        workspace, name, "best-of-n", settings, train_best_of,
        policy=policy, reference=reference, reward_model=reward_model,
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
    return stages.rewarded(
        workspace, name, "raft", settings, train_best_of,
        policy=policy, reference=reference, reward_model=reward_model,
        points=point_steps(steps, points) if points else (), on_point=on_point,
    )  # fmt: skip
