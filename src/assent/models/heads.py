"""The value head: a linear layer on the policy's last hidden states, one number a token."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel


class ValueHead(nn.Module):
    """How much reward is still to come at each token, read off the policy's trunk.

    Starts at zero, so that the first advantages are the rewards themselves (lm-human-preferences).
    Stays in float32 whatever the trunk runs in.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden_size, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, hidden: Float[Tensor, "batch seq hidden"]) -> Float[Tensor, "batch seq"]:
        """Values in reward units, one a position."""
        with torch.autocast(hidden.device.type, enabled=False):
            values: Tensor = self.linear(hidden.float())
        return values.squeeze(-1)


def hidden_size(model: PreTrainedModel) -> int:
    """Width of the last hidden states."""
    return int(model.config.get_text_config().hidden_size)
