"""Weights over tokens and weighted sums: the building blocks of the fusions.

Letters as in ``ser/model/fusion.py``.
"""

from __future__ import annotations

import contextlib
import math

import torch
from torch import Tensor, nn

from ser.model.branches import Tokens
from ser.model.dense import Dense
from ser.model.norm import root
from ser.params.model import Model

SMALLEST_VARIANCE = 1e-5


class Pool(nn.Module):
    """Tokens and their weights → one vector, as the docstring of ``ser/model/fusion.py`` defines it."""

    def __init__(self, params: Model) -> None:
        super().__init__()
        self.deviation = params.statistics == "mean_std"

    def width(self, tokens: int) -> int:
        """Width s of the pooled vector for tokens of width d."""
        return 2 * tokens if self.deviation else tokens

    def forward(self, weights: Tensor, tokens: Tokens) -> Tensor:
        """Weights (B, N), zero where padded, sum 1, and tokens (B, N, d) → (B, s), always in float32.

        In bfloat16 the difference of two squares would be rounding error.
        """
        device = tokens.values.device.type
        whole = torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else contextlib.nullcontext()
        with whole:
            values = tokens.values.float()
            mean = weighted(weights.float(), values)
            if not self.deviation:
                return mean
            variance = weighted(weights.float(), values.square()) - mean.square()
            return torch.cat([mean, root(variance.clamp_min(0) + SMALLEST_VARIANCE)], 1)  # the root has no finite gradient at 0

    def evenly(self, tokens: Tokens) -> Tensor:
        """Pool with equal weights, (B, N, d) → (B, s)."""
        return self(tokens.mask / tokens.mask.sum(1, keepdim=True), tokens)


def gated(total: Tensor) -> Tensor:
    """σ(t) ⊙ t, (B, s) → (B, s)."""
    return torch.sigmoid(total) * total


def _softmax(scores: Tensor, mask: Tensor) -> Tensor:
    return torch.softmax(scores.masked_fill(~mask, -math.inf), -1)


def weighted(weights: Tensor, values: Tensor) -> Tensor:
    """(B, N) and (B, N, d) → (B, d)."""
    return (weights[:, None] @ values).squeeze(1)


class Affinity(nn.Module):
    """Weights over both sides from the affinity of every pair of tokens; see ``ParallelCoattention``."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.b = Dense(dim, dim, bias=False)
        self.a = Dense(dim, dim, bias=False)
        self.x = Dense(dim, dim, bias=False)
        self.score_a = nn.Linear(dim, 1, bias=False)
        self.score_x = nn.Linear(dim, 1, bias=False)
        nn.init.normal_(self.b.weight, std=1 / dim)  # so tanh does not saturate for tokens of unit scale

    def forward(self, a: Tokens, x: Tokens) -> tuple[Tensor, Tensor]:
        """→ p_a (B, N_a), p_x (B, N_x)."""
        affinity = torch.tanh(self.b(x.values) @ a.values.transpose(1, 2)).transpose(1, 2)  # (B, N_a, N_x)
        a_seen, x_seen = self.a(a.values), self.x(x.values)  # zero where padded, so padding adds nothing to the other side
        h_a = torch.tanh(a_seen + affinity @ x_seen)  # (B, N_a, d)
        h_x = torch.tanh(x_seen + affinity.transpose(1, 2) @ a_seen)  # (B, N_x, d)
        return _softmax(self.score_a(h_a).squeeze(2), a.mask), _softmax(self.score_x(h_x).squeeze(2), x.mask)


class Guided(nn.Module):
    """Weights over one side, guided by a vector; see ``AlternatingCoattention``."""

    def __init__(self, dim: int, guided: bool) -> None:
        super().__init__()
        self.m = Dense(dim, dim, bias=False)
        self.g = nn.Linear(dim, dim, bias=False) if guided else None
        self.score = nn.Linear(dim, 1, bias=False)

    def forward(self, tokens: Tokens, guide: Tensor | None) -> Tensor:
        """Tokens (B, N, d) and guide (B, d) → p (B, N)."""
        h = self.m(tokens.values)  # (B, N, d)
        if self.g is not None and guide is not None:
            h = h + self.g(guide)[:, None]
        return _softmax(self.score(torch.tanh(h)).squeeze(2), tokens.mask)


class CrossLayer(nn.Module):
    """Cross-attention: queries from one side, keys and values from the other; see ``CrossAttention``."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = Dense(dim, dim)
        self.kv = Dense(dim, 2 * dim)
        self.out = Dense(dim, dim)
        self.ffn = nn.Sequential(Dense(dim, 2 * dim), nn.ReLU(), Dense(2 * dim, dim))
        self.norm_attention = nn.LayerNorm(dim)
        self.norm_ffn = nn.LayerNorm(dim)

    def forward(self, asking: Tokens, answering: Tokens) -> tuple[Tokens, Tensor]:
        """Tokens (B, N_q, d) and (B, N_k, d) → tokens (B, N_q, d) and the mean attention on each answering
        token, (B, N_k).
        """
        q = self._heads(self.q(asking.values))  # (B, h, N_q, d/h)
        k, v = (self._heads(part) for part in self.kv(answering.values).chunk(2, 2))  # (B, h, N_k, d/h)
        p = _softmax(q @ k.transpose(2, 3) / math.sqrt(q.shape[3]), answering.mask[:, None, None])  # (B, h, N_q, N_k)
        attended = self.out((p @ v).transpose(1, 2).flatten(2))
        x = self.norm_attention(asking.values + attended)
        x = self.norm_ffn(x + self.ffn(x))
        counted = asking.mask.to(p.dtype)
        received = (p.mean(1) * counted[..., None]).sum(1) / counted.sum(1, keepdim=True)
        return Tokens(x * asking.mask[..., None], asking.mask), received

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)
