"""What the runs that gold.py made come to: ratios of seconds, value models, and their table."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from crossings import (
    Crossing,
    Ratio,
    at_kls,
    first_crossing,
    mean_ratio,
    seconds_ratio,
    target_gold,
    verdict,
)

from assent.stats.intervals import mean_interval

ARMS = ("ours", "theirs", "separate")
SHARE, SLACK = 0.9, 1.1
KLS, MARGIN = (0.25, 0.5, 1.0, 1.5), 0.03
READINGS = {
    "declared": ".9 of our rise, at 1.1 times our KL",
    "half": "half of our rise, at 1.1 times our KL",
    "smaller_peak": ".9 of the smaller rise of both, at any KL",
    "any_kl": ".9 of our rise, at any KL",
}


def ours_at(points: Sequence[Mapping[str, Any]], share: float) -> Crossing:
    """Our run where it first has a share of its own rise."""
    target = target_gold(points, share)
    if target is None:
        message = "gold never rose above the SFT policy's: there is nothing to compare"
        raise SystemExit(message)
    found = first_crossing(points, target)
    assert found is not None, "the peak is a point of the run"
    return found


def ratios(seeds: Sequence[Mapping[str, Any]]) -> dict[str, list[Ratio]]:
    """TRL's seconds over ours under each reading of "the same gold at the same KL", by seed."""
    found: dict[str, list[Ratio]] = {name: [] for name in READINGS}
    for seed in seeds:
        ours, peer = seed["ours"]["points"], seed["theirs"]["points"]
        found["declared"].append(seconds_ratio(ours_at(ours, SHARE), peer, slack=SLACK))
        found["half"].append(seconds_ratio(ours_at(ours, 0.5), peer, slack=SLACK))
        found["any_kl"].append(seconds_ratio(ours_at(ours, SHARE), peer, slack=float("inf")))
        smaller = min((target_gold(points, SHARE) or float("-inf")) for points in (ours, peer))
        at = first_crossing(ours, smaller)
        assert at is not None, "our peak is no lower"
        found["smaller_peak"].append(seconds_ratio(at, peer, slack=float("inf")))
    return found


def of_value_models(seeds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Separate less shared at equal KL, paired over seeds, and what each took."""
    differences = {name: [] for name in ("gold_mean", "proxy_mean")}  # type: ignore[var-annotated]
    for seed in seeds:
        for name, into in differences.items():
            both = zip(
                at_kls(seed["separate"]["points"], KLS, name),
                at_kls(seed["ours"]["points"], KLS, name),
                strict=True,
            )
            pairs = [a - b for a, b in both if a is not None and b is not None]
            into.append(statistics.mean(pairs))
    found: dict[str, Any] = {"kls_nats": KLS, "margin": MARGIN, "by_seed": differences}
    for name, values in differences.items():
        found[name] = {"mean": statistics.mean(values)}
        if len(values) > 1:
            found[name]["interval"] = list(mean_interval(values))
    if len(seeds) > 1:
        found["verdict"] = verdict(*found["gold_mean"]["interval"], MARGIN)
    costs = [one["separate"]["processor_seconds"] / one["ours"]["processor_seconds"]
             for one in seeds]  # fmt: skip
    found["seconds_ratio"] = mean_ratio([Ratio(one, is_bound=False) for one in costs])
    crossed = []
    for one in seeds:
        ours = ours_at(one["ours"]["points"], SHARE)
        crossed.append(seconds_ratio(ours, one["separate"]["points"], slack=SLACK))
    found["to_our_target"] = {"by_seed": crossed, **mean_ratio(crossed)}
    return found


def summary(seeds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the finished seeds come to."""
    return {
        "readings": READINGS,
        "ratios": {
            name: {"by_seed": each, **mean_ratio(each)} for name, each in ratios(seeds).items()
        },
        "value_models": of_value_models(seeds),
    }


def table(result: Mapping[str, Any]) -> str:
    """A row a seed, and the means."""
    lines = [
        "| seed | gold: start, our peak, target | KL there | ours, s (updates) | TRL, s (updates) "
        "| ratio | separate, s (updates) |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for number, seed in finished(result).items():
        points = seed["ours"]["points"]
        at = ours_at(points, SHARE)
        peer = first_crossing(seed["theirs"]["points"], at.gold, SLACK * at.kl_nats)
        apart = first_crossing(seed["separate"]["points"], at.gold, SLACK * at.kl_nats)
        ratio = seconds_ratio(at, seed["theirs"]["points"], slack=SLACK)
        golds = [one["gold_mean"] for one in points]
        lines.append(
            f"| {number} | {golds[0]:.3f}, {max(golds):.3f}, {at.gold:.3f} | {at.kl_nats:.2f} "
            f"| {at.seconds:.1f} ({at.updates:.1f}) | {_took(peer, seed['theirs'])} "
            f"| {times(ratio)} | {_took(apart, seed['separate'])} |"
        )
    found = result["summary"]
    lines += ["", "| TRL's seconds over ours | by seed | mean [95 %] |", "| --- | --- | --- |"]
    for name, title in READINGS.items():
        one = found["ratios"][name]
        each = ", ".join(times(Ratio(*ratio)) for ratio in one["by_seed"])
        lines.append(f"| {title} | {each} | {_mean(one)} |")
    values = found["value_models"]
    lines += ["", "| separate less shared, at equal KL | by seed | mean [95 %] |"]
    lines += ["| --- | --- | --- |"]
    for name, title in (("gold_mean", "gold"), ("proxy_mean", "proxy")):
        each = ", ".join(f"{one:+.3f}" for one in values["by_seed"][name])
        spread = ""
        if "interval" in values[name]:
            spread = " [{:+.3f}, {:+.3f}]".format(*values[name]["interval"])
        lines.append(f"| {title} | {each} | {values[name]['mean']:+.3f}{spread} |")
    lines += [
        "",
        f"Gold, at a margin of {MARGIN}: {values.get('verdict', 'one seed')}. Seconds of a whole "
        f"run, separate over shared: {_mean(values['seconds_ratio'])}; to our target: "
        f"{_mean(values['to_our_target'])}.",
    ]
    return "\n".join(lines) + "\n"


def finished(result: Mapping[str, Any]) -> dict[str, Any]:
    """The seeds that have all arms."""
    seeds = result["seeds"]
    return {n: seeds[n] for n in sorted(seeds, key=int) if all(arm in seeds[n] for arm in ARMS)}


def _took(found: Crossing | None, run: Mapping[str, Any]) -> str:
    if found is None:
        return f"> {run['processor_seconds']:.1f} ({run['updates']})"
    return f"{found.seconds:.1f} ({found.updates:.1f})"


def times(ratio: Ratio) -> str:
    """A ratio as it is shown."""
    return f"{'> ' if ratio.is_bound else ''}{ratio.value:.2f}"


def _mean(found: Mapping[str, Any]) -> str:
    spread = " [{:.2f}, {:.2f}]".format(*found["interval"]) if found["interval"] else ""
    return f"{'> ' if found['is_bound'] else ''}{found['mean']:.2f}{spread}"
