"""What `assent data` prints. Texts come from outside: no control character reaches the terminal."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from assent.collect.importing import Imported
from assent.collect.importing_examples import Example, Side, Token, one_line
from assent.formats.format import Format
from assent.formats.reading import Inspection
from assent.formats.writing import Written

WIDTH = 72
"""Characters of a text."""


def print_formats(formats: Sequence[Format]) -> None:
    """Every format and what is done with it."""
    rows = [(one.name, one.title, "read and written" if one.write else "read") for one in formats]
    _print_table(rows)


def print_inspection(
    found: Inspection, examples: Sequence[Example], *, has_tokenizer: bool
) -> None:
    """Format, columns, counts, what would be dropped, and the examples."""
    packed = ", gzipped" if found.is_gzipped else ""
    _say(f"{found.path}: {found.format} ({found.title}; {found.kind}{packed})")
    for why in found.why:
        _say(f"  {why}")
    _say("\ncolumns")
    _print_table(list(found.mapping.items()))
    if found.unread:
        _say(f"  not read: {', '.join(found.unread)}")
    records = ", ".join(_several(count, name) for name, count in found.counts.items())
    verb = "gives" if found.rows == 1 else "give"
    _say(f"\n{_several(found.rows, 'row')} {verb} {records or 'no record'}")
    if found.verdicts:
        _say(f"  verdicts: {_counted(found.verdicts)}")
    if found.annotators:
        _say(f"  annotators named: {found.annotators:,}")
    dropped = sum(one.count for one in found.dropped)
    _say(f"  dropped: {dropped:,}" if dropped else "  dropped: none")
    for one in found.dropped:
        _say(f"  {one.count:,}: {one.reason}")
        for problem in one.first:
            _say(f"    {problem}")
    for number, shown in enumerate(examples, start=1):
        _print_example(number, shown)
    if not has_tokenizer:
        _say("\ntexts only: --project DIR or --model DIR shows the tokens and the label mask")
    elif any(shown.sides for shown in examples):
        _say("\ntokens in [brackets] are learned; those before │ are the prompt's")


def print_imported(found: Inspection, result: Imported) -> None:
    """What became of the records."""
    _say(f"{found.format}: {_several(found.rows, 'row')}")
    _say(f"added: {_records(result.added) or 'nothing'}")
    if result.known:
        _say(f"there already: {_records(result.known)}")
    if result.prompts:
        _say(f"new prompts: {_counted(result.prompts)}")
    if result.annotators:
        _say(f"annotators: {result.annotators:,}, as import/{result.source}/…")
    if result.stayed:
        keep = "keeps the split that its" if result.stayed == 1 else "keep the split that their"
        _say(f"{_several(result.stayed, 'record')} {keep} prompt was in before")
    if result.too_long is not None:
        _say(f"stored, too long to train on: {result.too_long.count:,} ({result.too_long.reason})")
        _say_all(result.too_long.first)
    for one in result.dropped:
        _say(f"dropped: {one.count:,} ({one.reason})")
        _say_all(one.first)


def print_written(written: Written) -> None:
    """What a file holds now, and what it does not."""
    _say(f"{written.path}: {_several(written.rows, 'row')} as {written.format}")
    for what, count in written.lost.items():
        _say(f"lost: {what}, of {_several(count, 'record')}")
    for why, count in written.left_out.items():
        _say(f"left out: {count:,} ({why})")


def _print_example(number: int, one: Example) -> None:
    turns = f"{one.turns} turns" if one.turns > 1 else "one turn"
    chat = f", a chat of {turns}" if one.turns else ""
    _say(f"\nexample {number}: {one.kind}, {one.where}{chat}")
    _say(f"  prompt      {one_line(one.prompt, WIDTH, end=True)}")
    for side in one.sides:
        _print_side(side)
    if one.problem:
        _say(f"  the model cannot read it: {one.problem}")


def _print_side(side: Side) -> None:
    _say(f"  {side.label:<11} {one_line(side.response, WIDTH)}")
    if side.prompt_tokens is None:
        return
    counts = f"{side.prompt_tokens:,} + {side.response_tokens:,} tokens"
    shown = _tokens(side.boundary)
    if side.end:
        shown += f" … {_tokens(side.end)}"
    _say(f"    {counts}: {shown}")


def _tokens(tokens: Sequence[Token]) -> str:
    """`… Assist ant : │ [ I] [ can]`."""
    shown = ""
    for at, token in enumerate(tokens):
        if token.learned and at and not tokens[at - 1].learned:
            shown += "│ "
        text = one_line(token.text, WIDTH)
        shown += f"[{text}] " if token.learned else f"{text} "
    return shown.rstrip()


def _counted(counts: Mapping[Any, int]) -> str:
    return ", ".join(f"{count:,} {str(name).replace('_', ' ')}" for name, count in counts.items())


def _records(counts: Mapping[str, int]) -> str:
    """Counts whose names are plural: `1 comparison, 2 prompts`."""
    return ", ".join(_several(count, name.removesuffix("s")) for name, count in counts.items())


def _several(count: int, name: str) -> str:
    return f"{count:,} {name}" if count == 1 else f"{count:,} {name}s"


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    table = Table(box=box.SIMPLE, show_header=False, pad_edge=True)
    for row in rows:
        table.add_row(*(one_line(cell, WIDTH) for cell in row))
    Console(highlight=False, markup=False).print(table)


def _say_all(lines: Iterable[str]) -> None:
    for line in lines:
        _say(f"  {line}")


def _say(line: str) -> None:
    kept = "".join(one if one.isprintable() or one == "\n" else ascii(one)[1:-1] for one in line)
    typer.echo(kept)
