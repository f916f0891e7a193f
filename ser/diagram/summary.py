"""The network as a table: output shape, parameters and cost of each part, for one clip."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ser.model.branches import CnnBranches, Tokens, TransformerBranch
from ser.model.encoder_branch import EncoderBranch
from ser.model.fusion import Fused
from ser.model.network import Network, evaluating
from ser.runtime.text import markdown_table


@dataclass(frozen=True)
class Part:
    """One row of the table.

    Attributes:
        name: in words.
        shape: of the output for one clip, without the batch axis.
        parameters: number of trained parameters.
        madds: multiply-adds of convolutions, linear layers and attention products in one forward pass of one
            clip.
    """

    name: str
    shape: tuple[int, ...]
    parameters: int
    madds: int


def summary(network: Network, frames: int) -> list[Part]:
    """Parts of the network in the order of the data, then a last row ``network`` with the sums.

    Args:
        network: any network.
        frames: length of the clip, ≥ 1.
    """
    parts = _parts(network)
    shapes: dict[str, tuple[int, ...]] = {}
    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output, name=name: shapes.__setitem__(name, _shape(output)))
        for name, _, module in parts
    ]
    counted = madds(network, *_clip(network, frames))
    for hook in hooks:
        hook.remove()
    return [Part(label, shapes[name], _parameters(module), counted.get(f"Network.{name}", 0)) for name, label, module in parts] + [
        Part("network", shapes["classifier"], _parameters(network), counted["Global"])
    ]


def madds(network: nn.Module, *inputs: Tensor | dict[str, Tensor]) -> dict[str, int]:
    """Multiply-adds of one forward pass in evaluation mode, by module: ``"Global"`` is the sum,
    ``"<Class>.<path>"`` one part.

    Counts convolutions, matrix products and attention products, as torch's own counter does (it counts two
    operations for each).
    """
    counter = FlopCounterMode(display=False)
    with evaluating(network), torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:  # fused attention is not counted
        network(*inputs)
    return {name: sum(operations.values()) // 2 for name, operations in counter.get_flop_counts().items()}


def table(parts: list[Part]) -> str:
    """The parts as Markdown."""
    rows = [(part.name, " × ".join(map(str, part.shape)), f"{part.parameters:,}", f"{part.madds:,}") for part in parts]
    return markdown_table(["part", "output", "parameters", "multiply-adds"], rows, right=[2, 3])


def _parts(network: Network) -> list[tuple[str, str, nn.Module]]:
    """(path, name in words, module) of each part; no part contains another."""
    paths = {module: path for path, module in network.named_modules()}
    parts: list[tuple[str, nn.Module]] = []
    for side in network.sides.values():
        if isinstance(side, CnnBranches):
            blocks = len(side.views) // len(set(side.views))
            for number, (view, cnn) in enumerate(side.streams()):
                block = f" {number % blocks + 1}" if blocks > 1 else ""
                parts += [(f"{view} CNN{block}, stage {stage}", module) for stage, module in enumerate(cnn.stages, 1)]
        if isinstance(side, TransformerBranch):
            parts += [("transformer, embedding", side.embed)]
            parts += [(f"transformer, layer {layer}", module) for layer, module in enumerate(side.layers, 1)]
            norms = [norm for norm in side.norms if isinstance(norm, nn.LayerNorm)]
            parts += [
                ("transformer, norm" if len(norms) == 1 else f"transformer, norm {level}", norm) for level, norm in enumerate(norms, 1)
            ]
        if isinstance(side, EncoderBranch):
            parts += [("encoder's hidden states, weighed", side)]
    parts += [(f"projection of {name}", module) for name, module in zip(network.sides, network.projections, strict=False)]
    if network.fusion is not None:
        parts.append((f"fusion {type(network.fusion).__name__}", network.fusion))
    else:
        parts.append(("pool", network.pool))
    parts.append(("classifier", network.classifier))
    return [(paths[module], label, module) for label, module in parts]


def _clip(network: Network, frames: int) -> tuple[dict[str, Tensor], Tensor]:
    device = network.classifier.weight.device
    views = {view: torch.zeros(1, frames, width, device=device) for view, width in network.widths.items()}
    lengths = torch.tensor([frames], device=device)
    if network.encoder is not None:
        tokens = int(network.token_counts(lengths))
        views["encoder"] = torch.zeros(1, tokens, network.encoder.layers, network.encoder.width, device=device)
    return views, lengths


def _shape(output: Tensor | Fused | list[Tokens]) -> tuple[int, ...]:
    if isinstance(output, Fused):
        output = output.z
    if isinstance(output, list):
        output = output[-1].values
    return tuple(output.shape[1:])


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
