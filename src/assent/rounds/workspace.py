"""An open project with everything a stage needs: settings, world, device, runs."""

import json
import subprocess
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from pydantic import ValidationError
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assent import __version__
from assent.config.base import Settings
from assent.config.files import write_file
from assent.config.load import load_settings
from assent.config.project import ProjectSettings
from assent.errors import AssentError, ConfigError, ProjectError, StoreError
from assent.models.loading import choose_device, load_causal_lm, load_tokenizer
from assent.store import Artifact, ModelVersion, NewModelVersion, NewRun, Project
from assent.store.project import RUNS_FOLDER
from assent.training.run_folder import RunFolder
from assent.types import Progress
from assent.worlds.almanac import ANNOTATORS, World

SECONDS_FILE = "seconds.json"


@dataclass(frozen=True, slots=True)
class Given:
    """Settings that a command was given over those of the project."""

    files: tuple[Path, ...] = ()
    overrides: tuple[str, ...] = ()

    def with_rounds(self, rounds: int | None) -> tuple[tuple[Path, ...], tuple[str, ...]]:
        """Files and overrides, a number of rounds among them."""
        last = (f"loop.rounds={rounds}",) if rounds is not None else ()
        return self.files, (*self.overrides, *last)


NOTHING = Given()


@dataclass(frozen=True, slots=True)
class Workspace:
    """What the stages of one project share while a command runs."""

    project: Project
    settings: ProjectSettings
    world: World | None
    """The embedded world; None where people judge."""
    device: torch.device
    progress: Progress

    @property
    def seed(self) -> int:
        """Of the project."""
        return self.settings.seed

    def require_world(self) -> World:
        """The embedded world.

        Raises:
            ProjectError: the project has none.
        """
        if self.world is None:
            message = f"{self.project.root} has no [world] in its assent.toml: people judge here"
            raise ProjectError(message)
        return self.world

    def folder(self, name: str) -> RunFolder:
        """The folder of a run."""
        return RunFolder(self.project.root / RUNS_FOLDER / name)

    def path(self, version: ModelVersion) -> Path:
        """The Hugging Face folder of a model version."""
        return self.project.root / version.path

    def model(self, version: ModelVersion) -> PreTrainedModel:
        """A causal LM, loaded anew."""
        return load_causal_lm(self.path(version), self.device)

    def tokenizer(self, version: ModelVersion) -> PreTrainedTokenizerBase:
        """Its tokenizer."""
        return load_tokenizer(self.path(version))

    def version_of(self, run_id: str) -> ModelVersion | None:
        """The model a run made, if it is done."""
        for version in self.project.store.model_versions():
            if version.run_id == run_id and version.name == run_id:
                return version
        return None

    def run(
        self,
        name: str,
        stage: str,
        train: Callable[[RunFolder], object],
        *,
        settings: Settings,
        parent: ModelVersion | None = None,
        parents: Mapping[str, ModelVersion] | None = None,
        snapshot_id: str | None = None,
    ) -> ModelVersion:
        """Run a stage unless it is done, keep its model as an artifact, record where it came from.

        A process killed anywhere in here goes on when called again: training resumes from its
        state, a finished folder that was not recorded yet is taken up, a recorded run is returned.
        """
        store = self.project.store
        run = store.start_run(
            NewRun(
                id=name,
                stage=stage,
                name=name,
                settings=self._settings_of_run(name, settings),
                seed=self.seed,
                code_version=__version__,
                git_commit=_git_commit(),
                parents={role: version.id for role, version in (parents or {}).items()},
                snapshot_id=snapshot_id,
            )
        )
        made = self.version_of(name)
        if made is None:
            folder = self.folder(name)
            artifact = self.kept(folder.model, stage, name)
            if artifact is None:
                with self._failing(name), self.timed(name):
                    train(folder)
                artifact = self.project.artifacts.adopt_folder(folder.model, stage, name)
            made = store.add_model_version(
                NewModelVersion(
                    stage=stage,
                    name=name,
                    weights_sha256=artifact.sha256,
                    path=artifact.path,
                    settings_sha256=run.settings_sha256,
                    code_version=__version__,
                    parent_id=parent.id if parent else None,
                    snapshot_id=snapshot_id,
                    run_id=name,
                )
            )
        if run.status != "done":
            store.finish_run(name)
        return made

    @contextmanager
    def _failing(self, name: str) -> Iterator[None]:
        """Record that a run was refused or stopped by an error, and why; it may be begun again."""
        try:
            yield
        except AssentError as error:
            with suppress(AssentError):  # a full disk is told of once
                self.project.store.finish_run(name, "failed", problem=str(error))
            raise

    def _settings_of_run(self, name: str, settings: Settings) -> dict[str, Any]:
        """The settings as the run recorded them where they mean the same, else as they are now.

        A run of before a setting existed lacks its key; read with today's defaults it is equal.
        """
        begun = {run.id: run for run in self.project.store.runs()}
        if name in begun:
            recorded = begun[name].settings
            try:
                if type(settings).model_validate(recorded) == settings:
                    return dict(recorded)
            except ValidationError:
                pass  # a key that is gone: these are other settings, and the store says so
        return settings.model_dump(mode="json")

    def kept(self, folder: Path, kind: str, name: str) -> Artifact | None:
        """A finished folder as the artifact it is now or has been since before a kill, if any."""
        artifacts = self.project.artifacts
        if folder.is_dir():
            return artifacts.adopt_folder(folder, kind, name)
        recorded = artifacts.find(kind, name)
        if recorded:
            return recorded[-1]
        try:
            return artifacts.adopt_folder(folder, kind, name)
        except StoreError:
            return None

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the time of a stage to what earlier processes spent on it."""
        began = perf_counter()
        try:
            yield
        finally:
            spent = self.seconds()
            spent[name] = round(spent.get(name, 0.0) + perf_counter() - began, 2)
            write_file(self.project.root / RUNS_FOLDER / SECONDS_FILE, _json(spent))

    def seconds(self) -> dict[str, float]:
        """Seconds spent on each stage so far, over all processes."""
        file = self.project.root / RUNS_FOLDER / SECONDS_FILE
        if not file.exists():
            return {}
        found: dict[str, float] = _from_json(file.read_text(encoding="utf-8"))
        return found


@contextmanager
def open_workspace(
    root: Path,
    progress: Progress,
    *,
    files: tuple[Path, ...] = (),
    overrides: tuple[str, ...] = (),
    alone: bool = True,
) -> Iterator[Workspace]:
    """Open a project, for writing unless `alone` is False.

    Raises:
        NotAProject, NewerSchema: the folder cannot be opened.
        ProjectBusy: another process writes to it.
        ConfigError: every problem of its settings.
    """
    with Project.open(root) as project, project.writing() if alone else nullcontext():
        settings = project_settings(project, files=files, overrides=overrides)
        if settings.world is not None:
            require_annotator(settings.world.annotator)
        if settings.compute.threads:
            torch.set_num_threads(settings.compute.threads)
        yield Workspace(
            project,
            settings,
            None if settings.world is None else World(settings.world.seed),
            choose_device(settings.compute.device),
            progress,
        )


def project_settings(
    project: Project, *, files: tuple[Path, ...] = (), overrides: tuple[str, ...] = ()
) -> ProjectSettings:
    """What the project's `assent.toml` says, with files and overrides over it.

    Raises:
        ConfigError: every problem, with its path.
    """
    base = tomllib.loads(project.settings_text())
    name = str(project.root / "assent.toml")
    return load_settings(ProjectSettings, files, overrides, base, base_name=name)


def require_annotator(name: str) -> None:
    """Refuse an annotator that nobody knows.

    Raises:
        ConfigError: lists the known ones.
    """
    if name not in ANNOTATORS:
        known = ", ".join(ANNOTATORS)
        message = f"world.annotator: no annotator is called {name!r}; choose from {known}"
        raise ConfigError(message)


def _git_commit() -> str | None:
    """The commit this code is at, where it runs from a checkout."""
    here = Path(__file__).resolve().parent
    found = subprocess.run(  # noqa: S603 - a fixed command
        ["git", "-C", str(here), "rev-parse", "HEAD"],  # noqa: S607 - git is found on the path
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return found.stdout.strip() or None


def _json(value: object) -> str:
    return json.dumps(value, indent=2) + "\n"


def _from_json(text: str) -> Any:  # noqa: ANN401 - JSON is anything
    return json.loads(text)
