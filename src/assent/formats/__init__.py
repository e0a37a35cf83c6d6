"""Other projects' files: which format one is in, its records, and writing them again."""

from assent.formats.catalogue import FORMATS, WRITABLE, detect, format_named
from assent.formats.containers import FileKind
from assent.formats.format import Format, as_comparisons
from assent.formats.reading import Dropped, Inspection, inspect_file, read_file
from assent.formats.records import (
    AnyRecord,
    ComparisonRecord,
    DemonstrationRecord,
    FeedbackRecord,
    Place,
    Problem,
    PromptRecord,
    RankingRecord,
    RatingRecord,
    Record,
    UnpairedRecord,
)
from assent.formats.writing import Written, write_file_as

__all__ = [
    "FORMATS",
    "WRITABLE",
    "AnyRecord",
    "ComparisonRecord",
    "DemonstrationRecord",
    "Dropped",
    "FeedbackRecord",
    "FileKind",
    "Format",
    "Inspection",
    "Place",
    "Problem",
    "PromptRecord",
    "RankingRecord",
    "RatingRecord",
    "Record",
    "UnpairedRecord",
    "Written",
    "as_comparisons",
    "detect",
    "format_named",
    "inspect_file",
    "read_file",
    "write_file_as",
]
