"""Every metric that Assent records, in one table that sinks, dashboards and the docs read.

Names are `group/name_unit`. `heldout/` figures are measured on held-out prompts at the points of a
trajectory; everything else is measured on what the step itself used. Where TRL has a tag for the
same quantity the TensorBoard and W&B sinks write that tag, so dashboards carry over.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, get_args

from assent.types import PromptKind

Stage = Literal[
    "pretrain", "sft", "reward", "ppo", "rloo", "grpo", "best_of_n", "raft", "dpo", "kto",
    "ilf", "constitutional", "trajectory",
]  # fmt: skip

ALL_TRAINING: Final[tuple[Stage, ...]] = (
    "pretrain", "sft", "reward", "ppo", "rloo", "grpo", "best_of_n", "raft",
    "dpo", "kto", "ilf", "constitutional",
)  # fmt: skip
LANGUAGE: Final[tuple[Stage, ...]] = ("pretrain", "sft", "ilf", "constitutional")


@dataclass(frozen=True, slots=True)
class Metric:
    """One quantity: its name, unit and meaning, and which stages record it."""

    name: str
    unit: str
    """`nats`, `tokens`, `seconds`, `share` (0 to 1), `reward` (reward-model units), `gold`, `1`."""
    meaning: str
    stages: tuple[Stage, ...]
    trl_tag: str | None = None

    @property
    def tensorboard_tag(self) -> str:
        """TRL's tag where it has one for this quantity, else our name."""
        return self.trl_tag or self.name


_PPO: Final[tuple[Stage, ...]] = ("ppo",)
_BEST_OF: Final[tuple[Stage, ...]] = ("best_of_n", "raft")
_GROUPS: Final[tuple[Stage, ...]] = ("rloo", "grpo")
_GRADIENT: Final[tuple[Stage, ...]] = (*_PPO, *_GROUPS)
"""Stages that take policy-gradient steps."""
_SAMPLED: Final[tuple[Stage, ...]] = (*_GRADIENT, *_BEST_OF)
"""Stages that draw responses and have them rewarded."""
_DIRECT: Final[tuple[Stage, ...]] = ("dpo", "kto")
"""Stages that learn from judgements without a reward model."""
_REWARD: Final[tuple[Stage, ...]] = ("reward",)
_TRAJECTORY: Final[tuple[Stage, ...]] = ("trajectory",)

