"""The branch over the hidden states of a frozen encoder: standardised, weighed over layers, handed on as tokens (``model.encoder``)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ser import SerError
from ser.model.branches import EncoderLayer, Tokens
from ser.model.dense import Dense
from ser.params.model import EncoderBranch as EncoderParams


@dataclass(frozen=True)
class TokenRate:
    """Tokens per frame of the views as a fraction, so that both are cut alike everywhere.

    Attributes:
        numerator: tokens in ``denominator`` frames.
        denominator: frames in which there are ``numerator`` tokens.
    """

    numerator: int
    denominator: int

    @classmethod
    def of(cls, hop_length: int, tokens_per_second: float, sample_rate: int) -> TokenRate:
        """Frames ``hop_length`` samples apart, tokens ``sample_rate / tokens_per_second`` samples apart.

        >>> TokenRate.of(320, 50.0, 16000)
        TokenRate(numerator=1, denominator=1)
        """
        top, bottom = (hop_length * tokens_per_second).as_integer_ratio()
        bottom *= sample_rate
        common = math.gcd(top, bottom)
        return cls(top // common, bottom // common)

    def tokens(self, lengths: Tensor) -> Tensor:
        """Numbers of frames T (B,) → numbers of tokens, max(1, ⌈(T − 1) · rate⌉): T centred frames span T − 1 hops."""
        return (((lengths - 1) * self.numerator + self.denominator - 1) // self.denominator).clamp_min(1)

    def before(self, frames: Tensor) -> Tensor:
        """Number of a frame (B,) → number of the token it falls into, ⌊frame · rate⌋."""
        return frames * self.numerator // self.denominator


class EncoderInput(NamedTuple):
    """Shape and rate of the hidden states that a network reads.

    Attributes:
        layers: how many hidden states of the encoder are stored.
        width: of each.
        rate: tokens per frame.
    """

    layers: int
    width: int
    rate: TokenRate


class EncoderBranch(nn.Module):
    """Layer norm of each layer, then their sum weighted by a learned softmax, then optionally a linear layer and Transformer layers.

    A fusion that reads every depth gets one weighting of the encoder's layers per level. The added Transformer layers process the
    last level only.

    Attributes:
        widths: width of the tokens at each level.
        weights: (levels, layers), logits of the softmax over the layers; zero at the start, which weighs all alike.
    """

    def __init__(self, params: EncoderParams, encoder: EncoderInput, levels: int) -> None:
        """``levels``: how many depths are asked for.

        Raises:
            SerError: if the encoder's width is not a multiple of the number of heads of the added layers.
        """
        super().__init__()
        self.rate = encoder.rate
        self.weights = nn.Parameter(torch.zeros(levels, encoder.layers))
        width = params.dim if params.dim is not None else encoder.width
        if params.layers and width % params.heads:
            raise SerError(
                f"model.encoder.dim is null, so tokens are as wide as the encoder's {width}, not a multiple of model.encoder.heads "
                f"{params.heads}: set model.encoder.dim or another number of heads"
            )
        self.embed = Dense(encoder.width, width) if params.dim is not None else nn.Identity()
        self.dropout = nn.Dropout(params.dropout)
        self.layers = nn.ModuleList(
            EncoderLayer(width, params.heads, params.ffn, params.dropout, pre_norm=True) for _ in range(params.layers)
        )
        self.norm = nn.LayerNorm(width) if params.layers else nn.Identity()
        self.widths = [width] * levels

    def forward(self, views: dict[str, Tensor], lengths: Tensor) -> list[Tokens]:
        """``views["encoder"]`` (B, N, L, W) standardised and zero where padded, lengths (B,) in frames → tokens at each level."""
        states = views["encoder"]
        mask = encoder_mask(lengths, self.rate, states.shape[1])
        normed = F.layer_norm(states, states.shape[3:])
        found = []
        for level, weights in enumerate(self.layer_weights()):
            x = self.dropout(self.embed(torch.einsum("l,bnlw->bnw", weights, normed)))  # (B, N, d)
            if level == len(self.widths) - 1:
                for layer in self.layers:
                    x = layer(x, mask)
                x = self.norm(x)
            found.append(Tokens(x * mask[..., None], mask))
        return found

    def layer_weights(self) -> Tensor:
        """Shares of the layers at each level, (levels, layers), each row with sum 1."""
        return self.weights.softmax(1)

    def over_frames(self, weights: Tensor, frames: int) -> Tensor:
        """Attention over tokens (B, N) → over frames (B, frames): each token's weight is split among its frames. For pictures."""
        per_token = self.rate.denominator / self.rate.numerator  # frames that a token is long
        begin = torch.arange(weights.shape[1], device=weights.device)[:, None] * per_token
        frame = torch.arange(frames, device=weights.device)
        shared = (torch.minimum(begin + per_token, frame + 1.0) - torch.maximum(begin, frame.float())).clamp_min(0)  # (N, frames)
        return weights.float() @ shared / per_token


def encoder_mask(lengths: Tensor, rate: TokenRate, tokens: int) -> Tensor:
    """(B,) numbers of frames → (B, tokens) bool: which tokens are the clip's."""
    return torch.arange(tokens, device=lengths.device) < rate.tokens(lengths)[:, None]


def pooled(states: Tensor, mask: Tensor) -> Tensor:
    """``ser.encoders.pooled.pooled`` of a batch, in float32: (B, N, L, W) and (B, N) → (B, L · 2 · W)."""
    inside, count = mask[:, :, None, None], mask.sum(1)[:, None, None]
    mean = states.masked_fill(~inside, 0.0).sum(1) / count  # (B, L, W)
    variance = (states - mean[:, None]).masked_fill(~inside, 0.0).square().sum(1) / count
    return torch.stack([mean, variance.sqrt()], 2).flatten(1)
