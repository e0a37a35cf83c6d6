"""`assent annotators`: who may come in over the browser, and what they may do."""

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from assent.cli.options import AsJson, ProjectFolder
from assent.cli.output import print_json
from assent.errors import UnknownRecord

if TYPE_CHECKING:
    from collections.abc import Iterator

    from assent.store import Person, Project

app = typer.Typer(no_args_is_help=True, help="Let people in, list them, keep them out.")

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="What the person is called.", show_default=False)
]
NameOrId = Annotated[
    str, typer.Argument(metavar="NAME", help="Name or id of the person.", show_default=False)
]
Base = Annotated[
    str | None, typer.Option("--url", metavar="URL", help="Where the server is reached.")
]


@app.command()
def add(
    project: ProjectFolder,
    name: Name,
    role: Annotated[
        Literal["annotator", "reviewer", "owner"],
        typer.Option(help="annotator: does tasks. reviewer: sees all answers. owner: everything."),
    ] = "annotator",
    url: Base = None,
    as_json: AsJson = False,
) -> None:
    """Add a person and print a link that lets them in once."""
    with _opened(project) as opened:
        person = opened.store.people.add(name, role)
        _say_link(opened, person, url, as_json=as_json)


@app.command()
def invite(
    project: ProjectFolder, name: NameOrId, url: Base = None, as_json: AsJson = False
) -> None:
    """Print a new link for a person; the one before ends."""
    with _opened(project) as opened:
        _say_link(opened, _found(opened, name), url, as_json=as_json)


@app.command("list")
def list_(project: ProjectFolder, as_json: AsJson = False) -> None:
    """List everybody with what they did."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from assent.web.text import printable
    from assent.web.views import person_row

    with _opened(project) as opened:
        tallies = {one.annotator_id: one for one in opened.store.tallies.people()}
        rows = [
            person_row(one, tallies.get(one.annotator_id))
            for one in opened.store.people.everybody()
        ]
    if as_json:
        print_json({"annotators": rows})
        return
    if not rows:
        typer.echo(f"nobody yet; assent annotators add {project} NAME lets somebody in")
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("name", "role", "state", "answers", "skipped", "seconds", "checks"):
        justify: Literal["left", "right"] = "right" if heading in _NUMBERS else "left"
        table.add_column(heading, justify=justify, overflow="fold")
    for row in rows:
        table.add_row(
            escape(printable(row["name"])),
            row["role"],
            row["state"],
            str(row["answers"]),
            str(row["skipped"]),
            "" if row["median_seconds"] is None else f"{row['median_seconds']:.0f}",
            f"{row['checks_right']} of {row['checks']}" if row["checks"] else "",
        )
    Console(highlight=False).print(table)


@app.command()
def disable(project: ProjectFolder, name: NameOrId, as_json: AsJson = False) -> None:
    """Keep a person out; what they said stays."""
    with _opened(project) as opened:
        person = opened.store.people.disable(_found(opened, name).annotator_id)
    _say(person, f"{person.name} cannot come in any more", as_json=as_json)


@app.command()
def enable(project: ProjectFolder, name: NameOrId, as_json: AsJson = False) -> None:
    """Let a person who was disabled in again."""
    with _opened(project) as opened:
        person = opened.store.people.enable(_found(opened, name).annotator_id)
    _say(person, f"{person.name} may come in again", as_json=as_json)


@app.command()
def erase(
    project: ProjectFolder,
    name: NameOrId,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Forget who a person is: name, password and notes go for good; what they judged stays."""
    with _opened(project) as opened:
        found = _found(opened, name)
        if not yes and not as_json:
            typer.confirm("Name, password and notes cannot be brought back. Erase?", abort=True)
        person = opened.store.people.erase(found.annotator_id)
        copies = sorted(opened.root.glob("before-*.db"))
    kept = f"; copies made before still hold the name: {', '.join(map(str, copies))}"
    said = f"erased; the judgements stay as those of {person.name}"
    _say(person, said + (kept if copies else ""), as_json=as_json)


_NUMBERS = ("answers", "skipped", "seconds", "checks")


@contextmanager
def _opened(project: Path) -> "Iterator[Project]":
    from assent.store import Project

    with Project.open(project) as opened:
        yield opened


def _found(project: "Project", name: str) -> "Person":
    people = project.store.people
    named = people.named(name)
    if named is not None:
        return named[0]
    for one in people.everybody():
        if one.annotator_id == name:
            return one
    message = f"nobody is called {name!r}; `assent annotators list {project.root}` shows everybody"
    raise UnknownRecord(message)


def _say_link(project: "Project", person: "Person", url: str | None, *, as_json: bool) -> None:
    from assent.web.opening import served_at, settings_of

    days = settings_of(project).labelling.invitation_days
    base, runs = served_at(project.root)
    token = project.store.people.invite(person.annotator_id, days)
    link = f"{(url or base).rstrip('/')}/invite/{token}"
    if as_json:
        print_json({"id": person.annotator_id, "role": person.role, "link": link})
        return
    typer.echo(f"{person.role} {person.name}, once, within {days} days:")
    typer.echo(link)
    if not runs:
        typer.echo(f"it works while `assent serve {project.root}` runs", err=True)


def _say(person: "Person", said: str, *, as_json: bool) -> None:
    if as_json:
        result: dict[str, Any] = {
            "id": person.annotator_id,
            "state": person.state,
            "role": person.role,
        }
        print_json(result)
        return
    typer.echo(said)
