"""Files that are whole or absent: written aside, flushed to the disk, then renamed into place.

The hash of a folder is the SHA-256 over one line a file, `<hash of the file>  <relative path>`,
sorted by path: what `sha256sum` prints. Folders hold plain files and folders only.
"""

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from assent.errors import DiskFull, StoreError

_BLOCK = 1 << 20


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
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            message = (
                f"{doing}: the disk is full; what was complete before is untouched; free some "
                "space and run the same command again"
            )
            raise DiskFull(message) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            message = f"{doing}: {error.filename or 'the folder'}: {error.strerror}"
            raise StoreError(message) from error
        raise


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


def flush_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_tree(path: Path) -> None:
    """Make a file, or a folder with all it holds, survive a power cut."""
    if path.is_dir():
        for file in files_below(path):
            _flush_file(file)
        for folder, _, _ in os.walk(path, topdown=False):
            flush_folder(Path(folder))
    else:
        _flush_file(path)


def files_below(folder: Path) -> list[Path]:
    """Every file below a folder, sorted by relative POSIX path.

    Raises:
        StoreError: it holds a link, a socket or the like, whose content is not its own.
    """
    found: list[Path] = []
    for current, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(current) / name
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                found.append(path)
            elif not stat.S_ISDIR(mode):
                message = f"{path} is neither a plain file nor a folder; replace it by a copy"
                raise StoreError(message)
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def hash_tree(path: Path) -> tuple[str, int]:
    """The hash of a file or folder and its size in bytes.

    Raises:
        StoreError: the folder holds something that is neither a file nor a folder.
    """
    if not path.is_dir():
        return hash_file(path), path.stat().st_size
    digest, size_bytes = hashlib.sha256(), 0
    for file in files_below(path):
        name = file.relative_to(path).as_posix()
        digest.update(f"{hash_file(file)}  {name}\n".encode("utf-8", "surrogateescape"))
        size_bytes += file.stat().st_size
    return digest.hexdigest(), size_bytes


def copy_tree(source: Path, target: Path) -> None:
    """Copy a file, or a folder with all it holds; what vanishes meanwhile is left out.

    Raises:
        StoreError: the folder holds something that is neither a file nor a folder.
    """
    if not source.is_dir():
        files = [(source, target)]
    else:
        target.mkdir(parents=True, exist_ok=True)
        files = [(file, target / file.relative_to(source)) for file in files_below(source)]
    for file, copy in files:
        copy.parent.mkdir(parents=True, exist_ok=True)
        # Not shutil.copytree: it turns "no space left" into text and goes on.
        with suppress(FileNotFoundError):
            shutil.copyfile(file, copy)


def remove_tree(path: Path) -> None:
    """Remove a file or a folder with all it holds, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _flush_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
