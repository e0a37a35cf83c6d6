"""Which model a user means, what it came from, and what it is compared with by default."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import torch

from assent.audit.respondents import HuggingFaceRespondent
from assent.config.stages import POLICY
from assent.errors import AuditError, NotAModel
from assent.models.loading import load_causal_lm, load_tokenizer
from assent.store import ModelVersion, Project
from assent.store.disk import hash_tree

_ROOTS = ("pretrain", "base")
_POLICIES = (*POLICY, "sft", *_ROOTS)
"""Stages whose newest model is the one to audit, the first that there is."""
_NO_POLICY = "reward"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditedModel:
    """A policy to audit."""

    name: str
    folder: Path
    identity: str
    """Hash of the folder's files."""
    version: ModelVersion | None = None

    def load(self, device: torch.device) -> HuggingFaceRespondent:
        """The model and its tokenizer.

        Raises:
            NotAModel, TokenizerUnfit: the folder cannot be used.
        """
        return HuggingFaceRespondent(
            load_causal_lm(self.folder, device), load_tokenizer(self.folder), self.identity
        )


def find_model(project: Project, reference: str) -> AuditedModel:
    """A model by its name or id in the store, or by its folder.

    Raises:
        AuditError: the store has no policy of that name and there is no such folder.
        NotAModel: the folder holds none.
    """
    versions = _policies(project)
    for version in reversed(versions):
        if reference in (version.name, version.id):
            return _stored(project, version)
    for folder in (Path(reference), project.root / reference):
        if folder.is_dir():
            if not (folder / "config.json").is_file():
                message = f"{folder} is not a Hugging Face model folder: it holds no config.json"
                raise NotAModel(message)
            for version in versions:
                if (project.root / version.path).resolve() == folder.resolve():
                    return _stored(project, version)
            return AuditedModel(name=reference, folder=folder, identity=hash_tree(folder)[0])
    names = [version.name for version in versions]
    near = get_close_matches(reference, names, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    known = ", ".join(one.name for one in versions if one.stage != "checkpoint") or "none yet"
    message = (
        f"no policy is called {reference!r}, and it is no folder{hint}; the project has {known}, "
        f"and {sum(one.stage == 'checkpoint' for one in versions)} checkpoints"
    )
    raise AuditError(message)


def newest_policy(project: Project) -> AuditedModel:
    """The newest model of the last stage that made one.

    Raises:
        AuditError: the project has no policy yet.
    """
    versions = _policies(project)
    for stage in _POLICIES:
        found = [version for version in versions if version.stage == stage]
        if found:
            return _stored(project, found[-1])
    message = f"{project.root} has no model to audit yet; make one: assent loop run {project.root}"
    raise AuditError(message)


def default_baseline(project: Project, models: Sequence[AuditedModel]) -> AuditedModel | None:
    """The SFT policy (else the base) that all of the models came from, if there is one."""
    found: list[str] = []
    for model in models:
        if model.version is None:
            return None
        ancestors = _ancestors(project, model.version)
        parents = [one for one in ancestors if one.stage == "sft"] or ancestors[-1:]
        if not parents:
            return None
        found.append(parents[0].id)
    if len(set(found)) != 1:
        return None
    return _stored(project, project.store.model_version(found[0]))


def base_of(project: Project, model: AuditedModel) -> AuditedModel | None:
    """The base model at the root of its line; the project's own for a folder from elsewhere."""
    if model.version is not None:
        line = [model.version, *_ancestors(project, model.version)]
        return _stored(project, line[-1]) if line[-1].stage in _ROOTS else None
    roots = [version for version in _policies(project) if version.stage in _ROOTS]
    return _stored(project, roots[-1]) if roots else None


def _policies(project: Project) -> list[ModelVersion]:
    return [one for one in project.store.model_versions() if one.stage != _NO_POLICY]


def _ancestors(project: Project, version: ModelVersion) -> list[ModelVersion]:
    """Parents of parents, nearest first."""
    line: list[ModelVersion] = []
    while version.parent_id is not None:
        version = project.store.model_version(version.parent_id)
        line.append(version)
    return line


def _stored(project: Project, version: ModelVersion) -> AuditedModel:
    return AuditedModel(
        name=version.name,
        folder=project.root / version.path,
        identity=version.weights_sha256,
        version=version,
    )
