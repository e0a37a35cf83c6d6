"""Responses in the store against the model that is said to have drawn them.

Each keeps the log-probability it was drawn at. Scored again by the same model it must come out the
same; where it does not, the likeliest cause is looked for: another temperature, an end token
counted on one side only, or a distribution that was cut off (top-k, nucleus).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assent.audit.evidence import Evidence, spread
from assent.models.scoring import chunks, score
from assent.models.tokens import rows_of
from assent.store import StoredResponse

MOST = 256
BATCH = 64
SAME = 1e-3
"""Nats a token: decoding and encoding again may move a token or two of many responses."""
TEMPERATURES = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.1, 1.2, 1.5, 2.0)
EVEN = 0.25
"""Standard deviation over mean of the gaps a token below which they count as even."""
EXPLAINS = 0.2
"""A cause explains a mismatch when at most this share of it is left."""


class Rescored(NamedTuple):
    """Stored responses of the audited model, scored again."""

    responses: int
    mismatch: float
    """Mean absolute difference, in nats a token."""
    bias: float
    """Mean of recorded less scored again, in nats a token."""
    temperature: float
    """As recorded by the sampler."""
    engine: str
    cause: str | None
    """In words; None where they agree."""


def rescore_stored(
    evidence: Evidence, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> Rescored | None:
    """Score stored samples of the model again; None where there are none with log-probabilities."""
    store, version = evidence.project.store, evidence.subject.version
    if version is None:
        return None
    weights = {one.id: one.weights_sha256 for one in store.model_versions()}
    for sampler in store.samplers():
        if weights.get(sampler.model_version_id) != version.weights_sha256:
            continue
        drawn = [
            one
            for one in store.responses(sampler_id=sampler.id)
            if one.logprob_sum is not None and one.token_count
        ]
        if drawn:
            prompts = {one.id: one.text for one in store.prompts()}
            kept = spread(drawn, MOST)
            texts = [prompts[one.prompt_id] for one in kept]
            temperature = float(sampler.parameters.get("temperature", 1.0))
            return compare(model, tokenizer, texts, kept, temperature, sampler.engine)
    return None


def compare(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    responses: Sequence[StoredResponse],
    temperature: float,
    engine: str,
) -> Rescored:
    """Recorded log-probabilities against those of the model, and the likeliest cause of a gap."""
    recorded = np.array([one.logprob_sum for one in responses], dtype=np.float64)
    counts = np.array([one.token_count for one in responses], dtype=np.float64)
    ended = [one.finish_reason != "length" for one in responses]
    texts = [one.text for one in responses]

    def gaps(at: float, finished: Sequence[bool]) -> NDArray[np.float64]:
        return (recorded - _scored(model, tokenizer, prompts, texts, finished, at)) / counts

    found = gaps(temperature, ended)
    mismatch = float(np.abs(found).mean())
    cause = None
    if mismatch > SAME:
        cause = _cause(found, temperature, gaps, ended)
    return Rescored(len(responses), mismatch, float(found.mean()), temperature, engine, cause)


def _cause(
    found: NDArray[np.float64],
    temperature: float,
    gaps: Callable[[float, Sequence[bool]], NDArray[np.float64]],
    ended: Sequence[bool],
) -> str:
    """What would make the gap go away, tried one at a time."""
    mismatch = float(np.abs(found).mean())
    left = {
        one: float(np.abs(gaps(one, ended)).mean()) for one in TEMPERATURES if one != temperature
    }
    best = min(left, key=lambda one: left[one])
    if left[best] <= EXPLAINS * mismatch:
        return (
            f"they were drawn at temperature {best:g}, not {temperature:g} as recorded; set the "
            "sampler's temperature to the one in the settings"
        )
    if float(np.abs(gaps(temperature, [False] * len(ended))).mean()) <= EXPLAINS * mismatch:
        return "the recorded log-probabilities leave out the end token; count it, or training will"
    # Scaling up what is left raises every token; another model raises most and lowers some.
    if bool((found > -SAME).all()):
        if float(found.std()) < EVEN * float(found.mean()):
            return (
                "the recorded log-probabilities are higher for every response, as when the "
                "distribution was cut off before sampling (top-k, nucleus, min-p) and scaled up; "
                "sample without it"
            )
        return (
            "neither temperature nor end token explains it: another checkpoint, chat template or "
            "precision drew them, or the distribution was cut off before sampling"
        )
    return (
        "neither temperature, end token nor truncation explains it: another checkpoint, chat "
        "template or precision drew them"
    )


@torch.no_grad()
def _scored(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    texts: Sequence[str],
    finished: Sequence[bool],
    temperature: float,
) -> NDArray[np.float64]:
    found: list[float] = []
    for part in chunks(len(texts), BATCH):
        rows = rows_of(tokenizer, prompts[part], texts[part], finished[part]).to(model.device)
        found += score(model, rows, temperature=temperature).logprobs.double().sum(1).tolist()
    return np.array(found)
