"""Checkpoint folders: ordinary Hugging Face folders, whole or absent."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assent.errors import DiskFull
from assent.models.quiet import quiet_transformers


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
        _flush(aside)
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
            target.rename(old)
        aside.rename(target)
        _flush_folder(target.parent)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException as error:
        shutil.rmtree(aside, ignore_errors=True)
        _restore(old, target)
        if _is_full(error):
            message = f"the disk is full: {target} was not written; make room and run again"
            raise DiskFull(message) from error
        raise


def save_model(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Write model and tokenizer as a Hugging Face folder (inside `whole_folder`)."""
    with quiet_transformers():
        model.save_pretrained(str(folder))
        tokenizer.save_pretrained(str(folder))


def write_file(path: Path, text: str) -> None:
    """Write a text file: aside, flushed, then renamed into place.

    Raises:
        DiskFull: no room; the old file is untouched.
    """
    aside = path.with_name(f".{path.name}.tmp")
    try:
        with aside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        if _is_full(error):
            message = f"the disk is full: {path} was not written; make room and run again"
            raise DiskFull(message) from error
        raise


def _restore(old: Path, target: Path) -> None:
    # Only a failure between the two renames leaves the old folder and no new one.
    if old.exists() and not target.exists():
        old.rename(target)


def _is_full(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    # safetensors and tokenizers report the system's error as text.
    return "No space left" in str(error) or "Disk quota exceeded" in str(error)


def _flush(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
    _flush_folder(folder)


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
