"""The self-check of policy gradients: the policy that is trained must be the one that sampled.

On the first minibatch, before any weight has changed, every recomputed log-probability must be the
one its token was drawn at. Dropout left on, a forgotten temperature or wrong padding shows here, at
once, rather than as a run that quietly goes nowhere.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from assent.config.policy_gradient import RlSettings
from assent.errors import SelfCheckFailed
from assent.models.scoring import score
from assent.models.tokens import Rows
from assent.objectives.policy_losses import ppo_policy_loss

RATIO_TOLERANCE = 1e-4
KL_TOLERANCE_NATS = 1e-6
BFLOAT16_TOLERANCE = 0.05


class SelfCheck(NamedTuple):
    """How well the first minibatch reproduces the log-probabilities its tokens were drawn at."""

    ratio_deviation: float
    """Largest |ratio - 1| over the tokens."""
    approximate_kl: float
    """Half the mean squared log-ratio, in nats a token."""
    clip_fraction: float
    """Share of the tokens whose ratio is outside the clip range."""


@torch.no_grad()
def check_policy(
    policy: PreTrainedModel,
    rows: Rows,
    drawn_logprobs: Tensor,
    settings: RlSettings,
    stage: str = "ppo",
) -> SelfCheck:
    """Score the rows as training does and compare with what the tokens were drawn at.

    Args:
        policy: as it was when it sampled.
        rows: the rollouts of the first minibatch.
        drawn_logprobs: of their tokens, from the sampler.
        settings: temperature, precision and clip range.
        stage: named in the error.

    Raises:
        SelfCheckFailed: they differ by more than arithmetic explains.
    """
    new = score(
        policy, rows, temperature=settings.sampling.temperature, precision=settings.precision
    )
    loss = ppo_policy_loss(
        new.logprobs,
        drawn_logprobs,
        torch.ones_like(new.logprobs),
        rows.response_mask,
        clip_range=settings.clip_range,
    )
    check = SelfCheck(
        float(loss.ratio_max_deviation), float(loss.approximate_kl), float(loss.clip_fraction)
    )
    require_agreement(check, settings.precision, stage)
    return check


def require_agreement(check: SelfCheck, precision: str, stage: str = "ppo") -> None:
    """Stop when the policy does not reproduce the probabilities it sampled at.

    In float32 the ratio may be off by less than 1e-4, the approximate KL by less than 1e-6 nats,
    and nothing may be clipped; in bfloat16 the ratio may be off by less than 0.05.

    Raises:
        SelfCheckFailed: gives the deviation and what usually causes one of its size.

    Source: Huang et al. 2024; the first ratio of a correct implementation is 1.
    """
    exact = precision == "float32"
    tolerance = RATIO_TOLERANCE if exact else BFLOAT16_TOLERANCE
    small = check.approximate_kl < KL_TOLERANCE_NATS and check.clip_fraction == 0
    if check.ratio_deviation < tolerance and (small or not exact):
        return
    cause = (
        f"the deviation is that of low-precision arithmetic: set {stage}.precision to what the "
        "model really runs in, or load the model in float32"
        if check.ratio_deviation <= BFLOAT16_TOLERANCE
        else "the policy samples from another distribution than it is trained on: look at the "
        "sampling temperature, top-k or top-p in a generation config, dropout that is on, padding "
        "or position ids, or weights that changed between sampling and training"
    )
    message = (
        f"{stage.upper()}'s self-check failed: on the first minibatch |ratio - 1| is "
        f"{check.ratio_deviation:.2g} (below {tolerance:g} is right), approximate KL "
        f"{check.approximate_kl:.2g} nats, clip fraction {check.clip_fraction:.2g}; "
        f"most likely {cause}"
    )
    raise SelfCheckFailed(message)
