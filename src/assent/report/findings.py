"""What the figures of a summary say, in sentences and marks that page and terminal share."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from assent.report.summary import Bounds, Choice, Fall, Point, RoundResult, Summary, Waiting

PEAK, END, PROMOTED = "peak", "end", "promoted"


@dataclass(frozen=True, slots=True)
class Curve:
    """The points of one round, in order of steps; there is at least one."""

    round: int
    points: tuple[Point, ...]

    @property
    def start(self) -> Point:
        """Before the first step of the round."""
        return self.points[0]

    @property
    def end(self) -> Point:
        """After the last step of the round."""
        return self.points[-1]

    @property
    def peak(self) -> Point | None:
        """Where the mean of gold is highest over all prompts; None without gold.

        It is high partly by luck: how far gold falls from there is `Summary.fall`, not a difference
        of two points of this curve.
        """
        known = [(point.gold_mean, point) for point in self.points if point.gold_mean is not None]
        return max(known, key=lambda pair: pair[0])[1] if known else None


def curves(summary: Summary) -> list[Curve]:
    """The trajectory by rounds."""
    rounds = sorted({point.round for point in summary.trajectory})
    return [
        Curve(number, tuple(p for p in summary.trajectory if p.round == number))
        for number in rounds
    ]


def marks(summary: Summary, curve: Curve) -> dict[int, list[str]]:
    """Which steps of a round are its peak, its end and the promoted checkpoint."""
    found: dict[int, list[str]] = {}
    if curve.peak is not None:
        found.setdefault(curve.peak.step, []).append(PEAK)
    found.setdefault(curve.end.step, []).append(END)
    chosen = summary.promoted
    if chosen is not None and chosen.round == curve.round:
        found.setdefault(chosen.step, []).append(PROMOTED)
    return found


def number(value: float, digits: int = 2) -> str:
    """A figure with so many decimals, and zero without a sign."""
    return f"{round(value, digits) + 0.0:.{digits}f}"


def interval(ci: Bounds | None, digits: int = 2) -> str:
    """` [0.10, 0.20]`, or nothing."""
    return "" if ci is None else f" [{number(ci[0], digits)}, {number(ci[1], digits)}]"


def duration(seconds: float) -> str:
    """`41 s`, `4 min 05 s` or `1 h 02 min`."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def headline(summary: Summary) -> str:
    """What the learned reward did, what gold did, and whether a fall of gold is established."""
    chosen = _headline_curve(summary)
    if chosen is None and summary.waiting is not None:
        return waiting_sentence(summary.waiting)
    if chosen is None:
        return "No policy has been trained against a learned reward yet."
    several = len({point.round for point in summary.trajectory}) > 1
    opening = f"In round {chosen.round} the learned reward" if several else "The learned reward"
    opening = f"{opening} {_went(chosen.start.proxy_mean, chosen.end.proxy_mean)}"
    if chosen.peak is None:
        return (
            f"{opening} over {number(chosen.end.kl_nats)} nats of KL; no truth is known here, so "
            "nothing says whether quality went with it."
        )
    return f"{opening} while gold {_gold_went(chosen, summary.fall)}."


def waiting_sentence(waiting: Waiting) -> str:
    """How many judgements are there, how many are missing, and how to give them."""
    ways = " or ".join(f"`{way}`" for way in waiting.ways[:-1])
    how = f" Give them with {ways}, then go on with `{waiting.ways[-1]}`." if ways else ""
    return (
        f"Round {waiting.round} waits for judgements of people: {waiting.judgements} of "
        f"{waiting.wanted} are there; {waiting.open} comparisons are open.{how}"
    )


def _headline_curve(summary: Summary) -> Curve | None:
    """The round in which the fall was measured, otherwise the last."""
    by_round = {curve.round: curve for curve in curves(summary)}
    if summary.fall is not None and summary.fall.round in by_round:
        return by_round[summary.fall.round]
    return by_round[max(by_round)] if by_round else None


def _went(before: float, after: float) -> str:
    first, last = number(before), number(after)
    if first == last:
        return f"stayed at {first}"
    return f"{'rose' if after > before else 'fell'} from {first} to {last}"


def _gold_went(curve: Curve, fall: Fall | None) -> str:
    start, peak, end = (p.gold_mean if p else None for p in (curve.start, curve.peak, curve.end))
    if start is None or peak is None or end is None or curve.peak is None:
        return "was not measured at both ends"
    if fall is not None and _is_established(fall):
        if curve.peak is curve.start:
            return f"fell from its highest, {number(peak)} at the start, to {number(end)}"
        kl = f"KL {number(curve.peak.kl_nats)} nats"
        return f"peaked at {number(peak)} ({kl}) and fell to {number(end)}"
    if curve.peak is curve.end:
        return f"{_went(start, end)}, its highest point"
    doubt = (
        "whether it fell from its peak was not measured"
        if fall is None
        else f"no fall from its peak is established ({_why_not(fall)})"
    )
    return f"went from {number(start)} to {number(end)}; {doubt}"


def _is_established(fall: Fall) -> bool:
    return fall.ci[0] > 0


