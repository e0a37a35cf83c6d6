"""Our losses beside those of TRL's trainers, called on the same tensors: value and gradient.

    make peers

TRL's functions are called as they are (`DPOTrainer._compute_loss`, `KTOTrainer._compute_loss`,
`CPOTrainer.cpo_loss`, `GRPOTrainer._compute_loss`, `RLOOTrainer._compute_loss`); a stand-in for the
trainer holds their settings, and one for the model returns the log-probabilities. TRL 1.16 has PPO
no more: the clipped policy loss is compared with GRPO's mean over tokens. Runs in an environment of
its own, `.venv-peers`. Prints a table, writes OUT.json, and ends with status 1 where a loss or a
gradient differs by more than 1e-5.
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
import trl
from torch import Tensor
from trl.experimental.cpo import CPOTrainer

from assent.config.files import write_file
from assent.config.preference import (
    DpoLoss,
    HingeLoss,
    IpoLoss,
    PreferenceLoss,
    RobustDpoLoss,
    SimPoLoss,
)
from assent.objectives.direct_preference import kto_baseline, kto_losses
from assent.objectives.group_advantages import group_advantages
from assent.objectives.policy_losses import Aggregation, kl_loss, ppo_policy_loss, response_weights
from assent.training.preference import pair_losses

PAIRS, WIDTH, SEEDS, TOLERANCE = 6, 9, 20, 1e-5
BETA, SMOOTHING, CLIP = 0.3, 0.15, 0.2


class Batch(NamedTuple):
    """Log-probabilities of tokens: chosen responses, then rejected ones; 0 outside the mask."""

    new: Tensor
    old: Tensor
    mask: Tensor


def batch(seed: int) -> Batch:
    """Responses of different lengths; the policy is near the reference."""
    draw = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, WIDTH + 1, (2 * PAIRS, 1), generator=draw)
    mask = torch.arange(WIDTH)[None, :] < lengths
    old = -torch.rand(2 * PAIRS, WIDTH, generator=draw).mul(3) * mask
    new = (old + 0.3 * torch.randn(2 * PAIRS, WIDTH, generator=draw)) * mask
    return Batch(new.requires_grad_(), old, mask)


class _Alone:
    """One process: nothing to gather."""

    device = torch.device("cpu")
    num_processes = 1

    def gather(self, values: Tensor) -> Tensor:
        return values

    gather_for_metrics = gather

    def reduce(self, values: Tensor, reduction: str) -> Tensor:
        del reduction
        return values


def _trainer(**given: object) -> SimpleNamespace:
    return SimpleNamespace(
        accelerator=_Alone(),
        model=SimpleNamespace(training=True),
        aux_loss_enabled=False,
        _metrics={"train": defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
        **given,
    )


def _outputs(logprobs: Tensor) -> Callable[..., Any]:
    """A model that returns these log-probabilities, whatever it is asked."""
    nothing = torch.zeros_like(logprobs)
    out = SimpleNamespace(
        log_probs=logprobs, entropy=nothing, mean_logits=nothing, is_top1=nothing.bool()
    )
    return lambda **_: out


def _ids(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens behind one prompt token, and which of them are learned."""
    learned = torch.cat([torch.zeros(len(mask), 1, dtype=torch.long), mask.long()], dim=1)
    return torch.ones_like(learned), learned


def trl_dpo(data: Batch, kind: str) -> Tensor:
    """The loss of TRL's DPO trainer."""
    ids, learned = _ids(data.mask)
    won, lost = data.old.sum(1).chunk(2)
    trainer = _trainer(
        ld_alpha=None, precompute_ref_logps=True, f_divergence_type="reverse_kl", beta=BETA,
        label_smoothing=SMOOTHING, loss_types=[kind], loss_weights=[1.0], use_weighting=False,
    )  # fmt: skip
    inputs = {
        "input_ids": ids, "attention_mask": torch.ones_like(ids), "completion_mask": learned,
        "ref_chosen_logps": won, "ref_rejected_logps": lost,
    }  # fmt: skip
    return trl.DPOTrainer._compute_loss(trainer, _outputs(data.new), inputs, return_outputs=False)


def trl_cpo(data: Batch, kind: str) -> Tensor:
    """The loss of TRL's CPO trainer: SimPO on means; with log-ratios its sigmoid is cDPO."""
    lengths = data.mask.sum(1)
    given = data.new.sum(1) / lengths if kind == "simpo" else (data.new - data.old).sum(1)
    trainer = _trainer(
        alpha=0.0, beta=2.0 if kind == "simpo" else BETA, loss_type=kind, simpo_gamma=0.7,
        label_smoothing=0.0 if kind == "simpo" else SMOOTHING,
    )  # fmt: skip
    losses, _, _ = CPOTrainer.cpo_loss(trainer, *given.chunk(2))
    return losses.mean()


