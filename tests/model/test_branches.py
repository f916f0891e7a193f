from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from ser import SerError
from ser.model.branches import Cnn, CnnStage, EncoderLayer, Tokens, TransformerBranch, segment, sinusoids, token_mask
from ser.model.norm import MaskedBatchNorm


@pytest.mark.parametrize(
    ("length", "frames", "expected"),
    [(1, 1, 1), (1, 8, 1), (8, 8, 1), (9, 8, 2), (16, 8, 2), (17, 8, 3), (50, 1, 50)],
)
def test_a_token_counts_when_it_covers_a_frame(length: int, frames: int, expected: int) -> None:
    mask = token_mask(torch.tensor([length]), frames, 60)
    assert mask[0].tolist() == [True] * expected + [False] * (60 - expected)


def test_batch_norm_is_torchs_where_nothing_is_padded() -> None:
    torch.manual_seed(0)
    x = (torch.randn(3, 4, 7, 5) * 3 + 2).contiguous(memory_format=torch.channels_last)
    mask = torch.ones(3, 7, dtype=torch.bool)
    ours, theirs = MaskedBatchNorm(4), nn.BatchNorm2d(4)
    nn.init.normal_(ours.weight)
    nn.init.normal_(ours.bias)
    theirs.load_state_dict(ours.state_dict(), strict=False)
    inputs = [x.clone().requires_grad_(), x.clone().requires_grad_()]
    outputs = [ours(inputs[0], mask), theirs(inputs[1])]
    weights = torch.randn_like(outputs[0])
    for output in outputs:
        (output * weights).sum().backward()
    torch.testing.assert_close(outputs[0], outputs[1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad, atol=1e-5, rtol=1e-5)
    for name in ("weight", "bias"):
        torch.testing.assert_close(getattr(ours, name).grad, getattr(theirs, name).grad, atol=1e-4, rtol=1e-5)
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name))
    torch.testing.assert_close(ours.eval()(x, mask), theirs.eval()(x))


def test_batch_norm_statistics_are_those_of_the_frames_that_count() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 6, 4)
    mask = token_mask(torch.tensor([6, 2]), 1, 6)
    norm = MaskedBatchNorm(3)
    norm(x, mask)
    counted = torch.cat([x[0], x[1, :, :2]], 1).flatten(1)  # (C, frames × bins)
    torch.testing.assert_close(norm.running_mean, 0.1 * counted.mean(1))
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * counted.var(1))


def test_cnn_stage_is_convolution_pool_norm_activation(shrunk) -> None:
    params = shrunk(
        cnn__bias=True,
        cnn__activation="leaky_relu",
        cnn__stride_bins=[1, 1, 1],
        cnn__stride_time=[1, 1, 1],
        cnn__pool_bins=[3, 1, 1],
        cnn__pool_time=[2, 1, 1],
    ).cnn
    torch.manual_seed(0)
    stage = CnnStage(params, 0, 1, 10).eval()
    x = torch.randn(1, 1, 8, 10)
    convolved = F.conv2d(x, stage.conv.weight, stage.conv.bias, padding=1)
    pooled = convolved.unfold(2, 2, 2).unfold(3, 3, 3).amax((4, 5))
    expected = F.leaky_relu(pooled / np.sqrt(1 + 1e-5), 0.01)
    torch.testing.assert_close(stage(x, torch.tensor([8]), 2), expected)
    assert stage.bins == 3


@pytest.mark.parametrize(
    ("bins", "strides", "pools", "expected"),
    [
        (40, [1, 1, 1], [2, 4, 4], [20, 5, 1]),
        (128, [1, 1, 1], [2, 4, 4], [64, 16, 4]),
        (13, [1, 1, 1], [2, 4, 4], [6, 1, 1]),  # fewer left than the factor: the factor gives way
        (1, [1, 1, 1], [2, 4, 4], [1, 1, 1]),
        (20, [2, 1, 3], [1, 2, 1], [10, 5, 2]),
    ],
)
def test_bins_after_each_stage(shrunk, bins: int, strides: list[int], pools: list[int], expected: list[int]) -> None:
    params = shrunk(cnn__pool_bins=pools, cnn__stride_bins=strides).cnn
    cnn = Cnn(params, bins)
    assert cnn.widths == [channels * count for channels, count in zip(params.channels, expected, strict=True)]
    tokens = cnn(torch.randn(2, 9, bins), torch.tensor([9, 4]))
    assert [level.values.shape[2] for level in tokens] == cnn.widths


