"""Write a project's report: both pages, the documents for programs, and the two cards."""

from pathlib import Path

from assent.config.files import write_file
from assent.report.audit_page import headline, render_audits
from assent.report.audits import load_suite
from assent.report.document import write_documents
from assent.report.page import render
from assent.report.summary import load_summary

INDEX, AUDITS = "index.html", "audits.html"


def write_report(root: Path) -> Path:
    """Write the report of a project into `report/`, and return the page to open.

    `index.html` from `summary.json`, `audits.html` from the newest audits; and, where there is a
    store, `report.json`, `report.md`, `model-card.md` and `datasheet.md`. The same records give the
    same bytes. Each file replaces the old one whole or not at all.

    Raises:
        ProjectError: there is neither a summary nor an audit, or a newer version wrote it.
        DataError: a file is not what the loop or the audits write; names the file and the key.
        DiskFull: no room; the old files are as they were.
    """
    suite = load_suite(root)
    has_summary = suite is None or (root / "summary.json").exists()
    summary = load_summary(root) if has_summary else None
    pages: dict[str, str] = {}
    if summary is not None:
        pages[INDEX] = render(summary, "" if suite is None else headline(suite))
    if suite is not None:
        pages[AUDITS] = render_audits(root, suite, summary)
    folder = root / "report"
    folder.mkdir(exist_ok=True)
    for name, page in pages.items():
        write_file(folder / name, page)
    if (root / "assent.toml").exists():
        write_documents(root, summary, suite)
    return folder / next(iter(pages))
