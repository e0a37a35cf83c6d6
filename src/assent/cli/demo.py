"""`assent demo`: the whole loop in the embedded world."""

from pathlib import Path
from typing import Annotated

import typer

from assent.cli.interrupts import interruptible
from assent.cli.options import AsJson
from assent.cli.output import print_json


def demo(
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Where to write; an ordinary project afterwards.")
    ],
    size: Annotated[str, typer.Option(help="How large the models and the world are.")] = "tiny",
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same run.")] = 0,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of judging and training.")] = 2,
    annotator: Annotated[
        str, typer.Option(metavar="NAME", help="Who judges: flawed, unbiased, ...")
    ] = "flawed",
    judgements: Annotated[
        int | None, typer.Option(min=1, help="Judgements a round, if not the size's own.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Close the loop in a world where the truth is known, and show where reward and truth part."""
    from assent.cli.audit_tables import print_alarms
    from assent.cli.progress import TerminalProgress
    from assent.cli.tables import print_loop_table
    from assent.report import write_report
    from assent.rounds.audits import read_suite
    from assent.rounds.demo import run_demo

    with interruptible(
        "every judgement and the last checkpoint are kept", f"assent loop run {out}"
    ):
        summary = run_demo(
            out,
            size=size,
            seed=seed,
            rounds=rounds,
            annotator=annotator,
            judgements=judgements,
            progress=TerminalProgress(),
        )
        page = write_report(out)
    if as_json:
        print_json(summary)
        return
    print_loop_table(summary)
    print_alarms(read_suite(out))
    typer.echo(f"report: {page}")