@settings(max_examples=40)
@given(st.data())
def test_cnn_keeps_every_frame_of_a_clip(data: st.DataObject) -> None:
    """With any strides and pools, the token grid is as long as the mask says, also when the batch is not padded at all."""
    from ser.params.model import Cnn as CnnParams

    factor = st.integers(1, 4)
    stages = data.draw(st.integers(1, 3))
    strides, pools = (data.draw(st.lists(factor, min_size=stages, max_size=stages)) for _ in range(2))
    # All six at 4 make 4,096 frames, where oneDNN's convolution of one channel with stride 4 writes beyond its memory.
    assume(np.prod([*strides, *pools]) < 4096)
    lengths = data.draw(st.lists(st.integers(1, 30), min_size=1, max_size=3))
    ones = [1] * stages
    params = CnnParams(
        channels=[2] * stages, stride_bins=ones, stride_time=strides, pool_bins=ones, pool_time=pools, activation="relu", bias=False,
        dropout=0.0, segments=None, blocks=1,
    )  # fmt: skip
    cnn = Cnn(params, 3).eval()
    tokens = cnn(torch.randn(len(lengths), max(lengths), 3), torch.tensor(lengths))
    for level, frames in zip(tokens, cnn.frames, strict=True):
        assert level.mask.sum(1).tolist() == [-(-length // frames) for length in lengths]
        assert not level.values[~level.mask].any()
    assert cnn.frames[-1] == np.prod(strides) * np.prod(pools)


@settings(max_examples=50)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=4), st.integers(1, 12))
def test_segments_are_the_adaptive_average_of_each_clip(counts: list[int], segments: int) -> None:
    torch.manual_seed(0)
    mask = token_mask(torch.tensor(counts), 1, max(counts) + 2)
    values = torch.randn(len(counts), max(counts) + 2, 3) * mask[..., None]
    joined = segment(Tokens(values, mask), segments)
    assert joined.mask.tolist() == [[True]] * len(counts)
    for clip, count in enumerate(counts):
        expected = F.adaptive_avg_pool1d(values[clip, :count].T, segments).T.flatten()
        torch.testing.assert_close(joined.values[clip, 0], expected, atol=1e-6, rtol=1e-5)


