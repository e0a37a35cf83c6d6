"""What learning from pairs and from marked responses does alike, whatever the loss of a batch.

Which examples fit, how a run begins, and its optimiser steps.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assent.config.preference import DpoSettings, KtoSettings
from assent.models.loading import max_positions
from assent.training.batches import epoch_batches
from assent.training.optimising import build_optimiser, optimiser_step
from assent.training.points import OnPoint, Points, PointsOf
from assent.training.preparing import prepare
from assent.training.references import Example, Reader
from assent.training.run_folder import RunFolder
from assent.types import Progress

Gradients = Callable[[Sequence[int], int], dict[str, float]]
"""Called with the numbers of a batch's examples and the number of the optimiser step, from 0;
leaves gradients behind and returns what to log."""


def room_for(policy: PreTrainedModel, settings: DpoSettings | KtoSettings) -> int:
    """How many tokens a prompt and its response may have together."""
    return min(settings.max_tokens, max_positions(policy) or settings.max_tokens)


def why_unfit(examples: Sequence[Example], room: int) -> str | None:
    """Why what these examples make together cannot be learned from; None where it can."""
    if not all(one.is_learnable for one in examples):
        return "have a prompt or response without a token"
    if max(one.length for one in examples) > room:
        return f"are longer than {room} tokens"
    return None


def told(left_out: Counter[str]) -> str:
    """How many were left out, and why, on one line."""
    return "; ".join(f"{count} {reason}" for reason, count in left_out.items())


class Begun(NamedTuple):
    """A run that is ready to take steps."""

    stage: str
    policy: PreTrainedModel
    settings: DpoSettings | KtoSettings
    run: RunFolder
    kept: Points
    reader: Reader
    batches: Sequence[Sequence[int]]
    """Numbers of the examples of each optimiser step."""
    micro_batch: int
    """How many examples a forward pass takes."""


def begin(
    stage: str,
    policy: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    lengths: Sequence[int],
    settings: DpoSettings | KtoSettings,
    run: RunFolder,
    *,
    seed: int,
    data: str,
    points: PointsOf | None,
    on_point: OnPoint | None,
) -> Begun:
    """Open the run's folder, and make the policy ready.

    Args:
        stage: in whose name seeds are derived, and the table of settings.
        policy: a causal LM, changed in place.
        tokenizer: with a pad token.
        lengths: of the examples, in tokens.
        settings: epochs, batch, adapter and how log-probabilities are read.
        run: where to write and where to go on from.
        seed: of the order and of an adapter.
        data: fingerprint of the examples.
        points: given the number of steps, after which of them a checkpoint is kept.
        on_point: measures the policy there.

    Raises:
        CannotResume: the folder holds a run of other settings, seed or data.
        NotAModel: activations cannot be computed again for this architecture.
    """
    batches = epoch_batches(lengths, settings.batch_size, settings.epochs, seed, stage)
    run.begin(settings, seed=seed, data=data)
    adapter = prepare(
        policy, settings.lora, recompute=settings.gradient_checkpointing, seed=seed, stage=stage
    )
    kept = Points(
        run=run,
        policy=policy,
        tokenizer=tokenizer,
        adapter=adapter,
        at=points(len(batches)) if points else (),
        on_point=on_point,
    )
    reader = Reader(
        pad_id=int(tokenizer.pad_token_id),
        temperature=settings.sampling.temperature,
        precision=settings.precision,
    )
    micro_batch = min(settings.micro_batch_size or settings.batch_size, len(lengths))
    return Begun(stage, policy, settings, run, kept, reader, batches, micro_batch)


def take_steps(
    begun: Begun,
    gradients: Gradients,
    note: Callable[[dict[str, float]], str],
    progress: Progress,
) -> None:
    """All optimiser steps from where the run folder stands, or until a point ends them.

    Args:
        begun: the run.
        gradients: of a batch.
        note: what the bar says of a step's figures, where no point had something to say.
        progress: shows steps.

    Raises:
        NonFinite: a gradient is NaN or infinite; no weight was changed by that step.
        CannotResume: the state in the folder cannot be read.
    """
    stage, policy, settings, run, kept = begun[:5]
    total = len(begun.batches)
    optimiser = build_optimiser([policy], settings.optimiser)
    state = run.restore({"policy": policy}, optimiser)
    done, seen = int(state["step"]), int(state.get("seen", 0))
    with run.sink(done) as sink, progress.task(stage, total, done) as bar:
        if not done:
            kept.passed(0)
        for step in range(done, total):
            if kept.stopped:
                break
            began = time.perf_counter()
            batch = begun.batches[step]
            figures = gradients(batch, step)
            figures |= optimiser_step(
                optimiser, settings.optimiser, step=step, total=total, stage=stage
            )
            seen += len(batch)
            figures |= {"data/examples": seen, "time/step_seconds": time.perf_counter() - began}
            sink.log(step + 1, figures)
            kept.passed(step + 1)
            bar.advance(1, kept.note or note(figures))
            if (step + 1) % settings.checkpoint_every == 0 and step + 1 < total:
                run.save_state(step + 1, {"policy": policy}, optimiser, {"seen": seen})
