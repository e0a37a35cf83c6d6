"""One stage by itself, as `assent train` runs it: from the newest models of a project."""

import json
from pathlib import Path
from typing import Any

from assent.collect.judging import BY_MODEL
from assent.config.rewards import RewardSource, wants_own_model
from assent.config.stages import section_of
from assent.errors import DataError
from assent.rounds.language_stages import REPORT_FILE
from assent.rounds.methods import METHODS
from assent.rounds.model_judging import PURPOSES
from assent.rounds.reward_findings import reward_findings
from assent.rounds.stages import newest, reference_of, reward, sft, start_of
from assent.rounds.workspace import Workspace, open_workspace
from assent.store import ModelVersion, Snapshot
from assent.types import Progress


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
            return _result(workspace, sft(workspace, start_of(workspace), name))
        reference = reference_of(workspace)
        if stage == "reward":
            snapshot = _snapshot_of(workspace, name)
            made = reward(workspace, name, snapshot, reference)
            return {**_result(workspace, made), **reward_findings(workspace, snapshot, made)}
        method = METHODS[stage]
        rewarded = method.rewarded or _reward_source(workspace, stage) is not None
        made = method.train(
            workspace,
            name,
            policy=reference,
            reference=reference,
            reward_model=_own_reward(workspace, stage) if rewarded else None,
            snapshot=None if rewarded or not method.judged else _snapshot_of(workspace, name),
        )
        return _result(workspace, made)


def _reward_source(workspace: Workspace, stage: str) -> RewardSource | None:
    """What a stage's settings are rewarded with; None where they name nothing."""
    source: RewardSource | None = getattr(
        getattr(workspace.settings, section_of(stage)), "reward", None
    )
    return source


def _own_reward(workspace: Workspace, stage: str) -> ModelVersion | None:
    """The newest reward model of the project, unless the stage's settings name another reward."""
    source = _reward_source(workspace, stage)
    assert source is not None
    if not wants_own_model(source):
        return None
    return newest(workspace, "reward", "assent train reward")


def _snapshot_of(workspace: Workspace, name: str) -> Snapshot:
    """The snapshot of a run that was begun, or of all judgements as they are now.

    Its name holds the last event it covers: a process killed between the snapshot and the record of
    the run leaves one that a later run, with more judgements, does not mistake for its own.

    Raises:
        DataError: a model's judgements are wanted, and there are none.
    """
    store = workspace.project.store
    for run in store.runs():
        if run.id == name and run.snapshot_id is not None:
            return store.snapshot(run.snapshot_id)
    last = store.counts()["events"]
    judges = workspace.settings.reward.judges
    purposes = PURPOSES[judges]
    if BY_MODEL in purposes and not store.comparisons(purpose=BY_MODEL):
        root = workspace.project.root
        message = (
            f"reward.judges = {judges!r}, and no model has judged anything in {root} yet; let one "
            f"judge: assent judge {root}"
        )
        raise DataError(message)
    return store.take_snapshot(f"{name}-at-{last}", purposes=purposes, up_to_seq=last)


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
    report = workspace.folder(made.name).path / REPORT_FILE
    return {
        "run": made.run_id,
        "model": made.path,
        "metrics": workspace.project.relative(workspace.folder(made.name).path / "metrics.jsonl"),
        "seed": workspace.seed,
        **(json.loads(report.read_text(encoding="utf-8")) if report.exists() else {}),
    }
