"""Adam as TensorFlow wrote it, with epsilon outside the bias correction."""

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim import Optimizer


class AdamTfStyle(Optimizer):
    r"""Adam whose epsilon does not shrink in the first steps.

    .. math:: \theta \leftarrow \theta - \alpha \frac{\sqrt{1-\beta_2^t}}{1-\beta_1^t}
              \cdot \frac{m_t}{\sqrt{v_t} + \epsilon}

    PyTorch corrects v before it adds epsilon, so that in this form its epsilon is
    epsilon * sqrt(1 - beta2^t): at t = 1 thirty times smaller. Early in PPO, where gradients are
    tiny, that means larger first updates: more clipping and more KL.

    Args:
        params: parameters or parameter groups.
        lr: alpha, > 0.
        betas: decay of the first and second moment, each in [0, 1).
        eps: epsilon, > 0; 1e-5 in OpenAI's PPO.

    State per parameter is named as in `torch.optim.Adam`: step, exp_avg, exp_avg_sq.

    Source: Kingma & Ba 2015, end of section 2 ("epsilon hat"); Huang et al. 2023, "The N
    implementation details of RLHF with PPO", section on Adam.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        *,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-5,
    ) -> None:
        if not lr >= 0:
            message = f"lr must be at least 0, not {lr}"
            raise ValueError(message)
        if not all(0 <= beta < 1 for beta in betas):
            message = f"betas must lie in [0, 1), not {betas}"
            raise ValueError(message)
        if not eps > 0:
            message = f"eps must be above 0, not {eps}"
            raise ValueError(message)
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update every parameter that has a gradient; `closure` recomputes the loss if given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group["lr"], group["betas"], group["eps"])
        return loss

    def _update(self, parameter: Tensor, lr: float, betas: tuple[float, float], eps: float) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        gradient = parameter.grad
        assert gradient is not None
        state["step"] += 1
        step, mean, square = state["step"].item(), state["exp_avg"], state["exp_avg_sq"]
        mean.lerp_(gradient, 1 - betas[0])
        square.mul_(betas[1]).addcmul_(gradient, gradient, value=1 - betas[1])
        rate = lr * (1 - betas[1] ** step) ** 0.5 / (1 - betas[0] ** step)
        parameter.addcdiv_(mean, square.sqrt().add_(eps), value=-rate)
