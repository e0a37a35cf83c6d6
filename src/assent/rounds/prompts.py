"""Prompts for a new project: a text file with one a line, or those of any file with records."""

from collections import Counter
from itertools import islice
from pathlib import Path

from assent.collect.importing_splits import Placement
from assent.errors import DataError
from assent.formats import Problem
from assent.formats.reading import read_file
from assent.store import Project

CHUNK = 500


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
    outcomes = read_file(file)
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
