"""Prompts for a new project: a text file with one a line, or those of any file with records."""

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from assent.collect.importing_splits import Placement
from assent.errors import DataError, UnreadableFile
from assent.formats import AnyRecord, Place, Problem, PromptRecord
from assent.formats.reading import read_file
from assent.store import Project

CHUNK = 500
TEXT = ".txt"


def add_prompts(project: Project, file: Path) -> Counter[str]:
    """Store the prompts of a file, parted into splits by their text; what was left out, by reason.

    Of a file with feedback only the prompts are taken; `assent data import` takes all of it.

    Raises:
        UnreadableFile, UnknownFormat: no such file, or not one that is known.
        DataError: it holds no prompt, or is no UTF-8 text.
    """
    placement = Placement(project.store.prompts(), source=file.name)
    dropped: Counter[str] = Counter()
    added = 0
    outcomes: Iterator[AnyRecord | Problem]
    outcomes = _lines(file) if file.suffix == TEXT else read_file(file)
    while chunk := list(islice(outcomes, CHUNK)):
        new = []
        for outcome in chunk:
            if isinstance(outcome, Problem):
                dropped[outcome.reason] += 1
                continue
            placed = placement.place(outcome)
            if placed.is_known:
                dropped["said before"] += 1
            else:
                new.append(placed.prompt)
        project.store.add_prompts(new)
        added += len(new)
    if not added:
        message = f"{file} holds no prompt; give a text file with one a line, or JSON lines"
        raise DataError(message)
    return dropped


def _lines(file: Path) -> Iterator[PromptRecord]:
    try:
        with file.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if text := line.rstrip("\r\n"):
                    yield PromptRecord(prompt=text, where=Place(str(file), number))
    except OSError as error:
        message = f"{file}: cannot be read: {error.strerror}"
        raise UnreadableFile(message) from error
    except UnicodeDecodeError as error:
        message = f"{file}: not a UTF-8 text file (byte {error.start} of a block)"
        raise UnreadableFile(message) from error
