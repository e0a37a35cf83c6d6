"""What a project writes for people to read: one page made from its `summary.json`."""

from assent.report.page import write_report

__all__ = ["write_report"]
