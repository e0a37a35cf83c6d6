"""The language-model loop that pretraining and supervised fine-tuning share."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assent.config.base import Settings
from assent.config.lora import LoraSettings
from assent.config.optimiser import OptimiserSettings
from assent.models.scoring import chunks, learned_logprobs
from assent.objectives.language_loss import target_mask
from assent.objectives.masks import right_pad
from assent.training.memory import memory_advice, recomputing
from assent.training.optimising import build_optimiser, optimiser_step, require_finite
from assent.training.points import OnPoint, Points, PointsOf
from assent.training.preparing import prepare
from assent.training.run_folder import RunFolder, fingerprint
from assent.types import Progress


@dataclass(frozen=True, slots=True)
class LearnedText:
    """Tokens of one text, of which those from `learned_from` on are learned."""

    tokens: list[int]
    learned_from: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguagePlan:
    """What a language-model stage does, apart from the data."""

    stage: str
    batches: Sequence[Sequence[int]]
    """Example numbers of each optimiser step."""
    micro_batch_size: int | None
    precision: str
    checkpoint_every: int
    optimiser: OptimiserSettings
    seed: int
    gradient_checkpointing: bool = False
    lora: LoraSettings | None = None


def train_language(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[LearnedText],
    plan: LanguagePlan,
    *,
    settings: Settings,
    run: RunFolder,
    progress: Progress,
    points: PointsOf | None = None,
    on_point: OnPoint | None = None,
) -> PreTrainedModel:
    """Run all steps of a plan from where the run folder stands; the model is changed in place.

    Dropout is off throughout. With an adapter only that is trained, and it is merged at the end.
    A point is passed before the state after it is saved, so a run that goes on passes it again.
    """
    order = (str(number) for batch in plan.batches for number in batch)
    run.begin(settings, seed=plan.seed, data=fingerprint((one.tokens for one in examples), order))
    adapter = prepare(
        model,
        plan.lora,
        recompute=plan.gradient_checkpointing,
        seed=plan.seed,
        stage=plan.stage,
    )
    largest = max((len(batch) for batch in plan.batches), default=1)
    micro_batch = min(plan.micro_batch_size or largest, largest)
    with memory_advice(plan.stage, micro_batch=micro_batch, device=model.device):
        kept = Points(
            run=run,
            policy=model,
            tokenizer=tokenizer,
            adapter=adapter,
            at=points(len(plan.batches)) if points else (),
            on_point=on_point,
        )
        _steps(model, tokenizer, examples, plan, run, progress, kept)
    return kept.finish()


def _steps(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[LearnedText],
    plan: LanguagePlan,
    run: RunFolder,
    progress: Progress,
    kept: Points,
) -> None:
    optimiser = build_optimiser([model], plan.optimiser)
    state = run.restore({"model": model}, optimiser)
    done, seen, tokens = int(state["step"]), int(state.get("seen", 0)), int(state.get("tokens", 0))
    total = len(plan.batches)
    with run.sink(done) as sink, progress.task(plan.stage, total, done) as bar:
        if not done:
            kept.passed(0)
        for step in range(done, total):
            began = time.perf_counter()
            batch = plan.batches[step]
            loss, learned = accumulate(model, tokenizer, examples, batch, plan, step)
            figures = optimiser_step(
                optimiser, plan.optimiser, step=step, total=total, stage=plan.stage
            )
            seen, tokens = seen + len(batch), tokens + learned
            sink.log(
                step + 1,
                {
                    "loss/nll_nats": loss,
                    **figures,
                    "data/examples": seen,
                    "data/tokens": tokens,
                    "time/step_seconds": time.perf_counter() - began,
                },
            )
            kept.passed(step + 1)
            bar.advance(1, kept.note or f"loss {loss:.3f}")
            if kept.stopped:
                break
            if (step + 1) % plan.checkpoint_every == 0 and step + 1 < total:
                run.save_state(
                    step + 1, {"model": model}, optimiser, {"seen": seen, "tokens": tokens}
                )


def accumulate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[LearnedText],
    batch: Sequence[int],
    plan: LanguagePlan,
    step: int,
    *,
    normaliser: float | None = None,
) -> tuple[float, int]:
    """Add the gradients of a batch; return its mean loss in nats a token, and its learned tokens.

    Args:
        model: the gradients are added to its weights'.
        tokenizer: its pad token fills rows.
        examples: all of the stage.
        batch: numbers of those in the batch.
        plan: of it, how the batch is split and at what precision it is read.
        step: named in an error.
        normaliser: what the sum over tokens is divided by; the batch's learned tokens if left out.
            Batches are of like lengths, so that a token then counts for more in a batch of short
            texts; with one number for all batches every token counts the same.

    Raises:
        NonFinite: the loss is NaN or infinite.
    """
    learned = sum(
        len(examples[number].tokens) - max(examples[number].learned_from, 1) for number in batch
    )
    total = 0.0
    for part in chunks(len(batch), plan.micro_batch_size):
        tokens, mask, learn = _pad(
            [examples[number] for number in batch[part]], int(tokenizer.pad_token_id), model.device
        )
        recompute = recomputing(model, enabled=plan.gradient_checkpointing)
        with recompute:
            logprobs = learned_logprobs(model, tokens, mask, learn, precision=plan.precision)
        loss = -logprobs.sum() / (normaliser or learned)
        require_finite(loss, stage=plan.stage, step=step, examples=batch[part])
        torch.autograd.backward(loss)
        total += float(loss.detach())
    return total * (normaliser or learned) / learned, learned


def _pad(
    examples: Sequence[LearnedText], pad_id: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    padded = right_pad([example.tokens for example in examples], pad_id)
    starts = torch.tensor([example.learned_from for example in examples])
    learn = padded.mask & (torch.arange(padded.tokens.shape[1])[None, :] >= starts[:, None])
    assert bool(target_mask(learn).any(dim=1).all()), "every example has a token to learn"
    return padded.tokens.to(device), padded.mask.to(device), learn.to(device)
