"""A suite: several audits of several models, the family of verdicts, and the trends.

What it found is written to `audits/<name>.json` in the project; each result behind it is an
artifact of its own. A verdict is about one figure of one model against the baseline; all figures of
one model in one suite are a family, in which the error is held together.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch

from assent.audit.causes import Teaching
from assent.audit.figures import change, margin_of, require_alike, trend
from assent.audit.models import AuditedModel, base_of
from assent.audit.respondents import LazyRespondent
from assent.audit.runner import AuditRun, run_audit
from assent.audit.subject import AnyAudit, Figure, Subject
from assent.config.audit import AuditSettings
from assent.config.files import write_file
from assent.config.ppo import SamplingSettings
from assent.errors import AssentError, NotAuditable, UnlikeItems
from assent.stats.verdicts import Change, family_verdicts, holm
from assent.store import Project
from assent.types import Progress
from assent.worlds.almanac import World

_log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
FOLDER = "audits"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Where a suite runs."""

    project: Project
    settings: AuditSettings
    sampling: SamplingSettings
    seed: int
    world: World | None
    device: torch.device
    progress: Progress


@dataclass(frozen=True, slots=True)
class _Done:
    audit: AnyAudit
    runs: dict[str, AuditRun]
    """By model; a model that was skipped or failed is not there."""
    problems: dict[str, tuple[str, str]]
    """By model: skipped or failed, and why."""


def run_suite(
    setting: Setting,
    audits: Sequence[AnyAudit],
    models: Sequence[AuditedModel],
    baseline: AuditedModel | None,
    *,
    name: str = "latest",
) -> dict[str, Any]:
    """Run audits on models, compare each with the baseline, write and return what was found.

    An audit that cannot be run is reported as skipped or failed with the reason; the others go on.

    Args:
        setting: where.
        audits: which, in order.
        models: in the order of training; with the baseline three or more make a trend.
        baseline: what each is compared with; None for no comparison.
        name: of the file under `audits/`.
    """
    everyone = list(
        {one.identity: one for one in [*([baseline] if baseline else []), *models]}.values()
    )
    made: dict[str, LazyRespondent] = {}

    def respondent(model: AuditedModel) -> LazyRespondent:
        load = partial(model.load, setting.device)
        return made.setdefault(model.identity, LazyRespondent(model.identity, load))

    subjects = []
    for model in everyone:
        base = base_of(setting.project, model)
        subjects.append(
            Subject(
                name=model.name,
                model=respondent(model),
                base=respondent(base) if base else None,
                settings=setting.settings,
                sampling=setting.sampling,
                seed=setting.seed,
                world=setting.world,
                project=setting.project,
                version=model.version,
                folder=model.folder,
                device=setting.device,
                progress=setting.progress,
            )
        )
    done = [_run(audit, subjects) for audit in audits]
    names = [one.name for one in everyone]
    against = names[0] if baseline else None
    verdicts = _verdicts(setting.settings, done, names[1:], against) if against else []
    uncompared = _uncompared(done, names[1:], against) if against else []
    found = {
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "level": setting.settings.level,
        "settings": setting.settings.model_dump(mode="json"),
        "baseline": against,
        "models": [_model(one) for one in everyone],
        "audits": [_audit(one, names) for one in done],
        "verdicts": verdicts,
        "uncompared": uncompared,
        "causes": _causes(done, subjects, verdicts),
        "trends": _trends(setting.settings, done, names),
    }
    folder = setting.project.root / FOLDER
    folder.mkdir(exist_ok=True)
    write_file(folder / f"{name}.json", json.dumps(found, indent=1, allow_nan=False) + "\n")
    return found


