"""The reward model: learns from judged pairs which of two responses people prefer."""

import logging
import time
from collections.abc import Sequence

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assent.config.files import whole_folder
from assent.config.reward import RewardSettings
from assent.errors import DataError
from assent.models.checkpoints import save_model
from assent.models.loading import require_fit
from assent.models.rewards import Normalisation, TextReward, raw_scores, save_normalisation
from assent.models.scoring import chunks
from assent.models.tokens import encode, encode_responses, join
from assent.objectives.preference_losses import bradley_terry_loss
from assent.training.batches import epoch_batches
from assent.training.optimising import build_optimiser, optimiser_step, require_finite
from assent.training.run_folder import RunFolder
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
        model: a sequence classifier with one output, changed in place; dropout is off throughout.
        tokenizer: with pad and eos, two tokens.
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
        DataError: fewer than two pairs fit into `settings.max_tokens`.
        RewardError: all reference samples get one score: nothing was learned.

    Source: Stiennon et al. 2020, section 3.4; Ouyang et al. 2022, section 3.5.
    """
    require_fit(tokenizer)
    prompts = encode(tokenizer, [pair.prompt for pair in pairs])
    chosen = encode_responses(tokenizer, [pair.chosen for pair in pairs])
    rejected = encode_responses(tokenizer, [pair.rejected for pair in pairs])
    lengths = [
        len(prompt) + max(len(one), len(other))
        for prompt, one, other in zip(prompts, chosen, rejected, strict=True)
    ]
    fitting = [number for number, length in enumerate(lengths) if length <= settings.max_tokens]
    if len(fitting) < FEWEST_PAIRS:
        message = (
            f"{len(fitting)} of {len(pairs)} judged pairs can be learned from (reward.max_tokens = "
            f"{settings.max_tokens}); collect more judgements that prefer one side"
        )
        raise DataError(message)
    if len(fitting) < len(pairs):
        logger.warning(
            "%d of %d judged pairs are longer than %d tokens and were left out",
            len(pairs) - len(fitting), len(pairs), settings.max_tokens,
        )  # fmt: skip
    batches = epoch_batches(
        [lengths[number] for number in fitting],
        settings.batch_size,
        settings.epochs,
        seed,
        "reward",
    )
    total = len(batches)
    run.begin(settings)
    optimiser = build_optimiser([model], settings.optimiser)
    state = run.restore({"model": model}, optimiser)
    done, seen = int(state["step"]), int(state.get("seen", 0))
    model.train(mode=False)  # no dropout: the two sides of a pair must be read by the same model
    shown = progress or SilentProgress()
    with run.sink(done) as sink, shown.task("reward", total, done) as bar:
        for step in range(done, total):
            began = time.perf_counter()
            batch = [fitting[number] for number in batches[step]]
            sums = dict.fromkeys(_FIGURES, 0.0)
            for part in chunks(len(batch), settings.micro_batch_size):
                numbers = batch[part]
                rows = join(
                    [prompts[n] for n in numbers] * 2,
                    [chosen[n] for n in numbers] + [rejected[n] for n in numbers],
                    int(tokenizer.pad_token_id),
                ).to(model.device)
                scores = raw_scores(model, rows, settings.precision)
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
    reward = TextReward(model, tokenizer)
    if reference_samples is not None:
        reward.normalisation = Normalisation.fit(reward.raw(*reference_samples))
    with whole_folder(run.model) as aside:
        save_model(aside, model, tokenizer)
        save_normalisation(aside, reward.normalisation)
    run.finish()
    return reward


_FIGURES = (
    "loss/reward",
    "reward_model/accuracy",
    "reward_model/margin_mean",
    "reward_model/chosen_mean",
    "reward_model/rejected_mean",
)
