"""Pretraining: a small causal LM made from nothing on plain texts, the world's base model."""

from collections.abc import Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assent.config.pretraining import PretrainSettings
from assent.errors import DataError
from assent.models.loading import new_llama
from assent.models.tokens import encode_responses
from assent.objectives.seeds import derive_seed
from assent.training.batches import epoch_batches
from assent.training.language import LanguagePlan, LearnedText, train_language
from assent.training.run_folder import RunFolder
from assent.types import Progress, SilentProgress


def train_base(
    documents: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    settings: PretrainSettings,
    run: RunFolder,
    *,
    seed: int,
    progress: Progress | None = None,
) -> PreTrainedModel:
    """Pretrain for `settings.steps` steps and write `run.model`.

    Args:
        documents: at least one; each is read whole and ended by eos. They are repeated as needed.
        tokenizer: its length is the vocabulary.
        settings: shape, steps and optimiser.
        run: where to write and where to go on from.
        seed: of weights and order.
        progress: shows steps and loss.

    Raises:
        DataError: no documents, or one longer than the model's positions (names it).
    """
    shape = settings.shape
    tokens = encode_responses(tokenizer, documents)
    if not tokens:
        message = "pretraining needs at least one document"
        raise DataError(message)
    for number, ids in enumerate(tokens):
        if len(ids) > shape.max_positions:
            message = (
                f"document {number} has {len(ids)} tokens and the model {shape.max_positions} "
                "positions (pretrain.shape.max_positions)"
            )
            raise DataError(message)
    model = new_llama(
        tokenizer,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        layers=shape.layers,
        heads=shape.heads,
        max_positions=shape.max_positions,
        initial_std=shape.initial_std,
        seed=derive_seed(seed, "pretrain", "weights"),
    )
    epochs = -(-settings.steps * settings.batch_size // len(tokens))
    batches = epoch_batches(
        [len(ids) for ids in tokens], settings.batch_size, epochs, seed, "pretrain"
    )
    plan = LanguagePlan(
        stage="pretrain",
        batches=batches[: settings.steps],
        micro_batch_size=None,
        precision=settings.precision,
        checkpoint_every=settings.checkpoint_every,
        optimiser=settings.optimiser,
        seed=seed,
    )
    return train_language(
        model,
        tokenizer,
        [LearnedText(ids, 0) for ids in tokens],
        plan,
        settings=settings,
        run=run,
        progress=progress or SilentProgress(),
    )