def test_encoder_layer_is_torchs() -> None:
    torch.manual_seed(0)
    ours, theirs = EncoderLayer(12, 3, 20, 0.0), nn.TransformerEncoderLayer(12, 3, 20, 0.0, batch_first=True)
    names = {
        "qkv.weight": "self_attn.in_proj_weight", "qkv.bias": "self_attn.in_proj_bias",
        "out.weight": "self_attn.out_proj.weight", "out.bias": "self_attn.out_proj.bias",
        "ffn.0.weight": "linear1.weight", "ffn.0.bias": "linear1.bias", "ffn.2.weight": "linear2.weight", "ffn.2.bias": "linear2.bias",
        "norm_attention.weight": "norm1.weight", "norm_attention.bias": "norm1.bias",
        "norm_ffn.weight": "norm2.weight", "norm_ffn.bias": "norm2.bias",
    }  # fmt: skip
    for parameter in ours.parameters():
        nn.init.normal_(parameter, std=0.3)
    weights = ours.state_dict()
    theirs.load_state_dict({theirs_name: weights[ours_name] for ours_name, theirs_name in names.items()})
    x, mask = torch.randn(3, 7, 12), token_mask(torch.tensor([7, 4, 1]), 1, 7)
    expected = theirs(x, src_key_padding_mask=~mask)
    torch.testing.assert_close(ours(x, mask)[mask], expected[mask], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dim", [4, 7, 128])
def test_sinusoids_follow_the_formula(dim: int) -> None:
    made = sinusoids(30, dim, torch.device("cpu")).numpy()
    assert made.shape == (30, dim)
    for position in (0, 1, 29):
        for i in range(dim):
            angle = position / 10000 ** ((i - i % 2) / dim)
            assert made[position, i] == pytest.approx(np.cos(angle) if i % 2 else np.sin(angle), abs=1e-5)


@pytest.mark.parametrize(
    ("view", "pooling", "pool_bins", "dim", "width", "embedded"),
    [
        ("log_mel", "max", 1, None, 20, None),
        ("log_mel", "max", 2, None, 10, None),
        ("mfcc", "max", 1, 8, 8, 13),
        ("both", "max", 2, None, 16, None),  # each view is pooled by itself: 10 + 6
        ("both", "stack", 1, 8, 8, 33 * 4),
    ],
)
def test_transformer_tokens(shrunk, view, pooling, pool_bins, dim, width, embedded) -> None:
    params = shrunk(
        transformer__view=view,
        transformer__pooling=pooling,
        transformer__pool_bins=pool_bins,
        transformer__dim=dim,
        transformer__pool_time=4,
    ).transformer
    branch = TransformerBranch(params, {"log_mel": 20, "mfcc": 13}, levels=3)
    assert branch.widths == [width] * 3
    assert getattr(branch.embed, "in_features", None) == embedded
    tokens = branch({"log_mel": torch.randn(2, 9, 20), "mfcc": torch.randn(2, 9, 13)}, torch.tensor([9, 4]))
    assert [tuple(level.values.shape) for level in tokens] == [(2, 3, width)] * 3
    assert tokens[0].mask.tolist() == [[True, True, True], [True, False, False]]
    assert not tokens[2].values[1, 1:].any()


def test_encoder_sees_order_only_with_positions(shrunk) -> None:
    for positions, same in (("none", True), ("sinusoidal", False)):
        params = shrunk(transformer__positions=positions, transformer__pool_time=2, transformer__view="mfcc").transformer
        torch.manual_seed(0)
        branch = TransformerBranch(params, {"mfcc": 13}, levels=1).eval()
        frames = torch.randn(1, 12, 13)
        shuffled = frames.unflatten(1, (6, 2))[:, [3, 1, 5, 0, 2, 4]].flatten(1, 2)
        means = [branch({"mfcc": view}, torch.tensor([12]))[0].values.mean(1) for view in (frames, shuffled)]
        assert torch.allclose(*means, atol=1e-5) == same


def test_levels_take_layers_from_the_first_to_the_last(shrunk) -> None:
    for layers, levels, taps in ((2, 3, [0, 1, 1]), (4, 3, [0, 1, 3]), (1, 2, [0, 0]), (4, 1, [3])):
        branch = TransformerBranch(shrunk(transformer__layers=layers).transformer, {"log_mel": 20, "mfcc": 13}, levels)
        assert branch.taps == taps


def test_width_of_the_view_must_suit_the_heads(shrunk) -> None:
    params = shrunk(transformer__view="mfcc", transformer__dim=None, transformer__pooling="max").transformer
    with pytest.raises(SerError, match=r"13 rows.*model\.transformer\.heads 2"):
        TransformerBranch(params, {"mfcc": 13}, levels=1)


def test_dropout_takes_whole_channels(shrunk) -> None:
    torch.manual_seed(0)
    stage = CnnStage(shrunk(cnn__dropout=0.5, cnn__channels=[64, 1, 1], cnn__pool_bins=[1, 1, 1], cnn__pool_time=[1, 1, 1]).cnn, 0, 1, 6)
    stage.norm.bias.data.fill_(3.0)  # so that the activation itself makes no zeros
    x = torch.randn(2, 1, 10, 6)
    kept = copy.deepcopy(stage)
    kept.dropout = 0.0
    full, dropped = kept(x, torch.tensor([10, 7]), 1), stage(x, torch.tensor([10, 7]), 1)
    whole = dropped.abs().sum((2, 3)) > 0  # (B, C)
    assert 0.3 < whole.float().mean() < 0.7
    torch.testing.assert_close(dropped, 2 * full * whole[:, :, None, None])
