"""Supervised fine-tuning: the policy learns the responses of demonstrations, not the prompts."""

import logging
from collections.abc import Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assent.config.base import Settings
from assent.config.sft import SftSettings
from assent.errors import DataError
from assent.models.loading import max_positions, require_fit, require_match
from assent.models.tokens import encode_prompts, encode_responses
from assent.training.batches import epoch_batches
from assent.training.language import LanguagePlan, LearnedText, train_language
from assent.training.points import OnPoint, PointsOf
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
    stage: str = "sft",
    recorded: Settings | None = None,
    points: PointsOf | None = None,
    on_point: OnPoint | None = None,
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
        stage: its name, where another stage ends in fine-tuning.
        recorded: that stage's settings, which the run folder keeps; `settings` if left out.
        points: says of a number of steps after which of them a checkpoint is kept and `on_point`
            called; 0 is the start.
        on_point: see `training.points.OnPoint`.
        progress: shows steps and loss.

    Returns:
        The model, in evaluation mode.

    Raises:
        TokenizerUnfit: pad or eos is missing, they are one token, or the model is too small for it.
        DataError: no demonstration fits into `settings.max_tokens` and the model.

    Source: Ouyang et al. 2022, section 3.5.
    """
    require_fit(tokenizer)
    require_match(model, tokenizer)
    room = min(settings.max_tokens, max_positions(model) or settings.max_tokens)
    asked = [one.prompt for one in demonstrations]
    prompts = encode_prompts(tokenizer, asked)
    responses = encode_responses(tokenizer, [one.response for one in demonstrations], prompts=asked)
    examples = [
        LearnedText(prompt + response, len(prompt))
        for prompt, response in zip(prompts, responses, strict=True)
        if len(prompt) + len(response) <= room
    ]
    dropped = len(demonstrations) - len(examples)
    if not examples:
        limit = (
            f"{'' if stage == 'sft' else f'{stage}.'}sft.max_tokens = {room}"
            if room == settings.max_tokens
            else f"the model's {room} positions"
        )
        message = (
            f"none of {len(demonstrations)} demonstrations fits into {limit}; collect "
            "demonstrations or give them more room"
        )
        raise DataError(message)
    if dropped:
        logger.warning(
            "%d of %d demonstrations are longer than %d tokens and were left out",
            dropped, len(demonstrations), room,
        )  # fmt: skip
    plan = LanguagePlan(
        stage=stage,
        batches=epoch_batches(
            [len(one.tokens) for one in examples],
            settings.batch_size,
            settings.epochs,
            seed,
            stage,
        ),
        micro_batch_size=settings.micro_batch_size,
        precision=settings.precision,
        checkpoint_every=settings.checkpoint_every,
        optimiser=settings.optimiser,
        seed=seed,
        gradient_checkpointing=settings.gradient_checkpointing,
        lora=settings.lora,
    )
    return train_language(
        model,
        tokenizer,
        examples,
        plan,
        settings=recorded or settings,
        run=run,
        points=points,
        on_point=on_point,
        progress=progress or SilentProgress(),
    )
