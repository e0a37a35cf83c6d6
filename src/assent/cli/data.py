"""`assent data`: look into other projects' files, import them, and write them."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from assent.cli.interrupts import interruptible
from assent.cli.options import AsJson, ProjectFolder
from assent.cli.output import print_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

app = typer.Typer(
    no_args_is_help=True, help="Look into other projects' files, import them, write them."
)

DataFile = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help="jsonl, json, csv, txt (prompts), each also gz; parquet; a save_to_disk folder.",
        show_default=False,
    ),
]
FormatName = Annotated[
    str | None,
    typer.Option("--format", metavar="NAME", help="Its format, if not the one that is detected."),
]


@app.command("formats")
def formats(as_json: AsJson = False) -> None:
    """List every format, and whether it is written too."""
    from assent.formats.catalogue import FORMATS

    if as_json:
        print_json(
            [
                {
                    "name": one.name,
                    "title": one.title,
                    "columns": dict(one.columns),
                    "written": one.write is not None,
                    "carries": sorted(one.carries),
                }
                for one in FORMATS.values()
            ]
        )
        return
    from assent.cli.data_tables import print_formats

    print_formats(list(FORMATS.values()))


@app.command("inspect")
def inspect(
    file: DataFile,
    format_name: FormatName = None,
    model: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A model folder whose tokenizer shows the tokens."),
    ] = None,
    project: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A project whose model's tokenizer shows them."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show a file's format, columns, counts, what would be dropped, and three examples."""
    from assent.cli.data_tables import print_inspection
    from assent.collect.importing_examples import example
    from assent.formats.reading import inspect_file

    found = inspect_file(file, format_name)
    tokenizer = _tokenizer(model, project)
    examples = [example(record, tokenizer) for record in found.examples]
    if not as_json:
        print_inspection(found, examples, has_tokenizer=tokenizer is not None)
        return
    print_json(
        {
            "file": found.path,
            "kind": found.kind,
            "gzipped": found.is_gzipped,
            "format": found.format,
            "title": found.title,
            "confidence": found.confidence,
            "why": list(found.why),
            "mapping": dict(found.mapping),
            "not_read": list(found.unread),
            "rows": found.rows,
            "records": dict(found.counts),
            "verdicts": dict(found.verdicts),
            "annotators": found.annotators,
            "dropped": [
                {
                    "reason": one.reason,
                    "count": one.count,
                    "first": [str(problem) for problem in one.first],
                }
                for one in found.dropped
            ],
            "examples": [asdict(one) for one in examples],
        }
    )


@app.command("import")
def import_(
    project: ProjectFolder,
    file: DataFile,
    format_name: FormatName = None,
    split: Annotated[
        Literal["train", "validation", "test"] | None,
        typer.Option(
            metavar="SPLIT",
            help="Where the prompts go; else as the file says, or 90, 5 and 5 % by their hash.",
        ),
    ] = None,
    kind: Annotated[
        Literal["plain", "few_shot", "user"] | None,
        typer.Option(metavar="KIND", help="plain, few_shot or user; else as the file says."),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Names the data; the file's name if left out."),
    ] = None,
    annotators: Annotated[
        Literal["human", "model", "simulated"],
        typer.Option(metavar="WHO", help="Who judged: human, model or simulated."),
    ] = "human",
    as_json: AsJson = False,
) -> None:
    """Import a file; the same file again adds nothing, and a killed import goes on."""
    from assent.cli.data_tables import print_imported
    from assent.cli.progress import TerminalProgress
    from assent.collect.importing import Context, import_file
    from assent.store import Project

    kept = "what was imported is kept"
    with (
        interruptible(kept, f"assent data import {project} {file}"),
        Project.open(project) as opened,
    ):
        inspected, imported = import_file(
            opened.store,
            file,
            format_name=format_name,
            source=source,
            split=split,
            kind=kind,
            annotator_kind=annotators,
            context=Context.of(opened),
            progress=TerminalProgress(),
        )
    if as_json:
        print_json(
            {"format": inspected.format, "rows": inspected.rows, **imported.as_json()},
        )
        return
    print_imported(inspected, imported)


@app.command("import-checks")
def import_checks(
    project: ProjectFolder,
    file: DataFile,
    format_name: FormatName = None,
    as_json: AsJson = False,
) -> None:
    """Import check items: comparisons with a known answer, mixed in unseen where people judge."""
    from assent.cli.progress import TerminalProgress
    from assent.collect.check_items import import_check_items
    from assent.store import Project
    from assent.web.opening import settings_of

    kept = "what was imported is kept"
    with (
        interruptible(kept, f"assent data import-checks {project} {file}"),
        Project.open(project) as opened,
    ):
        found = import_check_items(
            opened.store,
            file,
            format_name=format_name,
            seed=settings_of(opened).seed,
            progress=TerminalProgress(),
        )
    if as_json:
        print_json(asdict(found))
        return
    known = f"; {found.known:,} were there already" if found.known else ""
    typer.echo(f"{found.added:,} check items added{known}")


@app.command("export")
def export(
    project: ProjectFolder,
    out: Annotated[
        Path,
        typer.Argument(
            metavar="OUT",
            help="A new file: .jsonl, .json or .csv, each also .gz; .parquet; or a folder.",
            show_default=False,
        ),
    ],
    format_name: Annotated[
        str, typer.Option("--format", metavar="NAME", help="See `assent data formats`.")
    ],
    what: Annotated[
        Literal["preferences", "rankings", "ratings", "criticisms", "demonstrations", "prompts"]
        | None,
        typer.Option(metavar="WHAT", help="Only this kind of feedback; else all the format takes."),
    ] = None,
    snapshot: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A snapshot's judgements, not all that stand now."),
    ] = None,
    split: Annotated[
        Literal["train", "validation", "test"] | None,
        typer.Option(metavar="SPLIT", help="Only of prompts in this split."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a project's feedback in another project's format, and count what it cannot hold."""
    from assent.cli.data_tables import print_written
    from assent.collect.exporting import export_file
    from assent.store import Project

    with Project.open(project) as opened:
        written = export_file(
            opened.store, out, format_name, what=what, snapshot=snapshot, split=split
        )
    if as_json:
        print_json(asdict(written))
        return
    print_written(written)


def _tokenizer(model: Path | None, project: Path | None) -> "PreTrainedTokenizerBase | None":
    if model is not None:
        from assent.models.loading import open_tokenizer

        return open_tokenizer(model)
    if project is None:
        return None
    from assent.collect.importing import Context
    from assent.store import Project

    with Project.open(project) as opened:
        context = Context.of(opened)
    return None if context is None else context.tokenizer
