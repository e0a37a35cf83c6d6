"""Learning from pairs directly: DPO and the losses of its family, no reward model between.

Log-probabilities are sums over a response's tokens, its end included, at the temperature that the
policy is sampled at; the prompt is never learned. Dropout is off throughout.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assent.config.preference import (
    DpoLoss,
    DpoSettings,
    HingeLoss,
    IpoLoss,
    PreferenceLoss,
    RobustDpoLoss,
    SimPoLoss,
)
from assent.errors import DataError
from assent.models.loading import require_fit, require_match
from assent.models.scoring import chunks
from assent.objectives.direct_preference import (
    conservative_dpo_losses,
    dpo_losses,
    hinge_losses,
    ipo_losses,
    robust_dpo_losses,
    simpo_losses,
)
from assent.training.memory import memory_advice, recomputing
from assent.training.optimising import require_finite
from assent.training.points import OnPoint, PointsOf
from assent.training.preference_steps import begin, room_for, take_steps, told, why_unfit
from assent.training.references import Example, Reader, Reference, Summed, encode_examples
from assent.training.run_folder import RunFolder, fingerprint
from assent.types import PreferencePair, Progress, SilentProgress

logger = logging.getLogger(__name__)


def train_preference(
    policy: PreTrainedModel,
    reference: PreTrainedModel | None,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[PreferencePair],
    settings: DpoSettings,
    run: RunFolder,
    *,
    seed: int,
    points: PointsOf | None = None,
    on_point: OnPoint | None = None,
    progress: Progress | None = None,
) -> PreTrainedModel:
    """Train a policy on pairs with the loss of the settings, and write `run.model`.

    Args:
        policy: a causal LM, changed in place.
        reference: another causal LM with the same vocabulary, never changed; its log-probabilities
            are computed once and kept in the run's folder. None with `settings.lora`: then it is
            the policy with its adapter switched off. SimPO has no use for one.
        tokenizer: with pad and eos, two tokens.
        pairs: at least one that fits; ties are the caller's to leave out.
        settings: loss, epochs, batch and optimiser.
        run: where to write and where to go on from.
        seed: of the order.
        points: given the number of steps, after which of them a checkpoint is kept.
        on_point: measures the policy there; see `assent.training.points.OnPoint`.
        progress: shows steps and accuracy.

    Returns:
        The policy, in evaluation mode.

    Raises:
        TokenizerUnfit: pad or eos is missing, they are one token, or the model is too small for it.
        ModelError: policy and reference are one object, or there is neither reference nor adapter.
        DataError: no pair can be learned from; says why.
        NonFinite: a loss or gradient is NaN or infinite; no weight was changed by that step.
        CannotResume: the folder holds a run of other settings, seed or data.
        OutOfMemory: memory ran out; says what to change.

    Source: Rafailov et al. 2023; the others are named in `assent.objectives.direct_preference`.
    """
    require_fit(tokenizer)
    require_match(policy, tokenizer)
    chosen, rejected = _encode(policy, tokenizer, pairs, settings)
    lengths = [max(one.length, other.length) for one, other in zip(chosen, rejected, strict=True)]
    begun = begin(
        "dpo", policy, tokenizer, lengths, settings, run,
        seed=seed, data=_fingerprint(chosen, rejected), points=points, on_point=on_point,
    )  # fmt: skip
    with memory_advice("dpo", micro_batch=begun.micro_batch, device=policy.device):
        if isinstance(settings.loss, SimPoLoss):
            logprobs = torch.zeros(2 * len(chosen), device=policy.device)
        else:
            frozen = Reference(policy, reference, begun.kept.adapter, "dpo")
            logprobs = frozen.logprobs(
                run.path, begun.reader, [*chosen, *rejected], 2 * begun.micro_batch
            )
        of_chosen, of_rejected = logprobs.chunk(2)
        plan = _Plan(chosen, rejected, of_chosen, of_rejected, begun.reader)
        take_steps(
            begun,
            lambda batch, step: _accumulate(policy, plan, batch, settings, step),
            lambda figures: f"accuracy {figures['implicit_reward/accuracy']:.2f}",
            progress or SilentProgress(),
        )
    return begun.kept.finish()


def pair_losses(
    loss: PreferenceLoss, chosen: Tensor, rejected: Tensor, tokens: tuple[Tensor, Tensor]
) -> Tensor:
    """The loss of each pair, as the settings want it.

    Args:
        loss: which one, and its numbers.
        chosen: log-ratios to the reference, in nats, summed over tokens, one a pair; of SimPO,
            which has none, log-probabilities.
        rejected: the same of the rejected responses.
        tokens: how many each chosen and each rejected response has.
    """
    margins = chosen - rejected
    if isinstance(loss, SimPoLoss) or (isinstance(loss, IpoLoss) and loss.per_token):
        margins = chosen / tokens[0] - rejected / tokens[1]
    match loss:
        case DpoLoss(label_smoothing=0.0):
            return dpo_losses(margins, beta=loss.beta)
        case DpoLoss():
            smoothing = loss.label_smoothing
            return conservative_dpo_losses(margins, beta=loss.beta, label_smoothing=smoothing)
        case RobustDpoLoss():
            return robust_dpo_losses(margins, beta=loss.beta, flip_rate=loss.flip_rate)
        case IpoLoss():
            return ipo_losses(margins, beta=loss.beta)
        case HingeLoss():
            return hinge_losses(margins, beta=loss.beta)
        case SimPoLoss():
            return simpo_losses(margins, beta=loss.beta, target_margin=loss.target_margin)


class _Plan(NamedTuple):
    chosen: Sequence[Example]
    rejected: Sequence[Example]
    chosen_reference: Tensor
    rejected_reference: Tensor
    reader: Reader


def _accumulate(
    policy: PreTrainedModel, plan: _Plan, batch: Sequence[int], settings: DpoSettings, step: int
) -> dict[str, float]:
    """Gradients of a batch, the same however it is split into forward passes, and its figures."""
    beta, pairs = settings.loss.beta, len(batch)
    # Losses are means over the pairs of the batch, the language loss over its chosen tokens.
    chosen_tokens = sum(len(plan.chosen[number].response) for number in batch)
    sums = dict.fromkeys(_FIGURES, 0.0)
    for part in chunks(pairs, settings.micro_batch_size):
        numbers = batch[part]
        with recomputing(policy, enabled=settings.gradient_checkpointing):
            read = plan.reader.read(
                policy,
                [plan.chosen[n] for n in numbers] + [plan.rejected[n] for n in numbers],
            )
        won, lost = (Summed(*pair) for pair in zip(*(both.chunk(2) for both in read), strict=True))
        index = torch.as_tensor(numbers, device=policy.device)
        chosen = won.logprobs - plan.chosen_reference[index]
        rejected = lost.logprobs - plan.rejected_reference[index]
        losses = pair_losses(settings.loss, chosen, rejected, (won.tokens, lost.tokens))
        nll = -won.logprobs.sum() / chosen_tokens
        loss = losses.sum() / pairs + settings.nll_coef * nll
        require_finite(loss, stage="dpo", step=step, examples=numbers)
        torch.autograd.backward(loss)
        with torch.no_grad():
            if isinstance(settings.loss, SimPoLoss):
                chosen, rejected = chosen / won.tokens, rejected / lost.tokens
            ahead = chosen - rejected
            right = (ahead > 0).float() + 0.5 * (ahead == 0).float()
            for name, values in (
                ("loss/preference", losses),
                ("implicit_reward/chosen_mean", beta * chosen),
                ("implicit_reward/rejected_mean", beta * rejected),
                ("implicit_reward/margin_mean", beta * ahead),
                ("implicit_reward/accuracy", right),
                ("policy/chosen_logprob_nats", won.logprobs),
                ("policy/rejected_logprob_nats", lost.logprobs),
            ):
                sums[name] += float(values.sum()) / pairs
            sums["loss/chosen_nll_nats"] += float(nll)
    return sums


def _encode(
    policy: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[PreferencePair],
    settings: DpoSettings,
) -> tuple[list[Example], list[Example]]:
    """The pairs that can be learned from; the log counts the others.

    Raises:
        DataError: there is none.
    """
    room = room_for(policy, settings)
    prompts = [pair.prompt for pair in pairs]
    chosen = encode_examples(tokenizer, prompts, [pair.chosen for pair in pairs])
    rejected = encode_examples(tokenizer, prompts, [pair.rejected for pair in pairs])
    kept: list[tuple[Example, Example]] = []
    left_out: Counter[str] = Counter()
    for one, other in zip(chosen, rejected, strict=True):
        if reason := why_unfit([one, other], room):
            left_out[reason] += 1
        elif one.response == other.response:
            left_out["say the same on both sides"] += 1
        else:
            kept.append((one, other))
    why = told(left_out)
    if not kept:
        message = (
            f"none of {len(pairs)} judged pairs can be learned from ({why or 'there are none'}; "
            f"dpo.max_tokens = {settings.max_tokens}); collect judgements that prefer one side"
        )
        raise DataError(message)
    if left_out:
        logger.warning("of %d judged pairs these were left out: %s", len(pairs), why)
    return [one for one, _ in kept], [other for _, other in kept]


def _fingerprint(chosen: Sequence[Example], rejected: Sequence[Example]) -> str:
    return fingerprint(
        (one.prompt for one in chosen),
        (one.response for one in chosen),
        (one.response for one in rejected),
    )


_FIGURES = (
    "loss/preference",
    "loss/chosen_nll_nats",
    "implicit_reward/chosen_mean",
    "implicit_reward/rejected_mean",
    "implicit_reward/margin_mean",
    "implicit_reward/accuracy",
    "policy/chosen_logprob_nats",
    "policy/rejected_logprob_nats",
)