def _why_not(fall: Fall) -> str:
    shown = f"{number(fall.gold_fall, 3)}{interval(fall.ci, 3)}"
    if fall.ci[1] < 0:
        return f"{shown}: gold ends higher than where the other prompts put its peak"
    return f"{shown}: the interval includes zero"


def fall_sentence(summary: Summary) -> str:
    """How far gold fell, how sure that is, and how it was measured."""
    fall = summary.fall
    if fall is None:
        return "How far gold fell from its peak was not measured."
    where = f" in round {fall.round}" if fall.round is not None else ""
    if _is_established(fall):
        verdict = f"Gold fell by {number(fall.gold_fall, 3)}{interval(fall.ci, 3)}{where}."
    else:
        verdict = f"No fall of gold is established{where}: {_why_not(fall)}."
    located = [
        f"round {summary.trajectory[index].round}, step {summary.trajectory[index].step}"
        for index in dict.fromkeys(fall.peaks or ())
        if index < len(summary.trajectory)
    ]
    sentences = [
        verdict,
        "The peak is located on one half of the prompts and the fall from it measured on the other "
        "half, both ways round: the highest of many noisy points is high partly by luck.",
        f"The halves put the peak at {' and '.join(located)}." if located else "",
        f"Prompts: {fall.n}." if fall.n is not None else "",
        _sentence(fall.method) if fall.method else "",
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def stop_sentences(summary: Summary) -> list[str]:
    """For each round that was ended early, why."""
    return [
        _sentence(f"Round {result.round} was stopped: {result.stopped}")
        for result in summary.rounds
        if result.stopped
    ]


def curve_in_words(curve: Curve) -> str:
    """What the plot of a round shows, for whoever cannot see it."""
    start, peak, end = curve.start, curve.peak, curve.end
    words = (
        f"Round {curve.round}: from KL {number(start.kl_nats)} to {number(end.kl_nats)} nats the "
        f"learned reward {_went(start.proxy_mean, end.proxy_mean)}"
    )
    if peak is None or peak.gold_mean is None:
        return f"{words}."
    first, last = (
        "not measured" if point.gold_mean is None else number(point.gold_mean, 3)
        for point in (start, end)
    )
    return (
        f"{words}; gold is {first} at the start, highest at {number(peak.gold_mean, 3)} (step "
        f"{peak.step}, KL {number(peak.kl_nats)} nats) and {last} at the end (step {end.step})."
    )


def baseline_sentences(summary: Summary) -> list[str]:
    """For each round, whether the reward model is above the best rule that does not read."""
    found = []
    for result in summary.rounds:
        model = result.reward_model
        if model is None or model.accuracy is None or not model.baselines:
            continue
        name, best = max(model.baselines.items(), key=lambda item: item[1].accuracy)
        shown = f"the best baseline, {name} ({number(best.accuracy, 3)})"
        if model.ci is not None and model.ci[0] > best.accuracy:
            verdict = f"lies with its whole interval above {shown}"
        elif model.accuracy > best.accuracy:
            verdict = f"lies above {shown}, but its interval reaches down to it"
        else:
            verdict = f"is no better than {shown}: it has learned no more than that rule"
        found.append(
            f"Round {result.round}: the reward model ({number(model.accuracy, 3)}) {verdict}."
        )
    return found


def promotion_sentence(summary: Summary) -> str:
    """What was promoted, by how much looking, and what gold says of it."""
    chosen = summary.promoted
    if chosen is None:
        return "No checkpoint has been promoted yet."
    counts = [
        f"{value} {what}"
        for value, what in (
            (chosen.comparisons, "held-out comparisons"),
            (chosen.lookups, "look-ups"),
        )
        if value
    ]
    means = f" by {' and '.join(counts)}" if counts else ""
    sentence = f"Promoted{means}: round {chosen.round}, step {chosen.step}"
    others = [
        f"{name} {number(one.gold_mean, 3)}"
        for name, one in (
            ("the last checkpoint", summary.last),
            ("the choice without look-ups", summary.promoted_without_lookup),
        )
        if one is not None and one.gold_mean is not None
    ]
    if chosen.gold_mean is None:
        by = f", {chosen.rule}" if chosen.rule else ""
        return f"{sentence}{by}."
    beside = f"; {', '.join(others)}" if others else ""
    return f"{sentence}, gold {number(chosen.gold_mean, 3)}{interval(chosen.gold_ci, 3)}{beside}."


def choices(summary: Summary) -> Iterator[tuple[str, Choice]]:
    """The choices to hold side by side, each with its name."""
    named = (
        ("promoted, the judge may look facts up", summary.promoted),
        ("the last checkpoint", summary.last),
        ("promoted without look-ups", summary.promoted_without_lookup),
    )
    yield from ((name, choice) for name, choice in named if choice is not None)


def beta_of(result: RoundResult) -> float | None:
    """The KL coefficient of a round, in reward units per nat."""
    return result.policy.beta if result.policy else None


def root_kl(point: Point) -> float:
    """Square root of KL; an estimate below zero counts as zero."""
    return math.sqrt(max(point.kl_nats, 0.0))


def _sentence(text: str) -> str:
    text = text.strip()
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."
