"""Diversity: how different the responses to one prompt are, and those to different prompts.

Per prompt from many samples; across prompts from one sample each, where a policy that says the same
whatever it is asked shows. Where answers can be listed and the KL coefficient is fixed, the loss of
entropy is split in two: what the objective asks for, H(reference) - H(optimum), and what the
optimiser adds, H(optimum) - H(policy).

Source: Kirk et al. 2024, "Understanding the effects of RLHF on LLM generalisation and diversity".
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from assent.audit.evidence import Evidence, spread
from assent.audit.figures import estimate
from assent.audit.questions import Question, Reply, Samples
from assent.audit.subject import Estimate, Figure, ItemRecord, Measured, Subject
from assent.config.stages import POLICY
from assent.models.candidates import Candidates
from assent.models.loading import load_causal_lm, load_tokenizer
from assent.objectives.seeds import derive_seed
from assent.objectives.tilting import tilt
from assent.stats.diversity import (
    distinct_n,
    entropy,
    expectation_adjusted_distinct,
    overlap,
    repetition,
    self_bleu,
    words,
)
from assent.worlds.almanac import answers

PROMPTS = 48
SAMPLES = 16
"""Of each prompt; the measures depend on it, so it is fixed."""
ENUMERATED = 12
"""Training prompts on which the loss of entropy is split."""
ORDERS = (1, 2, 3)
PAIRED = ("same_everywhere", "across_overlap")
"""Scores of a prompt against the others."""


class Diversity:
    """How much of its variety the policy has kept."""

    name = "diversity"
    version = 2
    title = "Does the policy still say different things?"
    figures: Sequence[Figure] = (
        Figure(
            name="adjusted_distinct",
            of="adjusted_distinct",
            kind="mean",
            better="higher",
            margin=0.1,
            unit="ratio",
            what="Distinct words over those expected of as many random ones; length cancels.",
        ),
        Figure(
            name="distinct",
            of="distinct",
            better="higher",
            margin=0.1,
            what="Distinct runs of 1 to 3 words over all of them, in the samples of one prompt.",
        ),
        Figure(
            name="self_bleu",
            of="self_bleu",
            better="lower",
            margin=0.1,
            what="How far a sample can be put together from the others of its prompt.",
        ),
        Figure(
            name="effective_number",
            of="effective_number",
            kind="mean",
            better="higher",
            margin=1.0,
            unit="responses",
            span=float(SAMPLES),
            what="How many equally likely responses would be as uncertain (Grassberger).",
            descriptive=f"of {SAMPLES} samples it cannot exceed about {SAMPLES}: a lower bound "
            "where nearly every sample is new",
        ),
        Figure(
            name="same_everywhere",
            of="same_everywhere_twice",
            better="lower",
            margin=0.1,
            what="How often the sample to another prompt is word for word this prompt's.",
        ),
        Figure(
            name="across_overlap",
            of="across_overlap_twice",
            better="lower",
            margin=0.1,
            what="Overlap of words with the samples to other prompts.",
        ),
        Figure(
            name="repetition",
            of="repetition",
            better="lower",
            margin=0.1,
            what="Runs of 4 words that occurred before in the same response.",
        ),
        Figure(
            name="lost_to_objective",
            of="lost_to_objective",
            kind="mean",
            unit="nats",
            what="Entropy that the objective itself gives up: reference less optimum.",
        ),
        Figure(
            name="lost_to_optimiser",
            of="lost_to_optimiser",
            kind="mean",
            unit="nats",
            what="Entropy lost beyond that: optimum less policy.",
        ),
    )

    def inputs(self, subject: Subject) -> Mapping[str, Any]:
        """The prompts, and the models that the split of the loss needs."""
        evidence = Evidence(subject)
        behind = [evidence.role(role) for role in ("reference", "reward_model")]
        return {
            "prompts": [text for text, _, _ in evidence.prompts(PROMPTS)],
            "behind": [one.weights_sha256 if one else None for one in behind],
        }

    def measure(self, subject: Subject) -> Measured:
        """Sample, compare, and split the loss of entropy where answers can be listed."""
        evidence = Evidence(subject)
        prompts = evidence.prompts(PROMPTS)
        ask = Samples(
            count=SAMPLES,
            temperature=subject.sampling.temperature,
            max_new_tokens=subject.sampling.max_new_tokens,
        )
        seed = derive_seed(subject.seed, "audit", self.name)
        replies = subject.model.sample([text for text, _, _ in prompts], ask, seed)
        scores = describe(replies)
        records = [
            ItemRecord(
                id=text,
                cluster=group,
                stratum=kind,
                data={"prompt": text},
                asked=[{**Question(prompt=text, ask=ask).as_dict(), "reply": reply.as_dict()}],
                scores=found,
            )
            for (text, group, kind), reply, found in zip(prompts, replies, scores, strict=True)
        ]
        split, why = _split(evidence)
        found = [
            estimate(
                figure, [*records, *split], level=subject.settings.level, most_failed=1.0, seed=seed
            )
            for figure in self.figures
        ]
        if why:
            found = [
                Estimate(name=one.name, estimate=None, problem=why)
                if one.name.startswith("lost_to")
                else one
                for one in found
            ]
        # Not among the records: a model without a reward model has none, and items must be alike.
        return Measured(figures=found, records=records, tables=_tables(replies, split))


def describe(replies: Sequence[Reply]) -> list[dict[str, float | None]]:
    """The scores of each prompt from the samples of all; at least two prompts and two samples.

    The vocabulary of the adjusted distinct is all words that any sample used. What compares prompts
    with one another counts each pair for both, so the spread of its mean is twice that of the
    prompts' own scores: figures go by `..._twice`, which has the same mean and that spread.

    Source: Hoeffding 1948, "A class of statistics with asymptotically normal distribution", 5.
    """
    texts = [[words(text) for text in reply.texts] for reply in replies]
    vocabulary = len({word for samples in texts for text in samples for word in text})
    firsts = [samples[0] for samples in texts]
    said = Counter(reply.texts[0] for reply in replies)
    found: list[dict[str, float | None]] = []
    for number, (reply, samples) in enumerate(zip(replies, texts, strict=True)):
        others = [one for other, one in enumerate(firsts) if other != number]
        same = (said[reply.texts[0]] - 1) / max(len(replies) - 1, 1)
        counted = entropy(list(Counter(reply.texts).values()))
        found.append(
            {
                **_lexical(samples, vocabulary),
                "self_bleu": self_bleu(samples),
                "effective_number": min(counted.effective_number, float(len(samples))),
                "entropy_plug_in": counted.plug_in,
                "entropy_bias": counted.bias_nats,
                "same_everywhere": same,
                "across_overlap": sum(overlap(firsts[number], one) for one in others)
                / max(len(others), 1),
                "repetition": sum(repetition(one) for one in samples) / len(samples),
            }
        )
    for name in PAIRED:
        scores = [float(one[name] or 0.0) for one in found]
        mean = sum(scores) / len(scores)
        for one, score in zip(found, scores, strict=True):
            one[f"{name}_twice"] = 2 * score - mean
    return found


def _lexical(samples: Sequence[Sequence[str]], vocabulary: int) -> dict[str, float | None]:
    """None where the samples hold no word."""
    orders = [n for n in ORDERS if any(len(one) >= n for one in samples)]
    if not orders:
        return {"distinct": None, "adjusted_distinct": None}
    return {
        "distinct": sum(distinct_n(samples, n) for n in orders) / len(orders),
        "adjusted_distinct": expectation_adjusted_distinct(samples, vocabulary),
    }


def _split(evidence: Evidence) -> tuple[list[ItemRecord], str | None]:
    """A record for each training prompt with both losses, or why there are none."""
    subject = evidence.subject
    reference = evidence.role("reference")
    beta = _beta(evidence)
    if subject.world is None:
        return [], "answers cannot be listed here"
    if reference is None or evidence.role("reward_model") is None:
        return [], "the model was not trained against a reward model"
    if beta is None:
        return [], "the KL coefficient was not fixed, so there is no one optimum"
    _, reward = evidence.reward()
    folder = evidence.path(reference)
    prompts = spread(subject.world.prompts("train"), ENUMERATED)
    candidates = Candidates(
        load_tokenizer(folder),
        [prompt.text for prompt in prompts],
        [[answer.text for answer in answers(prompt.fact.attribute)] for prompt in prompts],
    )
    temperature = subject.sampling.temperature
    if subject.folder is None:
        return [], "the model is no folder"
    logprobs = [
        torch.log_softmax(candidates.logprobs(load_causal_lm(one, subject.device), temperature), 1)
        for one in (subject.folder, folder)
    ]
    rewards = reward.over(candidates)
    policy, before, best = (
        _entropy(one) for one in (logprobs[0], logprobs[1], tilt(logprobs[1], rewards, beta))
    )
    return [
        ItemRecord(
            id=f"enumerated/{prompt.text}",
            cluster=prompt.fact.group,
            stratum=f"enumerated {prompt.fact.kind}",
            data={"prompt": prompt.text},
            scores={
                "entropy_policy": policy[row],
                "entropy_reference": before[row],
                "entropy_optimum": best[row],
                "lost_to_objective": before[row] - best[row],
                "lost_to_optimiser": best[row] - policy[row],
            },
        )
        for row, prompt in enumerate(prompts)
    ], None


def _beta(evidence: Evidence) -> float | None:
    """The fixed KL coefficient that the model was trained with."""
    for link in evidence.lineage:
        if link.run is not None and link.run.stage in POLICY:
            kl = link.run.settings.get("kl", {})
            return float(kl["coef"]) if kl.get("kind") == "fixed" and kl["coef"] else None
    return None


def _entropy(logprobs: Tensor) -> list[float]:
    """Of each row, in nats; the answers of the grammar only, as shares of each other."""
    found: list[float] = (-(logprobs.exp() * logprobs).sum(1)).tolist()
    return found


def _tables(replies: Sequence[Reply], split: Sequence[ItemRecord]) -> dict[str, Any]:
    said = Counter(text for reply in replies for text in reply.texts)
    total = sum(said.values())
    return {
        "commonest": [
            {"text": text, "share": count / total} for text, count in said.most_common(5)
        ],
        "samples": sum(len(reply.texts) for reply in replies),
        "entropy": [{"prompt": one.data["prompt"], **one.scores} for one in split],
        "note": "Losses of entropy are over the answers of the grammar alone, as shares of each "
        "other, on training prompts; the rest is over samples to held-out prompts.",
    }
