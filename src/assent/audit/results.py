"""The result of one audit of one model: a folder with `result.json` and `items.jsonl`.

The folder is an artifact, kept under the hash of what it holds, so nothing in it depends on the
clock or the machine; how fast it went is written elsewhere. Both files are JSON, and are checked
when they are read.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from assent.audit.subject import Estimate, ItemRecord
from assent.config.files import write_file
from assent.errors import StoreDamaged

RESULT_FILE, ITEMS_FILE = "result.json", "items.jsonl"
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditResult:
    """What one audit found of one model."""

    audit: str
    version: int
    title: str
    identity: str
    """Hash of the audited weights and tokenizer."""
    settings: Mapping[str, Any]
    """All that the result depends on."""
    figures: Sequence[Estimate]
    failed: Mapping[str, str]
    """Items that have no scores, and why."""
    repeats: int
    """Exact repeats of items that were left out."""
    tables: Mapping[str, Any]
    records: Sequence[ItemRecord] = field(default=(), repr=False)

    def figure(self, name: str) -> Estimate:
        """The figure of that name; KeyError if there is none."""
        for one in self.figures:
            if one.name == name:
                return one
        raise KeyError(name)


def write_result(folder: Path, result: AuditResult) -> None:
    """Write both files into a folder that exists; numbers that are not finite are refused."""
    lines = (json.dumps(one.as_dict(), allow_nan=False) for one in result.records)
    write_file(folder / ITEMS_FILE, "".join(f"{line}\n" for line in lines))
    head = {
        "schema_version": SCHEMA_VERSION,
        **{name: getattr(result, name) for name in result.__slots__ if name != "records"},
        "figures": [{name: getattr(one, name) for name in one.__slots__} for one in result.figures],
    }
    write_file(folder / RESULT_FILE, json.dumps(head, indent=1, allow_nan=False) + "\n")


def read_result(folder: Path, *, records: bool = True) -> AuditResult:
    """Read what `write_result` wrote, the items only where they are wanted.

    Raises:
        StoreDamaged: a file is missing or is not what was written.
    """
    try:
        head = _Head.model_validate_json((folder / RESULT_FILE).read_bytes())
        items: list[ItemRecord] = read_records(folder / ITEMS_FILE) if records else []
    except (OSError, ValidationError) as error:
        reason = " ".join(str(error).split())[:200]
        message = f"{folder} is no audit result ({reason}); delete it and run the audit again"
        raise StoreDamaged(message) from error
    plain = {name: getattr(head, name) for name in _Head.model_fields if name != "schema_version"}
    return AuditResult(**plain, records=items)


def read_records(file: Path) -> list[ItemRecord]:
    """The lines of an `items.jsonl`; a last line that a kill cut short is left out."""
    text = file.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    return [_RECORD.validate_json(line) for line in whole.splitlines()]


def finite_tables(value: object) -> Any:  # noqa: ANN401 - JSON is anything
    """JSON with None in place of numbers that are not finite."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite_tables(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite_tables(one) for one in value]
    return value


class _Head(BaseModel):
    model_config = ConfigDict(extra="forbid")

    schema_version: int
    audit: str
    version: int
    title: str
    identity: str
    settings: dict[str, Any]
    figures: list[Estimate]
    failed: dict[str, str]
    repeats: int
    tables: dict[str, Any]


_RECORD = TypeAdapter(ItemRecord)
