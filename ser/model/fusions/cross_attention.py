"""Cross-attention."""

from __future__ import annotations

import torch

from ser import SerError
from ser.model.branches import Tokens
from ser.model.fusion import Fused, Fusion, Widths, common_width
from ser.model.weighing import CrossLayer
from ser.params.model import Model


class CrossAttention(Fusion):
    """Cross-attention as in ViLBERT (Lu et al. 2019, arXiv 1908.02265): each side queries the other.

    A' = LN(A + MHA(A, X, X)); X' = LN(X + MHA(X, A, A)); each goes through M'' = LN(M' + FFN(M')); z = [a'' ;
    x'']. The weights shown are the attention that each token receives, averaged over heads and over the other
    side's tokens.
    """

    formula = "A′ = LN(A + MHA(A, X, X))\nX′ = LN(X + MHA(X, A, A))\nz = [a″ ; x″]"

    def __init__(self, params: Model, values: Widths, levels: int) -> None:
        super().__init__(params, values, levels)
        dim = common_width(params)
        self.width = 2 * self.pool.width(dim)
        self.a = CrossLayer(dim, params.heads)
        self.x = CrossLayer(dim, params.heads)

    def forward(self, a: list[Tokens], x: list[Tokens], values: tuple[Tokens, Tokens]) -> Fused:
        """→ z (B, 2s)."""
        a_seen, x_weights = self.a(a[-1], x[-1])
        x_seen, a_weights = self.x(x[-1], a[-1])
        return Fused(torch.cat([self.pool.evenly(a_seen), self.pool.evenly(x_seen)], 1), [a_weights], [x_weights])

    @classmethod
    def check(cls, params: Model) -> None:
        """Also: the heads share the width among them."""
        super().check(params)
        if common_width(params) % params.heads:
            raise SerError(f"model.dim {params.dim} must be a multiple of model.heads {params.heads} for cross_attention")
