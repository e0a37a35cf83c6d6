"""Files and folders that are whole or absent: written aside, flushed to the disk, then renamed."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from assent.errors import DiskFull, StoreError


@contextmanager
def disk_errors(doing: str) -> Iterator[None]:
    """Say in one line what the file system refused; `doing` says what was under way.

    Raises:
        DiskFull: no space left, or the quota is used up.
        StoreError: no permission, or the file system is read-only.
    """
    try:
        yield
    except OSError as error:
        if is_full(error):
            message = (
                f"{doing}: the disk is full; what was complete before is untouched; free some "
                "space and run the same command again"
            )
            raise DiskFull(message) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            message = f"{doing}: {error.filename or 'the folder'}: {error.strerror}"
            raise StoreError(message) from error
        raise


def is_full(error: BaseException) -> bool:
    """Whether an error says that there is no room; some libraries say it in words only."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    # safetensors and tokenizers report the system's error as text.
    return "No space left" in str(error) or "Disk quota exceeded" in str(error)


def write_file(path: Path, text: str) -> None:
    """Replace a file by this text, so that a crash leaves the old file or the new one.

    Raises:
        DiskFull: no room; the old file is as it was.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with disk_errors(f"writing {path}"):
            with aside.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
            flush_folder(path.parent)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Write into a folder beside `target` that takes its place only when everything is on the disk.

    What was at `target` before stays until then, and is untouched when the writing fails.

    Raises:
        DiskFull: no room; the half-written folder is removed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.tmp")
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(aside, ignore_errors=True)
    _restore(old, target)
    try:
        aside.mkdir()
        yield aside
        for path in sorted(aside.rglob("*")):
            if path.is_file():
                flush_file(path)
        flush_folder(aside)
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
            target.rename(old)
        aside.rename(target)
        flush_folder(target.parent)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException as error:
        shutil.rmtree(aside, ignore_errors=True)
        _restore(old, target)
        if is_full(error):
            message = f"the disk is full: {target} was not written; make room and run again"
            raise DiskFull(message) from error
        raise


def flush_file(path: Path) -> None:
    """Make the content of a file survive a power cut."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _restore(old: Path, target: Path) -> None:
    # Only a failure between the two renames leaves the old folder and no new one.
    if old.exists() and not target.exists():
        old.rename(target)
