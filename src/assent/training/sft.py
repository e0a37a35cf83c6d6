"""Supervised fine-tuning: the policy learns the responses of demonstrations, not the prompts."""

import logging
from collections.abc import Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assent.config.sft import SftSettings
from assent.errors import DataError
from assent.models.loading import require_fit
from assent.models.tokens import encode_prompts, encode_responses
from assent.training.batches import epoch_batches
from assent.training.language import LanguagePlan, LearnedText, train_language
from assent.training.run_folder import RunFolder
from assent.types import Demonstration, Progress, SilentProgress

logger = logging.getLogger(__name__)


def train_sft(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    demonstrations: Sequence[Demonstration],
    settings: SftSettings,
    run: RunFolder,
    *,
    seed: int,
    progress: Progress | None = None,
) -> PreTrainedModel:
    """Fine-tune on demonstrations and write `run.model`.

    The loss is the mean over the response tokens of a batch, each response's one eos included, so
    that stopping is learned. A batch split into micro-batches has the same gradient.

    Args:
        model: changed in place.
        tokenizer: with pad and eos, two tokens.
        demonstrations: at least one that fits.
        settings: epochs, batch and optimiser.
        run: where to write and where to go on from.
        seed: of the order.
        progress: shows steps and loss.

    Returns:
        The model, in evaluation mode.

    Raises:
        TokenizerUnfit: pad or eos is missing, or they are one token.
        DataError: no demonstration fits into `settings.max_tokens`.

    Source: Ouyang et al. 2022, section 3.5.
    """
    require_fit(tokenizer)
    asked = [one.prompt for one in demonstrations]
    prompts = encode_prompts(tokenizer, asked)
    responses = encode_responses(tokenizer, [one.response for one in demonstrations], prompts=asked)
    examples = [
        LearnedText(prompt + response, len(prompt))
        for prompt, response in zip(prompts, responses, strict=True)
        if len(prompt) + len(response) <= settings.max_tokens
    ]
    dropped = len(demonstrations) - len(examples)
    if not examples:
        message = (
            f"none of {len(demonstrations)} demonstrations fits into sft.max_tokens = "
            f"{settings.max_tokens}; collect demonstrations or raise it"
        )
        raise DataError(message)
    if dropped:
        logger.warning(
            "%d of %d demonstrations are longer than %d tokens and were left out",
            dropped, len(demonstrations), settings.max_tokens,
        )  # fmt: skip
    plan = LanguagePlan(
        stage="sft",
        batches=epoch_batches(
            [len(one.tokens) for one in examples],
            settings.batch_size,
            settings.epochs,
            seed,
            "sft",
        ),
        micro_batch_size=settings.micro_batch_size,
        precision=settings.precision,
        checkpoint_every=settings.checkpoint_every,
        optimiser=settings.optimiser,
    )
    return train_language(
        model,
        tokenizer,
        examples,
        plan,
        settings=settings,
        run=run,
        progress=progress or SilentProgress(),
    )
