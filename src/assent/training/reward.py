"""The reward model: learns from judged pairs which of two responses people prefer."""

import logging
import time
from collections.abc import Sequence
from typing import NamedTuple

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assent.config.files import whole_folder
from assent.config.reward import RewardSettings
from assent.errors import DataError
from assent.models.checkpoints import save_model
from assent.models.loading import max_positions, require_match
from assent.models.lora import add_adapter
from assent.models.reading import Read, Reading, reading_of
from assent.models.rewards import Normalisation, TextReward, save_normalisation
from assent.models.scoring import chunks
from assent.objectives.preference_losses import bradley_terry_loss
from assent.objectives.seeds import derive_seed
from assent.training.batches import epoch_batches
from assent.training.memory import enable_recomputing, memory_advice, recomputing
from assent.training.optimising import build_optimiser, optimiser_step, require_finite
from assent.training.run_folder import RunFolder, fingerprint
from assent.types import PreferencePair, Progress, SilentProgress

logger = logging.getLogger(__name__)

FEWEST_PAIRS = 2


def train_reward(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[PreferencePair],
    reference_samples: tuple[Sequence[str], Sequence[str]] | None,
    settings: RewardSettings,
    run: RunFolder,
    *,
    seed: int,
    progress: Progress | None = None,
) -> TextReward:
    """Train a pairwise reward model and write `run.model`, normalisation beside it.

    Args:
        model: a sequence classifier with one output, a decoder or an encoder of the BERT kind,
            changed in place; dropout is off throughout.
        tokenizer: the model's; a decoder's has pad and eos, two tokens.
        pairs: chosen and rejected responses; ties and the undecided are the caller's to leave out.
        reference_samples: prompts and responses of the reference policy, on which scores get mean 0
            and standard deviation 1; None keeps raw scores.
        settings: epochs, batch and optimiser.
        run: where to write and where to go on from.
        seed: of the order.
        progress: shows steps and accuracy.

    Returns:
        The reward, normalised.

    Raises:
        TokenizerUnfit: the tokenizer has no place for ends or padding, or does not fit the model.
        DataError: fewer than two pairs fit into `settings.max_tokens` and the model.
        RewardError: all reference samples get one score: nothing was learned.

    Source: Stiennon et al. 2020, section 3.4; Ouyang et al. 2022, section 3.5.
    """
    reading = reading_of(model, tokenizer)
    require_match(model, tokenizer)
    prompts = [pair.prompt for pair in pairs]
    chosen = reading.encode(prompts, [pair.chosen for pair in pairs])
    rejected = reading.encode(prompts, [pair.rejected for pair in pairs])
    lengths = [max(one.length, other.length) for one, other in zip(chosen, rejected, strict=True)]
    room = min(settings.max_tokens, max_positions(model) or settings.max_tokens)
    fitting = [number for number, length in enumerate(lengths) if length <= room]
    if len(fitting) < FEWEST_PAIRS:
        message = (
            f"{len(fitting)} of {len(pairs)} judged pairs can be learned from (room for {room} "
            f"tokens, reward.max_tokens = {settings.max_tokens}); collect more judgements that "
            "prefer one side"
        )
        raise DataError(message)
    if len(fitting) < len(pairs):
        logger.warning(
            "%d of %d judged pairs are longer than %d tokens and were left out",
            len(pairs) - len(fitting), len(pairs), room,
        )  # fmt: skip
    batches = epoch_batches(
        [lengths[number] for number in fitting],
        settings.batch_size,
        settings.epochs,
        seed,
        "reward",
    )
    run.begin(settings, seed=seed, data=_fingerprint(chosen, rejected))
    adapter = (
        add_adapter(model, settings.lora, seed=derive_seed(seed, "reward", "adapter"))
        if settings.lora
        else None
    )
    if settings.gradient_checkpointing:
        enable_recomputing(model)
    model.train(mode=False)  # no dropout: the two sides of a pair must be read by the same model
    micro_batch = min(settings.micro_batch_size or settings.batch_size, len(fitting))
    with memory_advice("reward", micro_batch=micro_batch, device=model.device):
        plan = _Plan(chosen, rejected, [[fitting[number] for number in batch] for batch in batches])
        _steps(model, reading, plan, settings, run, progress or SilentProgress())
        reward = TextReward(model, tokenizer, reading=reading)
        if reference_samples is not None:
            reward.normalisation = Normalisation.fit(reward.raw(*reference_samples))
    with whole_folder(run.model) as aside:
        save_model(aside, model, tokenizer, adapter)
        save_normalisation(aside, reward.normalisation)
    run.finish()
    if adapter is not None:
        adapter.merge()
    return reward


class _Plan(NamedTuple):
    chosen: Sequence[Read]
    rejected: Sequence[Read]
    batches: Sequence[Sequence[int]]
    """Numbers of the pairs of each optimiser step."""


def _steps(
    model: PreTrainedModel,
    reading: Reading,
    plan: _Plan,
    settings: RewardSettings,
    run: RunFolder,
    progress: Progress,
) -> None:
    total = len(plan.batches)
    optimiser = build_optimiser([model], settings.optimiser)
    state = run.restore({"model": model}, optimiser)
    done, seen = int(state["step"]), int(state.get("seen", 0))
    with run.sink(done) as sink, progress.task("reward", total, done) as bar:
        for step in range(done, total):
            began = time.perf_counter()
            batch = plan.batches[step]
            sums = dict.fromkeys(_FIGURES, 0.0)
            for part in chunks(len(batch), settings.micro_batch_size):
                numbers = batch[part]
                with recomputing(model, enabled=settings.gradient_checkpointing):
                    scores = reading.scores(
                        model,
                        [plan.chosen[n] for n in numbers] + [plan.rejected[n] for n in numbers],
                        settings.precision,
                    )
                won, lost = scores[: len(numbers)], scores[len(numbers) :]
                loss = bradley_terry_loss(
                    won, lost, centre_coef=settings.centre_coef, normaliser=len(batch)
                )
                require_finite(loss.loss, stage="reward", step=step, examples=numbers)
                torch.autograd.backward(loss.loss)
                sums["loss/reward"] += float(loss.loss.detach())
                sums["reward_model/accuracy"] += float(loss.accuracy)
                sums["reward_model/margin_mean"] += float(loss.margin_mean)
                sums["reward_model/chosen_mean"] += float(won.detach().sum()) / len(batch)
                sums["reward_model/rejected_mean"] += float(lost.detach().sum()) / len(batch)
            figures = optimiser_step(
                optimiser, settings.optimiser, step=step, total=total, stage="reward"
            )
            seen += len(batch)
            sink.log(
                step + 1,
                {
                    **sums,
                    **figures,
                    "data/examples": seen,
                    "time/step_seconds": time.perf_counter() - began,
                },
            )
            bar.advance(1, f"accuracy {sums['reward_model/accuracy']:.2f}")
            if (step + 1) % settings.checkpoint_every == 0 and step + 1 < total:
                run.save_state(step + 1, {"model": model}, optimiser, {"seen": seen})


def _fingerprint(*sides: Sequence[Read]) -> str:
    return fingerprint(*((tokens for one in side for tokens in one[:2]) for side in sides))


_FIGURES = (
    "loss/reward",
    "reward_model/accuracy",
    "reward_model/margin_mean",
    "reward_model/chosen_mean",
    "reward_model/rejected_mean",
)