def _causes(
    done: Sequence[_Done], subjects: Sequence[Subject], verdicts: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """For each regressed figure the judgements behind it, or why they cannot be told."""
    found = []
    by_name = {one.name: one for one in subjects}
    taught: dict[str, Teaching] = {}
    for verdict in verdicts:
        if verdict["verdict"] != "regressed":
            continue
        one = next(one for one in done if one.audit.name == verdict["audit"])
        figure = next(f for f in one.audit.figures if f.name == verdict["figure"])
        ours, theirs = (one.runs[verdict[who]] for who in ("model", "baseline"))
        told = {name: verdict[name] for name in ("audit", "figure", "model")}
        try:
            if verdict["model"] not in taught:
                taught[verdict["model"]] = Teaching(by_name[verdict["model"]])
            found.append({**told, **taught[verdict["model"]].kept_why(figure, ours, theirs)})
        except NotAuditable as error:
            found.append({**told, "problem": str(error)})
    return found


def _run(audit: AnyAudit, subjects: Sequence[Subject]) -> _Done:
    done = _Done(audit, {}, {})
    for subject in subjects:
        try:
            done.runs[subject.name] = run_audit(audit, subject)
        except NotAuditable as error:
            done.problems[subject.name] = ("skipped", str(error))
        except AssentError as error:
            done.problems[subject.name] = ("failed", str(error))
        except Exception as error:  # noqa: BLE001 - one that breaks takes no other with it
            _log.exception("the audit %s of %s broke", audit.name, subject.name)
            why = f"{type(error).__name__}: {error}; please report it, with the log"
            done.problems[subject.name] = ("failed", why)
    return done


def _verdicts(
    settings: AuditSettings, done: Sequence[_Done], models: Sequence[str], baseline: str
) -> list[dict[str, Any]]:
    found = []
    for model in models:
        family = [
            (one.audit, figure, changed)
            for one in done
            if model in one.runs and baseline in one.runs
            for figure in one.audit.figures
            if figure.better is not None
            and (changed := _changed(settings, one, figure, model, baseline)) is not None
        ]
        if not family:
            continue
        alpha = 1 - settings.level
        changes = [changed for _, _, changed in family]
        words = family_verdicts(changes, [f.better for _, f, _ in family if f.better], alpha)
        p_change = holm([one.p_change for one in changes])
        p_equivalence = holm([one.p_equivalence for one in changes])
        for number, (audit, figure, changed) in enumerate(family):
            found.append(
                {
                    "audit": audit.name,
                    "figure": figure.name,
                    "model": model,
                    "baseline": baseline,
                    "verdict": words[number],
                    "better": figure.better,
                    "margin": margin_of(audit.name, figure, settings.margins),
                    "difference": changed.difference,
                    "interval": _ends(changed),
                    "p_change": changed.p_change,
                    "p_change_holm": p_change[number],
                    "p_equivalence": changed.p_equivalence,
                    "p_equivalence_holm": p_equivalence[number],
                    "clusters": changed.clusters,
                    "family": len(family),
                }
            )
    return found


def _uncompared(
    done: Sequence[_Done], models: Sequence[str], baseline: str
) -> list[dict[str, Any]]:
    """Audits with something to compare whose items are not the baseline's, and which differs."""
    found = []
    for one in done:
        if not any(figure.better for figure in one.audit.figures) or baseline not in one.runs:
            continue
        for model in models:
            if model in one.runs:
                try:
                    require_alike(one.runs[model].result.records, one.runs[baseline].result.records)
                except UnlikeItems as error:
                    told = {"audit": one.audit.name, "model": model, "baseline": baseline}
                    found.append({**told, "reason": str(error)})
    return found


def _changed(
    settings: AuditSettings, done: _Done, figure: Figure, model: str, baseline: str
) -> Change | None:
    """The change of a figure that both models have an estimate of."""
    ours, theirs = (done.runs[name].result for name in (model, baseline))
    if any(one.figure(figure.name).estimate is None for one in (ours, theirs)):
        return None
    try:
        return change(
            figure,
            ours.records,
            theirs.records,
            margin=margin_of(done.audit.name, figure, settings.margins),
            level=settings.level,
        )
    except UnlikeItems:  # told of by `_uncompared`
        return None


def _ends(changed: Change) -> list[float] | None:
    low, high = changed.interval
    return [low, high] if abs(low) != float("inf") else None


def _trends(
    settings: AuditSettings, done: Sequence[_Done], models: Sequence[str]
) -> list[dict[str, Any]]:
    found = []
    for one in done:
        if any(model not in one.runs for model in models):
            continue
        results = [one.runs[model].result for model in models]
        for figure in one.audit.figures:
            if any(result.figure(figure.name).estimate is None for result in results):
                continue
            try:
                line = trend(
                    figure,
                    [result.records for result in results],
                    range(len(models)),
                    level=settings.level,
                )
            except UnlikeItems:
                continue
            if line is not None:
                found.append(
                    {
                        "audit": one.audit.name,
                        "figure": figure.name,
                        "models": list(models),
                        "slope": line.slope,
                        "slope_interval": list(line.slope_interval),
                        "bend": line.bend,
                        "bend_interval": list(line.bend_interval),
                        "turns": line.turns,
                    }
                )
    return found


def _model(model: AuditedModel) -> dict[str, Any]:
    version = model.version
    return {
        "name": model.name,
        "path": version.path if version else str(model.folder),
        "identity": model.identity,
        "stage": version.stage if version else None,
        "id": version.id if version else None,
    }


def _audit(done: _Done, models: Sequence[str]) -> dict[str, Any]:
    return {
        "name": done.audit.name,
        "version": done.audit.version,
        "title": done.audit.title,
        "figures": [asdict(figure) for figure in done.audit.figures],
        "results": [_result(done, model) for model in models],
    }


def _result(done: _Done, model: str) -> dict[str, Any]:
    if model in done.problems:
        status, reason = done.problems[model]
        return {"model": model, "status": status, "reason": reason}
    run = done.runs[model]
    result = run.result
    return {
        "model": model,
        "status": "done",
        "run": run.run_id,
        "artifact": run.path,
        "cached": run.cached,
        "seconds": round(run.seconds, 3),
        "items_per_second": run.items_per_second,
        "items": len(result.records),
        "failed": dict(result.failed),
        "repeats": result.repeats,
        "figures": [asdict(one) for one in result.figures],
        "tables": dict(result.tables),
    }