_TABLE: Final = (
    # Every training stage
    Metric("optim/lr", "1", "Learning rate of the step.", ALL_TRAINING, "lr"),
    Metric("optim/grad_norm", "1", "Norm of the gradient before clipping.", ALL_TRAINING),
    Metric("time/step_seconds", "seconds", "Wall time of the step.", ALL_TRAINING),
    Metric("data/examples", "1", "Examples used so far, repeats included.", ALL_TRAINING),
    Metric("data/tokens", "tokens", "Tokens trained on so far, padding left out.", ALL_TRAINING),
    # Pretraining and SFT
    Metric(
        "loss/nll_nats",
        "nats",
        "Negative log-likelihood per trained token.",
        (*LANGUAGE, *_BEST_OF),
        "train/loss",
    ),
    Metric(
        "loss/nll_validation_nats",
        "nats",
        "The same on validation examples.",
        LANGUAGE,
        "eval/loss",
    ),
    Metric(
        "policy/token_accuracy",
        "share",
        "Trained tokens that the model ranks first.",
        LANGUAGE,
        "train/mean_token_accuracy",
    ),
    # Reward model
    Metric(
        "loss/reward",
        "nats",
        "Loss of the objective, mean over pairs, rankings or ratings (of these a squared error).",
        _REWARD,
        "train/loss",
    ),
    Metric(
        "loss/reward_validation",
        "nats",
        "The same on the prompts that early stopping looks at.",
        _REWARD,
        "eval/loss",
    ),
    Metric(
        "reward_model/accuracy",
        "share",
        "Pairs whose chosen response scores higher; equal scores count half.",
        _REWARD,
        "rewards/accuracies",
    ),
    Metric(
        "reward_model/accuracy_validation",
        "share",
        "The same on the prompts that early stopping looks at.",
        _REWARD,
        "eval/rewards/accuracies",
    ),
    Metric(
        "reward_model/margin_mean",
        "reward",
        "Chosen score minus rejected score.",
        _REWARD,
        "rewards/margins",
    ),
    Metric(
        "reward_model/chosen_mean",
        "reward",
        "Score of the chosen responses.",
        _REWARD,
        "rewards/chosen",
    ),
    Metric(
        "reward_model/rejected_mean",
        "reward",
        "Score of the rejected responses.",
        _REWARD,
        "rewards/rejected",
    ),
    # PPO and its kin: what they aim at
    Metric(
        "policy/kl_nats",
        "nats",
        "KL to the reference, summed over a response's tokens; mean over rollouts.",
        _SAMPLED,
        "objective/kl",
    ),
    Metric(
        "policy/entropy_nats",
        "nats",
        "Minus the log-probability of a rollout, summed over its tokens; mean over rollouts.",
        _SAMPLED,
        "objective/entropy",
    ),
    Metric(
        "reward/proxy_mean",
        "reward",
        "Normalised score of the reward model; mean over rollouts.",
        _SAMPLED,
        "objective/scores",
    ),
    Metric(
        "reward/kl_penalty_mean",
        "reward",
        "Minus the KL coefficient times the KL of a rollout; mean over rollouts.",
        _GRADIENT,
        "objective/non_score_reward",
    ),
    Metric(
        "reward/total_mean",
        "reward",
        "Score plus KL penalty of a rollout: what is maximised; mean over rollouts.",
        _GRADIENT,
        "objective/rlhf_reward",
    ),
    Metric(
        "reward/part_mean",
        "reward",
        "Mean of one part of a summed reward, before its weight; logged as reward/part_mean/NAME.",
        _GRADIENT,
    ),
    Metric("reward/clipped_share", "share", "Scores that the safety clip changed.", _GRADIENT),
    Metric(
        "policy/kl_coef", "reward", "Reward lost per nat of KL, as used in the step.", _GRADIENT
    ),
    # PPO and its kin: how the update went
    Metric(
        "loss/policy",
        "1",
        "Clipped policy loss, averaged as the settings say; PPO: mean over tokens.",
        _GRADIENT,
        "loss/policy_avg",
    ),
    Metric(
        "loss/value",
        "reward",
        "Half the clipped squared error of the value head, mean over tokens; units squared.",
        _PPO,
        "loss/value_avg",
    ),
    Metric(
        "loss/pretraining_nats",
        "nats",
        "Loss on the pretraining text that is learned beside (PPO-ptx), a token.",
        _PPO,
    ),
    Metric(
        "policy/approx_kl_nats",
        "nats",
        "Half the mean squared log-ratio to the sampling policy, over real tokens.",
        _GRADIENT,
        "policy/approxkl_avg",
    ),
    Metric(
        "policy/clip_fraction",
        "share",
        "Tokens whose probability ratio was clipped.",
        _GRADIENT,
        "policy/clipfrac_avg",
    ),
    Metric(
        "value/clip_fraction",
        "share",
        "Tokens whose value was clipped.",
        _PPO,
        "val/clipfrac_avg",
    ),
    Metric(
        "policy/ratio_mean",
        "1",
        "Probability ratio to the sampling policy, mean over real tokens.",
        _GRADIENT,
        "val/ratio",
    ),
    Metric(
        "policy/ratio_deviation",
        "1",
        "Largest |ratio - 1| in the first minibatch, before any update: the self-check.",
        _GRADIENT,
    ),
    Metric(
        "value/explained_variance",
        "1",
        "Share of the returns' variance that the value head predicts; at most 1.",
        _PPO,
    ),
    Metric("loss/kl", "reward", "The KL term of the loss, its coefficient included.", _GROUPS),
    Metric("reward/baseline", "reward", "What REINFORCE compares the next batch with.", _GROUPS),
    Metric("policy/length_tokens", "tokens", "Length of a rollout, EOS included.", _SAMPLED),
    Metric("policy/missing_eos_share", "share", "Rollouts cut off before they ended.", _SAMPLED),
    Metric("data/episodes", "1", "Rollouts sampled so far.", _SAMPLED, "episode"),
    *(
        Metric(f"{name}/{kind}", unit, f"{meaning}, over the prompts of kind {kind}.", _SAMPLED)
        for name, unit, meaning in (
            ("reward/proxy_mean", "reward", "Mean score"),
            ("policy/kl_nats", "nats", "Mean KL to the reference"),
            ("policy/length_tokens", "tokens", "Mean length, EOS included"),
        )
        for kind in get_args(PromptKind)
    ),
    # Best-of-n and RAFT: what was kept of what was drawn
    *(
        Metric(f"{name}/kept", unit, f"{meaning} of the responses that were kept.", _BEST_OF)
        for name, unit, meaning in (
            ("reward/proxy_mean", "reward", "Mean score"),
            ("policy/kl_nats", "nats", "Mean KL to the reference"),
            ("policy/length_tokens", "tokens", "Mean length, EOS included,"),
        )
    ),
    Metric(
        "reward/undecided_share",
        "share",
        "Prompts whose responses all score the same: nothing to compare, what is kept is chance.",
        (*_GROUPS, *_BEST_OF),
    ),
    # Learning from judgements directly
    Metric(
        "loss/preference",
        "1",
        "Loss of the pairs or marked responses; DPO: nats a pair.",
        _DIRECT,
        "train/loss",
    ),
    Metric(
        "loss/chosen_nll_nats",
        "nats",
        "Negative log-likelihood of the chosen responses, a token.",
        ("dpo",),
    ),
    Metric(
        "implicit_reward/chosen_mean",
        "1",
        "beta times the log-ratio to the reference of chosen (good) responses; SimPO: a token's.",
        _DIRECT,
        "rewards/chosen",
    ),
    Metric(
        "implicit_reward/rejected_mean",
        "1",
        "The same of rejected (bad) responses.",
        _DIRECT,
        "rewards/rejected",
    ),
    Metric(
        "implicit_reward/margin_mean",
        "1",
        "Chosen implicit reward minus rejected one.",
        ("dpo",),
        "rewards/margins",
    ),
    Metric(
        "implicit_reward/accuracy",
        "share",
        "Pairs whose chosen response has the higher implicit reward; equal ones count half.",
        ("dpo",),
        "rewards/accuracies",
    ),
    Metric(
        "policy/chosen_logprob_nats",
        "nats",
        "Log-probability of a chosen (good) response; it may fall while margins grow.",
        _DIRECT,
        "logps/chosen",
    ),
    Metric(
        "policy/rejected_logprob_nats",
        "nats",
        "Log-probability of a rejected (bad) response.",
        _DIRECT,
        "logps/rejected",
    ),
    Metric(
        "policy/kl_baseline_nats",
        "nats",
        "What KTO measures gains from: mean log-ratio of foreign responses, at least 0.",
        ("kto",),
        "kl",
    ),
    # The points of a trajectory
    Metric("heldout/kl_nats", "nats", "KL to the reference.", _TRAJECTORY),
    Metric("heldout/proxy_mean", "reward", "Normalised score of the reward model.", _TRAJECTORY),
    Metric("heldout/gold_mean", "gold", "Gold reward: what the proxy stands for.", _TRAJECTORY),
    Metric("heldout/accuracy_easy", "share", "Right answers on easy facts.", _TRAJECTORY),
    Metric("heldout/accuracy_hard", "share", "Right answers on hard facts.", _TRAJECTORY),
    Metric(
        "heldout/idk_unknowable",
        "share",
        "'I do not know' on unknowable facts never seen in RL.",
        _TRAJECTORY,
    ),
    Metric(
        "heldout/bluff",
        "share",
        "Answers given as certain where nothing is known.",
        _TRAJECTORY,
    ),
    Metric(
        "heldout/sycophancy",
        "share",
        "Answers that repeat a wrong belief the asker stated.",
        _TRAJECTORY,
    ),
    Metric("heldout/length_tokens", "tokens", "Expected length, EOS included.", _TRAJECTORY),
    Metric("heldout/entropy_nats", "nats", "Entropy over whole responses.", _TRAJECTORY),
    Metric("heldout/grammar_mass", "share", "Probability on the grammar's answers.", _TRAJECTORY),
    Metric(
        "policy/kl_to_optimum_nats",
        "nats",
        "KL to the optimum for this reward model and KL coefficient, on training prompts, "
        "among answers of the grammar.",
        _TRAJECTORY,
    ),
)

METRICS: Final[Mapping[str, Metric]] = MappingProxyType({one.name: one for one in _TABLE})
"""Every metric by name, in the order of the reference page."""


FAMILIES: Final = ("reward/part_mean",)
"""Metrics that are logged once for each of several things, `/` and its name behind their own."""


def declared(name: str) -> Metric | None:
    """The metric of a name, also of one in a family; None where the table has none."""
    family, _, member = name.rpartition("/")
    return METRICS.get(family if member and family in FAMILIES else name)


def tag_of(name: str) -> str:
    """What dashboards call a declared metric."""
    metric = declared(name)
    return name if metric is None or metric.name != name else metric.tensorboard_tag


def require_declared(names: Iterable[str]) -> None:
    """Refuse a name that the table lacks: nobody would know its unit.

    Raises:
        ValueError: names every undeclared metric, with the nearest declared one.
    """
    unknown = [name for name in names if declared(name) is None]
    if not unknown:
        return
    near = {name: difflib.get_close_matches(name, METRICS, n=1) for name in unknown}
    shown = [f"{name} (nearest: {found[0]})" if found else name for name, found in near.items()]
    message = f"not in the table of metrics (assent.config.metrics): {', '.join(shown)}"
    raise ValueError(message)
