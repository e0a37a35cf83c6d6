"""Masks and padding: which positions count.

Conventions every module of `objectives` shares: a mask is True where the token counts. Prompts are
padded on the left and responses on the right, so a prompt and its response meet in the middle: a
row reads pad, prompt, response, pad. Whatever stands at a masked position, even NaN, is ignored,
and no mask is ever derived from the pad id: real text may hold any token.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class Padded(NamedTuple):
    """Sequences of unequal length as one rectangle."""

    tokens: Int[Tensor, "batch seq"]
    mask: Bool[Tensor, "batch seq"]
    """True on the tokens that were given, False on padding."""


def masked_sum(
    values: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"], dim: int | None = None
) -> Float[Tensor, "..."]:
    """Sum of the values that count, over all positions or along `dim`; 0 where none counts."""
    kept = zero_outside(values, mask)
    return kept.sum() if dim is None else kept.sum(dim)


def masked_mean(
    values: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"], dim: int | None = None
) -> Float[Tensor, "..."]:
    """Mean of the values that count, over all positions or along `dim`.

    Raises:
        ValueError: nothing counts, in the whole mask or in one slice along `dim`.
    """
    counts = mask.sum() if dim is None else mask.sum(dim)
    if bool((counts == 0).any()):
        message = f"no position counts in a mask of shape {tuple(mask.shape)} (dim={dim})"
        raise ValueError(message)
    return masked_sum(values, mask, dim) / counts


def masked_whiten(
    values: Float[Tensor, "*shape"],
    mask: Bool[Tensor, "*shape"],
    *,
    shift_mean: bool = True,
    unbiased: bool = False,
    eps: float = 1e-8,
) -> Float[Tensor, "*shape"]:
    r"""Scale the values that count to variance one, over all positions at once.

    .. math:: y = (x - \bar x) / \sqrt{\mathrm{var}(x) + \epsilon} \quad (+ \bar x)

    Args:
        values: any units; for advantages, reward units.
        mask: True on the values that count; at least one, two if `unbiased`.
        shift_mean: also move the mean to 0 (advantages). False keeps it (rewards).
        unbiased: divide the sum of squares by n - 1, as PyTorch does, instead of n, as TensorFlow.
        eps: added to the variance, > 0; keeps equal values finite.

    Returns:
        The whitened values, 0 where the mask is False. Not detached.

    Raises:
        ValueError: fewer values count than the variance needs.

    Source: Huang et al. 2023, "The N implementation details of RLHF with PPO", table of whitening.
    Differs: the common codes average over padding too, which biases towards the longer responses.
    """
    count = int(mask.sum())
    if count < 1 + unbiased:
        message = f"whitening needs {1 + unbiased} values, the mask keeps {count}"
        raise ValueError(message)
    mean = masked_mean(values, mask)
    centred = zero_outside(values - mean, mask)
    variance = centred.square().sum() / (count - unbiased)
    whitened = centred * torch.rsqrt(variance + eps)
    return whitened if shift_mean else zero_outside(whitened + mean, mask)


def zero_outside(
    values: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """The values that count, and 0 elsewhere.

    A product with the mask would let NaN and infinity through; this does not, forward or backward.
    """
    return torch.where(mask, values, torch.zeros_like(values))


def token_count(
    mask: Bool[Tensor, "*shape"], normaliser: Tensor | float | int | None
) -> Tensor | float | int:
    """What to divide a sum over tokens by: the normaliser if given, else the tokens that count.

    Raises:
        ValueError: it would be zero.
    """
    count = mask.sum() if normaliser is None else normaliser
    if not bool(count > 0):
        message = f"a loss needs a token that counts: mask {tuple(mask.shape)}, divisor {count}"
        raise ValueError(message)
    return count


def response_mask_until_eos(
    tokens: Int[Tensor, "batch seq"], eos_id: int
) -> Bool[Tensor, "batch seq"]:
    """True up to and including the first `eos_id` of each row; all True in a row without one."""
    is_eos = (tokens == eos_id).long()
    return (is_eos.cumsum(dim=1) - is_eos) == 0


def last_index(mask: Bool[Tensor, "batch seq"]) -> Int[Tensor, " batch"]:
    """Position of the last True of each row, whatever side the padding is on.

    Raises:
        ValueError: a row has no True; the message names it.
    """
    empty = (~mask.any(dim=1)).nonzero()
    if len(empty):
        message = f"row {int(empty[0])} of the mask has no position that counts"
        raise ValueError(message)
    return mask.shape[1] - 1 - mask.flip(1).int().argmax(dim=1)


def left_pad(sequences: Sequence[Sequence[int]], pad_id: int) -> Padded:
    """Prompts as one rectangle, their ends aligned."""
    width = max((len(tokens) for tokens in sequences), default=0)
    tokens = torch.full((len(sequences), width), pad_id, dtype=torch.long)
    mask = torch.zeros(len(sequences), width, dtype=torch.bool)
    for row, sequence in enumerate(sequences):
        start = width - len(sequence)
        tokens[row, start:] = torch.tensor(sequence, dtype=torch.long)
        mask[row, start:] = True
    return Padded(tokens, mask)


def right_pad(sequences: Sequence[Sequence[int]], pad_id: int) -> Padded:
    """Responses, or whole training texts, as one rectangle, their starts aligned."""
    width = max((len(tokens) for tokens in sequences), default=0)
    tokens = torch.full((len(sequences), width), pad_id, dtype=torch.long)
    mask = torch.zeros(len(sequences), width, dtype=torch.bool)
    for row, sequence in enumerate(sequences):
        tokens[row, : len(sequence)] = torch.tensor(sequence, dtype=torch.long)
        mask[row, : len(sequence)] = True
    return Padded(tokens, mask)


def position_ids(mask: Bool[Tensor, "batch seq"]) -> Int[Tensor, "batch seq"]:
    """Positions counted from the first real token: a padded row reads like the row alone.

    Pass them to a forward pass; `generate` of transformers makes its own and must not be given any.
    """
    return mask.long().cumsum(dim=1) - mask.long()
