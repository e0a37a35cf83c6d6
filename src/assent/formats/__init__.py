"""Other projects' files: which format one is in, its records, and writing them again."""

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

__all__ = [
    "AnyRecord",
    "ComparisonRecord",
    "DemonstrationRecord",
    "FeedbackRecord",
    "Place",
    "Problem",
    "PromptRecord",
    "RankingRecord",
    "RatingRecord",
    "Record",
    "UnpairedRecord",
]
