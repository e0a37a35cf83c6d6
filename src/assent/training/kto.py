"""KTO: learning from single responses that were marked good or bad, without pairs.

What a response gained is its log-ratio to the reference, less a baseline: the mean log-ratio of
prompts with responses that belong to others, which says how far the policy has moved in general.
Each prompt keeps the same foreign response throughout a run, so that the reference reads it once.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assent.config.preference import KtoSettings
from assent.errors import DataError
from assent.models.loading import require_fit, require_match
from assent.models.scoring import chunks
from assent.objectives.direct_preference import kto_baseline, kto_losses
from assent.objectives.seeds import permutation
from assent.training.memory import memory_advice, recomputing
from assent.training.optimising import require_finite
from assent.training.points import OnPoint, PointsOf
from assent.training.preference_steps import begin, room_for, take_steps, told, why_unfit
from assent.training.references import Example, Reader, Reference, encode_examples
from assent.training.run_folder import RunFolder, fingerprint
from assent.types import MarkedResponse, Progress, SilentProgress

logger = logging.getLogger(__name__)

TRIES = 64
"""How many responses are looked at for one that answers another prompt and fits."""


def train_kto(
    policy: PreTrainedModel,
    reference: PreTrainedModel | None,
    tokenizer: PreTrainedTokenizerBase,
    marked: Sequence[MarkedResponse],
    settings: KtoSettings,
    run: RunFolder,
    *,
    seed: int,
    points: PointsOf | None = None,
    on_point: OnPoint | None = None,
    progress: Progress | None = None,
) -> PreTrainedModel:
    """Train a policy on marked responses, and write `run.model`.

    Args:
        policy: a causal LM, changed in place.
        reference: another causal LM with the same vocabulary, never changed; its log-probabilities
            are computed once and kept in the run's folder. None with `settings.lora`: then it is
            the policy with its adapter switched off.
        tokenizer: with pad and eos, two tokens.
        marked: responses marked good and some marked bad.
        settings: weights, epochs, batch and optimiser.
        run: where to write and where to go on from.
        seed: of the order, and of which prompt gets which foreign response.
        points: given the number of steps, after which of them a checkpoint is kept.
        on_point: measures the policy there; see `assent.training.points.OnPoint`.
        progress: shows steps and margin.

    Returns:
        The policy, in evaluation mode.

    Raises:
        TokenizerUnfit: pad or eos is missing, they are one token, or the model is too small for it.
        ModelError: policy and reference are one object, or there is neither reference nor adapter.
        DataError: no response fits, or all of them are marked alike.
        NonFinite: a loss or gradient is NaN or infinite; no weight was changed by that step.
        CannotResume: the folder holds a run of other settings, seed or data.
        OutOfMemory: memory ran out; says what to change.

    Source: Ethayarajh et al. 2024 (arXiv 2402.01306), section 4. Differs: the baseline is taken
    over the whole batch, however it is split into forward passes.
    """
    require_fit(tokenizer)
    require_match(policy, tokenizer)
    examples, good = _encode(policy, tokenizer, marked, settings)
    strangers = _mismatched(examples, room_for(policy, settings), seed)
    data = fingerprint(
        (one.prompt for one in examples), (one.response for one in examples), map(str, good)
    )
    begun = begin(
        "kto", policy, tokenizer, [one.length for one in examples], settings, run,
        seed=seed, data=data, points=points, on_point=on_point,
    )  # fmt: skip
    with memory_advice("kto", micro_batch=begun.micro_batch, device=policy.device):
        frozen = Reference(policy, reference, begun.kept.adapter, "kto")
        own, foreign = frozen.logprobs(
            run.path, begun.reader, [*examples, *strangers], begun.micro_batch
        ).chunk(2)
        plan = _Plan(
            examples, strangers, good, own, foreign, begun.reader, _weights(settings, good)
        )
        take_steps(
            begun,
            lambda batch, step: _accumulate(policy, plan, batch, settings, step),
            lambda figures: f"loss {figures['loss/preference']:.3f}",
            progress or SilentProgress(),
        )
    return begun.kept.finish()


class _Plan(NamedTuple):
    examples: Sequence[Example]
    strangers: Sequence[Example]
    """Each prompt with another's response."""
    good: Sequence[bool]
    reference: Tensor
    strangers_reference: Tensor
    reader: Reader
    weights: tuple[float, float]
    """Of good and of bad responses."""


