"""Muon: momentum whose step, for convolutions, is turned into the nearest orthogonal matrix.

Keller Jordan, "Muon: An optimizer for hidden layers in neural networks" (2024), and the CIFAR-10
speed record that it comes from (github.com/KellerJordan/cifar10-airbench). torch.optim.Muon takes
matrices only, and no other parameters beside them; Lightning wants one optimiser.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

# Of the quintic a·X + b·(XXᵀ)X + c·(XXᵀ)²X: it drives singular values towards 1, fast and not quite there.
_A, _B, _C = 3.4445, -4.7750, 2.0315


class Muon(Optimizer):
    """Orthogonalised momentum for filters, Nesterov momentum for everything else.

    Args:
        groups: each with params, lr and momentum; with weight_decay (times lr, apart from the gradient)
            where wanted; and with orthogonal=True for convolution kernels [K, C, F, F]. Those are also
            kept at a norm of √K, so that lr is the relative size of a step and they need no decay.
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
        velocity = self.state[parameter].setdefault("velocity", torch.zeros_like(gradient))
        velocity.mul_(momentum).add_(gradient)
        step = gradient.add(velocity, alpha=momentum)
        if group["orthogonal"]:
            parameter.mul_(len(parameter) ** 0.5 / parameter.norm())
            step = orthogonalized(step.flatten(1)).view_as(step)
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(step, alpha=-group["lr"])


def orthogonalized(matrix: Tensor, iterations: int = 3) -> Tensor:
    """About the orthogonal matrix nearest to `matrix` [m, n]: its singular values brought near 1."""
    x = matrix / (matrix.norm() + 1e-7)
    wide = len(x) <= x.shape[1]
    x = x if wide else x.T
    for _ in range(iterations):
        gram = x @ x.T
        x = _A * x + (_B * gram + _C * gram @ gram) @ x
    return x if wide else x.T