def ours_pairs(data: Batch, loss: PreferenceLoss) -> Tensor:
    """Our loss of the DPO family, as the stage calls it."""
    simpo = isinstance(loss, SimPoLoss)
    given = (data.new if simpo else data.new - data.old).sum(1)
    tokens = data.mask.sum(1)
    return pair_losses(loss, *given.chunk(2), tokens.chunk(2)).mean()


GOOD = torch.tensor([True, False, True, True, False, True, True, False, True, False, False, True])


def trl_kto(data: Batch) -> Tensor:
    """The loss of TRL's KTO trainer; foreign responses are the next row's."""
    ids, learned = _ids(data.mask)
    trainer = _trainer(
        calculate_KL=True, precompute_ref_logps=True, beta=BETA, loss_type="kto",
        desirable_weight=1.2, undesirable_weight=0.8,
    )  # fmt: skip
    foreign = data.new.detach().sum(1).roll(1)
    trainer._compute_kl_logps = lambda *_: foreign
    inputs = {
        "input_ids": ids, "attention_mask": torch.ones_like(ids), "completion_mask": learned,
        "label": GOOD, "ref_logps": data.old.sum(1),
        "ref_KL_logps": data.old.sum(1).roll(1) - 0.4,
    }  # fmt: skip
    return trl.KTOTrainer._compute_loss(trainer, _outputs(data.new), inputs, return_outputs=False)


def ours_kto(data: Batch) -> Tensor:
    """Our KTO."""
    ratios = (data.new - data.old).sum(1)
    baseline = kto_baseline(ratios.roll(1) + 0.4)
    return kto_losses(
        ratios, GOOD.float(), baseline, beta=BETA, desirable_weight=1.2, undesirable_weight=0.8
    ).mean()


def _advantages(data: Batch) -> Tensor:
    return torch.sin(torch.arange(len(data.new), dtype=torch.float32))


def trl_grpo(data: Batch, kind: str, beta: float = 0.0) -> Tensor:
    """The loss of TRL's GRPO trainer; `bnpo`, a mean over tokens, is PPO's clipped policy loss."""
    trainer = _trainer(
        top_entropy_quantile=1.0, off_policy_mask_threshold=None, beta=beta, loss_type=kind,
        importance_sampling_level="token", epsilon_low=CLIP, epsilon_high=CLIP, use_vllm=False,
        args=SimpleNamespace(delta=None, use_bias_correction_kl=False), max_completion_length=WIDTH,
        current_gradient_accumulation_steps=1, _entropy_bonus_enabled=False,
    )  # fmt: skip
    trainer._get_per_token_logps_and_entropies = lambda *_, **__: (
        data.new, torch.zeros_like(data.new), None,
    )  # fmt: skip
    ids = torch.ones(data.mask.shape, dtype=torch.long)
    inputs = {
        "prompt_ids": ids[:, :1], "prompt_mask": ids[:, :1], "completion_ids": ids,
        "completion_mask": data.mask.long(), "advantages": _advantages(data),
        "old_per_token_logps": data.old, "ref_per_token_logps": data.old - 0.1 * data.mask,
    }  # fmt: skip
    return trl.GRPOTrainer._compute_loss(trainer, None, inputs)


def ours_grpo(data: Batch, aggregation: Aggregation, beta: float = 0.0) -> Tensor:
    """Our clipped loss, and KL as a term of it."""
    weights = response_weights(data.mask, aggregation, length=WIDTH)
    advantages = _advantages(data)[:, None].expand_as(data.new)
    loss = ppo_policy_loss(
        data.new, data.old, advantages, data.mask, clip_range=CLIP, weights=weights
    ).loss
    if not beta:
        return loss
    reference = data.old - 0.1 * data.mask
    return loss + beta * kl_loss(
        data.new, reference, data.mask, estimator="k3", level="token", weights=weights
    )


def trl_rloo(data: Batch) -> Tensor:
    """The loss of TRL's RLOO trainer on the first step, where old and new are one."""
    trainer = _trainer(epsilon_low=CLIP, epsilon_high=CLIP)
    trainer._get_per_token_logps_and_entropies = lambda *_, **__: (
        data.new, torch.zeros_like(data.new), None,
    )  # fmt: skip
    ids = torch.ones(data.mask.shape, dtype=torch.long)
    scores = _advantages(data)
    others = scores.view(-1, 4)
    others = (others.sum(1, keepdim=True) - others) / 3
    inputs = {
        "prompt_ids": ids[:, :1], "prompt_mask": ids[:, :1], "completion_ids": ids,
        "completion_mask": data.mask.long(), "old_logps": data.new.detach().sum(1),
        "advantages": scores - others.flatten(),
    }  # fmt: skip
    return trl.RLOOTrainer._compute_loss(trainer, None, inputs)


