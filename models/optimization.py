"""Optimizers and learning rate schedules."""

import math
from collections.abc import Callable, Iterable
from typing import Literal, get_args

import torch
from torch import nn
from torch.optim import Optimizer

from .muon import Muon

OptimizerName = Literal["sgd", "adam", "adamw", "muon"]
Schedule = Literal["constant", "cosine", "linear"]
SCHEDULES: dict[Schedule, Callable[[float], float]] = {
    "constant": lambda progress: 1.0,
    "cosine": lambda progress: 0.5 + 0.5 * math.cos(math.pi * progress),
    "linear": lambda progress: 1 - progress,
}
"""The learning rate's share of its highest value, by the progress 0-1 after the warm-up."""


def check_settings(optimizer: str, schedule: str, warmup: float, label_smoothing: float) -> None:
    """Raise ValueError for an unknown optimizer or schedule, or a warm-up or label smoothing that is no share."""
    for name, value, choices in (("optimizer", optimizer, get_args(OptimizerName)), ("schedule", schedule, SCHEDULES)):
        if value not in choices:
            raise ValueError(f"{name} is {value!r}: expected one of {', '.join(choices)}")
    if not 0 <= warmup < 1:
        raise ValueError(f"warmup is {warmup}: expected a share of all steps, from 0 up to but not including 1")
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing is {label_smoothing}: expected a share from 0 up to but not including 1")


def make_optimizer(
    name: OptimizerName,
    parameters: Iterable[nn.Parameter],
    learning_rate: float,
    momentum: float,
    weight_decay: float,
    fused: bool = True,
) -> Optimizer:
    """Return an optimizer that decays kernels (parameters of two or more dimensions) and no others.

    Args:
        momentum: of SGD, in Nesterov's form if above 0, and of Muon. Muon decays dense layers alone.
        fused: take a step in one kernel, which is faster. Muon does not.
    """
    trained = list(parameters)
    if name == "muon":
        common = {"lr": learning_rate, "momentum": momentum}
        return Muon([
            common | {"params": [p for p in trained if p.ndim == 4], "orthogonal": True},
            common | {"params": [p for p in trained if p.ndim == 2], "weight_decay": weight_decay},
            common | {"params": [p for p in trained if p.ndim not in (2, 4)]},
        ])  # fmt: skip
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if name == "sgd":
        return torch.optim.SGD(groups, learning_rate, momentum, nesterov=momentum > 0, fused=fused)
    adam = torch.optim.Adam if name == "adam" else torch.optim.AdamW
    return adam(groups, learning_rate, fused=fused)


def learning_rate_factor(progress: float, schedule: Schedule, warmup: float) -> float:
    """Return the learning rate's share of its highest value, at `progress` 0-1 through the training."""
    if progress < warmup:
        return progress / warmup
    return SCHEDULES[schedule]((progress - warmup) / (1 - warmup))
