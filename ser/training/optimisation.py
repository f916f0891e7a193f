"""Optimiser, learning rate and moving average of the weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ser.params.train import Train


def make_optimizer(network: nn.Module, params: Train) -> torch.optim.Optimizer:
    """Weight decay acts on matrices and kernels only, not on biases and norms."""
    decayed = [weight for weight in network.parameters() if weight.ndim > 1]
    others = [weight for weight in network.parameters() if weight.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": params.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if params.optimizer == "adamw":
        # On a CPU the fused step is torch's own loop. The other one takes roots by MKL's vector library, which
        # differ between processors.
        fused = all(weight.device.type == "cpu" for weight in network.parameters())
        return torch.optim.AdamW(groups, lr=params.lr, fused=fused or None)
    return torch.optim.SGD(groups, lr=params.lr, momentum=params.momentum)


def learning_rate(params: Train, progress: float) -> float:
    """Learning rate at a progress in [0, 1): linear warm-up, then constant, cosine to zero, or one-cycle
    (Smith & Topin 2018).

    One-cycle rises along a cosine from 1/25 of the peak and falls to 1/100,000 of it.
    """
    rising = progress < params.warmup
    along = progress / params.warmup if rising else (progress - params.warmup) / (1 - params.warmup)
    if params.schedule == "one_cycle":
        low, high = (params.lr / 25, params.lr) if rising else (params.lr, params.lr / 1e5)
        return high + (low - high) * (1 + math.cos(math.pi * along)) / 2
    if rising:
        return params.lr * max(along, 0.01)
    return params.lr * (1 + math.cos(math.pi * along)) / 2 if params.schedule == "cosine" else params.lr


def average(averaged: dict[str, Tensor], network: nn.Module, decay: float) -> None:
    """Exponential moving average of the weights; batch-norm statistics are averages already and are copied."""
    weights = dict(network.named_parameters())
    for name, value in network.state_dict().items():
        if name in weights and decay > 0:
            averaged[name].lerp_(value, 1 - decay)
        else:
            averaged[name].copy_(value)
