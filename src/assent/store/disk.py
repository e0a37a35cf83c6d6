"""Folders of a project: their hash, copies and removal.

The hash of a folder is the SHA-256 over one line a file, `<hash of the file>  <relative path>`,
sorted by path: what `sha256sum` prints. Folders hold plain files and folders only.
"""

import hashlib
import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path

from assent.config.files import flush_file, flush_folder
from assent.errors import StoreError

_BLOCK = 1 << 20


def flush_tree(path: Path) -> None:
    """Make a file, or a folder with all it holds, survive a power cut."""
    if path.is_dir():
        for file in files_below(path):
            flush_file(file)
        for folder, _, _ in os.walk(path, topdown=False):
            flush_folder(Path(folder))
    else:
        flush_file(path)


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
