"""Other projects' files: which format one is in, its records, and writing them again."""

from assent.formats.records import (
    AnyRecord,
    ComparisonRecord,
    Conversation,
    DemonstrationRecord,
    FeedbackRecord,
    Message,
    Place,
    Problem,
    PromptRecord,
    PromptText,
    RankingRecord,
    RatingRecord,
    Record,
    Role,
    UnpairedRecord,
)

__all__ = [
    "AnyRecord",
    "ComparisonRecord",
    "Conversation",
    "DemonstrationRecord",
    "FeedbackRecord",
    "Message",
    "Place",
    "Problem",
    "PromptRecord",
    "PromptText",
    "RankingRecord",
    "RatingRecord",
    "Record",
    "Role",
    "UnpairedRecord",
]
