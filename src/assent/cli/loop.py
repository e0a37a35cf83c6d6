"""`assent loop`: run the outer loop of a project, or see where it stands."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assent.cli.interrupts import interruptible
from assent.cli.options import (
    AsJson,
    ConfigFiles,
    Overrides,
    Plan,
    ProjectFolder,
    with_settings,
)
from assent.cli.output import print_json

if TYPE_CHECKING:
    from assent.rounds.workspace import Given

app = typer.Typer(no_args_is_help=True, help="Run the outer loop, or see where it stands.")


@app.command("run")
def run(
    project: ProjectFolder,
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Rounds in all, if not the project's own number.")
    ] = None,
    config: ConfigFiles = None,
    overrides: Overrides = None,
    plan: Plan = False,
    as_json: AsJson = False,
) -> None:
    """Go on with the loop from where it stopped: sample, judge, reward model, PPO, again.

    Where people judge it stops with status 0 and says how many judgements are missing. A loop goes
    on with the settings it began with: give what --set or --config changed again, or write it into
    assent.toml.
    """
    from assent.rounds.workspace import Given

    given = Given(tuple(config or ()), tuple(overrides or ()))
    if plan:
        _plan(project, rounds, given, as_json=as_json)
        return
    from assent.cli.progress import TerminalProgress
    from assent.cli.tables import print_loop_table
    from assent.report import write_report
    from assent.rounds.loop import run_loop

    again = with_settings(["assent", "loop", "run", str(project)], config or [], overrides or [])
    with interruptible("every judgement and the last checkpoint are kept", again):
        summary = run_loop(project, rounds=rounds, progress=TerminalProgress(), given=given)
        page = write_report(project)
    if as_json:
        print_json(summary)
        return
    print_loop_table(summary)
    typer.echo(f"report: {page}")


def _plan(project: Path, rounds: int | None, given: "Given", *, as_json: bool) -> None:
    from assent.cli.tables import print_plan
    from assent.rounds.planning import plan_loop

    found = plan_loop(project, rounds=rounds, given=given)
    if as_json:
        print_json({"stages": [one.as_dict() for one in found]})
    else:
        print_plan(found)


@app.command("status")
def status(project: ProjectFolder, as_json: AsJson = False) -> None:
    """Show which stages of which rounds are done, and what comes next."""
    from assent.rounds.loop import loop_status

    standing = loop_status(project)
    if as_json:
        print_json(standing)
        return
    runs = ", ".join(f"{name} {how}" for name, how in standing["runs"].items())
    typer.echo(f"runs: {runs or 'none yet'}")
    for name in ("comparisons", "events", "models"):
        typer.echo(f"{name}: {standing[name]:,}")
    typer.echo(f"next: {standing['next']}")
    for way in standing.get("waiting", {}).get("ways", ()):
        typer.echo(f"  {way}")
