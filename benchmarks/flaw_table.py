"""The flaw x audit table from what `flaw_audits.py` wrote.

    python benchmarks/flaw_table.py docs/experiments/flaw_audits.json OUT.json [OUT.json ...]

Keeps of each run what the table says, in the first file, and prints the table for
docs/explanation/flaws-and-audits.md. A row *appeared* where it did in more than half of the seeds,
is *contrary* where the opposite verdict came in more than half, and else *absent*; how often each
was seen stands beside it, and the mean difference over seeds with Student's interval: a verdict is
about two policies, and only several pairs of them are about their judges. A judge that no seed has
is *not run*.
"""

import argparse
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from assent.config.files import write_file
from assent.stats.intervals import mean_interval

AGAIN: Final = "sober-again"
MOVED: Final = ("improved", "regressed")
SAID: Final = {
    "improved": " better", "regressed": " worse", "equivalent": " same", "inconclusive": "",
}  # fmt: skip


def compact(files: Sequence[Path]) -> dict[str, Any]:
    """What the table needs of each file, seeds put together."""
    read = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    seeds = {
        seed: {judge: _kept(found) for judge, found in judges.items()}
        for one in read
        for seed, judges in one["seeds"].items()
    }
    return {
        **{name: read[0][name] for name in ("machine", "versions", "declared", "quick")},
        "commits": sorted({one["commit"] for one in read}),
        "seeds": dict(sorted(seeds.items())),
    }


def _kept(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "outcomes": found["outcomes"],
        "verdicts": {
            f"{one['audit']}/{one['figure']}": {
                "verdict": one["verdict"],
                "difference": round(one["difference"], 4),
                "interval": one["interval"] and [round(end, 4) for end in one["interval"]],
            }
            for one in found["verdicts"]
        },
        "own": found["own"],
        "sober": found["sober"],
    }


def rows(kept: Mapping[str, Any]) -> list[list[str]]:
    """One row a declared effect, as the heading of the table has it."""
    found = []
    for judge, declared in kept["declared"].items():
        runs = [judges[judge] for judges in kept["seeds"].values() if judge in judges]
        for figure, wanted in declared.items():
            words = Counter(run["outcomes"][figure].split(" ")[0] for run in runs)
            said = [word for word in ("appeared", "contrary") if 2 * words[word] > len(runs)]
            word = said[0] if said else "absent" if runs else "not run"
            counts = ", ".join(f"{count} {word}" for word, count in sorted(words.items()))
            shown = ", ".join(_shown(run, figure) for run in runs)
            control = ", ".join(
                _shown(judges[AGAIN], figure)
                for judges in kept["seeds"].values()
                if AGAIN in judges
            )
            found.append(
                [f"`{judge}`", f"`{figure}`", wanted, word, counts, _mean(runs, figure), shown,
                 control]
            )  # fmt: skip
    return found


def undeclared(kept: Mapping[str, Any]) -> list[str]:
    """What moved in more than half of the seeds the same way though nothing was declared of it."""
    found = []
    for judge in (*kept["declared"], AGAIN):
        runs = [judges[judge] for judges in kept["seeds"].values() if judge in judges]
        moved = Counter(
            (figure, one["verdict"])
            for run in runs
            for figure, one in run["verdicts"].items()
            if one["verdict"] in MOVED and figure not in kept["declared"].get(judge, {})
        )
        often = [
            f"`{figure}` {word} ({count})"
            for (figure, word), count in moved.most_common()
            if 2 * count > len(runs)
        ]
        if often:
            found.append(f"`{judge}` ({len(runs)} seeds): {', '.join(often)}")
    return found


def control(kept: Mapping[str, Any]) -> Counter[str]:
    """Verdicts between two policies of the sober judge, over all figures and seeds."""
    return Counter(
        one["verdict"]
        for judges in kept["seeds"].values()
        for one in judges.get(AGAIN, {"verdicts": {}})["verdicts"].values()
    )


def as_markdown(kept: Mapping[str, Any]) -> str:
    """The table; differences seed by seed, with a word where the verdict was beyond doubt."""
    lines = [
        "| judge | figure | declared | what came | seeds | mean difference | by seed "
        "| sober again |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        *(f"| {' | '.join(row)} |" for row in rows(kept)),
    ]
    return "\n".join(lines)


def _mean(runs: Sequence[Mapping[str, Any]], figure: str) -> str:
    """Over seeds, with its 95 % interval; nothing for a figure of which there is no difference."""
    found = [run["verdicts"][figure]["difference"] for run in runs if figure in run["verdicts"]]
    if len(found) < 2:
        return ""
    low, high = mean_interval(found)
    return f"{sum(found) / len(found):+.2f} [{low:+.2f}, {high:+.2f}]"


def _shown(run: Mapping[str, Any], figure: str) -> str:
    if figure in run["verdicts"]:
        one = run["verdicts"][figure]
        return f"{one['difference']:+.2f}{SAID[one['verdict']]}"
    ours, theirs = (run[name].get(figure.partition("/")[2]) for name in ("own", "sober"))
    if not ours:
        return "none"
    against = f"/[{theirs[0]:.2f},{theirs[1]:.2f}]" if theirs else ""
    return f"[{ours[0]:.2f},{ours[1]:.2f}]{against}"


def main() -> None:
    """Write what is kept, print the table and what else moved."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("kept", type=Path)
    parser.add_argument("files", type=Path, nargs="+")
    given = parser.parse_args()
    kept = compact(given.files)
    write_file(given.kept, json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    again = [judges[AGAIN] for judges in kept["seeds"].values() if AGAIN in judges]
    figures = sorted({figure for run in again for figure in run["verdicts"]})
    means = [f"{AGAIN} `{figure}`: {_mean(again, figure)}" for figure in figures]
    parts = [as_markdown(kept), *undeclared(kept), f"{AGAIN}: {dict(control(kept))}", *means]
    print("\n\n".join(parts))  # noqa: T201


if __name__ == "__main__":
    main()
