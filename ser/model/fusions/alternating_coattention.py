"""Alternating co-attention."""

from __future__ import annotations

import torch

from ser.model.branches import Tokens
from ser.model.fusion import Fused, Fusion, Widths, common_width
from ser.model.weighing import Guided, weighted
from ser.params.model import Model


class AlternatingCoattention(Fusion):
    """Alternating co-attention of Lu et al. 2016 (arXiv 1606.00061): three attention steps, each
    guided by the result of the previous one.

    look(M, g): H = tanh(M W_m + g W_g); p = softmax(H w), each look with weights of its own.
    p_s = look(A, 0); p_x = look(X, Σ p_s A); p_a = look(A, Σ p_x X); z = [pool(p_a, V_a) ; pool(p_x, V_x)].
    """

    formula = "p_s from A,  p_x from X, Σ p_s A\np_a from A, Σ p_x X\nz = [pool(p_a, V_a) ; pool(p_x, V_x)]"

    def __init__(self, params: Model, values: Widths, levels: int) -> None:
        super().__init__(params, values, levels)
        self.width = sum(map(self.pool.width, values))
        dim = common_width(params)
        self.summary = Guided(dim, guided=False)
        self.look_x = Guided(dim, guided=True)
        self.look_a = Guided(dim, guided=True)

    def forward(self, a: list[Tokens], x: list[Tokens], values: tuple[Tokens, Tokens]) -> Fused:
        """→ z, (B, as wide as both sides pooled)."""
        p_x = self.look_x(x[-1], weighted(self.summary(a[-1], None), a[-1].values))
        p_a = self.look_a(a[-1], weighted(p_x, x[-1].values))
        return Fused(torch.cat([self.pool(p_a, values[0]), self.pool(p_x, values[1])], 1), [p_a], [p_x])
