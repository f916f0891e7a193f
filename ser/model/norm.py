"""Batch norm that ignores padding and computes its statistics over all ranks of a data-parallel training; and a square root."""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn


class MaskedBatchNorm(nn.Module):
    """Batch normalisation (Ioffe & Szegedy 2015) with statistics over all ranks and without padding.

    So the statistics of a batch depend neither on its padding nor on its distribution over ranks.
    Running statistics have momentum 0.1, with the unbiased variance, as ``nn.BatchNorm2d``.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps = eps
        self.momentum = momentum
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, C, N, F), mask (B, N) → (B, C, N, F).

        Padding is normalised too but does not enter the statistics.
        """
        if not self.training:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        rows = x.permute(0, 2, 3, 1).flatten(0, 2).float()  # (B·N·F, C): no copy, because x is channels-last
        counts = mask[..., None].expand(-1, -1, x.shape[3]).flatten().to(rows.dtype)  # (B·N·F,)
        with torch.autocast(x.device.type, enabled=False):  # sums over thousands of frames need full precision
            sums = _over_processes(torch.cat([counts.sum()[None], counts @ rows, counts @ rows.square()]))
        count, (total, squares) = sums[0], sums[1:].chunk(2)
        mean = total / count
        var = (squares / count - mean.square()).clamp_min(0)
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * (count / (count - 1).clamp_min(1)), self.momentum)
        scale = self.weight * torch.rsqrt(var + self.eps)
        shift = self.bias - mean * scale
        return torch.addcmul(shift.to(x.dtype)[:, None, None], x, scale.to(x.dtype)[:, None, None])


def root(x: Tensor) -> Tensor:
    """Square root of values ≥ 0, the same bytes on every processor.

    ``torch.sqrt`` goes through MKL's vector library, which chooses its code by processor. ``rsqrt`` is torch's own.
    """
    return x.rsqrt().reciprocal()


class _Sum(torch.autograd.Function):
    """All-reduce with a gradient: the sum of the gradients of all ranks."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        x = x.clone()
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> Tensor:
        gradient = gradients[0].clone()
        dist.all_reduce(gradient)
        return gradient


def _over_processes(sums: Tensor) -> Tensor:
    shared = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
    return _Sum.apply(sums) if shared else sums
