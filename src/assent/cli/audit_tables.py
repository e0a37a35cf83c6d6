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
        console.print(Text(audit.name, style="bold"), Text(audit.title))
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
    if verdicts:
        family = max(one["family"] for one in verdicts.values())
        error = f"{100 * (1 - found['level']):g} %"
        console.print(
            Text(
                f"Verdicts: at most {error} false claims in the family of {family} figures (Holm); "
                "margins were declared beforehand."
            ),
            soft_wrap=True,
        )


def _table(
    found: Mapping[str, Any],
    model: str,
    baseline: str | None,
    verdicts: Mapping[tuple[str, str, str], Mapping[str, Any]],
) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("figure")
    table.add_column("value", justify="right")
    if baseline:
        table.add_column("baseline", justify="right")
        table.add_column("difference", justify="right")
        table.add_column("verdict")
    for audit in found["audits"]:
        figures, before = (
            {one["name"]: one for one in _result(audit, name).get("figures", [])}
            for name in (model, baseline)
        )
        for declared in audit["figures"]:
            name = declared["name"]
            if name not in figures or figures[name]["estimate"] is None:
                continue
            cells = [f"{audit['name']} {name}", _value(figures[name])]
            word = Text("")
            if baseline:
                verdict = verdicts.get((model, audit["name"], name))
                cells += [_value(before[name]) if name in before else "", _difference(verdict)]
                word = _word(verdict)
            table.add_row(*[Text(cell) for cell in cells], *([word] if baseline else []))
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
    return f"{number(figure['estimate'], 3)}{ends}"


def _difference(verdict: Mapping[str, Any] | None) -> str:
    if verdict is None:
        return ""
    interval = verdict["interval"]
    half = f" ± {number((interval[1] - interval[0]) / 2, 3)}" if interval else ""
    return f"{number(verdict['difference'], 3)}{half}"


def _word(verdict: Mapping[str, Any] | None) -> Text:
    if verdict is None:
        return Text("")
    return Text(verdict["verdict"], style=COLOURS[verdict["verdict"]])
