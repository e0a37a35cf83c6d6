"""Which group each annotator belongs to, from a file that the project's owner keeps.

The store holds nothing about people but a name. Groups (a language, an age, a trade) are in a CSV
file, `audits.group_file`, that can be deleted without touching a judgement.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from assent.errors import DataError
from assent.store import StoredAnnotator

NAME: Final = "annotator"
"""The column with an annotator's name or id; every other column is an attribute."""

Groups = Mapping[str, Mapping[str, str]]
"""By annotator's name, for each attribute the group; nothing where it is not known."""


def groups_of(annotators: Sequence[StoredAnnotator], file: Path | None) -> Groups:
    """The groups in the file over those that simulated annotators were made with.

    Raises:
        DataError: the file cannot be read, has no `annotator` column or no other, or names somebody
            whom the project does not know, or the same one twice.
    """
    found = {
        one.name: {str(k): str(v) for k, v in dict(one.parameters.get("groups", {})).items()}
        for one in annotators
    }
    if file is None:
        return found
    called = {
        **{one.id: one.name for one in annotators},
        **{one.name: one.name for one in annotators},
    }
    seen: set[str] = set()
    for line, row in _rows(file):
        name = called.get(row[NAME])
        if name is None:
            message = f"{file}, line {line}: no annotator is called {row[NAME]!r}"
            raise DataError(message)
        if name in seen:
            message = f"{file}, line {line}: {row[NAME]!r} is there twice"
            raise DataError(message)
        seen.add(name)
        found[name] |= {key: value for key, value in row.items() if key != NAME and value}
    return found


def _rows(file: Path) -> list[tuple[int, dict[str, str]]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, strict=True)
            columns = [name.strip() for name in reader.fieldnames or ()]
            rows = [(reader.line_num, list(row.values())) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        message = f"{file} cannot be read as CSV ({error})"
        raise DataError(message) from error
    if NAME not in columns or len(columns) < 2 or len(set(columns)) < len(columns):
        message = (
            f"{file}: the first line names the columns: {NAME}, and one for each attribute; "
            f"it is {','.join(columns) or 'empty'}"
        )
        raise DataError(message)
    found = []
    for line, cells in rows:
        if len(cells) != len(columns) or any(not isinstance(cell, str) for cell in cells):
            message = f"{file}, line {line}: not one cell for each of {len(columns)} columns"
            raise DataError(message)
        found.append((line, dict(zip(columns, (cell.strip() for cell in cells), strict=True))))
    return found
