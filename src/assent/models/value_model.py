"""A value model of its own: a trunk beside the policy's, with a value head."""

import copy
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from assent.models.heads import ValueHead, hidden_size
from assent.models.loading import score_head
from assent.models.rewards import Normalisation
from assent.models.scoring import before_responses, spread
from assent.models.states import states_at
from assent.models.tokens import Rows


class ValueModel(nn.Module):
    """How much reward is still to come at each token, from weights that the policy does not share.

    Source: Ouyang et al. 2022, section 3.5, where it begins as the reward model.
    """

    def __init__(self, trunk: PreTrainedModel) -> None:
        super().__init__()
        self.trunk = trunk.requires_grad_(requires_grad=True)
        self.trunk.train(mode=False)
        self.head = ValueHead(hidden_size(trunk)).to(trunk.device)

    @classmethod
    def from_reference(cls, reference: PreTrainedModel) -> "ValueModel":
        """A copy of a causal LM's trunk; values begin at zero."""
        return cls(copy.deepcopy(cast("PreTrainedModel", reference.base_model)))

    @classmethod
    def from_reward_model(
        cls, model: PreTrainedModel, normalisation: Normalisation | None = None
    ) -> "ValueModel":
        """A copy of a decoder's reward model; values begin as its normalised scores of each prefix.

        Raises:
            NotAModel: the model has no linear score head.
        """
        scale = normalisation or Normalisation()
        head = score_head(model)
        made = cls(copy.deepcopy(cast("PreTrainedModel", model.base_model)))
        with torch.no_grad():
            made.head.linear.weight.copy_(scale.gain * head.weight)
            made.head.linear.bias.fill_(scale.bias)
            if head.bias is not None:
                made.head.linear.bias.add_(scale.gain * head.bias)
        return made

    def values(self, rows: Rows, precision: str = "float32") -> Float[Tensor, "batch response"]:
        """Of the state before each response token; 0 outside the response mask."""
        states = states_at(self.trunk, rows, before_responses(rows), precision)
        return spread(self.head(states[None]).squeeze(0), rows)
