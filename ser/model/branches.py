"""The branches: each turns the frames of views into tokens, vectors over time with a mask that marks padding.

Letters in shape comments: B clips, T frames, F rows of a view (mel bands or coefficients), C channels, N
tokens, d width.

Padding never leaks: padded frames are zero before every convolution and after every stage, and neither batch
norm nor
attention includes them. A token counts if it covers at least one frame of its clip.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ser import SerError
from ser.model.dense import Dense
from ser.model.norm import MaskedBatchNorm
from ser.params.model import Cnn as CnnParams
from ser.params.model import Transformer as TransformerParams


class Tokens(NamedTuple):
    """Vectors over time.

    Attributes:
        values: (B, N, d), zero where padded.
        mask: (B, N) bool, true where the token covers at least one frame of the clip.
    """

    values: Tensor
    mask: Tensor


def token_mask(lengths: Tensor, frames_per_token: int, tokens: int) -> Tensor:
    """(B,) numbers of frames → (B, tokens) bool: which tokens cover at least one frame."""
    counted = (lengths + frames_per_token - 1) // frames_per_token
    return torch.arange(tokens, device=lengths.device) < counted[:, None]


class CnnStage(nn.Module):
    """3×3 convolution → max pool → batch norm → activation → dropout of whole channels.

    The pool precedes norm and activation, which then process only a fraction of the values. In a small CNN
    they are most of the cost.
    """

    def __init__(self, params: CnnParams, stage: int, channels_in: int, bins_in: int) -> None:
        super().__init__()
        stride = (params.stride_time[stage], params.stride_bins[stage])
        self.channels = params.channels[stage]
        self.conv = nn.Conv2d(channels_in, self.channels, 3, stride=stride, padding=1, bias=params.bias)
        bins = (bins_in - 1) // stride[1] + 1
        self.pool = (params.pool_time[stage], min(params.pool_bins[stage], bins))
        self.bins = bins // self.pool[1]
        self.frames = stride[0] * self.pool[0]  # input steps per output step
        self.norm = MaskedBatchNorm(self.channels)
        self.activation = {"relu": nn.ReLU(), "leaky_relu": nn.LeakyReLU(0.01), "silu": nn.SiLU()}[params.activation]
        self.dropout = params.dropout

    def forward(self, x: Tensor, lengths: Tensor, frames_per_token: int) -> Tensor:
        """x (B, C, N, F) zero where padded → (B, C', N', F') zero where padded."""
        x = self.conv(x)
        if self.pool != (1, 1):
            x = F.max_pool2d(x, self.pool)
        mask = token_mask(lengths, frames_per_token, x.shape[2])
        x = self.activation(self.norm(x, mask))
        keep = mask[:, None, :, None].to(x.dtype)  # (B, 1, N', 1)
        if self.training and self.dropout > 0:
            keep = keep * F.dropout(x.new_ones(x.shape[0], self.channels, 1, 1), self.dropout)  # (B, C', N', 1)
        return x * keep


class Cnn(nn.Module):
    """CNN over one view along its own axes, time × rows.

    Attributes:
        widths: width C·F of the tokens after each stage.
        frames: frames per token after each stage.
    """

    def __init__(self, params: CnnParams, bins: int) -> None:
        super().__init__()
        stages: list[CnnStage] = []
        channels = 1
        for stage in range(len(params.channels)):
            stages.append(CnnStage(params, stage, channels, bins))
            channels, bins = stages[-1].channels, stages[-1].bins
        self.stages = nn.ModuleList(stages)
        self.widths = [stage.channels * stage.bins for stage in stages]
        self.frames = [math.prod(stage.frames for stage in stages[: k + 1]) for k in range(len(stages))]

    def forward(self, view: Tensor, lengths: Tensor) -> list[Tokens]:
        """view (B, T, F) zero where padded, lengths (B,) → tokens after each stage, (B, N_k, C_k·F_k)."""
        x = F.pad(view, (0, 0, 0, self.frames[-1] - 1))  # pooling drops a remainder; this way it is padding only
        x = x.unsqueeze(3).permute(0, 3, 1, 2)  # (B, 1, T', F) with channels-last strides, which all later layers keep
        tokens = []
        for stage, frames in zip(self.stages, self.frames, strict=True):
            x = stage(x, lengths, frames)
            tokens.append(Tokens(x.permute(0, 2, 3, 1).flatten(2), token_mask(lengths, frames, x.shape[2])))
        return tokens


class CnnBranches(nn.Module):
    """CNNs over one view or several, aligned in time.

    All pool time by the same factor, so their tokens are aligned and can be concatenated step by step.

    Attributes:
        widths: width of the tokens at each level.
        frames: frames per token at each level.
    """

    def __init__(self, params: CnnParams, rows: dict[str, int], levels: int) -> None:
        """``rows`` of each view to read; ``levels``: 1 for the last stage only, else the number of stages."""
        super().__init__()
        self.views = [view for view in rows for _ in range(params.blocks)]  # one for each CNN
        cnns = [Cnn(params, rows[view]) for view in self.views]
        self.cnns = nn.ModuleList(cnns)
        self.levels = levels
        self.segments = params.segments
        self.widths = [sum(widths) * (params.segments or 1) for widths in zip(*(cnn.widths for cnn in cnns), strict=True)][-levels:]
        self.frames = cnns[0].frames[-levels:]

    def forward(self, views: dict[str, Tensor], lengths: Tensor) -> list[Tokens]:
        """views (B, T, F), zero where padded, lengths (B,) → tokens at each level."""
        streams = [cnn(views[view], lengths)[-self.levels :] for view, cnn in self.streams()]
        joined = [Tokens(torch.cat([tokens.values for tokens in level], 2), level[0].mask) for level in zip(*streams, strict=True)]
        return joined if self.segments is None else [segment(tokens, self.segments) for tokens in joined]

    def streams(self) -> list[tuple[str, Cnn]]:
        """Each CNN with the view that it reads."""
        return [(view, cnn) for view, cnn in zip(self.views, self.cnns, strict=True) if isinstance(cnn, Cnn)]


def segment(tokens: Tokens, segments: int) -> Tokens:
    """Average each clip's tokens in equal parts and concatenate the means: a fixed grid for any clip length.

    Part s of n tokens averages tokens ⌊s·n/S⌋ to ⌈(s+1)·n/S⌉ − 1, as in ``adaptive_avg_pool1d``. As a product
    of matrices it respects the n of each clip and has a deterministic gradient on every device.

    Returns:
        One token per clip, (B, 1, S·d).
    """
    counted = tokens.mask.sum(1)[:, None]  # (B, 1)
    part = torch.arange(segments, device=counted.device)  # (S,)
    start, stop = part * counted // segments, ((part + 1) * counted + segments - 1) // segments  # (B, S)
    position = torch.arange(tokens.mask.shape[1], device=counted.device)  # (N,)
    inside = (position >= start[..., None]) & (position < stop[..., None])  # (B, S, N)
    weights = inside / (stop - start)[..., None]
    values = (weights.to(tokens.values.dtype) @ tokens.values).flatten(1)  # (B, S·d)
    return Tokens(values[:, None], tokens.mask[:, :1])


class EncoderLayer(nn.Module):
    """Transformer encoder layer (Vaswani et al. 2017).

    Post-norm: ``x = LN(x + MHA(x)); x = LN(x + FFN(x))``. Pre-norm (Xiong et al. 2020): ``x = x + MHA(LN(x));
    x = x + FFN(LN(x))``. ``nn.TransformerEncoderLayer`` is not used, because it fixes the length in an ONNX
    export. Dropout is applied to the output of each sub-layer.
    """

    def __init__(self, dim: int, heads: int, ffn: int, dropout: float, pre_norm: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.pre_norm = pre_norm
        self.qkv = Dense(dim, 3 * dim)
        self.out = Dense(dim, dim)
        self.ffn = nn.Sequential(Dense(dim, ffn), nn.ReLU(), Dense(ffn, dim))
        self.norm_attention = nn.LayerNorm(dim)
        self.norm_ffn = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, N, d), mask (B, N) → (B, N, d)."""
        if self.pre_norm:
            x = x + self.dropout(self._attend(self.norm_attention(x), mask))
            return x + self.dropout(self.ffn(self.norm_ffn(x)))
        x = self.norm_attention(x + self.dropout(self._attend(x, mask)))
        return self.norm_ffn(x + self.dropout(self.ffn(x)))

    def _attend(self, x: Tensor, mask: Tensor) -> Tensor:
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, 2))  # (B, h, N, d/h)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])
        return self.out(attended.transpose(1, 2).flatten(2))


class TransformerBranch(nn.Module):
    """Transformer encoder over the frame sequence of one view or of all.

    Attributes:
        widths: width of the tokens at each level.
        frames: frames per token at each level.
    """

    def __init__(self, params: TransformerParams, rows: dict[str, int], levels: int) -> None:
        """``rows`` of each view; ``levels``: number of depths. Level k follows layer k, the last level the
        last layer.
        """
        super().__init__()
        self.params = params
        self.views = list(rows) if params.view == "both" else [params.view]
        pooled = sum(max(1, rows[view] // params.pool_bins) for view in self.views)
        width = params.dim if params.dim is not None else pooled
        if width % params.heads:
            raise SerError(
                f"model.transformer.dim is null, so tokens are as wide as the {width} rows that the encoder reads, which is not a multiple "
                f"of model.transformer.heads {params.heads}: set model.transformer.dim or another number of heads"
            )
        stacked = pooled * (params.pool_time if params.pooling == "stack" else 1)
        self.embed = Dense(stacked, width) if params.dim is not None else nn.Identity()
        pre_norm = params.norm == "pre"
        self.layers = nn.ModuleList(EncoderLayer(width, params.heads, params.ffn, params.dropout, pre_norm) for _ in range(params.layers))
        # The residual stream of pre-norm layers is normalised where it is read; that of post-norm layers
        # already is.
        self.norms = nn.ModuleList(nn.LayerNorm(width) if pre_norm else nn.Identity() for _ in range(levels))
        self.taps = [min(level, params.layers - 1) for level in range(levels - 1)] + [params.layers - 1]
        self.widths = [width] * levels
        self.frames = [params.pool_time] * levels

    def forward(self, views: dict[str, Tensor], lengths: Tensor) -> list[Tokens]:
        """views (B, T, F), zero where padded, lengths (B,) → tokens at each level, (B, N, d)."""
        x = torch.cat([self._pool_bins(views[view]) for view in self.views], 2)  # (B, T, ΣF)
        frames = self.params.pool_time
        x = F.pad(x, (0, 0, 0, frames - 1))
        count = x.shape[1] // frames
        x = x[:, : count * frames].unflatten(1, (count, frames))  # (B, N, frames, ΣF)
        x = self.embed(x.flatten(2) if self.params.pooling == "stack" else x.amax(2))  # (B, N, d)
        if self.params.positions == "sinusoidal":
            x = x + sinusoids(count, x.shape[2], x.device).to(x.dtype)
        mask = token_mask(lengths, frames, count)
        after = []
        for layer in self.layers:
            x = layer(x, mask)
            after.append(x)
        return [Tokens(norm(after[tap]) * mask[..., None], mask) for norm, tap in zip(self.norms, self.taps, strict=True)]

    def _pool_bins(self, view: Tensor) -> Tensor:
        return F.max_pool1d(view, min(self.params.pool_bins, view.shape[2])) if self.params.pool_bins > 1 else view


def sinusoids(count: int, dim: int, device: torch.device) -> Tensor:
    """Positions of Vaswani et al. 2017, (count, dim): sines and cosines of wavelengths from 2π to 20000π in
    turn.
    """
    rates = torch.exp(torch.arange(0, dim, 2, device=device) * (-math.log(10000.0) / dim))  # (⌈dim/2⌉,)
    angles = torch.arange(count, device=device)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)[:, :dim]
