"""Length: how much longer responses became, and how much of the gain in reward that explains.

The policy and its reference answer the same prompts. Where judges compared the two, the win rate is
taken at equal length as well; without such judgements the reward model's own preference stands in
for it, and the figure says so.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import spearmanr

from assent.audit.estimating import ends, mean_over, missing
from assent.audit.evidence import Evidence
from assent.audit.questions import Question, Reply
from assent.audit.respondents import HuggingFaceRespondent
from assent.audit.subject import Estimate, Figure, ItemRecord, Measured, Subject
from assent.models.loading import load_causal_lm, load_tokenizer
from assent.models.reward_ensembles import LearnedReward
from assent.objectives.seeds import derive_seed
from assent.stats.diversity import words
from assent.stats.explained import Explained, share_explained
from assent.stats.logistic import LengthControlled, length_controlled_win_rate

PROMPTS = 64
FEWEST_WINS = 20
"""Judged comparisons from which a win rate is taken; below it the reward model stands in."""


class Length:
    """What became longer, and what that is worth to the reward."""

    name = "length"
    version = 2
    title = "How much of the gain is length?"
    figures: Sequence[Figure] = (
        Figure(
            name="tokens",
            of="tokens",
            kind="mean",
            unit="tokens",
            what="Mean length of a response, its end included.",
        ),
        Figure(
            name="longer",
            of="longer",
            kind="mean",
            unit="tokens",
            what="How much longer than the reference's responses to the same prompt.",
        ),
        Figure(
            name="gain",
            of="gain",
            kind="mean",
            unit="reward sd",
            what="How much higher the learned reward is than the reference's.",
        ),
        Figure(
            name="explained",
            of="explained",
            kind="mean",
            unit="share of the gain",
            what="Share of the gain in reward that goes with length.",
        ),
        Figure(
            name="reward_length",
            of="reward_length",
            kind="mean",
            unit="rank correlation",
            what="Spearman's correlation of reward and length over the reference's responses to "
            "one prompt, averaged over prompts.",
        ),
        Figure(name="win_rate", of="win", what="How often it wins against the reference."),
        Figure(
            name="win_rate_controlled",
            of="win_controlled",
            kind="mean",
            unit="share",
            what="The win rate if both responses were equally long.",
        ),
    )

    def inputs(self, subject: Subject) -> Mapping[str, Any]:
        """The reference, the reward model and the judgements between the two policies."""
        evidence = Evidence(subject)
        reference = evidence.require_role("reference", "reference")
        reward = evidence.role("reward_model")
        return {
            "reference": reference.weights_sha256,
            "reward_model": reward.weights_sha256 if reward else None,
            "judged": len(judged_wins(evidence)),
            "prompts": [text for text, _, _ in evidence.prompts(PROMPTS)],
        }

    def measure(self, subject: Subject) -> Measured:
        """Sample from both, score, compare."""
        evidence = Evidence(subject)
        version, reward = evidence.reward()
        reference = evidence.require_role("reference", "reference")
        folder = evidence.path(reference)
        other = HuggingFaceRespondent(
            load_causal_lm(folder, subject.device), load_tokenizer(folder), reference.weights_sha256
        )
        prompts = evidence.prompts(PROMPTS)
        texts = [text for text, _, _ in prompts]
        ask = subject.samples()
        seed = derive_seed(subject.seed, "audit", self.name)
        replies = [model.sample(texts, ask, seed) for model in (subject.model, other)]
        found = describe(
            prompts, replies[0], replies[1], reward, judged_wins(evidence),
            level=subject.settings.level,
        )  # fmt: skip
        records = [
            ItemRecord(
                id=text,
                cluster=group,
                stratum=kind,
                data={"prompt": text},
                asked=[
                    {**Question(prompt=text, ask=ask).as_dict(), "reply": reply.as_dict()},
                    {"role": "reference", "prompt": text, "reply": theirs.as_dict()},
                ],
                scores=scores,
            )
            for (text, group, kind), reply, theirs, scores in zip(
                prompts, *replies, found.scores, strict=True
            )
        ]
        tables = {**found.tables, "reward_model": version.name, "reference": reference.name}
        return Measured(figures=found.figures, records=records, tables=tables)


class Win(NamedTuple):
    """One comparison of the policy with its reference: 1 won, 0 lost, 0.5 tied."""

    prompt: str
    win: float
    longer: float
    """Words of the policy's response less the reference's."""
    event: str


class Described(NamedTuple):
    """Figures, scores of each prompt, tables."""

    figures: list[Estimate]
    scores: list[dict[str, float | None]]
    tables: dict[str, Any]


def describe(
    prompts: Sequence[tuple[str, str, str]],
    model: Sequence[Reply],
    reference: Sequence[Reply],
    reward: LearnedReward,
    wins: Sequence[Win],
    *,
    level: float,
) -> Described:
    """All figures of the responses of two policies to the same prompts."""
    groups = [group for _, group, _ in prompts]
    lengths, rewards = [], []
    for replies in (model, reference):
        asked = [
            text for (text, _, _), one in zip(prompts, replies, strict=True) for _ in one.texts
        ]
        scored = reward(asked, [text for one in replies for text in one.texts])
        shape = (len(prompts), -1)
        rewards.append(np.array(scored).reshape(shape))
        lengths.append(np.array([one.tokens for one in replies], dtype=np.float64))
    explained = _share(groups, rewards, lengths)
    correlations = [_spearman(r, n) for r, n in zip(rewards[1], lengths[1], strict=True)]
    stand_in = len(wins) < FEWEST_WINS
    pairs = (
        _preferences(
            prompts, model, reference, (rewards[0] - rewards[1]) / reward.normalisation.gain
        )
        if stand_in
        else list(wins)
    )
    controlled = length_controlled_win_rate(
        [one.win for one in pairs], [one.longer for one in pairs], [one.prompt for one in pairs],
        level=level,
    )  # fmt: skip
    known = [
        (one, group) for one, group in zip(correlations, groups, strict=True) if one is not None
    ]
    longer = (lengths[0].mean(1) - lengths[1].mean(1)).tolist()
    gain = (rewards[0].mean(1) - rewards[1].mean(1)).tolist()
    figures = [
        mean_over("tokens", lengths[0].mean(1).tolist(), groups, level, what="groups of prompts"),
        mean_over("longer", longer, groups, level, what="groups of prompts"),
        mean_over("gain", gain, groups, level, what="groups of prompts"),
        _explained(explained, level),
        mean_over(
            "reward_length", [one for one, _ in known], [group for _, group in known], level,
            what="groups of prompts",
        ),
        *_win_rates(controlled, level),
    ]  # fmt: skip
    scores: list[dict[str, float | None]] = [
        {"tokens": one, "longer": two, "gain": three, "reward_length": four}
        for one, two, three, four in zip(
            lengths[0].mean(1).tolist(), longer, gain, correlations, strict=True
        )
    ]
    tables = {
        "explained": explained if isinstance(explained, str) else explained._asdict(),
        "wins": {
            "judged_by": "the reward model, since the two were hardly compared by judges"
            if stand_in
            else "annotators",
            **controlled._asdict(),
        },
        "length_quantiles": {
            name: np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95]).tolist()
            for name, values in (("model", lengths[0]), ("reference", lengths[1]))
        },
    }
    return Described(figures, scores, tables)


def judged_wins(evidence: Evidence) -> list[Win]:
    """Judgements that compared a response of the policy with one of its reference."""
    store = evidence.project.store
    version, reference = evidence.subject.version, evidence.role("reference")
    if version is None or reference is None:
        return []
    # A run's model and its last checkpoint are the same weights under two names.
    weights = {one.id: one.weights_sha256 for one in store.model_versions()}
    drawn_by = {one.id: weights.get(one.model_version_id) for one in store.samplers()}
    made_by = {one.id: drawn_by.get(one.sampler_id or "") for one in store.responses()}
    sides = {
        one.id: (made_by.get(one.first_response_id), made_by.get(one.second_response_id))
        for one in store.comparisons()
    }
    ours, theirs = version.weights_sha256, reference.weights_sha256
    found = []
    for one in evidence.judgements:
        side = sides[one.comparison_id]
        if side not in ((ours, theirs), (theirs, ours)) or one.verdict == "cannot_judge":
            continue
        is_first = side[0] == ours
        win = float(one.verdict == ("first" if is_first else "second")) if one.decided else 0.5
        texts = (one.first, one.second) if is_first else (one.second, one.first)
        longer = float(len(words(texts[0])) - len(words(texts[1])))
        found.append(Win(one.prompt, win, longer, one.event_id))
    return found


def _preferences(
    prompts: Sequence[tuple[str, str, str]],
    model: Sequence[Reply],
    reference: Sequence[Reply],
    margins: NDArray[np.float64],
) -> list[Win]:
    """What the reward model prefers, response by response; as chances, a tie being one half."""
    return [
        Win(
            text,
            float(expit(margins[row, n])),
            float(len(words(model[row].texts[n])) - len(words(reference[row].texts[n]))),
            "",
        )
        for row, (text, _, _) in enumerate(prompts)
        for n in range(margins.shape[1])
    ]


def _share(
    groups: Sequence[str],
    rewards: Sequence[NDArray[np.float64]],
    lengths: Sequence[NDArray[np.float64]],
) -> Explained | str:
    """What of the gain goes with length, or why that cannot be told."""
    try:
        return share_explained(
            *(
                (r.ravel(), n.ravel(), np.repeat(groups, r.shape[1]))
                for r, n in zip(rewards, lengths, strict=True)
            )
        )
    except ValueError as error:
        return f"length cannot be told from the rest of the change: {error}"


def _explained(found: Explained | str, level: float) -> Estimate:
    if isinstance(found, str):
        return missing("explained", found)
    if found.share is None or found.share_interval is None:
        low, high = found.gain_interval
        return missing("explained", f"no gain is established ([{low:.3f}, {high:.3f}])")
    return Estimate(
        name="explained",
        estimate=found.share,
        interval=ends(found.share_interval),
        method=f"{100 * level:g} % bootstrap over prompts",
        problem=None
        if found.overlap > 0.5
        else f"only {found.overlap:.0%} of the responses are as long as some of the reference's",
    )


def _win_rates(found: LengthControlled, level: float) -> list[Estimate]:
    method = f"{100 * level:g} % bootstrap over prompts"
    rows = (
        ("win_rate", found.raw, found.raw_interval),
        ("win_rate_controlled", found.controlled, found.controlled_interval),
    )
    return [
        Estimate(name=name, estimate=value, interval=ends(interval), method=method, n=found.items)
        for name, value, interval in rows
    ]


def _spearman(rewards: NDArray[np.float64], lengths: NDArray[np.float64]) -> float | None:
    """None where all rewards or all lengths are equal."""
    if np.ptp(rewards) == 0 or np.ptp(lengths) == 0:
        return None
    return float(spearmanr(rewards, lengths).statistic)
