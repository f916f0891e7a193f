"""A linear layer over tokens whose products are as fast with portable kernels as with native ones."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ser.runtime import kernels


class Dense(nn.Linear):
    """``nn.Linear`` for tokens, (B, N, d) → (B, N, e): the same weights, names and initial values.

    In training on a CPU with portable kernels the product is a convolution of width 1. torch gives products of
    matrices to MKL, whose only mode that is the same on every processor takes three times as long as its
    others. It gives convolutions to oneDNN, which is as fast with AVX2 alone.
    """

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__(inputs, outputs, bias)
        self.portable = kernels.now() == "portable"

    def forward(self, x: Tensor) -> Tensor:
        """x (B, N, d) → (B, N, e)."""
        if not (self.portable and self.training and x.device.type == "cpu"):
            return super().forward(x)
        image = x.transpose(1, 2)[..., None].contiguous(memory_format=torch.channels_last)  # (B, d, N, 1): no copy of whole tokens
        weight = self.weight[..., None, None].contiguous(memory_format=torch.channels_last)
        return F.conv2d(image, weight, self.bias)[..., 0].transpose(1, 2)
