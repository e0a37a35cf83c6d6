"""A model as the judge of a project: which pairs it is asked about, and under what name it answers.

Its judgements stand apart from people's: their comparisons have the purpose `BY_MODEL`, and a
snapshot holds the purposes that `reward.judges` asks for.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Literal

from assent.collect.asking import ask_comparisons
from assent.collect.judging import BY_MODEL
from assent.collect.model_judging import SIDES, JudgeReport, ModelJudge, judge_by_model
from assent.config.files import write_file
from assent.errors import DataError
from assent.models import requests
from assent.models.kept_answers import KeptAnswers
from assent.models.writers import identity_hash
from assent.objectives.seeds import derive_seed
from assent.rounds.language_stages import (
    REPORT_FILE,
    asking,
    constitution_of,
    reader_of,
    speaks_almanac,
    words_of,
)
from assent.rounds.material import fitting_train_prompts
from assent.rounds.workspace import Workspace, open_workspace
from assent.store import ModelVersion, StoredComparison
from assent.store.project import RUNS_FOLDER
from assent.training.run_folder import fingerprint
from assent.types import Progress
from assent.worlds.almanac import remarks

Judges = Literal["people", "model", "both"]
PURPOSES: Final[dict[Judges, tuple[str, ...]]] = {
    "people": ("reward",),
    "model": (BY_MODEL,),
    "both": ("reward", BY_MODEL),
}
"""What a snapshot holds, by whose judgements the reward model learns from."""


def ask_model(
    workspace: Workspace, name: str, policy: ModelVersion, *, count: int, round_number: int = 0
) -> dict[str, Any]:
    """Draw pairs from a policy and have the model judge them; goes on where a kill stopped it.

    Args:
        workspace: the project at work.
        name: begins that of the folder under `runs/` that keeps the answers.
        policy: the pairs are drawn from it.
        count: pairs in all.
        round_number: of the loop; 0 outside of it.

    Returns:
        What `JudgeReport` has, and the judge's name.

    Raises:
        JudgeUnfit: too many answers are of no use, or the judge always says the same.
        WriterError: it cannot be reached; the answers so far are kept.
        DataError: no `count` different pairs can be drawn, or the constitution has no principle.
    """
    store, sampling = workspace.project.store, workspace.settings.sampling
    annotator, judge = _judge_of(workspace, policy)
    seed = derive_seed(workspace.seed, name)
    ids = ask_comparisons(
        store,
        workspace.model(policy),
        workspace.tokenizer(policy),
        fitting_train_prompts(workspace, policy),
        count=count,
        sampler_id=store.add_sampler(policy.id, sampling.model_dump(mode="json"), "assent"),
        sampling=sampling,
        round_number=round_number,
        purpose=BY_MODEL,
        seed=seed,
        progress=workspace.progress,
    )
    # Another judge, or one that is asked otherwise, has answers of its own.
    folder = workspace.folder(f"{name}-{annotator.rpartition('-')[2]}").path
    report = _judged(workspace, folder, judge, ids, seed)
    found = {"judge": annotator, **asdict(report)}
    write_file(folder / REPORT_FILE, json.dumps(found, indent=2) + "\n")
    return found


def judge_newest(
    root: Path,
    count: int | None,
    *,
    files: tuple[Path, ...],
    overrides: tuple[str, ...],
    progress: Progress,
) -> dict[str, Any]:
    """What `assent judge` does: pairs of the newest policy, judged.

    Raises:
        As `ask_model` and `open_workspace`.
    """
    with open_workspace(root, progress, files=files, overrides=overrides) as workspace:
        wanted = workspace.settings.constitutional.comparisons if count is None else count
        return ask_model(workspace, next_name(workspace), newest_policy(workspace), count=wanted)


def next_name(workspace: Workspace) -> str:
    """The next `assent judge`: one that was not finished, or a new one."""
    runs, number = workspace.project.root / RUNS_FOLDER, 1
    while any(runs.glob(f"judge-{number}-*/{REPORT_FILE}")):
        number += 1
    return f"judge-{number}"


def newest_policy(workspace: Workspace) -> ModelVersion:
    """The policy made last, of any stage that makes one; else the base model.

    Raises:
        DataError: the project has no model yet.
    """
    made = workspace.project.store.model_versions()
    found = [version for version in made if version.stage not in _NO_POLICY]
    if not found:
        root = workspace.project.root
        message = f"{root} has no model yet; make one with: assent loop run {root}"
        raise DataError(message)
    return found[-1]


_NO_POLICY = ("reward", "checkpoint")


def _judged(
    workspace: Workspace, folder: Path, judge: ModelJudge, ids: list[str], seed: int
) -> JudgeReport:
    wanted = set(ids)
    comparisons: list[StoredComparison] = [
        one for one in workspace.project.store.comparisons(purpose=BY_MODEL) if one.id in wanted
    ]
    about = [
        dict(judge.asking.writer.identity), judge.asking.template, judge.asking.form,
        [asdict(one) for one in judge.principles], judge.words.options if judge.words else None,
        ids, seed,
    ]  # fmt: skip
    return judge_by_model(
        workspace.project.store,
        comparisons,
        judge,
        KeptAnswers(folder, fingerprint([json.dumps(about)])),
        seed=seed,
        progress=workspace.progress,
    )


def _judge_of(workspace: Workspace, policy: ModelVersion) -> tuple[str, ModelJudge]:
    """The judge of the settings, and the annotator it judges as."""
    settings = workspace.settings.constitutional
    alone = settings.asks == "alone" or (
        settings.asks is None and speaks_almanac(workspace, settings.judge)
    )
    found = asking(
        workspace,
        settings.judge,
        settings.approve_request if alone else settings.compare_request,
        reader_of(workspace, policy),
        "constitutional.judge",
        requests.APPROVE if alone else requests.COMPARE,
        remarks.REMARK if alone else requests.COMPARE,
    )
    principles = constitution_of(workspace, settings.judge)
    words = words_of(workspace, settings.judge, settings.good_words, settings.bad_words)
    parameters = {
        **found.writer.identity,
        "asked": "alone" if alone else "pairs",
        "request": found.template,
        "labels": settings.labels,
        "words": list(words.options) if alone else list(SIDES),
        "principles": fingerprint([json.dumps([asdict(one) for one in principles])]),
    }
    named = str(found.writer.identity.get("model", "model")).rstrip("/").rpartition("/")[2]
    name = f"judge-{named}-{identity_hash(parameters)}"
    annotator = workspace.project.store.add_annotator(name, "model", parameters)
    return name, ModelJudge(
        annotator_id=annotator,
        asking=found,
        principles=principles,
        words=words if alone else None,
        labels=settings.labels,
        max_unusable_share=settings.usable.max_unusable_share,
        max_one_side_share=settings.usable.max_one_side_share,
    )
