"""KL accounting: whether the KL that training reports is the KL there is.

The policy is sampled as in training, and what was sampled is scored again: the two must give the
same log-probabilities, or every KL estimate is of another distribution than the one that speaks.
Then k1, k2 and k3 of the same samples stand beside the exact KL of each next token, and beside the
enumerated one where the world can list all answers. What is out of order is said in plain words.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assent.audit.evidence import Evidence
from assent.audit.figures import estimate
from assent.audit.kl_causes import SAME, Accounts, causes
from assent.audit.stored_samples import Rescored, rescore_stored
from assent.audit.subject import Figure, ItemRecord, Measured, Subject
from assent.config.ppo import SamplingSettings
from assent.errors import NotAuditable
from assent.models.candidates import Candidates
from assent.models.loading import load_causal_lm, load_tokenizer
from assent.models.sampling import sample
from assent.models.scoring import chunks
from assent.models.tokens import Rows, decode_responses, encode_prompts, end_ids
from assent.objectives.kl import EXPONENT_LIMIT, exact_kl, k1, k2, k3
from assent.objectives.logprobs import token_logprobs
from assent.objectives.masks import position_ids, zero_outside
from assent.objectives.seeds import generator
from assent.worlds.almanac import World, answers

PROMPTS = 24
SAMPLES = 8
BATCH = 64

_PER_RESPONSE = ("k1", "k2", "k3", "exact", "mismatch", "cut_off", "tokens")


class KlAccounting:
    """Every estimate of one KL, and what sets them apart."""

    name = "kl-accounting"
    version = 1
    title = "Is the KL that training reports the KL there is?"
    figures: Sequence[Figure] = (
        Figure(
            name="exact",
            of="exact",
            kind="mean",
            unit="nats",
            what="KL to the reference: exact at each token, averaged over what was sampled.",
        ),
        Figure(name="k1", of="k1", kind="mean", unit="nats", what="The log-ratio; unbiased."),
        Figure(
            name="k2",
            of="k2",
            kind="mean",
            unit="nats",
            what="Half the squared log-ratio of each token; biased.",
            descriptive="biased as an estimate of KL, by design: its gradient is the right one",
        ),
        Figure(
            name="k3",
            of="k3",
            kind="mean",
            unit="nats",
            what="The log-ratio with a control variate; unbiased, never negative.",
        ),
        Figure(
            name="mismatch",
            of="mismatch",
            kind="mean",
            unit="nats/token",
            what="How far log-probabilities at sampling lie from those scored again.",
        ),
        Figure(
            name="cut_off",
            of="cut_off",
            what="Responses cut off at the longest length: the KL of their rest is not counted.",
        ),
    )

    def inputs(self, subject: Subject) -> Mapping[str, Any]:
        """The reference, the prompts, and how many samples of the model are stored."""
        evidence = Evidence(subject)
        reference = evidence.require_role("reference", "reference")
        return {
            "reference": reference.weights_sha256,
            "prompts": [text for text, _, _ in evidence.prompts(PROMPTS)],
            "responses": evidence.project.store.counts()["responses"],
        }

    def measure(self, subject: Subject) -> Measured:
        """Sample, score again, and account."""
        evidence = Evidence(subject)
        reference = evidence.require_role("reference", "reference")
        if subject.folder is None:
            message = f"{subject.name} is no folder that can be sampled"
            raise NotAuditable(message)
        tokenizer = load_tokenizer(subject.folder)
        models = (
            load_causal_lm(subject.folder, subject.device),
            load_causal_lm(evidence.path(reference), subject.device),
        )
        prompts = evidence.prompts(PROMPTS)
        found = account(
            models, tokenizer, [text for text, _, _ in prompts], subject.sampling, subject.seed
        )
        enumerated = (
            None
            if subject.world is None
            else enumerated_kl(subject.world, models, tokenizer, prompts, subject.sampling)
        )
        records = [
            ItemRecord(
                id=text,
                cluster=group,
                stratum=kind,
                data={"prompt": text},
                asked=[
                    {
                        "role": "model",
                        "prompt": text,
                        "reply": {
                            "texts": found.texts[row],
                            "k1": found.values["k1"][row].tolist(),
                        },
                    }
                ],
                scores={name: float(found.values[name][row].mean()) for name in _PER_RESPONSE},
            )
            for row, (text, group, kind) in enumerate(prompts)
        ]
        figures = [
            estimate(
                figure,
                records,
                level=subject.settings.level,
                most_failed=1.0,
                seed=subject.seed,
            )
            for figure in self.figures
        ]
        stored: Rescored | None = rescore_stored(evidence, models[0], tokenizer)
        by_name = {one.name: one for one in figures}
        why = causes(
            Accounts(
                k1=by_name["k1"],
                exact=by_name["exact"],
                gap=_gap(found.values["k1"] - found.values["exact"]),
                k3_gap=_gap(found.values["k3"] - found.values["exact"]),
                k2=by_name["k2"],
                mismatch=float(found.values["mismatch"].mean()),
                cut_off=float(found.values["cut_off"].mean()),
                largest_ratio=found.largest_ratio,
                limit=EXPONENT_LIMIT,
                max_new_tokens=subject.sampling.max_new_tokens,
                stored=stored,
            )
        )
        return Measured(
            figures=figures,
            records=records,
            tables={
                "causes": why,
                "sound": not why,
                "same_within": SAME,
                "samples": PROMPTS * SAMPLES,
                "reference": reference.name,
                "temperature": subject.sampling.temperature,
                "enumerated_lower_bound": enumerated,
                "stored": stored._asdict() if stored else None,
            },
        )


class Accounted(NamedTuple):
    """What was sampled and what each response costs."""

    values: dict[str, NDArray[np.float64]]
    """(prompts, samples) for each name: nats, nats a token, shares, tokens."""
    texts: list[list[str]]
    largest_ratio: float
    """The largest log-ratio of a token, either way, in nats."""


@torch.no_grad()
def account(
    models: tuple[PreTrainedModel, PreTrainedModel],
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    sampling: SamplingSettings,
    seed: int,
    *,
    samples: int = SAMPLES,
) -> Accounted:
    """Sample the first model and account for its KL to the second.

    Args:
        models: policy and reference.
        tokenizer: of both.
        prompts: each is sampled `samples` times.
        sampling: temperature and longest response, as in training.
        seed: of the draws.
        samples: of each prompt.
    """
    asked = [ids for ids in encode_prompts(tokenizer, prompts) for _ in range(samples)]
    values: dict[str, list[Tensor]] = {name: [] for name in _PER_RESPONSE}
    texts: list[str] = []
    largest = 0.0
    for part in chunks(len(asked), BATCH):
        drawn = sample(
            models[0],
            asked[part],
            eos_id=end_ids(tokenizer, models[0]),
            pad_id=int(tokenizer.pad_token_id),
            max_new_tokens=sampling.max_new_tokens,
            temperature=sampling.temperature,
            generator=generator(seed, "kl", part.start, device=models[0].device),
        )
        rows, mask = drawn.rows, drawn.rows.response_mask
        ours, theirs = (_logits(model, rows) for model in models)
        logprobs, reference = (
            token_logprobs(one, rows.responses, temperature=sampling.temperature)
            for one in (ours, theirs)
        )
        tokens = mask.sum(1).double()
        for name, estimator in (("k1", k1), ("k2", k2), ("k3", k3)):
            values[name].append(zero_outside(estimator(logprobs, reference), mask).double().sum(1))
        exact = exact_kl(ours, theirs, mask, temperature=sampling.temperature)
        values["exact"].append(exact.double().sum(1))
        gap = zero_outside((drawn.logprobs - logprobs).abs(), mask).double().sum(1)
        values["mismatch"].append(gap / tokens)
        values["cut_off"].append((~drawn.finished).double())
        values["tokens"].append(tokens)
        largest = max(largest, float(zero_outside((logprobs - reference).abs(), mask).max()))
        texts += decode_responses(tokenizer, rows.responses, mask)
    return Accounted(
        {
            name: torch.cat(found).cpu().numpy().reshape(len(prompts), samples)
            for name, found in values.items()
        },
        [texts[n : n + samples] for n in range(0, len(texts), samples)],
        largest,
    )


def enumerated_kl(
    world: World,
    models: tuple[PreTrainedModel, PreTrainedModel],
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[tuple[str, str, str]],
    sampling: SamplingSettings,
) -> float | None:
    """KL over all answers of the world, the rest being one outcome: a lower bound, in nats."""
    read = [world.read(text) for text, _, _ in prompts]
    known = [prompt for prompt in read if prompt is not None]
    if len(known) < len(prompts):
        return None
    candidates = Candidates(
        tokenizer,
        [prompt.text for prompt in known],
        [[answer.text for answer in answers(prompt.fact.attribute)] for prompt in known],
    )
    ours, theirs = (_with_rest(candidates.logprobs(m, sampling.temperature)) for m in models)
    return float((ours.exp() * (ours - theirs)).sum(1).mean())


def _with_rest(logprobs: Tensor) -> Tensor:
    rest = torch.log1p(-logprobs.exp().sum(1, keepdim=True).clamp(max=1 - 1e-12))
    return torch.cat([logprobs, rest], dim=1)


def _logits(model: PreTrainedModel, rows: Rows) -> Tensor:
    width = rows.response_mask.shape[1]
    output = model(
        input_ids=rows.tokens,
        attention_mask=rows.mask.long(),
        position_ids=position_ids(rows.mask),
        use_cache=False,
        logits_to_keep=width + 1,
    )
    logits: Tensor = output.logits[:, -(width + 1) : -1].float()
    return logits


def _gap(values: NDArray[np.float64]) -> tuple[float, float]:
    """Mean over prompts of a difference, and its standard error."""
    by_prompt = values.mean(axis=1)
    error = by_prompt.std(ddof=1) / np.sqrt(len(by_prompt)) if len(by_prompt) > 1 else np.inf
    return float(by_prompt.mean()), float(error)
