"""What `assent train reward` says of the model it made, on prompts that it did not learn from."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from assent.audit.reward_accuracy import readable, reward_accuracy, sides
from assent.models.reward_axes import read_axes
from assent.models.reward_ensembles import MEMBER, LearnedReward, RewardEnsemble, load_reward
from assent.models.rewards import TextReward
from assent.objectives.seeds import is_held_out
from assent.rounds.material import preferences
from assent.rounds.workspace import Workspace
from assent.store import ModelVersion, Snapshot, StoredRating
from assent.types import PreferencePair

LEARN_TIES = ("davidson", "ordinal")
FEWEST_RATINGS = 3
FEWEST_PROMPTS = 2
"""Over which an interval can be drawn."""


def reward_findings(workspace: Workspace, snapshot: Snapshot, made: ModelVersion) -> dict[str, Any]:
    """Held-out accuracy, what was left out, ratings by axis, and how far members are apart."""
    settings = workspace.settings.reward
    split = preferences(workspace, snapshot)
    reward = load_reward(workspace.path(made), workspace.device)
    found: dict[str, Any] = {"objective": settings.objective}
    if settings.objective == "ratings":
        found["axes"] = _by_axis(workspace, snapshot, made)
    else:
        # A tie is nothing to most objectives; say how many were left out.
        ties = 0 if settings.objective in LEARN_TIES else split.ties
        found |= {"without_winner": split.undecided - split.ties + ties, "ties": ties}
    held_out = readable(reward, split.held_out, sides)
    if too_long := len(split.held_out) - len(held_out):
        found["held_out_too_long"] = too_long
    if isinstance(reward, RewardEnsemble) and held_out:
        found["disagreement"] = _disagreement(reward, held_out)
    return found | _accuracy(reward, held_out)


def _accuracy(reward: LearnedReward, held_out: Sequence[PreferencePair]) -> dict[str, Any]:
    if len({pair.prompt for pair in held_out}) < FEWEST_PROMPTS:
        return {"accuracy": "comparisons of fewer than two prompts are held out"}
    return reward_accuracy(reward, held_out).as_dict()


def _disagreement(reward: RewardEnsemble, held_out: Sequence[PreferencePair]) -> float:
    """Mean standard deviation over the members, on held-out responses."""
    prompts = [one.prompt for one in held_out]
    return float(np.mean(reward.disagreement(prompts, [one.chosen for one in held_out])))


def _by_axis(
    workspace: Workspace, snapshot: Snapshot, made: ModelVersion
) -> dict[str, dict[str, Any]]:
    """How well held-out ratings on each axis are predicted; of an ensemble, by its first member."""
    folder = workspace.path(made)
    first = folder / MEMBER.format(0)
    folder = first if first.is_dir() else folder
    ratings = workspace.project.store.ratings(up_to_seq=snapshot.up_to_seq)
    share = workspace.settings.reward.held_out_share
    held_out = [one for one in ratings if is_held_out(one.prompt, share)]
    return {
        axis.name: {"weight": axis.weight}
        | _predicted(
            TextReward.load(folder, workspace.device, axis=axis.name),
            axis.name,
            [one for one in held_out if axis.name in one.axes],
        )
        for axis in read_axes(folder)
    }


def _predicted(reward: TextReward, axis: str, ratings: Sequence[StoredRating]) -> dict[str, Any]:
    fits = reward.fits([one.prompt for one in ratings], [one.response for one in ratings])
    ratings = [one for one, whole in zip(ratings, fits, strict=True) if whole]
    if len(ratings) < FEWEST_RATINGS:
        return {"n": len(ratings), "correlation": None, "error": None}
    said = np.array([one.axes[axis] for one in ratings])
    predicted = np.array(reward([one.prompt for one in ratings], [one.response for one in ratings]))
    varied = len(set(said)) > 1 and len(set(predicted)) > 1
    return {
        "n": len(ratings),
        "correlation": float(spearmanr(predicted, said).statistic) if varied else None,
        "error": float(np.sqrt(np.mean((predicted - said) ** 2))),
    }
