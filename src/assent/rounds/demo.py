"""`assent demo`: make a project in the embedded world and run its loop."""

from pathlib import Path
from typing import Any

from assent.config.project import ProjectSettings
from assent.config.sizes import size_settings
from assent.config.write import dump_toml
from assent.errors import ProjectError
from assent.rounds.audits import run_audits
from assent.rounds.loop import run_loop
from assent.rounds.workspace import require_annotator
from assent.store import Project
from assent.store.artifacts import FOLDER as ARTIFACTS_FOLDER
from assent.store.project import DATABASE_FILE, IDENTITY_FILE, RUNS_FOLDER, SETTINGS_FILE
from assent.types import Progress


def run_demo(
    out: Path,
    *,
    size: str,
    seed: int,
    rounds: int,
    annotator: str,
    judgements: int | None,
    progress: Progress,
) -> dict[str, Any]:
    """The whole loop in the Almanac world and all audits of its last policy.

    `out` is an ordinary project afterwards.

    A folder that an interrupted demo with the same arguments left is gone on with.

    Args:
        out: a new or empty folder, or one to go on with.
        size: of models and world; see `config.sizes`.
        seed: of facts, weights and every draw.
        rounds: of judging and training.
        annotator: who judges, by name.
        judgements: a round; the size's own if None.
        progress: shows every stage.

    Returns:
        What `summary.json` holds.

    Raises:
        ConfigError: no such size or annotator.
        ProjectError: the folder holds something else, or a demo with other arguments.
    """
    require_annotator(annotator)
    given: dict[str, Any] = {
        "seed": seed,
        "size": size,
        "world": {"seed": seed, "annotator": annotator},
        "loop": {"rounds": rounds},
    }
    if judgements is not None:
        given["loop"]["judgements_per_round"] = judgements
    settings = size_settings(size, given)
    _begin(out, settings)
    summary = run_loop(out, rounds=None, progress=progress)
    run_audits(out, progress=progress)
    return summary


def _begin(out: Path, settings: ProjectSettings) -> None:
    """Create the project, or make sure that the one that is there has these settings."""
    text = dump_toml(settings)
    file = out / SETTINGS_FILE
    if file.exists():
        with Project.open(out) as project:
            if project.settings_text() == text:
                return
        message = (
            f"{out} holds a project with other settings; give another folder to --out, or go on "
            f"with it: assent loop run {out}"
        )
        raise ProjectError(message)
    if out.exists() and not _is_free(out):
        message = f"{out} is not empty; give a new or empty folder to --out"
        raise ProjectError(message)
    Project.create(out, text).close()


def _is_free(out: Path) -> bool:
    """Empty, or what a process left that was killed while it made a project here."""
    return out.is_dir() and all(_left_by_a_kill(path) for path in out.iterdir())


def _left_by_a_kill(path: Path) -> bool:
    if path.is_dir():
        inside = [inner.name for inner in path.iterdir()]
        begun = all(IDENTITY_FILE in name for name in inside)
        return begun and path.name in (ARTIFACTS_FOLDER, RUNS_FOLDER)
    return path.name.startswith((DATABASE_FILE, f".{SETTINGS_FILE}."))
