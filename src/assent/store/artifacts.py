"""Artifacts: finished checkpoints, rollouts and reports, kept under the hash of what they hold.

An artifact lies at `artifacts/<kind>/<name>-<first 12 digits of its hash>` and is never changed.
"""

import errno
import os
import re
from pathlib import Path

from assent.config.files import disk_errors, flush_folder
from assent.errors import DataError, StoreDamaged, StoreError
from assent.store.disk import (
    copy_tree,
    flush_tree,
    hash_tree,
    remove_tree,
)
from assent.store.records import Artifact
from assent.store.store import Store

FOLDER = "artifacts"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_DIGITS = 12


class Artifacts:
    """The `artifacts/` folder of one project and its rows in the store."""

    def __init__(self, root: Path, store: Store) -> None:
        self._root = root
        self._store = store

    def adopt_folder(self, folder: Path, kind: str, name: str) -> Artifact:
        """Move a finished folder (or file) to its place, whole or not at all, and record it.

        Content that is there already is only recorded, and the source removed. If the process was
        killed after the move, the source is gone: the artifact of that kind and name that is in its
        place but not recorded yet is then taken up.

        Raises:
            DataError: kind or name is not a plain name.
            StoreError: neither the source nor its artifact exists, or it holds links.
            StoreDamaged: an artifact is in that place with another content.
            DiskFull: the copy from another disk found no room; the source is untouched.
        """
        place = self._root / FOLDER / _plain(kind)
        _plain(name)
        if not folder.exists():
            return self._take_up(place, folder, kind, name)
        sha256, size_bytes = hash_tree(folder)
        target = place / f"{name}-{sha256[:_DIGITS]}"
        with disk_errors(f"storing {target}"):
            if target.exists():
                if hash_tree(target)[0] != sha256:
                    message = f"{target} was changed since it was stored; restore it from a backup"
                    raise StoreDamaged(message)
                remove_tree(folder)
            else:
                place.mkdir(parents=True, exist_ok=True)
                _move(folder, target)
            for changed in (place, place.parent):
                flush_folder(changed)
        return self._record(target, kind, sha256, size_bytes)

    def path(self, artifact: Artifact | str) -> Path:
        """Where an artifact lies, from the record or its relative path."""
        relative = artifact if isinstance(artifact, str) else artifact.path
        return self._root / relative

    def find(self, kind: str, name: str | None = None) -> list[Artifact]:
        """Recorded artifacts of a kind, all or those adopted under `name`, oldest first."""
        found = self._store.artifacts(kind)
        if name is None:
            return found
        return [one for one in found if _adopted_as(Path(one.path).name, name)]

    def verify(self, artifact: Artifact) -> str | None:
        """None when the artifact is what was stored, or else what is wrong with it."""
        path = self.path(artifact)
        if not path.exists():
            return f"{artifact.path} is missing"
        try:
            sha256, _ = hash_tree(path)
        except (OSError, StoreError) as error:
            return f"{artifact.path} cannot be read: {error}"
        if sha256 != artifact.sha256:
            return f"{artifact.path} was changed: it no longer has the hash {artifact.sha256[:12]}"
        return None

    def _take_up(self, place: Path, folder: Path, kind: str, name: str) -> Artifact:
        recorded = {self.path(one) for one in self._store.artifacts(kind)}
        found = sorted(place.glob(f"{name}-*")) if place.is_dir() else []
        for target in found:
            if target in recorded or not _adopted_as(target.name, name):
                continue
            sha256, size_bytes = hash_tree(target)
            if target.name.endswith(sha256[:_DIGITS]):
                return self._record(target, kind, sha256, size_bytes)
        message = f"{folder} does not exist, and {place} holds no {name} that is not recorded"
        raise StoreError(message)

    def _record(self, target: Path, kind: str, sha256: str, size_bytes: int) -> Artifact:
        artifact = Artifact(
            sha256=sha256,
            kind=kind,
            path=target.relative_to(self._root).as_posix(),
            size_bytes=size_bytes,
        )
        self._store.record_artifact(artifact)
        return artifact


def _plain(name: str) -> str:
    if not _NAME.fullmatch(name):
        message = (
            f"{name!r} cannot name an artifact; use letters, digits, dot, underscore and hyphen, "
            "at most 100, and begin with a letter or digit"
        )
        raise DataError(message)
    return name


def _adopted_as(file_name: str, name: str) -> bool:
    return re.fullmatch(rf"{re.escape(name)}-[0-9a-f]{{{_DIGITS}}}", file_name) is not None


def _move(source: Path, target: Path) -> None:
    flush_tree(source)
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    else:
        return
    # Another file system: copy aside first, since only a rename is all or nothing.
    aside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        copy_tree(source, aside)
        flush_tree(aside)
        aside.rename(target)
    finally:
        if aside.exists():
            remove_tree(aside)
    remove_tree(source)
