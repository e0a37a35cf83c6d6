"""Settings of the outer loop: rounds of asking, reward model, PPO, and the promotion at the end."""

from typing import Annotated, Literal

from pydantic import Field

from assent.config.base import PositiveInt, Seed, Settings


class PromotionSettings(Settings):
    """How a checkpoint is chosen without knowing the truth."""

    comparisons: PositiveInt = 400
    """Held-out comparisons against the reference, over all candidates."""
    candidates: PositiveInt = 8
    """Checkpoints to choose from, spread evenly over the rounds."""


class LoopSettings(Settings):
    """How the rounds go."""

    method: Literal[
        "ppo", "rloo", "grpo", "best-of-n", "raft", "dpo", "kto", "ilf", "constitutional"
    ] = "ppo"
    """The stage that improves the policy in each round; its settings are in its own section."""
    rounds: PositiveInt = 2
    """How often the loop is gone through: ask, reward model, PPO."""
    judgements_per_round: PositiveInt = 4000
    """Comparisons asked in each round; the reward model learns from all so far."""
    pairs: Literal["random", "best_worst", "uncertain"] = "random"
    """Which pairs are asked, from the second round on: two responses as they are drawn; or of
    several, by the last round's reward model, the best and the worst, or the two of which it knows
    least who wins (members of an ensemble disagree; one model is undecided)."""
    samples_per_prompt: Annotated[int, Field(ge=2)] = 4
    """Responses drawn to each prompt to choose a pair from; without a choice it is always two."""
    points_per_round: PositiveInt = 13
    """Points of the trajectory in each round, its start and end among them, each a checkpoint."""
    responses_per_point: PositiveInt = 128
    """Responses to held-out prompts sampled at each point; the embedded world needs none."""
    stop_when_gold_falls: bool = False
    """End a round at the point from which more reward means less gold, where the embedded world or
    `audits.gold` knows gold. Otherwise people are asked after each round whether they prefer its
    policy to the one before, and the loop ends where they do not."""
    gold_comparisons: PositiveInt = 100
    """Held-out comparisons after each round that people are asked for then."""
    promotion: PromotionSettings = PromotionSettings()


class AlmanacSettings(Settings):
    """The embedded world, in place of people."""

    kind: Literal["almanac"] = "almanac"
    """Which world; there is one."""
    seed: Seed = 0
    """Of the facts; the same seed is the same world."""
    annotator: str = Field(default="flawed", min_length=1)
    """Who judges, by name; see `assent demo --help`."""
    annotators: PositiveInt = 5
    """How many simulated people share the work."""
    demonstrations_per_prompt: PositiveInt = 12
    """Demonstrations of each training prompt for SFT."""
