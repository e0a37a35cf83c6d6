"""What a policy is asked: which prompts leave room for a response, and how it goes by kind."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assent.errors import DataError
from assent.models.loading import max_positions
from assent.models.tokens import encode_prompts
from assent.training.batches import endless_batch
from assent.training.handed_in import require_tokens

logger = logging.getLogger(__name__)


ChoosePrompts = Callable[[int, int, Sequence[int]], Sequence[int]]
"""Called with the number of an update, how many prompts it wants, and the numbers of those that may
be asked; returns as many of them. The same call must give the same numbers, or no run can go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptMix:
    """What a stage knows of its prompts beside their texts."""

    kinds: Sequence[str] | None = None
    """Of each prompt; reward, KL and length are then logged by kind as well."""
    choose: ChoosePrompts | None = None
    """Which prompts are asked when; the next of a shuffled pass over all if left out."""

    def prompts_of(
        self, update: int, count: int, fitting: Sequence[int], seed: int, *, stage: str = "ppo"
    ) -> Sequence[int]:
        """Numbers of the `count` prompts of an update, out of those that fit."""
        if self.choose is not None:
            return self.choose(update, count, fitting)
        places = endless_batch(len(fitting), count, update, seed, stage, "prompts")
        return [fitting[place] for place in places]


def fitting_prompts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    max_new_tokens: int,
    *,
    stage: str = "ppo",
) -> list[int]:
    """Numbers of the prompts after which the model has positions left for a whole response.

    The others are counted in the log; none is ever cut. Errors name the settings of `stage`.

    Raises:
        DataError: there are no prompts, one has no token, or none fits.
    """
    if not prompts:
        message = f"{stage.replace('_', '-')} needs at least one prompt"
        raise DataError(message)
    lengths = [len(ids) for ids in encode_prompts(tokenizer, prompts)]
    require_tokens("prompt", lengths)
    most = max_positions(model)
    if most is None:
        return list(range(len(prompts)))
    fitting = [at for at, length in enumerate(lengths) if length + max_new_tokens <= most]
    if not fitting:
        message = (
            f"none of {len(prompts)} prompts leaves room for a response of {max_new_tokens} tokens "
            f"in the model's {most} positions (the shortest has {min(lengths)}); lower "
            f"{stage}.sampling.max_new_tokens or take shorter prompts"
        )
        raise DataError(message)
    if len(fitting) < len(prompts):
        long = next(at for at in range(len(prompts)) if lengths[at] + max_new_tokens > most)
        logger.warning(
            "%d of %d prompts leave no room for a response of %d tokens in the model's %d "
            "positions and are not asked (the first: prompt %d, %d tokens)",
            len(prompts) - len(fitting), len(prompts), max_new_tokens, most, long, lengths[long],
        )  # fmt: skip
    return fitting


def figures_by_kind(kinds: Sequence[str], rows: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The mean of each figure over the prompts of each kind, as `name/kind`.

    Args:
        kinds: of each prompt of a batch; a kind without a prompt has no figure.
        rows: for each metric one value a prompt.
    """
    return {
        f"{name}/{kind}": sum(mine) / len(mine)
        for name, values in rows.items()
        for kind in sorted(set(kinds))
        if (mine := [value for value, of in zip(values, kinds, strict=True) if of == kind])
    }
