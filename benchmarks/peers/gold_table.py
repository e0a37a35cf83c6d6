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
    target_of,
    verdict,
)

from assent.stats.intervals import mean_interval

ARMS = ("ours", "theirs", "separate", "matched")
SHARE, HALF, SLACK = 0.9, 0.5, 1.1
KLS, MARGIN = (0.25, 0.5, 1.0, 1.5), 0.03
READINGS = {
    "declared": ".9 of our rise, at 1.1 times our KL",
    "half": "half of our rise, at 1.1 times our KL",
    "smaller_peak": ".9 of the smaller rise of both, at any KL",
    "any_kl": ".9 of our rise, at any KL",
    "proxy": "half of our rise in proxy, at 1.1 times our KL (added after seed 0 was seen)",
}


def ours_at(points: Sequence[Mapping[str, Any]], share: float, name: str = "gold_mean") -> Crossing:
    """Our run where it first has a share of its own rise."""
    target = target_of(points, share, name)
    if target is None:
        message = f"{name} never rose above the SFT policy's: there is nothing to compare"
        raise SystemExit(message)
    found = first_crossing(points, target, name=name)
    assert found is not None, "the peak is a point of the run"
    return found


def ratios(seeds: Sequence[Mapping[str, Any]]) -> dict[str, list[Ratio]]:
    """TRL's seconds over ours under each reading of "the same gold at the same KL", by seed."""
    found: dict[str, list[Ratio]] = {name: [] for name in READINGS}
    for seed in seeds:
        ours, peer = seed["ours"]["points"], seed["theirs"]["points"]
        found["declared"].append(seconds_ratio(ours_at(ours, SHARE), peer, slack=SLACK))
        found["half"].append(seconds_ratio(ours_at(ours, HALF), peer, slack=SLACK))
        found["any_kl"].append(seconds_ratio(ours_at(ours, SHARE), peer, slack=float("inf")))
        target = target_of(peer, SHARE)
        at = first_crossing(ours, target) if target is not None else None
        if at is None or at.level >= ours_at(ours, SHARE).level:  # ours is the smaller rise
            found["smaller_peak"].append(found["any_kl"][-1])
        else:
            found["smaller_peak"].append(seconds_ratio(at, peer, slack=float("inf")))
        proxy = ours_at(ours, HALF, "proxy_mean")
        found["proxy"].append(seconds_ratio(proxy, peer, slack=SLACK, name="proxy_mean"))
    return found


