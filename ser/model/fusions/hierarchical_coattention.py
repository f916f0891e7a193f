"""Parallel co-attention at each depth."""

from __future__ import annotations

import torch
from torch import nn

from ser.model.branches import Tokens
from ser.model.fusion import Fused, Fusion, Widths, common_width
from ser.model.weighing import Affinity
from ser.params.model import Model


class HierarchicalCoattention(Fusion):
    """Parallel co-attention at several depths (Lu et al. 2016 over words, phrases, question; here over the
    stages of the branches).

    Level k gives p_a, p_x as in ``ParallelCoattention``; â_k = pool(p_a, A_k), x̂_k = pool(p_x, X_k);
    h_1 = tanh(W_1 (â_1 + x̂_1)); h_k = tanh(W_k [(â_k + x̂_k) ; h_{k−1}]);
    z = h of the last level.
    """

    formula = "â_k, x̂_k at each depth k\nh_k = tanh(W_k [â_k + x̂_k ; h_{k−1}])\nz = h_K"
    every_depth = True

    def __init__(self, params: Model, values: Widths, levels: int) -> None:
        super().__init__(params, values, levels)
        self.width = common_width(params)
        self.attend = nn.ModuleList(Affinity(self.width) for _ in range(levels))
        seen = self.pool.width(self.width)
        self.encode = nn.ModuleList(nn.Linear(seen if level == 0 else seen + self.width, self.width) for level in range(levels))

    def forward(self, a: list[Tokens], x: list[Tokens], values: tuple[Tokens, Tokens]) -> Fused:
        """Tokens of width d at each level → z (B, d)."""
        a_weights, x_weights, code = [], [], None
        for attend, encode, a_level, x_level in zip(self.attend, self.encode, a, x, strict=True):
            p_a, p_x = attend(a_level, x_level)
            seen = self.pool(p_a, a_level) + self.pool(p_x, x_level)  # (B, s)
            code = torch.tanh(encode(seen if code is None else torch.cat([seen, code], 1)))  # (B, d)
            a_weights.append(p_a)
            x_weights.append(p_x)
        assert code is not None
        return Fused(code, a_weights, x_weights)
