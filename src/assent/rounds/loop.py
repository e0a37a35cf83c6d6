"""The loop: base, SFT, rounds of asking, reward model and PPO, a promotion; any step resumes."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assent.audit.almanac import AlmanacMeasure
from assent.collect.asking import ask_comparisons
from assent.collect.judging import judge_all
from assent.config.files import write_file
from assent.errors import StoreDamaged
from assent.objectives.seeds import derive_seed
from assent.rounds import stages
from assent.rounds.promotion import Choice, promote
from assent.rounds.summary import RoundResult, write_summary
from assent.rounds.trajectory import (
    PointRecorder,
    build_measure,
    point_steps,
    read_points,
    round_rewards,
)
from assent.rounds.workspace import RUNS, Workspace, open_workspace, project_settings
from assent.store import ModelVersion, NewModelVersion, Project, Snapshot
from assent.types import Judge, Progress
from assent.worlds.almanac import ANNOTATORS, SimulatedAnnotator

LOOK_UP = "unbiased"
"""The annotator of the promotion: looks up all that can be known."""
CHOICES_FILE = "promotion.json"


@dataclass(frozen=True, slots=True)
class _Trained:
    snapshot: Snapshot
    reward: ModelVersion
    policy: ModelVersion
    checkpoints: list[ModelVersion]


def run_loop(root: Path, *, rounds: int | None, progress: Progress) -> dict[str, Any]:
    """Go on with a project's loop from where it stands; return the summary.

    Args:
        root: the project folder.
        rounds: rounds in all, if not the project's own number.
        progress: shows every stage.

    Raises:
        As `open_workspace`, and what the stages raise; what was done before stays.
    """
    overrides = (f"loop.rounds={rounds}",) if rounds is not None else ()
    with open_workspace(root, progress, overrides=overrides) as workspace:
        with workspace.timed("prompts"):
            stages.fill_prompts(workspace)
        base = stages.pretrain(workspace)
        reference = stages.sft(workspace, base)
        measure = build_measure(workspace, reference)
        policy, results, checkpoints = reference, [], []
        for number in range(1, workspace.settings.loop.rounds + 1):
            trained = _round(workspace, number, policy, reference, measure)
            policy = trained.policy
            checkpoints.append(trained.checkpoints)
            results.append(
                RoundResult(
                    number,
                    trained.snapshot,
                    trained.reward,
                    trained.policy,
                    trained.checkpoints,
                    read_points(workspace.folder(trained.policy.name)),
                )
            )
        candidates = [version for kept in checkpoints for version in kept]
        with workspace.timed("promotion"):
            choices = _promote(workspace, candidates, reference)
        return write_summary(workspace, results, choices)


def loop_status(root: Path) -> dict[str, Any]:
    """Which runs are done, how many judgements there are, and what comes next; changes nothing."""
    with Project.open(root) as project:
        counts = project.store.counts()
        return {
            "runs": {run.id: run.status for run in project.store.runs()},
            "comparisons": counts["comparisons"],
            "events": counts["events"],
            "models": counts["model_versions"],
            "next": _next_command(project, root),
        }


def _next_command(project: Project, root: Path) -> str:
    runs = project.store.runs()
    for run in runs:
        if run.status != "done":
            alone = run.id.startswith(f"{run.stage}-")
            command = f"train {run.stage} {root} --resume" if alone else f"loop run {root}"
            return f"goes on with {run.id}: assent {command}"
    done = sum(run.stage == "ppo" and run.id.startswith("round-") for run in runs)
    wanted = project_settings(project).loop.rounds
    if done < wanted or not (project.root / RUNS / CHOICES_FILE).exists():
        return f"assent loop run {root}"
    return f"complete: assent report {root}"


def _round(
    workspace: Workspace,
    number: int,
    policy: ModelVersion,
    reference: ModelVersion,
    measure: AlmanacMeasure,
) -> _Trained:
    name = f"round-{number}"
    with workspace.timed(f"{name}-judgements"):
        snapshot = _judgements(workspace, number, policy)
    reward = stages.reward(workspace, f"{name}-reward", snapshot, reference)
    run = workspace.folder(f"{name}-ppo")
    settings = workspace.settings
    made = workspace.version_of(f"{name}-ppo")
    recorder = None
    if made is None:
        rewards = round_rewards(workspace, measure, reward, reference)
        recorder = PointRecorder(workspace, run, measure, rewards)
    trained = stages.ppo(
        workspace,
        f"{name}-ppo",
        policy=policy,
        reference=reference,
        reward_model=reward,
        points=point_steps(settings.ppo.updates, settings.loop.points_per_round),
        on_point=recorder,
    )
    return _Trained(snapshot, reward, trained, _keep_checkpoints(workspace, trained, policy))


def _judgements(workspace: Workspace, number: int, policy: ModelVersion) -> Snapshot:
    """Ask and judge the comparisons of a round, and fix all judgements so far."""
    store, settings = workspace.project.store, workspace.settings
    name = f"round-{number}"
    for snapshot in store.snapshots():
        if snapshot.name == name:
            return snapshot
    sampler = store.add_sampler(policy.id, settings.ppo.sampling.model_dump(mode="json"), "assent")
    ask_comparisons(
        store,
        workspace.model(policy),
        workspace.tokenizer(policy),
        store.prompts("train"),
        count=settings.loop.judgements_per_round,
        sampler_id=sampler,
        sampling=settings.ppo.sampling,
        round_number=number,
        purpose="reward",
        seed=workspace.seed,
        progress=workspace.progress,
    )
    spec = ANNOTATORS[settings.world.annotator]
    judges: dict[str, Judge] = {
        store.add_annotator(
            f"{settings.world.annotator}-{one + 1}", "simulated", spec.parameters()
        ): SimulatedAnnotator(workspace.world, spec)
        for one in range(settings.world.annotators)
    }
    judge_all(
        store,
        store.comparisons(purpose="reward", round=number),
        judges,
        seed=derive_seed(workspace.seed, name),
        progress=workspace.progress,
    )
    return store.take_snapshot(name)


def _keep_checkpoints(
    workspace: Workspace, trained: ModelVersion, parent: ModelVersion
) -> list[ModelVersion]:
    """The checkpoints of a PPO run as model versions, in order of steps."""
    store = workspace.project.store
    folder = workspace.folder(trained.name)
    kept = {v.name: v for v in store.model_versions() if v.run_id == trained.run_id}
    result = []
    for point in read_points(folder):
        name = f"{trained.name}-step-{point.step:06d}"
        if name not in kept:
            checkpoint = folder.checkpoints / f"step-{point.step:06d}"
            artifact = workspace.kept(checkpoint, "checkpoint", name)
            if artifact is None:
                message = f"{checkpoint} is missing, and the run that wrote it is done"
                raise StoreDamaged(message)
            kept[name] = store.add_model_version(
                NewModelVersion(
                    stage="checkpoint",
                    name=name,
                    weights_sha256=artifact.sha256,
                    path=artifact.path,
                    settings_sha256=trained.settings_sha256,
                    code_version=trained.code_version,
                    parent_id=parent.id,
                    snapshot_id=trained.snapshot_id,
                    run_id=trained.run_id,
                )
            )
        result.append(kept[name])
    return result


def _promote(
    workspace: Workspace, checkpoints: list[ModelVersion], reference: ModelVersion
) -> dict[str, Choice]:
    """The choice with look-up and the one without, under the same rule and budget."""
    store, settings = workspace.project.store, workspace.settings
    count = min(settings.loop.promotion.candidates, len(checkpoints))
    # The first checkpoint is the reference itself; candidates are spread over the rest and end with
    # the last.
    last = len(checkpoints) - 1
    numbers = sorted({round(last * (n + 1) / count) for n in range(count)})
    candidates = [checkpoints[number] for number in numbers]
    found = {}
    for kind, judge_name in (("look-up", LOOK_UP), ("no-look-up", settings.world.annotator)):
        spec = ANNOTATORS[judge_name]
        annotator = store.add_annotator(
            f"promotion-{kind}-{judge_name}", "simulated", spec.parameters()
        )
        judge = SimulatedAnnotator(workspace.world, spec)
        purpose = f"promotion-{kind}-of-{len(checkpoints)}"
        found[kind] = promote(workspace, candidates, reference, (annotator, judge), purpose)
    write_file(
        workspace.project.root / RUNS / CHOICES_FILE,
        json.dumps({kind: choice.version.id for kind, choice in found.items()}) + "\n",
    )
    return found
