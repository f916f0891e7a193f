"""The network as a graph: exported to ONNX, compiled, and shared by processes."""

from __future__ import annotations

import copy
import io
import shutil

import numpy as np
import onnxruntime
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from fixtures.network import WIDTHS
from safetensors.torch import load_file, save_file

from ser.model.branches import token_mask
from ser.model.norm import MaskedBatchNorm
from ser.params.model import FUSIONS

SHAPES = [(1, 1), (3, 7), (2, 50), (4, 333)]  # clips, frames


def views(clips: int, frames: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    generator = torch.Generator().manual_seed(clips)
    lengths = torch.randint(1, frames + 1, (clips,), generator=generator)
    return {view: torch.randn(clips, frames, width, generator=generator) for view, width in WIDTHS.items()}, lengths


def exported_equals_torch(network: torch.nn.Module) -> None:
    """Exported once with dynamic batch and time, the graph gives torch's logits for any number of clips of any length."""
    free = torch.export.Dim.DYNAMIC
    names = [*WIDTHS, "lengths"]
    program = torch.onnx.export(
        network.eval(),
        views(2, 40),
        dynamo=True,
        verbose=False,
        input_names=names,
        output_names=["logits"],
        dynamic_shapes={"views": {view: {0: free, 1: free} for view in WIDTHS}, "lengths": {0: free}},
    )
    stored = io.BytesIO()
    assert program is not None
    program.save(stored)
    session = onnxruntime.InferenceSession(stored.getvalue())
    assert [value.name for value in session.get_inputs()] == names
    for clips, frames in SHAPES:
        inputs, lengths = views(clips, frames)
        (logits,) = session.run(None, {name: value.numpy() for name, value in (inputs | {"lengths": lengths}).items()})
        np.testing.assert_allclose(logits, network(inputs, lengths).detach().numpy(), atol=1e-5)


@pytest.mark.slow
def test_onnx_of_the_default_takes_any_length(build) -> None:
    exported_equals_torch(build())


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        *({"fusion": fusion} for fusion in FUSIONS.names()),
        {"fusion": "concat", "dim": None, "cnn__segments": 4, "transformer__pooling": "max", "transformer__pool_bins": 2},
        {"branches": ["mfcc_cnn"]},  # one view unused: it stays an input all the same
        {"branches": ["transformer"]},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
def test_onnx_of_every_fusion_takes_any_length(build, changes: dict) -> None:
    exported_equals_torch(build(**changes))


def compiled_equals_eager(network: torch.nn.Module, backend: str, shapes: list[tuple[int, int]]) -> None:
    torch._dynamo.reset()
    plain = copy.deepcopy(network)
    compiled = torch.compile(network, dynamic=True, fullgraph=True, backend=backend)
    for clips, frames in shapes:
        outcomes = []
        for module, parameters in ((compiled, network), (plain, plain)):
            parameters.zero_grad()
            logits = module(*views(clips, frames))
            logits.square().sum().backward()
            outcomes.append([logits, *(parameter.grad for parameter in parameters.parameters())])
        for ours, expected in zip(*outcomes, strict=True):
            torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("fusion", FUSIONS.names())
def test_compiles_to_one_graph_for_all_lengths(build, fusion: str) -> None:
    network = build(fusion=fusion, dropout=0.0, cnn__dropout=0.0, transformer__dropout=0.0).train()
    compiled_equals_eager(network, "eager", [(2, 50), (3, 61), (4, 20)])


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_compiled_code_gives_the_same(build) -> None:
    """Inductor fixes the grid of a convolution's gradient, so in training it compiles anew for each number of tokens."""
    network = build(dropout=0.0, cnn__dropout=0.0, transformer__dropout=0.0).train()
    compiled_equals_eager(network, "inductor", [(2, 50), (3, 61)])


def _norm_of_a_share(rank: int, store: str, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    save_file(_norm_of([slice(0, 1), slice(1, 4)][rank]), f"{folder}/{rank}")  # unequal shares
    dist.destroy_process_group()


def _norm_of(clips: slice) -> dict[str, torch.Tensor]:
    x, mask, weights = _norm_inputs()
    x = x[clips].requires_grad_()
    norm = MaskedBatchNorm(3)
    output = norm(x, mask[clips])
    (output * weights[clips]).sum().backward()
    assert x.grad is not None
    found = {"output": output.detach(), "gradient": x.grad, "mean": norm.running_mean, "var": norm.running_var}
    return {name: value.contiguous() for name, value in found.items()}


def _norm_inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x, weights = torch.randn(4, 3, 6, 5, generator=generator), torch.randn(4, 3, 6, 5, generator=generator)
    return x * 2 + 1, token_mask(torch.tensor([6, 2, 5, 1]), 1, 6), weights


def test_batch_norm_of_two_processes_is_that_of_one(tmp_path) -> None:
    """Statistics, and the gradient of the sum of both processes' losses."""
    mp.spawn(_norm_of_a_share, (str(tmp_path / "store"), str(tmp_path)), 2)
    whole = _norm_of(slice(0, 4))
    shares = [load_file(tmp_path / str(rank)) for rank in (0, 1)]
    for name in ("output", "gradient"):
        torch.testing.assert_close(torch.cat([share[name] for share in shares]), whole[name], atol=1e-5, rtol=1e-4)
    for name in ("mean", "var"):
        for share in shares:
            torch.testing.assert_close(share[name], whole[name])