def _accumulate(
    policy: PreTrainedModel, plan: _Plan, batch: Sequence[int], settings: KtoSettings, step: int
) -> dict[str, float]:
    """Gradients of a batch, the same however it is split into forward passes, and its figures."""
    baseline = _baseline(policy, plan, batch, settings)
    sums = {"loss/preference": 0.0}
    rewards: dict[bool, list[float]] = {True: [], False: []}
    logprobs: dict[bool, list[float]] = {True: [], False: []}
    for part in chunks(len(batch), settings.micro_batch_size):
        numbers = batch[part]
        index = torch.as_tensor(numbers, device=policy.device)
        with recomputing(policy, enabled=settings.gradient_checkpointing):
            read = plan.reader.read(policy, [plan.examples[n] for n in numbers])
        logratios = read.logprobs - plan.reference[index]
        good = [plan.good[number] for number in numbers]
        losses = kto_losses(
            logratios,
            torch.tensor(good, dtype=torch.float32, device=policy.device),
            baseline,
            beta=settings.beta,
            desirable_weight=plan.weights[0],
            undesirable_weight=plan.weights[1],
        )
        loss = losses.sum() / len(batch)
        require_finite(loss, stage="kto", step=step, examples=numbers)
        torch.autograd.backward(loss)
        sums["loss/preference"] += float(loss.detach())
        for is_good, logprob, logratio in zip(
            good, read.logprobs.tolist(), logratios.tolist(), strict=True
        ):
            rewards[is_good].append(settings.beta * logratio)
            logprobs[is_good].append(logprob)
    return {
        **sums,
        "policy/kl_baseline_nats": float(baseline),
        # A batch may hold one kind only.
        **_mean("implicit_reward/chosen_mean", rewards[True]),
        **_mean("implicit_reward/rejected_mean", rewards[False]),
        **_mean("policy/chosen_logprob_nats", logprobs[True]),
        **_mean("policy/rejected_logprob_nats", logprobs[False]),
    }


@torch.no_grad()
def _baseline(
    policy: PreTrainedModel, plan: _Plan, batch: Sequence[int], settings: KtoSettings
) -> Tensor:
    logratios = [
        plan.reader.read(policy, [plan.strangers[n] for n in batch[part]]).logprobs
        - plan.strangers_reference[torch.as_tensor(batch[part], device=policy.device)]
        for part in chunks(len(batch), settings.micro_batch_size)
    ]
    return kto_baseline(torch.cat(logratios))


def _mean(name: str, values: Sequence[float]) -> dict[str, float]:
    return {name: sum(values) / len(values)} if values else {}


def _encode(
    policy: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    marked: Sequence[MarkedResponse],
    settings: KtoSettings,
) -> tuple[list[Example], list[bool]]:
    """The responses that can be learned from, and how they were marked; the log counts the others.

    Raises:
        DataError: there is none, or all are marked alike.
    """
    room = room_for(policy, settings)
    encoded = encode_examples(
        tokenizer, [one.prompt for one in marked], [one.response for one in marked]
    )
    kept: list[tuple[Example, bool]] = []
    left_out: Counter[str] = Counter()
    for one, example in zip(marked, encoded, strict=True):
        if reason := why_unfit([example], room):
            left_out[reason] += 1
        else:
            kept.append((example, one.good))
    why = told(left_out)
    ups = sum(good for _, good in kept)
    if not kept:
        message = (
            f"none of {len(marked)} marked responses can be learned from "
            f"({why or 'there are none'}; kto.max_tokens = {settings.max_tokens}); collect thumbs "
            "or comparisons"
        )
        raise DataError(message)
    if ups in (0, len(kept)):
        kind, other = ("good", "bad") if ups else ("bad", "good")
        message = (
            f"all {len(kept)} marked responses are {kind}: KTO learns from the difference; collect "
            f"some that are marked {other}, or learn the good ones by SFT"
        )
        raise DataError(message)
    if left_out:
        logger.warning("of %d marked responses these were left out: %s", len(marked), why)
    return [example for example, _ in kept], [good for _, good in kept]


def _mismatched(examples: Sequence[Example], room: int, seed: int) -> list[Example]:
    """Each prompt with the response to another one; with its own where none is found that fits."""
    order = permutation(len(examples), seed, "kto", "strangers")
    found: dict[int, Example] = {}
    for place, number in enumerate(order):
        prompt = examples[number].prompt
        nearest = (order[(place + step) % len(order)] for step in range(1, TRIES + 1))
        fitting = (
            other
            for other in nearest
            if examples[other].prompt != prompt
            and len(prompt) + len(examples[other].response) <= room
        )
        found[number] = Example(prompt, examples[next(fitting, number)].response)
    return [found[number] for number in range(len(examples))]


def _weights(settings: KtoSettings, good: Sequence[bool]) -> tuple[float, float]:
    """Of good and of bad responses; a weight that was left out balances the other kind."""
    ups = sum(good)
    downs = len(good) - ups
    bad = settings.undesirable_weight
    if bad is None:
        bad = settings.desirable_weight * ups / downs
    return settings.desirable_weight, bad
