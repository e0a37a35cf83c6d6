"""Gold from people: whether they still prefer the newest policy to the one before it.

Before a round begins, people compare responses of the two on validation prompts. No reward model
learns from these judgements, so they say whether the last round's reward was what people want.
"""

from dataclasses import dataclass

from assent.collect.sources import GOLD, comparison_tasks
from assent.config.project import ProjectSettings
from assent.rounds.ground import Waiting
from assent.rounds.promotion import compare, standing_verdicts
from assent.rounds.workspace import Workspace
from assent.stats.intervals import wilson
from assent.store import ModelVersion, Project, Store, StoredPrompt


@dataclass(frozen=True, slots=True)
class Held:
    """How the comparisons after a round stand."""

    asked: int
    """Different pairs, each to be judged once at least."""
    judged: int
    wins: float
    """Of the newer policy, a tie one half, several judgements of a pair averaged."""


def ask_after(
    workspace: Workspace,
    number: int,
    newer: ModelVersion,
    older: ModelVersion,
    prompts: list[StoredPrompt],
) -> None:
    """Have people compare the policy of a round with the one before it; drawn once."""
    count = workspace.settings.loop.gold_comparisons
    store, purpose = workspace.project.store, purpose_of(number)
    if not store.comparisons(purpose=f"{purpose}/{newer.name}"):
        compare(workspace, newer, older, prompts, purpose, count, 0)
    comparison_tasks(
        store,
        workspace.settings.labelling,
        seed=workspace.seed,
        round_number=0,
        purpose=f"{purpose}/{newer.name}",
    )


def purpose_of(number: int) -> str:
    """The purpose of the comparisons after a round, but for the policy's name."""
    return f"{GOLD}-after-round-{number}"


def stands(store: Store, number: int) -> Held:
    """The comparisons after a round that show two different texts."""
    verdicts = standing_verdicts(store)
    pairs = [
        one
        for one in store.comparisons()
        if one.purpose.startswith(f"{purpose_of(number)}/")
        and one.first.split() != one.second.split()
    ]
    said = [verdicts[one.id] for one in pairs if one.id in verdicts]
    return Held(len(pairs), len(said), sum(sum(found) / len(found) for found in said))


def waits(project: Project, number: int) -> Waiting | None:
    """What the round of that number waits for, if the comparisons before it are not all judged."""
    held = stands(project.store, number - 1)
    if held.judged >= held.asked:
        return None
    root = project.root
    return Waiting(
        round=number,
        judgements=held.judged,
        wanted=held.asked,
        open=held.asked - held.judged,
        ways=(f"assent serve {root}", f"assent loop run {root}"),
    )


def reason_to_halt(store: Store, settings: ProjectSettings, number: int) -> str | None:
    """Why the loop should end after a round: people prefer the policy before it, beyond doubt.

    The win rate's Wilson interval lies below one half, at a level corrected over the looks that
    the loop takes, one between two rounds.
    """
    held = stands(store, number)
    looks = max(settings.loop.rounds - 1, 1)
    if not held.judged:
        return None
    interval = wilson(held.wins, held.judged, level=1 - (1 - settings.audits.level) / looks)
    if interval.high >= 0.5:
        return None
    return (
        f"people prefer the policy before it on held-out prompts: its win rate is "
        f"{held.wins / held.judged:.3f} [{interval.low:.3f}, {interval.high:.3f}] over "
        f"{held.judged} comparisons"
    )
