"""What a project writes for people to read: the report, its audits, and cards from the records."""

from assent.report.document import difference, difference_markdown, read_document
from assent.report.writing import write_report

__all__ = ["difference", "difference_markdown", "read_document", "write_report"]
