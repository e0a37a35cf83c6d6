"""The loop: base, SFT, rounds of asking, reward model and PPO, a promotion; any step resumes."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from assent.audit.runner import KIND as AUDIT
from assent.config.files import write_file
from assent.config.stages import POLICY
from assent.config.write import with_value
from assent.errors import StoreDamaged
from assent.rounds import stages
from assent.rounds.almanac import AlmanacGround
from assent.rounds.audits import audit_round
from assent.rounds.ground import Choice, Ground, RoundResult, Waiting
from assent.rounds.methods import METHODS
from assent.rounds.model_judging import PURPOSES, ask_model
from assent.rounds.people import PeopleGround, standing
from assent.rounds.summary import write_summary
from assent.rounds.trajectory import read_points, why_stopped
from assent.rounds.workspace import (
    NOTHING,
    Given,
    Workspace,
    open_workspace,
    project_settings,
)
from assent.store import ModelVersion, NewModelVersion, Project, Snapshot
from assent.store.project import RUNS_FOLDER, SETTINGS_FILE
from assent.types import Progress

CHOICES_FILE = "promotion.json"
HALT_FILE = "halted.json"
"""After which round the loop was ended early, and why."""


@dataclass(frozen=True, slots=True)
class _Trained:
    snapshot: Snapshot
    reward: ModelVersion
    policy: ModelVersion
    checkpoints: list[ModelVersion]


def run_loop(
    root: Path, *, rounds: int | None, progress: Progress, given: Given = NOTHING
) -> dict[str, Any]:
    """Go on with a project's loop from where it stands; return the summary.

    Where people judge and their judgements are not enough yet, the pairs to judge are stored, and
    the summary of the rounds done so far says under `waiting` how many are there and are wanted.

    Args:
        root: the project folder.
        rounds: rounds in all, if not the project's own number; written into assent.toml where it is
            larger, so that the next call goes on to the same end.
        progress: shows every stage.
        given: settings over the project's own; a run that was begun goes on with the same alone.

    Raises:
        As `open_workspace`, and what the stages raise; what was done before stays.
    """
    _record_rounds(root, rounds)
    files, overrides = given.with_rounds(rounds)
    with open_workspace(root, progress, files=files, overrides=overrides) as workspace:
        ground = ground_of(workspace)
        reference = stages.reference_policy(workspace, ground.begin())
        before = policy = reference
        results: list[RoundResult] = []
        for number in range(1, rounds_of(workspace) + 1):
            if results and begun(workspace.project) < number:
                held = ground.standstill(number, policy, before)
                if isinstance(held, Waiting):
                    return write_summary(workspace, ground, results, {}, held)
                if held is not None:
                    results[-1] = replace(results[-1], stopped=held)
                    break
            trained = _round(workspace, ground, number, policy, reference)
            if isinstance(trained, Waiting):
                return write_summary(workspace, ground, results, {}, trained)
            before, policy = policy, trained.policy
            points = read_points(workspace.folder(policy.name))
            audit_round(workspace, f"round-{number}", policy, reference)
            results.append(
                RoundResult(
                    number,
                    trained.snapshot,
                    trained.reward,
                    policy,
                    trained.checkpoints,
                    points,
                    why_stopped(workspace.folder(policy.name)),
                )
            )
        with workspace.timed("promotion"):
            choices = _promote(workspace, ground, results, reference)
        _note_halt(workspace, results)
        return write_summary(workspace, ground, results, choices, None)


def loop_status(root: Path) -> dict[str, Any]:
    """Which runs are done, how many judgements there are, and what comes next; changes nothing."""
    with Project.open(root) as project:
        counts = project.store.counts()
        settings = project_settings(project)
        waits = standing(project, settings) if settings.world is None else None
        status = {
            "runs": {run.id: run.status for run in project.store.runs()},
            "comparisons": counts["comparisons"],
            "events": counts["events"],
            "models": counts["model_versions"],
        }
        if waits is not None:
            return {**status, "waiting": waits.as_dict(), "next": waits.sentence}
        return {**status, "next": _next_command(project, root)}


def ground_of(workspace: Workspace) -> Ground:
    """The embedded world where the settings name one, people otherwise."""
    world, settings = workspace.world, workspace.settings.world
    if world is None or settings is None:
        return PeopleGround(workspace)
    return AlmanacGround(workspace, world, settings)


def rounds_of(workspace: Workspace) -> int:
    """Rounds of the settings, or as many as were begun: what was done is never left out."""
    return max(workspace.settings.loop.rounds, begun(workspace.project))


def begun(project: Project) -> int:
    """How many rounds trained or began to train a reward model."""
    names = (run.id for run in project.store.runs() if run.stage == "reward")
    return sum(name.startswith("round-") for name in names)


def _record_rounds(root: Path, rounds: int | None) -> None:
    """Keep a larger number of rounds in assent.toml."""
    if rounds is None:
        return
    with Project.open(root) as project, project.writing():
        if rounds > project_settings(project).loop.rounds:
            text = with_value(project.settings_text(), "loop", "rounds", str(rounds))
            write_file(project.root / SETTINGS_FILE, text)


def _next_command(project: Project, root: Path) -> str:
    runs = project.store.runs()
    for run in runs:
        alone = run.id.startswith(f"{run.stage}-")
        if run.status != "done" and run.stage != AUDIT and not (alone and run.status == "failed"):
            command = f"train {run.stage} {root} --resume" if alone else f"loop run {root}"
            return f"goes on with {run.id}: assent {command}"
    halt = root / RUNS_FOLDER / HALT_FILE
    if halt.exists():
        found = json.loads(halt.read_text(encoding="utf-8"))
        return f"stopped after round {found['round']}: {found['reason']}; assent report {root}"
    done = sum(run.stage in POLICY and run.id.startswith("round-") for run in runs)
    wanted = project_settings(project).loop.rounds
    if done < wanted or not (project.root / RUNS_FOLDER / CHOICES_FILE).exists():
        return f"assent loop run {root}"
    return f"complete: assent report {root}"


def _round(
    workspace: Workspace,
    ground: Ground,
    number: int,
    policy: ModelVersion,
    reference: ModelVersion,
) -> _Trained | Waiting:
    name = f"round-{number}"
    with workspace.timed(f"{name}-judgements"):
        snapshot = _judgements(workspace, ground, number, policy)
    if isinstance(snapshot, Waiting):
        return snapshot
    reward = stages.reward(workspace, f"{name}-reward", snapshot, reference)
    settings = workspace.settings
    method = METHODS[settings.loop.method]
    stage_name = f"{name}-{method.stage}"
    run = workspace.folder(stage_name)
    made = workspace.version_of(stage_name)
    trained = method.train(
        workspace,
        stage_name,
        policy=policy,
        reference=reference,
        reward_model=reward,
        snapshot=snapshot,
        points=settings.loop.points_per_round,
        on_point=None if made else ground.recorder(run, reward, reference),
    )
    return _Trained(snapshot, reward, trained, _keep_checkpoints(workspace, trained, policy))


def _judgements(
    workspace: Workspace, ground: Ground, number: int, policy: ModelVersion
) -> Snapshot | Waiting:
    """Ask the comparisons of a round, and fix all judgements once there are enough."""
    store, name = workspace.project.store, f"round-{number}"
    for snapshot in store.snapshots():
        if snapshot.name == name:
            return snapshot
    judges = workspace.settings.reward.judges
    if judges != "people":
        count = workspace.settings.loop.judgements_per_round
        ask_model(workspace, f"{name}-judge", policy, count=count, round_number=number)
    waiting = None if judges == "model" else ground.ask(number, policy)
    return waiting or store.take_snapshot(name, purposes=PURPOSES[judges])


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
    workspace: Workspace, ground: Ground, results: list[RoundResult], reference: ModelVersion
) -> dict[str, Choice]:
    checkpoints = [version for result in results for version in result.checkpoints]
    found = ground.promote(checkpoints, reference)
    write_file(
        workspace.project.root / RUNS_FOLDER / CHOICES_FILE,
        json.dumps({name: choice.version.id for name, choice in found.items()}) + "\n",
    )
    return found


def _note_halt(workspace: Workspace, results: list[RoundResult]) -> None:
    """Keep why the loop ended before its last round, for `loop status`; or that it did not."""
    file = workspace.project.root / RUNS_FOLDER / HALT_FILE
    if len(results) >= rounds_of(workspace):
        file.unlink(missing_ok=True)
        return
    last = results[-1]
    write_file(file, json.dumps({"round": last.number, "reason": last.stopped}) + "\n")
