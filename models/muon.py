"""Muon: momentum whose step, for convolutions, is replaced by the nearest orthogonal matrix.

Keller Jordan, "Muon: An optimizer for hidden layers in neural networks" (2024), first used for a CIFAR-10 speed
record (github.com/KellerJordan/cifar10-airbench). torch.optim.Muon accepts matrices only. Lightning's automatic
optimization needs one optimizer for all parameters.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

# Of the quintic a·X + b·(XXᵀ)X + c·(XXᵀ)²X, which brings singular values near 1 in a few iterations.
_A, _B, _C = 3.4445, -4.7750, 2.0315


class Muon(Optimizer):
    """Optimizer with orthogonalized momentum for convolution kernels and Nesterov momentum for other parameters.

    Args:
        groups: each with params, lr and momentum; optionally with weight_decay (decoupled, times lr), and with
            orthogonal=True for convolution kernels [K, C, F, F]. Their norm is set to √K at the first step, and kept,
            so that lr is the relative size of a step (if K ≤ C·F·F) and they need no decay. A batch norm has to
            follow: else this changes what a pretrained network computes.
    """

    def __init__(self, groups: Iterable[dict[str, Any]]) -> None:
        super().__init__(groups, {"orthogonal": False, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)
        return loss

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        momentum = group["momentum"]
        state = self.state[parameter]
        if "velocity" not in state:
            state["velocity"] = torch.zeros_like(gradient)
        velocity = state["velocity"]
        velocity.mul_(momentum).add_(gradient)
        step = gradient.add(velocity, alpha=momentum)
        if group["orthogonal"]:
            parameter.mul_(len(parameter) ** 0.5 / parameter.norm())
            step = orthogonalized(step.flatten(1)).view_as(step)
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(step, alpha=-group["lr"])


def orthogonalized(matrix: Tensor, iterations: int = 3) -> Tensor:
    """Return approximately the orthogonal matrix nearest to `matrix` [m, n]: bring its singular values near 1."""
    x: Tensor = matrix / (matrix.norm() + 1e-7)
    wide = len(x) <= x.shape[1]
    x = x if wide else x.T
    for _ in range(iterations):
        gram = x @ x.T
        x = _A * x + (_B * gram + _C * gram @ gram) @ x
    return x if wide else x.T
