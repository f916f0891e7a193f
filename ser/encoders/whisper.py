"""Whisper's encoder: stem and layers in plain torch, weights from safetensors, any number of frames.

Hidden states are numbered as in ``transformers``: 0 is the output of the stem plus positions, k the output of
layer k. The final layer norm follows the **last** layer only: it is applied to the last hidden state and to
no other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional

from ser import SerError
from ser.encoders.cutting import HOP, fed, pieces
from ser.encoders.whisper_mel import log_mel


@dataclass(frozen=True)
class Shape:
    """Sizes from ``config.json``: mel bands, width, heads, feed-forward width, layers, positions."""

    bands: int
    width: int
    heads: int
    ffn: int
    layers: int
    positions: int

    @classmethod
    def of(cls, config: Mapping[str, Any], where: str) -> Shape:
        """The sizes in a ``config.json``.

        Raises:
            SerError: if one is missing, is not a whole number from 1, or does not fit another.
        """
        keys = ("num_mel_bins", "d_model", "encoder_attention_heads", "encoder_ffn_dim", "encoder_layers", "max_source_positions")
        for key in keys:
            if not isinstance(config.get(key), int) or config[key] < 1:
                raise SerError(f"{where}: {key} is {config.get(key)!r}; a Whisper needs a whole number from 1")
        shape = cls(*(config[key] for key in keys))
        if shape.width % shape.heads or config.get("activation_function", "gelu") != "gelu" or config.get("scale_embedding", False):
            raise SerError(f"{where}: not a published Whisper (heads divide the width, gelu, embedding not scaled)")
        return shape


class Attention(nn.Module):
    """Self-attention over all tokens; keys have no bias."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.q_proj, self.v_proj, self.out_proj = (nn.Linear(shape.width, shape.width) for _ in range(3))
        self.k_proj = nn.Linear(shape.width, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, tokens, width) → the same."""
        q, k, v = (part(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (self.q_proj, self.k_proj, self.v_proj))
        mixed: Tensor = functional.scaled_dot_product_attention(q, k, v)  # (batch, heads, tokens, width / heads)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """A pre-norm Transformer layer."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.self_attn_layer_norm, self.final_layer_norm = nn.LayerNorm(shape.width), nn.LayerNorm(shape.width)
        self.self_attn = Attention(shape)
        self.fc1, self.fc2 = nn.Linear(shape.width, shape.ffn), nn.Linear(shape.ffn, shape.width)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, tokens, width) → the same."""
        x = x + self.self_attn(self.self_attn_layer_norm(x))
        return x + self.fc2(functional.gelu(self.fc1(self.final_layer_norm(x))))


class WhisperEncoder(nn.Module):
    """Stem and layers up to the highest chosen hidden state. Weights are named as on the hub.

    Args:
        shape: sizes of the whole encoder.
        chosen: numbers of the hidden states to return, ascending.
    """

    def __init__(self, shape: Shape, chosen: Sequence[int]) -> None:
        super().__init__()
        self.chosen, deepest = tuple(chosen), max(chosen)
        self.conv1 = nn.Conv1d(shape.bands, shape.width, 3, padding=1)
        self.conv2 = nn.Conv1d(shape.width, shape.width, 3, stride=2, padding=1)
        self.embed_positions = nn.Embedding(shape.positions, shape.width)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(deepest))
        self.layer_norm = nn.LayerNorm(shape.width) if deepest == shape.layers else None

    def forward(self, mel: Tensor) -> Tensor:
        """Hidden states of a log-mel: (batch, bands, frames) → (batch, ⌈frames / 2⌉, chosen, width)."""
        x = functional.gelu(self.conv2(functional.gelu(self.conv1(mel)))).transpose(1, 2)
        x = x + self.embed_positions.weight[: x.shape[1]]
        states = [x] if 0 in self.chosen else []
        for number, layer in enumerate(self.layers, start=1):
            x = layer(x)
            if self.layer_norm is not None and number == len(self.layers):
                x = self.layer_norm(x)
            if number in self.chosen:
                states.append(x)
        return torch.stack(states, dim=2)


@dataclass(frozen=True)
class Whisper:
    """A loaded Whisper encoder that turns signals into hidden states."""

    network: WhisperEncoder
    bands: int
    positions: int

    def states(self, signal: np.ndarray, silence: int) -> np.ndarray:
        """Hidden states of a signal, float32 (tokens, chosen, width), tokens = samples fed / 320, rounded up.

        A signal of more tokens than positions (30 s) is cut into the fewest pieces of equal length.

        Args:
            signal: mono float at 16 kHz, shape (n,).
            silence: samples of silence appended.
        """
        whole = fed(signal, silence)
        mel = log_mel(whole, self.bands)
        parts = [self.piece(mel[:, 2 * start : 2 * end]) for start, end in pieces(len(whole) // HOP, self.positions)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def piece(self, mel: np.ndarray) -> np.ndarray:
        """Hidden states of one piece of a log-mel: (bands, frames) → (tokens, chosen, width), float32."""
        with torch.inference_mode():
            states: np.ndarray = self.network(torch.from_numpy(mel)[None])[0].numpy()
        return states


def load(weights: Path, config: Mapping[str, Any], chosen: Sequence[int]) -> Whisper:
    """Load the weights that the chosen hidden states need, from the file of a Whisper or of its encoder.

    Every weight must be present, in the right shape. The decoder and higher layers are not read. Half
    precision is converted to float32.

    Raises:
        SerError: if the file is damaged or does not match ``config``.
    """
    shape = Shape.of(config, str(weights.with_name("config.json")))
    network = WhisperEncoder(shape, chosen).eval().requires_grad_(False)
    try:
        with safe_open(weights, framework="pt") as stored:
            network.load_state_dict(_of_encoder(stored, max(chosen), network.layer_norm is not None))
    except (SafetensorError, RuntimeError) as error:
        raise SerError(f"{weights} does not match its config.json: {error}") from None
    return Whisper(network, shape.bands, shape.positions)


def _of_encoder(stored: Any, deepest: int, last: bool) -> dict[str, Tensor]:
    """Weights of the encoder up to a layer, without the prefix, which differs between files."""
    names: list[str] = list(stored.keys())  # a file handle, which cannot be iterated itself
    prefix = next((name.removesuffix("conv1.weight") for name in names if re.fullmatch(r"(model\.)?(encoder\.)?conv1\.weight", name)), "")
    weights = {}
    for name in names:
        short = name.removeprefix(prefix)
        layer = re.match(r"layers\.(\d+)\.", short)
        above = int(layer[1]) >= deepest if layer else short.startswith("layer_norm.") and not last
        if name.startswith(prefix) and not above and (prefix or not short.startswith(("decoder.", "model.decoder.", "proj_out."))):
            weights[short] = stored.get_tensor(name).float()
    return weights
