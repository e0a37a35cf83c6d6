"""Puts the commands together, and turns what goes wrong into a line and an exit status.

0 is success; 2 is for what the user can mend, with one red line on stderr (with `--json`, an object
on stdout); 130 is Ctrl-C, with a line that says how to go on; 1 is a bug, with its traceback.
"""

import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

import typer

from assent.cli import (
    annotators,
    audit,
    data,
    db,
    demo,
    doctor,
    init,
    judge,
    loop,
    report,
    reward,
    serve,
    train,
    version,
)
from assent.cli.interrupts import Interrupted
from assent.cli.output import LogLines, print_error
from assent.errors import AssentError

MENDABLE = 2
INTERRUPTED = 130

app = typer.Typer(
    name="assent",
    help="Reinforcement learning from human feedback: the whole loop in one package.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(demo.demo)
app.command()(init.init)
app.add_typer(loop.app, name="loop")
app.add_typer(train.app, name="train")
app.add_typer(data.app, name="data")
app.add_typer(audit.app, name="audit")
app.command()(judge.judge)
app.add_typer(reward.app, name="reward")
app.command()(serve.serve)
app.add_typer(annotators.app, name="annotators")
app.command()(report.report)
app.add_typer(db.app, name="db")
app.command()(doctor.doctor)
app.command()(version.version)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit; `arguments` default to the process's."""
    if not logging.getLogger("assent").handlers:
        logging.getLogger("assent").addHandler(LogLines())
    logging.getLogger("assent.config").setLevel(logging.INFO)
    run(app, sys.argv[1:] if arguments is None else arguments)


def run(commands: typer.Typer, arguments: Sequence[str]) -> NoReturn:
    """Run one command of `commands` and exit with the status that says how it went."""
    try:
        _run(commands, arguments)
    finally:
        _flush_quietly()


def _run(commands: typer.Typer, arguments: Sequence[str]) -> NoReturn:
    as_json = "--json" in arguments
    try:
        commands(args=list(arguments), prog_name="assent")
    except AssentError as error:
        print_error(type(error).__name__, str(error), as_json=as_json)
        sys.exit(MENDABLE)
    except Interrupted as interrupted:
        print_error("Interrupted", str(interrupted), as_json=as_json)
        sys.exit(INTERRUPTED)
    sys.exit(0)


def _flush_quietly() -> None:
    """Write what is left; a reader who has gone (`assent ... | head`) is no error of ours."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes again at exit: give it somewhere to write.
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
