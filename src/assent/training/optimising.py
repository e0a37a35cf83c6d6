"""One optimiser step, the same for every stage: learning rate, clipping, and a stop on NaN."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from assent.config.optimiser import OptimiserSettings
from assent.errors import NonFinite
from assent.objectives import schedules
from assent.objectives.adam import AdamTfStyle

_SCHEDULES: Final = {
    "constant": schedules.constant,
    "linear": schedules.linear_decay,
    "cosine": schedules.cosine,
}


def build_optimiser(
    modules: Iterable[nn.Module],
    settings: OptimiserSettings,
    *,
    apart: Sequence[tuple[nn.Module, float]] = (),
) -> Optimizer:
    """The optimiser of the trainable parameters; gains and biases do not decay.

    Args:
        modules: trained at `settings.lr`.
        settings: of the optimiser.
        apart: modules with a learning rate of their own, on the same schedule, whose gradients are
            clipped by themselves.
    """
    groups = _groups(modules, settings)
    for module, lr in apart:
        for group in _groups([module], settings):
            groups.append({**group, "lr_scale": lr / settings.lr})
    if settings.style == "tf":
        return AdamTfStyle(groups, lr=settings.lr, betas=settings.betas, eps=settings.eps)
    fused = all(one.device.type in ("cpu", "cuda") for group in groups for one in group["params"])
    return AdamW(groups, lr=settings.lr, betas=settings.betas, eps=settings.eps, fused=fused)


def _groups(modules: Iterable[nn.Module], settings: OptimiserSettings) -> list[dict[str, Any]]:
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.grad = None  # a run interrupted halfway through a step leaves some of it behind
    if settings.style == "tf":
        return [{"params": parameters}]
    matrices = [p for p in parameters if p.dim() > 1]
    vectors = [p for p in parameters if p.dim() <= 1]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def optimiser_step(
    optimiser: Optimizer, settings: OptimiserSettings, *, step: int, total: int, stage: str
) -> dict[str, float]:
    """Apply the gradients that are there and clear them; return what to log.

    Args:
        optimiser: from `build_optimiser`.
        settings: learning rate, schedule and clipping.
        step: 0 is the first step.
        total: steps of the whole run, for the schedule.
        stage: named in the error.

    Raises:
        NonFinite: a gradient is NaN or infinite; no weight was changed.
    """
    # A run of a few steps, from a few judgements, has no room for a long warm-up.
    warmup = min(settings.warmup_steps, total // 4)
    lr = settings.lr * _SCHEDULES[settings.schedule](step, total, warmup)
    norms = [
        float(torch.nn.utils.clip_grad_norm_(parameters, settings.max_grad_norm))
        for parameters in _clipped_together(optimiser)
    ]
    norm = norms[0] if all(map(math.isfinite, norms)) else math.nan
    if not math.isfinite(norm):
        message = (
            f"{stage}, step {step + 1}: the gradient is {norm}; lower the learning rate "
            f"({settings.lr}) or look for broken examples; the last saved state is intact"
        )
        raise NonFinite(message)
    for group in optimiser.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return {"optim/lr": lr, "optim/grad_norm": norm}


def _clipped_together(optimiser: Optimizer) -> list[list[Tensor]]:
    """Parameters by their learning rate: the policy's, and apart from it a value model's."""
    found: dict[float | None, list[Tensor]] = {}
    for group in optimiser.param_groups:
        found.setdefault(group.get("lr_scale"), []).extend(group["params"])
    return list(found.values())


def require_finite(loss: Tensor, *, stage: str, step: int, examples: Sequence[int]) -> None:
    """Stop before a loss that is not finite reaches the weights.

    Raises:
        NonFinite: names the stage, the step and the examples of the batch.
    """
    if bool(torch.isfinite(loss)):
        return
    shown = ", ".join(str(number) for number in examples[:8])
    message = (
        f"{stage}, step {step + 1}: the loss is {float(loss.detach())}; examples {shown} "
        "of the training data were in the batch; the last saved state is intact"
    )
    raise NonFinite(message)
