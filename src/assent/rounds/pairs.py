"""Which pairs a round asks people about, once there is a reward model to choose by."""

import logging
from collections.abc import Sequence

import torch
from torch import Tensor

from assent.collect.asking import PairChoice
from assent.models.reward_ensembles import LearnedReward, RewardEnsemble, load_reward
from assent.objectives.pair_selection import best_and_worst, most_uncertain
from assent.rounds.workspace import Workspace

logger = logging.getLogger(__name__)


def pair_choice(workspace: Workspace, number: int) -> PairChoice | None:
    """How round `number` chooses pairs; None where it takes two responses as they are drawn.

    The first round has no reward model to choose by, and says so.

    Source: Dong et al. 2024, "RLHF workflow" (arXiv 2405.07863), section 3.2.
    """
    settings = workspace.settings.loop
    if settings.pairs == "random":
        return None
    made = workspace.version_of(f"round-{number - 1}-reward")
    if made is None:
        logger.info(
            "round %d has no reward model of a round before it: loop.pairs = %r begins with the "
            "next, and these pairs are drawn at random", number, settings.pairs,
        )  # fmt: skip
        return None
    reward = load_reward(workspace.path(made), workspace.device)
    two = _surest if settings.pairs == "best_worst" else most_uncertain

    def choose(prompts: Sequence[str], responses: Sequence[Sequence[str]]) -> list[tuple[int, int]]:
        scores = _scores(
            reward,
            [prompt for prompt, said in zip(prompts, responses, strict=True) for _ in said],
            [text for said in responses for text in said],
        )
        parts = torch.split(scores, [len(said) for said in responses], dim=1)
        return [two(part) for part in parts]

    return PairChoice(settings.samples_per_prompt, choose)


def _scores(reward: LearnedReward, prompts: Sequence[str], responses: Sequence[str]) -> Tensor:
    """Of every response, by each member of an ensemble or by the one model."""
    if isinstance(reward, RewardEnsemble):
        return reward.by_member(prompts, responses)
    return torch.tensor([list(reward(prompts, responses))], dtype=torch.float64)


def _surest(scores: Tensor) -> tuple[int, int]:
    best, worst = best_and_worst(scores.mean(dim=0))
    return (best, worst) if best != worst else (0, 1)
