"""Audits of a project's models: for `assent audit run`, and after a round of the loop."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from assent.audit.catalogue import choose_audits
from assent.audit.models import default_baseline, find_model, newest_policy
from assent.audit.suite import FOLDER, Setting, run_suite
from assent.errors import AuditError
from assent.rounds.workspace import Workspace, open_workspace
from assent.store import ModelVersion
from assent.types import Progress


def run_audits(
    root: Path,
    *,
    names: Sequence[str] = (),
    models: Sequence[str] = (),
    baseline: str | None = None,
    config: Sequence[Path] = (),
    overrides: Sequence[str] = (),
    progress: Progress,
) -> dict[str, Any]:
    """Audit models of a project; what was found is in `audits/latest.json` too.

    Args:
        root: the project folder.
        names: of audits; all of them if none is named.
        models: names in the store, or folders; the newest policy if none is named.
        baseline: what each is compared with; the SFT policy they came from if None.
        config: settings files over the project's.
        overrides: single settings over those.
        progress: shows each audit.

    Raises:
        AuditError: no such audit or model.
        As `open_workspace`.
    """
    audits = choose_audits(names)
    with open_workspace(
        root, progress, files=tuple(config), overrides=tuple(overrides)
    ) as workspace:
        project = workspace.project
        audited = [find_model(project, name) for name in models] or [newest_policy(project)]
        against = find_model(project, baseline) if baseline else default_baseline(project, audited)
        with workspace.timed("audits"):
            return run_suite(_setting(workspace), audits, audited, against)


def audit_round(
    workspace: Workspace, name: str, policy: ModelVersion, reference: ModelVersion
) -> dict[str, Any] | None:
    """The audits that the settings name for the end of a round, against the SFT policy.

    Raises:
        AuditError: `audits.after_round` names an audit that there is not.
    """
    names = workspace.settings.audits.after_round
    if not names:
        return None
    project = workspace.project
    with workspace.timed(f"{name}-audits"):
        return run_suite(
            _setting(workspace),
            choose_audits(names),
            [find_model(project, policy.id)],
            find_model(project, reference.id),
            name=name,
        )


def read_suite(root: Path, name: str = "latest") -> dict[str, Any]:
    """What a suite of a project found.

    Raises:
        AuditError: there is no such suite yet, or its file cannot be read.
    """
    file = root / FOLDER / f"{name}.json"
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        message = f"{file} cannot be read; make it with: assent audit run {root}"
        raise AuditError(message) from error
    return found


def _setting(workspace: Workspace) -> Setting:
    settings = workspace.settings
    return Setting(
        project=workspace.project,
        settings=settings.audits,
        sampling=settings.sampling,
        seed=workspace.seed,
        world=workspace.world,
        device=workspace.device,
        progress=workspace.progress,
    )