def of_matched(seeds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Ours with TRL's settings: to half of our rise over ours, and TRL's update over its."""
    halves = [ours_at(one["ours"]["points"], HALF) for one in seeds]
    to_half = [
        seconds_ratio(half, one["matched"]["points"], slack=float("inf"))
        for half, one in zip(halves, seeds, strict=True)
    ]
    updates = [
        Ratio(_an_update(one["theirs"]) / _an_update(one["matched"]), is_bound=False)
        for one in seeds
    ]
    return {
        "to_half": {"by_seed": to_half, **mean_ratio(to_half)},
        "an_update": {"by_seed": updates, **mean_ratio(updates)},
    }


def _an_update(run: Mapping[str, Any]) -> float:
    return float(run["processor_seconds"] / run["updates"])


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
    costs = [_seconds_at_end(one["separate"], one["ours"]) for one in seeds]
    found["seconds_ratio"] = mean_ratio(costs)
    crossed = []
    for one in seeds:
        ours = ours_at(one["ours"]["points"], HALF)
        crossed.append(seconds_ratio(ours, one["separate"]["points"], slack=float("inf")))
    found["to_half"] = {"by_seed": crossed, **mean_ratio(crossed)}
    return found


def _seconds_at_end(separate: Mapping[str, Any], shared: Mapping[str, Any]) -> Ratio:
    """Of as many updates of both as the separate one has made."""
    same = next(one for one in shared["points"] if one["update"] == separate["updates"])
    return Ratio(separate["processor_seconds"] / same["processor_seconds"], is_bound=False)


def summary(result: Mapping[str, Any]) -> dict[str, Any]:
    """What the seeds come to, each question over those that have its arms."""
    found: dict[str, Any] = {"readings": READINGS}
    if seeds := having(result, "ours", "theirs"):
        found["ratios"] = {
            name: {"by_seed": each, **mean_ratio(each)}
            for name, each in ratios(list(seeds.values())).items()
        }
    if seeds := having(result, "ours", "theirs", "matched"):
        found["matched"] = of_matched(list(seeds.values()))
    both = having(result, "ours", "separate").values()
    if compared := [one for one in both if _passed_a_kl(one)]:
        found["value_models"] = of_value_models(compared)
    return found


def _passed_a_kl(seed: Mapping[str, Any]) -> bool:
    """Whether both runs came as far as the first KL at which they are compared."""
    firsts = (at_kls(seed[arm]["points"], KLS[:1], "gold_mean") for arm in ("ours", "separate"))
    return all(one is not None for (one,) in firsts)


def table(result: Mapping[str, Any]) -> str:
    """A row a seed, and the means."""
    lines = [
        "| seed | gold: start, our peak, target | KL there | ours, s (updates) | TRL, s (updates) "
        "| ratio | matched, s (updates) | separate, s (updates) |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [_row(number, seed) for number, seed in having(result, "ours", "theirs").items()]
    found = result["summary"]
    lines += [
        "",
        "| TRL's seconds over ours, but for the last two rows | by seed | mean [95 %] |",
        "| --- | --- | --- |",
    ]
    rows = [(READINGS[name], one) for name, one in found.get("ratios", {}).items()]
    rows += [(_MATCHED[name], one) for name, one in found.get("matched", {}).items()]
    for title, one in rows:
        each = ", ".join(times(Ratio(*ratio)) for ratio in one["by_seed"])
        lines.append(f"| {title} | {each} | {_mean(one)} |")
    if "value_models" in found:
        lines += ["", *_value_rows(found["value_models"])]
    return "\n".join(lines) + "\n"


_MATCHED = {
    "to_half": "ours with TRL's settings, over ours, to half of our rise at any KL",
    "an_update": "TRL's update over ours with TRL's settings",
}


def _row(number: str, seed: Mapping[str, Any]) -> str:
    points = seed["ours"]["points"]
    at = ours_at(points, SHARE)
    took = [
        _took(first_crossing(seed[arm]["points"], at.level, SLACK * at.kl_nats), seed[arm])
        if arm in seed
        else "-"
        for arm in ("theirs", "matched", "separate")
    ]
    ratio = times(seconds_ratio(at, seed["theirs"]["points"], slack=SLACK))
    golds = [one["gold_mean"] for one in points]
    cells = (
        number,
        f"{golds[0]:.3f}, {max(golds):.3f}, {at.level:.3f}",
        f"{at.kl_nats:.2f}",
        f"{at.seconds:.1f} ({at.updates:.1f})",
        took[0],
        ratio,
        *took[1:],
    )
    return "| " + " | ".join(cells) + " |"


def _value_rows(values: Mapping[str, Any]) -> list[str]:
    lines = ["| separate less shared, at equal KL | by seed | mean [95 %] |", "| --- | --- | --- |"]
    for name, title in (("gold_mean", "gold"), ("proxy_mean", "proxy")):
        each = ", ".join(f"{one:+.3f}" for one in values["by_seed"][name])
        spread = ""
        if "interval" in values[name]:
            spread = " [{:+.3f}, {:+.3f}]".format(*values[name]["interval"])
        lines.append(f"| {title} | {each} | {values[name]['mean']:+.3f}{spread} |")
    lines += [
        "",
        f"Gold, at a margin of {MARGIN}: {values.get('verdict', 'one seed')}. Seconds of as many "
        f"updates, separate over shared: {_mean(values['seconds_ratio'])}; to half of the "
        f"rise, at any KL: {_mean(values['to_half'])}.",
    ]
    return lines


def having(result: Mapping[str, Any], *arms: str) -> dict[str, Any]:
    """The seeds that have these arms."""
    seeds = result["seeds"]
    return {n: seeds[n] for n in sorted(seeds, key=int) if all(arm in seeds[n] for arm in arms)}


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
