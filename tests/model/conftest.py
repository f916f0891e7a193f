from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from fixtures.network import CLASSES, ROOT, WIDTHS

from ser.model.network import Network
from ser.params import load
from ser.params.model import Model


@pytest.fixture
def shrunk() -> Callable[..., Model]:
    """The real ``model`` section made small; keywords replace values, ``cnn__…`` and ``transformer__…`` inside those sections."""

    def make(**changes: Any) -> Model:
        values = load(ROOT / "params.yaml").model.model_dump()
        small = {"dim": 12, "heads": 3, "transformer__dim": 8, "transformer__heads": 2, "transformer__ffn": 10, "cnn__channels": [4, 5, 6]}
        small |= {"cnn__stride_bins": [2, 1, 1], "cnn__stride_time": [2, 1, 1], "cnn__pool_bins": [1, 4, 2], "cnn__pool_time": [1, 2, 2]}
        small |= {"cnn__dropout": 0.1}
        for key, value in (small | changes).items():
            *sections, last = key.split("__")
            inner = values
            for section in sections:
                inner = inner[section]
            assert last in inner, key
            inner[last] = value
        return Model.model_validate(values)

    return make


@pytest.fixture
def build(shrunk: Callable[..., Model]) -> Callable[..., Network]:
    """A small network with seeded weights, batch norms and statistics that are no identity."""

    def make(seed: int = 0, **changes: Any) -> Network:
        torch.manual_seed(seed)
        network = Network(shrunk(**changes), WIDTHS, CLASSES)
        network.set_statistics({view: (torch.randn(width), torch.rand(width) + 0.5) for view, width in WIDTHS.items()})
        for name, buffer in network.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(std=0.2)
            if name.endswith("running_var"):
                buffer.uniform_(0.5, 2.0)
        return network

    return make


@pytest.fixture
def batch() -> Callable[..., tuple[dict[str, torch.Tensor], torch.Tensor]]:
    """Views and lengths of a batch of clips of the given lengths; padding holds noise, and ``padding`` frames are added to it."""

    def make(lengths: list[int], padding: int = 0, seed: int = 1) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        views = {}
        for number, (view, rows) in enumerate(WIDTHS.items()):
            generator = torch.Generator().manual_seed(seed + 1000 * number)
            clips = [torch.randn(length, rows, generator=generator) for length in lengths]
            noise = torch.Generator().manual_seed(seed + padding)
            padded = 10 * torch.randn(len(lengths), max(lengths) + padding, rows, generator=noise)
            for row, clip in enumerate(clips):
                padded[row, : len(clip)] = clip
            views[view] = padded
        return views, torch.tensor(lengths)

    return make
