"""What `assent audit` prints: the catalogue, and the verdicts of a suite."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from assent.audit.subject import AnyAudit
from assent.report.findings import number

COLOURS = {"improved": "green", "regressed": "red", "equivalent": "blue", "inconclusive": "yellow"}


def print_catalogue(audits: Sequence[AnyAudit], console: Console | None = None) -> None:
    """Each audit with its question and figures."""
    console = console or Console(highlight=False)
    for audit in audits:
        console.print(Text(audit.name, style="bold"), Text(audit.title), soft_wrap=True)
        for figure in audit.figures:
            console.print(Text(f"    {figure.name}: {figure.what}"), soft_wrap=True)


def print_suite(found: Mapping[str, Any], console: Console | None = None) -> None:
    """For each model its figures beside the baseline's, with the verdicts; then what failed."""
    console = console or Console(highlight=False)
    verdicts = {(one["model"], one["audit"], one["figure"]): one for one in found["verdicts"]}
    baseline = found["baseline"]
    models = [one["name"] for one in found["models"] if one["name"] != baseline]
    for model in models or [baseline]:
        title = f"{model} against {baseline}" if models and baseline else model
        console.print(Text(title, style="bold"))
        console.print(_table(found, model, baseline if models else None, verdicts), crop=False)
    for audit in found["audits"]:
        for line in _problems(audit):
            console.print(Text(line, style="yellow"), soft_wrap=True)
    for one in found.get("uncompared", ()):
        line = f"{one['audit']} of {one['model']}: not compared with {one['baseline']}: "
        console.print(Text(line + one["reason"], style="yellow"), soft_wrap=True)
    if verdicts:
        family = max(one["family"] for one in verdicts.values())
        error = f"{100 * (1 - found['level']):g} %"
        console.print(
            Text(
                f"Verdicts: at most {error} false claims in the family of {family} figures (Holm); "
                "margins were declared beforehand. Figures without a verdict are in the file."
            ),
            soft_wrap=True,
        )


def print_alarms(found: Mapping[str, Any], console: Console | None = None) -> None:
    """One line a model: how many figures regressed, and which."""
    console = console or Console(highlight=False)
    for model in dict.fromkeys(one["model"] for one in found["verdicts"]):
        mine = [one for one in found["verdicts"] if one["model"] == model]
        regressed = [one for one in mine if one["verdict"] == "regressed"]
        worse = [f"{one['audit']} {one['figure']}" for one in regressed]
        named = f": {', '.join(worse)}" if worse else ""
        line = f"Audits: {len(worse)} of {len(mine)} figures of {model} regressed{named}."
        console.print(Text(line))


def _table(
    found: Mapping[str, Any],
    model: str,
    baseline: str | None,
    verdicts: Mapping[tuple[str, str, str], Mapping[str, Any]],
) -> Table:
    """One row a figure; beside a baseline only those that have a verdict."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("figure", no_wrap=True)
    table.add_column("value", no_wrap=True)
    if baseline:
        table.add_column("baseline", justify="right", no_wrap=True)
        table.add_column("difference", no_wrap=True)
        table.add_column("verdict", no_wrap=True)
    for audit in found["audits"]:
        figures, before = (
            {one["name"]: one for one in _result(audit, name).get("figures", [])}
            for name in (model, baseline)
        )
        rows = [
            (name, figures[name], verdicts.get((model, audit["name"], name)))
            for name in (declared["name"] for declared in audit["figures"])
            if name in figures and figures[name]["estimate"] is not None
        ]
        if baseline:
            rows = [row for row in rows if row[2] is not None]
        if rows:
            table.add_row(Text(audit["name"], style="bold"))
        for name, figure, verdict in rows:
            cells = [Text(f" {name}"), Text(_value(figure))]
            if verdict is not None:
                cells += [
                    Text(_rounded(before[name]["estimate"])),
                    Text(_difference(verdict)),
                    Text(verdict["verdict"], style=COLOURS[verdict["verdict"]]),
                ]
            table.add_row(*cells)
    return table


def _problems(audit: Mapping[str, Any]) -> list[str]:
    lines = []
    for result in audit["results"]:
        where = f"{audit['name']} of {result['model']}"
        if result["status"] != "done":
            lines.append(f"{where}: {result['status']}: {result['reason']}")
            continue
        if result["failed"]:
            count, first = len(result["failed"]), next(iter(result["failed"].items()))
            lines.append(
                f"{where}: {count} of {result['items']} items failed; {first[0]}: {first[1]}"
            )
        if result["repeats"]:
            lines.append(f"{where}: {result['repeats']} exact repeats of items are left out")
    return lines


def _result(audit: Mapping[str, Any], model: str | None) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(
        (one for one in audit["results"] if one["model"] == model), {"figures": []}
    )
    return found


def _value(figure: Mapping[str, Any]) -> str:
    if figure["estimate"] is None:
        return ""
    interval = figure["interval"]
    ends = f" [{number(interval[0], 2)}, {number(interval[1], 2)}]" if interval else ""
    return f"{_rounded(figure['estimate'])}{ends}"


def _rounded(value: float) -> str:
    return number(value, 3 if abs(value) < 10 else 2)


def _difference(verdict: Mapping[str, Any]) -> str:
    interval = verdict["interval"]
    half = f" ± {number((interval[1] - interval[0]) / 2)}" if interval else ""
    return f"{number(verdict['difference'])}{half}"
