"""What a policy does where no truth is known, estimated from responses it samples.

KL to the reference, the learned reward, length and entropy, each with an interval over prompts, all
together and by kind of prompt. KL and entropy of a response are sums over its tokens of the exact
figure at each token, given the tokens before it: unbiased for the sequence, and of less variance
than log-ratios of what happened to be drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assent.config.ppo import SamplingSettings
from assent.models.rewards import checked_rewards
from assent.models.sampling import Rollouts, sample
from assent.models.scoring import autocast, chunks
from assent.models.tokens import Rows, decode_responses, encode_prompts, end_ids
from assent.objectives.kl import exact_kl
from assent.objectives.logprobs import entropy_from_logits
from assent.objectives.masks import position_ids, zero_outside
from assent.objectives.seeds import generator
from assent.stats.intervals import bootstrap_mean
from assent.stats.scaling import within_prompt_covariance
from assent.types import PromptKind, RewardFunction

RESAMPLES = 2000
BATCH = 16


@dataclass(frozen=True, slots=True)
class MeasuredPrompt:
    """A held-out prompt; prompts of one group are about one thing."""

    text: str
    kind: PromptKind
    group: str


@dataclass(frozen=True, slots=True)
class ByPrompt:
    """Gold beside the learned reward, for each of the different prompts in order."""

    gold: list[float]
    proxy: list[float]
    covariance: list[float]
    """Of the two over the responses to each prompt; empty where one was answered only once."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """One point of a trajectory."""

    figures: dict[str, Any]
    """Named as in `summary.json`: each figure with its interval, and `by_kind`."""
    responses: list[str]
    """One to each prompt."""
    by_prompt: ByPrompt | None = None
    """Where gold was measured."""


class SampledMeasure:
    """Prompts to measure on, how to sample, and the reference that KL is counted from.

    Args:
        tokenizer: of policy and reference.
        reference: never changed.
        prompts: held out; at least one.
        sampling: as in training.
        seed: the same draws at every point, so that points differ by the policy alone.
        precision: of the forward pass.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        reference: PreTrainedModel,
        prompts: Sequence[MeasuredPrompt],
        sampling: SamplingSettings,
        *,
        seed: int,
        precision: str = "float32",
    ) -> None:
        self.tokenizer, self.reference = tokenizer, reference
        self.prompts, self.sampling = list(prompts), sampling
        self.seed, self.precision = seed, precision
        self._tokens = encode_prompts(tokenizer, [prompt.text for prompt in self.prompts])

    def measure(
        self, policy: PreTrainedModel, reward: RewardFunction, gold: RewardFunction | None = None
    ) -> Sampled:
        """Sample one response to each prompt and measure it, with gold where something knows it.

        Raises:
            RewardError: gold gave a value that is not finite, or not one for each response.
        """
        values: dict[str, list[float]] = {
            name: [] for name in ("kl_nats", "entropy_nats", "length")
        }
        responses: list[str] = []
        finished: list[float] = []
        for part in chunks(len(self.prompts), BATCH):
            drawn = self._draw(policy, part)
            kl, entropy = self._exact(policy, drawn.rows)
            values["kl_nats"] += kl.tolist()
            values["entropy_nats"] += entropy.tolist()
            values["length"] += drawn.rows.response_mask.sum(1).double().tolist()
            finished += drawn.finished.double().tolist()
            responses += decode_responses(
                self.tokenizer, drawn.rows.responses, drawn.rows.response_mask
            )
        asked = [prompt.text for prompt in self.prompts]
        values["proxy"] = list(reward(asked, responses))
        by_prompt = None
        if gold is not None:
            values["gold"] = list(checked_rewards(gold, asked, responses))
            by_prompt = beside_gold(asked, values["proxy"], values["gold"])
        arrays = {name: np.array(found, dtype=np.float64) for name, found in values.items()}
        everywhere = np.ones(len(self.prompts), dtype=bool)
        kinds = np.array([prompt.kind for prompt in self.prompts])
        figures: dict[str, Any] = {
            **self._figures(arrays, everywhere),
            "finished": float(np.mean(finished)),
            "by_kind": {
                str(kind): {**self._figures(arrays, kinds == kind), "n": int((kinds == kind).sum())}
                for kind in dict.fromkeys(kinds.tolist())
            },
        }
        return Sampled(figures, responses, by_prompt)

    def _draw(self, policy: PreTrainedModel, part: slice) -> Rollouts:
        return sample(
            policy,
            self._tokens[part],
            eos_id=end_ids(self.tokenizer, policy),
            pad_id=int(self.tokenizer.pad_token_id),
            max_new_tokens=self.sampling.max_new_tokens,
            temperature=self.sampling.temperature,
            generator=generator(self.seed, "points", part.start, device=policy.device),
        )

    @torch.no_grad()
    def _exact(self, policy: PreTrainedModel, rows: Rows) -> tuple[Tensor, Tensor]:
        """KL and entropy of each response, in nats."""
        ours, theirs = (self._logits(model, rows) for model in (policy, self.reference))
        mask, temperature = rows.response_mask, self.sampling.temperature
        kl = exact_kl(ours, theirs, mask, temperature=temperature)
        entropy = zero_outside(entropy_from_logits(ours, temperature=temperature), mask)
        return kl.double().sum(1).cpu(), entropy.double().sum(1).cpu()

    def _logits(self, model: PreTrainedModel, rows: Rows) -> Tensor:
        width = rows.response_mask.shape[1]
        with autocast(model.device, self.precision):
            output = model(
                input_ids=rows.tokens,
                attention_mask=rows.mask.long(),
                position_ids=position_ids(rows.mask),
                use_cache=False,
                logits_to_keep=width + 1,
            )
        logits: Tensor = output.logits[:, -(width + 1) : -1].float()
        return logits

    def _figures(
        self, values: dict[str, NDArray[np.float64]], chosen: NDArray[np.bool_]
    ) -> dict[str, Any]:
        figures: dict[str, Any] = {}
        for name, ends, key in (
            ("kl_nats", "kl_ci", "kl_nats"),
            ("proxy_mean", "proxy_ci", "proxy"),
            ("length", "length_ci", "length"),
            ("entropy_nats", "entropy_ci", "entropy_nats"),
            ("gold_mean", "gold_ci", "gold"),
        ):
            if key not in values:
                continue
            figures[name] = float(values[key][chosen].mean())
            figures[ends] = self._interval(values[key][chosen], chosen)
        return figures

    def _interval(
        self, values: NDArray[np.float64], chosen: NDArray[np.bool_]
    ) -> list[float] | None:
        pairs = [
            (prompt.group or prompt.text, prompt.kind)
            for prompt, wanted in zip(self.prompts, chosen, strict=True)
            if wanted
        ]
        groups = [group for group, _ in pairs]
        if len(set(groups)) < 2:
            return None
        interval = bootstrap_mean(values, groups, resamples=RESAMPLES, seed=0)
        return [interval.low, interval.high]


def beside_gold(prompts: Sequence[str], proxy: Sequence[float], gold: Sequence[float]) -> ByPrompt:
    """Means over the responses to each of the different prompts, in order of first appearance.

    The covariance is taken over as many responses a prompt as the least asked prompt has.
    """
    places: dict[str, list[int]] = {}
    for place, prompt in enumerate(prompts):
        places.setdefault(prompt, []).append(place)
    proxies, golds = np.asarray(proxy, dtype=np.float64), np.asarray(gold, dtype=np.float64)
    fewest = min(len(found) for found in places.values())
    square = np.array([found[:fewest] for found in places.values()])
    return ByPrompt(
        gold=[float(golds[found].mean()) for found in places.values()],
        proxy=[float(proxies[found].mean()) for found in places.values()],
        covariance=within_prompt_covariance(proxies[square], golds[square]).tolist()
        if fewest > 1
        else [],
    )
