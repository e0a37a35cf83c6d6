"""Raw agreement between people, from the tasks that several of them answered."""

from itertools import combinations
from typing import Any, Final

from assent.stats.intervals import bootstrap_mean
from assent.store import TaskKind
from assent.web.state import Server

VERDICTS: Final = ("first", "second", "tie", "both_bad", "cannot_judge")
Json = dict[str, Any]
Ratings = dict[str, dict[str, float]]
"""Unit to annotator to a number; units of one task share the part before the first NUL."""


def agreement(server: Server) -> Json:
    """Raw agreement, kind by kind, over tasks that several people answered."""

    def count() -> Json:
        return {
            "kinds": [
                _agreement("comparison", _verdicts(server)),
                _agreement("ranking", _orders(server)),
                _agreement("rating", _values(server)),
            ],
            "note": (
                "Share of pairs of answers that say the same, over tasks with more than one answer "
                "that counts; the interval is over tasks. A ranking is compared pair of responses "
                "by pair, a rating axis by axis. Chance agreement is not taken off."
            ),
        }

    return server.counted("agreement", count)


def _agreement(kind: TaskKind, said: Ratings) -> Json:
    """Pairs of answers that are the same; the interval resamples whole tasks."""
    same: list[float] = []
    tasks: list[str] = []
    for name, unit in said.items():
        for one, other in combinations(unit.values(), 2):
            same.append(float(one == other))
            tasks.append(name.partition("\x00")[0])
    clusters = len(set(tasks))
    interval = None
    if clusters > 1:
        interval = [float(end) for end in bootstrap_mean(same, tasks, resamples=2_000)]
    return {
        "kind": kind,
        "tasks": clusters,
        "pairs": len(same),
        "agree": int(sum(same)),
        "rate": sum(same) / len(same) if same else None,
        "interval": interval,
    }


def _verdicts(server: Server) -> Ratings:
    said: Ratings = {}
    for task, annotator, payload in server.store.tallies.overlapping("comparison"):
        said.setdefault(task, {})[annotator] = float(VERDICTS.index(payload["verdict"]))
    return said


def _orders(server: Server) -> Ratings:
    """For each pair of responses of a ranking: 1, -1, or 0 for a tie."""
    said: Ratings = {}
    for task, annotator, payload in server.store.tallies.overlapping("ranking"):
        ranks = sorted(payload["ranks"].items())
        for place, (one, rank) in enumerate(ranks):
            for other, against in ranks[place + 1 :]:
                value = float((rank < against) - (rank > against))
                said.setdefault(f"{task}\x00{one}\x00{other}", {})[annotator] = value
    return said


def _values(server: Server) -> Ratings:
    said: Ratings = {}
    for task, annotator, payload in server.store.tallies.overlapping("rating"):
        for name, value in payload["axes"].items():
            said.setdefault(f"{task}\x00{name}", {})[annotator] = float(value)
    return said
