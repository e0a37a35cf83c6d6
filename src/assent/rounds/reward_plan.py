"""The schedule of a reward model before it starts, by its objective and its number of members."""

from typing import NamedTuple

from assent.config.reward import RewardSettings
from assent.store import Store
from assent.training.footprint import Work

_KWISE = ("rankings", "plackett_luce", "pick_best")
_TAKES_TIES = ("davidson", "ordinal")


class RewardPlan(NamedTuple):
    """What is learned from, how long, and in how large passes."""

    work: Work
    schedule: dict[str, int]
    notes: list[str]


def reward_plan(
    store: Store, settings: RewardSettings, judgements: int, longest: int
) -> RewardPlan:
    """The plan of one reward stage.

    Args:
        store: for its ratings and its rankings.
        settings: of the reward model.
        judgements: that will stand when it starts.
        longest: tokens of the longest prompt with its response.
    """
    learned = settings.objective
    said = len(store.ratings()) if learned == "ratings" else judgements
    texts = 1 if learned == "ratings" else _widest(store) if learned in _KWISE else 2
    elements = round(said * (1 - settings.held_out_share))
    rows = min(settings.micro_batch_size or settings.batch_size, max(elements, 1))
    members = settings.ensemble.members if settings.ensemble else 1
    work = Work(
        rows=texts * rows,
        tokens=min(settings.max_tokens, longest),
        scored=0,
        bfloat16=settings.precision == "bfloat16",
        checkpointing=settings.gradient_checkpointing,
    )
    schedule = {
        "judgements": judgements,
        ("ratings_about" if learned == "ratings" else "pairs_about"): elements,
        "epochs": settings.epochs,
        "batch_size": settings.batch_size,
        "optimiser_steps": members * settings.epochs * -(-elements // settings.batch_size),
        "passes_per_step": -(-settings.batch_size // rows),
        "tokens_at_most": members * texts * settings.epochs * elements * work.tokens,
    }
    if members > 1:
        schedule["members"] = members
    notes = []
    if learned != "ratings" and learned not in _TAKES_TIES:
        notes.append("ties and judgements without a winner are left out, which makes it fewer")
    if settings.early_stopping:
        notes.append("early stopping may end it before the last step")
    return RewardPlan(work, schedule, notes)


def kept(settings: RewardSettings) -> int:
    """How many models a reward stage leaves behind, all held where its rewards are asked."""
    several = settings.ensemble
    return 1 if several is None or several.aggregate == "average_weights" else several.members


def _widest(store: Store) -> int:
    """Responses of the largest set that was ranked or is to be."""
    return max((len(one.response_ids) for one in store.response_sets(purpose="reward")), default=2)