def ours_rloo(data: Batch) -> Tensor:
    """Our first step: token by token, with the same gradient as the whole response's."""
    returns = _advantages(data)[:, None].expand_as(data.new)
    found = group_advantages(returns, data.mask, samples=4, baseline="rloo")
    weights = response_weights(data.mask, "constant", length=1)
    return ppo_policy_loss(
        data.new, data.new.detach(), found, data.mask, clip_range=CLIP, weights=weights
    ).loss


Loss = Callable[[Batch], Tensor]
CASES: dict[str, tuple[Loss, Loss, bool]] = {
    "DPO": (lambda d: ours_pairs(d, DpoLoss(beta=BETA)), lambda d: trl_dpo(d, "sigmoid"), True),
    "cDPO": (
        lambda d: ours_pairs(d, DpoLoss(beta=BETA, label_smoothing=SMOOTHING)),
        lambda d: trl_cpo(d, "sigmoid"), True,
    ),
    "robust DPO": (
        lambda d: ours_pairs(d, RobustDpoLoss(beta=BETA, flip_rate=SMOOTHING)),
        lambda d: trl_dpo(d, "robust"), True,
    ),
    "IPO": (lambda d: ours_pairs(d, IpoLoss(beta=BETA)), lambda d: trl_dpo(d, "ipo"), True),
    "hinge": (lambda d: ours_pairs(d, HingeLoss(beta=BETA)), lambda d: trl_dpo(d, "hinge"), True),
    "SimPO": (
        lambda d: ours_pairs(d, SimPoLoss(beta=2.0, target_margin=0.7)),
        lambda d: trl_cpo(d, "simpo"), True,
    ),
    "RPO term": (
        lambda d: -(d.new[:PAIRS].sum() / d.mask[:PAIRS].sum()), lambda d: trl_dpo(d, "sft"), True,
    ),
    "KTO": (ours_kto, trl_kto, True),
    "PPO policy loss (BNPO)": (
        lambda d: ours_grpo(d, "token"), lambda d: trl_grpo(d, "bnpo"), True,
    ),
    "GRPO": (lambda d: ours_grpo(d, "sequence"), lambda d: trl_grpo(d, "grpo"), True),
    "GRPO with k3": (
        lambda d: ours_grpo(d, "sequence", 0.04), lambda d: trl_grpo(d, "grpo", 0.04), True,
    ),
    "Dr. GRPO": (lambda d: ours_grpo(d, "constant"), lambda d: trl_grpo(d, "dr_grpo"), True),
    # A ratio of one a token and one a response: equal gradients, other values.
    "RLOO (first step)": (ours_rloo, trl_rloo, False),
}  # fmt: skip
"""Ours, TRL's, and whether the values are comparable beside the gradients."""


def compared(name: str) -> dict[str, float]:
    """The largest differences of a case over the seeds."""
    ours, theirs, has_value = CASES[name]
    worst = {"loss": 0.0, "gradient": 0.0, "largest_gradient": 0.0}
    for seed in range(SEEDS):
        values, gradients = [], []
        for loss in (ours, theirs):
            data = batch(seed)
            value = loss(data)
            (gradient,) = torch.autograd.grad(value, data.new)
            values.append(float(value.detach()))
            gradients.append(gradient * data.mask)
        if has_value:
            worst["loss"] = max(worst["loss"], abs(values[0] - values[1]))
        apart = float((gradients[0] - gradients[1]).abs().max())
        worst["gradient"] = max(worst["gradient"], apart)
        size = float(gradients[1].abs().max())
        worst["largest_gradient"] = max(worst["largest_gradient"], size)
    return worst


def main() -> int:
    """Compare all, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    out: Path = parser.parse_args().out
    torch.set_num_threads(1)
    found = {name: compared(name) for name in CASES}
    lines = [f"{'loss':24} {'value apart':>12} {'gradient apart':>15} {'its size':>9}"]
    lines += [
        f"{name:24} {one['loss']:12.1e} {one['gradient']:15.1e} {one['largest_gradient']:9.2f}"
        for name, one in found.items()
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    versions = {name: version(name) for name in ("trl", "torch", "transformers")}
    result = {"versions": versions, "seeds": SEEDS, "tolerance": TOLERANCE, "losses": found}
    write_file(out, json.dumps(result, indent=2) + "\n")
    over = [name for name, one in found.items() if max(one["loss"], one["gradient"]) > TOLERANCE]
    empty = [name for name, one in found.items() if one["largest_gradient"] == 0]
    if over or empty:
        sys.stderr.write(f"not equal: {', '.join(over + empty)}\n")
    return 1 if over or empty else 0


if __name__ == "__main__":
    sys.exit(main())
