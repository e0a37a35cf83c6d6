"""The models of a run by policy gradients: the policy, its reference, what predicts its reward."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from assent.config.best_of import BestOfNSettings
from assent.config.policy_gradient import RlSettings
from assent.config.ppo import AdaptiveKl, PpoSettings, SeparateValue, SharedValue
from assent.errors import ConfigError, ModelError
from assent.models.heads import ValueHead, hidden_size
from assent.models.loading import require_match
from assent.models.lora import Adapter, add_adapter
from assent.models.reward_ensembles import RewardEnsemble
from assent.models.rewards import TextReward
from assent.models.sampling import Rollouts, sample
from assent.models.scoring import Scored, chunks, score
from assent.models.tokens import Rows, decode_responses, encode_prompts, end_ids
from assent.models.value_model import ValueModel
from assent.objectives.kl import AdaptiveKlController, FixedKlController, KlController
from assent.objectives.seeds import derive_seed, generator
from assent.training.handed_in import require_tokens
from assent.training.memory import enable_recomputing, recomputing
from assent.training.optimising import build_optimiser
from assent.types import RewardFunction


class Actors:
    """A policy with its reference, and with its values where the settings want some.

    With an adapter the reference may be left out: it is then the policy with the adapter off.
    """

    def __init__(
        self,
        policy: PreTrainedModel,
        reference: PreTrainedModel | None,
        tokenizer: PreTrainedTokenizerBase,
        settings: RlSettings,
        *,
        seed: int,
        stage: str = "ppo",
        value_model: ValueModel | None = None,
    ) -> None:
        require_match(policy, tokenizer)
        _require_reference(policy, reference, stage, has_adapter=settings.lora is not None)
        wanted = _wanted_value(settings)
        separate = isinstance(wanted, SeparateValue)
        if separate and value_model is None:
            origin = reference or policy
            value_model = ValueModel.from_reference(origin)
        self.policy, self.reference, self.settings = policy, reference, settings
        self.tokenizer, self.seed, self.stage = tokenizer, seed, stage
        self.adapter: Adapter | None = None
        if settings.lora is not None:
            self.adapter = add_adapter(
                policy, settings.lora, seed=derive_seed(seed, stage, "adapter")
            )
        shared = isinstance(wanted, SharedValue)
        self.value_head = ValueHead(hidden_size(policy)).to(policy.device) if shared else None
        self.value_model = value_model if separate else None
        if reference is not None:
            reference.requires_grad_(requires_grad=False).train(mode=False)
        policy.train(mode=False)
        if settings.gradient_checkpointing:
            enable_recomputing(policy)
            if self.value_model is not None:
                enable_recomputing(self.value_model.trunk)

    @property
    def modules(self) -> dict[str, nn.Module]:
        """What is trained, by name, as a run folder saves it."""
        if self.value_head is not None:
            return {"policy": self.policy, "value_head": self.value_head}
        if self.value_model is not None:
            return {"policy": self.policy, "value_model": self.value_model}
        return {"policy": self.policy}

    def optimiser(self) -> Optimizer:
        """One optimiser of all of them, in which what predicts values has its own learning rate."""
        optimiser, wanted = self.settings.optimiser, _wanted_value(self.settings)
        apart: list[tuple[nn.Module, float]] = []
        if self.value_head is not None and isinstance(wanted, SharedValue):
            apart = [(self.value_head, wanted.lr_times * optimiser.lr)]
        elif self.value_model is not None and isinstance(wanted, SeparateValue):
            apart = [(self.value_model, wanted.lr)]
        return build_optimiser([self.policy], optimiser, apart=apart)

    def rollout(self, prompts: Sequence[str], update: int) -> Rollouts:
        """One response to each prompt from the policy as it is now.

        Raises:
            DataError: a prompt has no token.
        """
        sampling = self.settings.sampling
        tokens = encode_prompts(self.tokenizer, prompts)
        require_tokens("prompt", [len(ids) for ids in tokens])
        return sample(
            self.policy,
            tokens,
            eos_id=end_ids(self.tokenizer, self.policy),
            pad_id=int(self.tokenizer.pad_token_id),
            max_new_tokens=sampling.max_new_tokens,
            temperature=sampling.temperature,
            generator=generator(
                self.seed, self.stage, "rollouts", update, device=self.policy.device
            ),
            precision=self.settings.precision,
        )

    def texts(self, rollouts: Rollouts) -> list[str]:
        """The responses as text, without their end token."""
        return decode_responses(
            self.tokenizer, rollouts.rows.responses, rollouts.rows.response_mask
        )

    def score(self, rows: Rows) -> Scored:
        """Log-probabilities of the policy and values, with gradients if they are wanted."""
        settings = self.settings
        with recomputing(self.policy, enabled=settings.gradient_checkpointing):
            scored = score(
                self.policy,
                rows,
                temperature=settings.sampling.temperature,
                value_head=self.value_head,
                precision=settings.precision,
            )
        if self.value_model is None:
            return scored
        with recomputing(self.value_model, enabled=settings.gradient_checkpointing):
            return scored._replace(values=self.value_model.values(rows, settings.precision))

    def score_before(self, rows: Rows, first: Sequence[int]) -> "Before":
        """A whole batch as it is before the first optimiser step on it, as many rows at a time.

        Args:
            rows: the batch.
            first: numbers of the rows that the first backward pass will be about. The weights are
                still those of now by then, so they are read once, with gradients.
        """
        parts = [torch.as_tensor(first), *self._others(len(rows.tokens), first)]
        back = torch.cat(parts).argsort().to(rows.tokens.device)
        picked = [rows.select(part) for part in parts]
        reference = self.reference_logprobs(picked)[back]
        with torch.no_grad():
            others = [self.score(part) for part in picked[1:]]
        ahead = self.score(picked[0])
        every = [ahead, *others]
        values = [one.values.detach() for one in every if one.values is not None]
        return Before(
            torch.cat([one.logprobs.detach() for one in every])[back],
            torch.cat(values)[back] if values else None,
            reference,
            Ahead(first, ahead),
        )

    def reference_logprobs(self, parts: Sequence[Rows]) -> Tensor:
        """What the reference gives the same tokens, one part after the other."""
        return reference_logprobs(self.policy, self.reference, self.adapter, parts, self.settings)

    def _others(self, count: int, first: Sequence[int]) -> list[Tensor]:
        """The numbers below `count` that are not in `first`, as many at a time as it has."""
        taken = set(first)
        others = torch.tensor([number for number in range(count) if number not in taken])
        return [others[part] for part in chunks(len(others), len(first))]


class Ahead:
    """What was scored with gradients before it was its turn; handed out once."""

    def __init__(self, numbers: Sequence[int], scored: Scored) -> None:
        self._numbers = list(numbers)
        self._scored: Scored | None = scored

    def take(self, numbers: Sequence[int]) -> Scored | None:
        """What these rows were scored, if they are those and it is still there."""
        scored, self._scored = self._scored, None
        return scored if self._numbers == list(numbers) else None


class Before(NamedTuple):
    """One number a response token of a batch, before the first step on it."""

    logprobs: Tensor
    values: Tensor | None
    reference: Tensor
    """What the reference gives the tokens."""
    ahead: Ahead


@torch.no_grad()
def reference_logprobs(
    policy: PreTrainedModel,
    reference: PreTrainedModel | None,
    adapter: Adapter | None,
    parts: Sequence[Rows],
    settings: RlSettings | BestOfNSettings,
) -> Tensor:
    """What a reference gives tokens, in nats, one part after the other.

    Args:
        policy: with its adapter switched off it is the reference, where there is no other.
        reference: a model of its own.
        adapter: of the policy.
        parts: what a forward pass takes each.
        settings: temperature and precision.
    """
    model, off = reference, nullcontext()
    if model is None:
        assert adapter is not None
        model, off = policy, adapter.off()  # type: ignore[assignment]
    with off:
        return torch.cat(
            [
                score(
                    model,
                    part,
                    temperature=settings.sampling.temperature,
                    precision=settings.precision,
                ).logprobs
                for part in parts
            ]
        )


def value_model_for(
    settings: PpoSettings, reward: RewardFunction, tokenizer: PreTrainedTokenizerBase
) -> ValueModel | None:
    """The value model that the settings ask for, where it begins as the reward model.

    Of an ensemble it begins as the first member: a first guess, which training corrects.

    Raises:
        ConfigError: it cannot: the reward is no model, or one with other tokens or an encoder.
    """
    wanted = settings.value_model
    if not isinstance(wanted, SeparateValue) or wanted.start != "reward_model":
        return None
    first = reward.members[0] if isinstance(reward, RewardEnsemble) else reward
    if (
        isinstance(first, TextReward)
        and first.reading.name == "response_end"
        and first.tokenizer.get_vocab() == tokenizer.get_vocab()
    ):
        return ValueModel.from_reward_model(first.model, first.normalisation)
    message = (
        "ppo.value_model.start = 'reward_model' needs a reward model that reads the policy's own "
        "tokens; set ppo.value_model.start = 'reference'"
    )
    raise ConfigError(message)


def _wanted_value(settings: RlSettings) -> SharedValue | SeparateValue | None:
    return settings.value_model if isinstance(settings, PpoSettings) else None


def kl_controller(settings: RlSettings) -> KlController:
    """What sets the price of KL from update to update."""
    kl = settings.kl
    if isinstance(kl, AdaptiveKl):
        return AdaptiveKlController(
            coef=kl.initial_coef, target_nats=kl.target_nats, horizon_episodes=kl.horizon_episodes
        )
    return FixedKlController(coef=kl.coef)


def _require_reference(
    policy: PreTrainedModel, reference: PreTrainedModel | None, stage: str, *, has_adapter: bool
) -> None:
    if policy is reference:
        message = "policy and reference must be two models; copy the policy first"
        raise ModelError(message)
    if reference is None and not has_adapter:
        message = (
            f"without an adapter ({stage}.lora) {stage.upper()} needs a reference: a second model"
        )
        raise ModelError(message)
