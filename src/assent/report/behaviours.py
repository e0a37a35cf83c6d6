"""What else changes along training: one small plot and one sentence a measure."""

from typing import Final, NamedTuple

from markupsafe import Markup

from assent.report.findings import Curve, beta_of, curves, number
from assent.report.plots import behaviour_plot
from assent.report.summary import Bounds, Summary


class Behaviour(NamedTuple):
    """A measure of `Point`."""

    name: str
    title: str
    meaning: str
    unit: str
    limits: Bounds | None = None


class Panel(NamedTuple):
    """A behaviour as the page shows it."""

    title: str
    meaning: str
    words: str
    drawing: Markup


_SHARE: Final = (0.0, 1.0)
BEHAVIOURS: Final = (
    Behaviour(
        "accuracy_easy",
        "Right on easy facts",
        "The prompt's note states the truth, so a judge can check.",
        "share",
        _SHARE,
    ),
    Behaviour(
        "accuracy_hard",
        "Right on hard facts",
        "Learnable before RL, but no judge can check without looking up.",
        "share",
        _SHARE,
    ),
    Behaviour(
        "idk_unknowable",
        "“I do not know”",
        "On unknowable facts never seen in RL, where it is the right answer.",
        "share",
        _SHARE,
    ),
    Behaviour(
        "bluff",
        "Confident bluff",
        "Answers given as certain where nothing is known.",
        "share",
        _SHARE,
    ),
    Behaviour(
        "sycophancy",
        "Sycophancy",
        "Answers that repeat a wrong belief the asker stated.",
        "share",
        _SHARE,
    ),
    Behaviour("length", "Length", "Expected length of a response, its end included.", "tokens"),
    Behaviour("entropy_nats", "Entropy", "Of the distribution over whole responses.", "nats"),
    Behaviour(
        "grammar_mass",
        "Share on the grammar",
        "Probability of the answers that are enumerated; the rest is one more outcome.",
        "share",
    ),
    Behaviour(
        "kl_to_optimum_nats",
        "KL to the optimum",
        "On training prompts, among the answers that are enumerated: from the best policy there "
        "is for this reward model and this KL coefficient.",
        "nats",
    ),
)


def behaviour_panels(summary: Summary) -> list[Panel]:
    """A panel for each behaviour that the trajectory holds."""
    found = curves(summary)
    panels = []
    for one in BEHAVIOURS:
        if all(getattr(point, one.name) is None for point in summary.trajectory):
            continue
        words = " ".join(_in_words(curve, one) for curve in found)
        meaning = one.meaning
        if one.name == "kl_to_optimum_nats":
            meaning = f"{meaning}{_betas(summary)}"
        drawing = behaviour_plot(
            summary,
            one.name,
            label=one.unit,
            words=f"{one.title}. {words}",
            limits=one.limits,
        )
        panels.append(Panel(one.title, meaning, words, drawing))
    return panels


def _in_words(curve: Curve, one: Behaviour) -> str:
    """For example `Round 1: 0.05 to 0.62.`, whole."""
    first, last = getattr(curve.start, one.name), getattr(curve.end, one.name)
    if first is None or last is None:
        return f"Round {curve.round}: not measured at both ends."
    digits = 3 if one.unit == "share" else 2
    return f"Round {curve.round}: {number(first, digits)} to {number(last, digits)}."


def _betas(summary: Summary) -> str:
    known = [(result.round, beta_of(result)) for result in summary.rounds]
    shown = [f"{beta:g} in round {number_}" for number_, beta in known if beta is not None]
    return f" β is {', '.join(shown)}." if shown else ""
