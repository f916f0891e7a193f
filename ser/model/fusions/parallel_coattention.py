"""Parallel co-attention."""

from __future__ import annotations

import torch

from ser.model.branches import Tokens
from ser.model.fusion import Fused, Fusion, Widths, common_width
from ser.model.weighing import Affinity
from ser.params.model import Model


class ParallelCoattention(Fusion):
    """Parallel co-attention of Lu et al. 2016 (arXiv 1606.00061): each side attends by its affinity to the
    other, both at once.

    S = tanh(A W_b Xᵀ); H_a = tanh(A W_a + S (X W_x)); H_x = tanh(X W_x + Sᵀ (A W_a));
    p_a = softmax(H_a w_a); p_x = softmax(H_x w_x); â = pool(p_a, V_a); x̂ = pool(p_x, V_x); z = [â ; x̂].
    """

    formula = "S = tanh(A W_b Xᵀ)\np_a, p_x from S\nz = [pool(p_a, V_a) ; pool(p_x, V_x)]"

    def __init__(self, params: Model, values: Widths, levels: int) -> None:
        super().__init__(params, values, levels)
        self.width = sum(map(self.pool.width, values))
        self.attend = Affinity(common_width(params))

    def forward(self, a: list[Tokens], x: list[Tokens], values: tuple[Tokens, Tokens]) -> Fused:
        """→ z, (B, as wide as both sides pooled)."""
        p_a, p_x = self.attend(a[-1], x[-1])
        return Fused(torch.cat([self.pool(p_a, values[0]), self.pool(p_x, values[1])], 1), [p_a], [p_x])
