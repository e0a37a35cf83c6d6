"""The language-model loss: pretraining on texts, and fine-tuning on demonstrations."""

from jaxtyping import Bool, Float, Int
from torch import Tensor

from assent.objectives.logprobs import token_logprobs
from assent.objectives.masks import token_count


def target_mask(mask: Bool[Tensor, "batch seq"]) -> Bool[Tensor, "batch seq-1"]:
    """Which predictions count: the mask without its first column, which nothing predicts.

    Its sum is the `normaliser` of `sft_loss` for a window of micro-batches.
    """
    return mask[:, 1:]


def sft_loss(
    logits: Float[Tensor, "batch seq vocab"],
    tokens: Int[Tensor, "batch seq"],
    mask: Bool[Tensor, "batch seq"],
    *,
    normaliser: Tensor | float | int | None = None,
) -> Float[Tensor, ""]:
    r"""Cross-entropy of the tokens that count, in nats a token.

    .. math:: L = -\frac1N \sum_{t \ge 1} m_t \log p(y_t \mid y_{<t})

    Args:
        logits: the model's output as it comes: position t predicts token t + 1.
        tokens: whole texts, padded on the right.
        mask: True on the tokens to learn: response tokens and their one end token for SFT, every
            real token for pretraining. The first column is ignored, nothing predicts it.
        normaliser: N; the targets that count if left out. Under accumulation, those of the window.

    Raises:
        ValueError: no token counts and no normaliser is given.

    Source: Ouyang et al. 2022, section 3.5 (SFT).
    """
    targets = target_mask(mask)
    count = token_count(targets, normaliser)
    # Selected before the softmax: prompts and padding cost nothing, junk reaches no gradient.
    learned, labels = logits[:, :-1][targets], tokens[:, 1:][targets]
    return -token_logprobs(learned, labels, temperature=1.0).sum() / count
