"""What a policy's walks are worth in the world of walks, exactly."""

from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assent.models.scoring import score
from assent.models.tokens import encode, encode_prompts, join
from assent.worlds.walks import WalksWorld


@dataclass(frozen=True, slots=True, kw_only=True)
class WalksMeasured:
    """Expectations over everything the policy may write."""

    optimality: dict[str, float]
    """Expected optimality from each start, in [0, 1]."""
    arrives: dict[str, float]
    """Chance of reaching the goal early enough to be worth something, from each start."""

    @property
    def mean_optimality(self) -> float:
        """Over the starts, each weighing the same."""
        return sum(self.optimality.values()) / len(self.optimality)

    @property
    def mean_arrives(self) -> float:
        """Over the starts, each weighing the same."""
        return sum(self.arrives.values()) / len(self.arrives)


@torch.no_grad()
def measure_walks(
    policy: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    world: WalksWorld,
    *,
    temperature: float = 1.0,
) -> WalksMeasured:
    r"""Expected optimality of a policy, by enumeration: few ways are worth anything.

    .. math:: E[\text{optimality} | s] = \sum_{w \in \text{ways from } s} \pi(w | s)\, o(w)

    with :math:`\pi(w | s)` the probability of writing the nodes of w, whatever follows the goal.

    Args:
        policy: a causal LM.
        tokenizer: its own; one token a letter.
        world: gives the ways.
        temperature: of the sampling that is measured.
    """
    ways = world.arrivals
    rows = join(
        encode_prompts(tokenizer, [way.prompt for way in ways]),
        encode(tokenizer, [way.response for way in ways]),
        int(tokenizer.pad_token_id),
    ).to(policy.device)
    logprobs = score(policy, rows, temperature=temperature).logprobs.double().sum(1)
    optimality, arrives = dict.fromkeys(world.prompts, 0.0), dict.fromkeys(world.prompts, 0.0)
    for way, chance in zip(ways, logprobs.exp().tolist(), strict=True):
        optimality[way.prompt] += chance * way.optimality
        arrives[way.prompt] += chance
    return WalksMeasured(optimality=optimality, arrives=arrives)
