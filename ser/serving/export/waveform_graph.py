"""Encoders that read the waveform (wav2vec 2.0, HuBERT, WavLM, data2vec) as an ONNX graph up to the highest hidden state that is read.

The graph takes ``signal`` (1, samples), samples ≥ 400, and gives ``states`` (1, tokens, layers, width) in float32. It is drawn and not
traced: tracing took 20 to 40 s for a network of any size, and keeps neither names nor order of the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ser import SerError
from ser.encoders.waveform import Waveform
from ser.serving.bundle import Precision
from ser.serving.export.drawing import Drawing

_UNREAD = ("masked_spec_embed", "parametrizations")
"""In names of weights that only training uses, or that are stored as the weight they make."""


def why_not(config: Mapping[str, Any]) -> str:
    """Why a network with this ``config.json`` cannot be drawn; empty where it can. All published sizes of the families can."""
    for key in ("hidden_act", "feat_extract_activation"):
        if config.get(key, "gelu") != "gelu":
            return f"its {key} is {config[key]}, and only gelu can be exported"
    for key in ("conv_pos_batch_norm", "adapter_attn_dim"):
        if config.get(key):
            return f"it has {key}, which cannot be exported"
    return ""


def to_onnx(encoder: Waveform, precision: Precision) -> bytes:
    """An encoder, loaded up to the hidden states that are wanted → bytes of an ONNX model.

    Args:
        encoder: from ``ser.encoders.waveform.load``.
        precision: how weights are stored (``Drawing``).

    Raises:
        SerError: when a weight does not fit into float16, or the network has parts that the graph has not.
    """
    config, deepest = encoder.network.config, max(encoder.chosen)
    drawing = _Waveform(encoder, precision)
    x = drawing.projected(drawing.stem())
    x = drawing.node("Add", x, drawing.positions(x))
    pre_norm = bool(getattr(config, "do_stable_layer_norm", False))
    if not pre_norm:
        x = drawing.norm(x, "encoder.layer_norm", config.layer_norm_eps)
    states = [x] if 0 in encoder.chosen else []
    for number in range(deepest):
        x = drawing.layer(x, f"encoder.layers.{number}.", pre_norm)
        if number + 1 in encoder.chosen:
            states.append(x)
    drawing.check_all_read(deepest)
    return drawing.finished("signal", [1, "samples"], states, config.hidden_size)


class _Read(dict[str, np.ndarray]):
    """Weights that remember which of them were read."""

    def __init__(self, values: Mapping[str, np.ndarray]) -> None:
        super().__init__(values)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> np.ndarray:
        self.read.add(name)
        return super().__getitem__(name)


class _Waveform(Drawing):
    """The parts of a waveform encoder, by the names that ``transformers`` gives its weights."""

    def __init__(self, encoder: Waveform, precision: Precision) -> None:
        self._encoder, self._config = encoder, encoder.network.config
        convolutions = {name: one for name, one in encoder.network.named_modules() if isinstance(one, torch.nn.Conv1d)}
        values = {name: one for name, one in encoder.network.state_dict().items() if not any(part in name for part in _UNREAD)}
        # a weight-normed kernel is kept as direction and length; torch multiplies them when it is asked for the weight
        values |= {f"{name}.weight": one.weight for name, one in convolutions.items()}
        self._all = _Read({name: one.detach().numpy() for name, one in values.items()})
        super().__init__(self._all, precision)
        self._distances = ""

    def stem(self) -> str:
        """The convolutions: ``signal`` → (1, tokens, channels)."""
        x = self.node("Unsqueeze", "signal", self.integers(1))
        for number, stride in enumerate(self._config.conv_stride):
            name = f"feature_extractor.conv_layers.{number}."
            x = self.conv(x, f"{name}conv", stride)
            if f"{name}layer_norm.weight" in self.weights:
                x = self._over_time(x, f"{name}layer_norm") if self._config_norm == "group" else self._over_channels(x, f"{name}layer_norm")
            x = self.node("Gelu", x)
        return self.node("Transpose", x, perm=[0, 2, 1])

    def projected(self, x: str) -> str:
        """(1, tokens, channels) → (1, tokens, width)."""
        if "feature_projection.layer_norm.weight" in self.weights:
            x = self.norm(x, "feature_projection.layer_norm", self._config.layer_norm_eps)
        return self.linear(x, "feature_projection.projection")

    def positions(self, x: str) -> str:
        """What convolutions over the tokens add to them: one in all families, several with norms of no weights in data2vec."""
        x = self.node("Transpose", x, perm=[0, 2, 1])
        several = self._config.model_type == "data2vec-audio"
        prefix = "encoder.pos_conv_embed."
        names = (
            [f"{prefix}layers.{number}.conv" for number in range(self._config.num_conv_pos_embeddings)] if several else [f"{prefix}conv"]
        )
        for name in names:
            kernel = self.weights[f"{name}.weight"].shape[2]
            ends = (kernel // 2, (kernel - 1) // 2)  # an even kernel would give one token more, which is cut off
            x = self.conv(x, name, pads=ends, groups=self._config.num_conv_pos_embedding_groups)
            if several:
                width = self._config.hidden_size
                plain = [self.tensor(f"{name}.{key}", np.full(width, value, np.float32)) for key, value in (("ones", 1), ("zeros", 0))]
                rows = self.node("LayerNormalization", self.node("Transpose", x, perm=[0, 2, 1]), *plain, axis=-1, epsilon=1e-5)
                x = self.node("Transpose", rows, perm=[0, 2, 1])
            x = self.node("Gelu", x)
        return self.node("Transpose", x, perm=[0, 2, 1])

    def layer(self, x: str, name: str, pre_norm: bool) -> str:
        """A Transformer layer with its norms before (large models) or behind (small ones) its two halves."""
        epsilon = self._config.layer_norm_eps
        read = self.norm(x, f"{name}layer_norm", epsilon) if pre_norm else x
        bias = self._gated(read, f"{name}attention.") if self._config.model_type == "wavlm" else ""
        x = self.node("Add", x, self.attention(read, f"{name}attention.", self._config.num_attention_heads, bias))
        if pre_norm:
            return self.node("Add", x, self._forward(self.norm(x, f"{name}final_layer_norm", epsilon), name))
        x = self.norm(x, f"{name}layer_norm", epsilon)
        return self.norm(self.node("Add", x, self._forward(x, name)), f"{name}final_layer_norm", epsilon)

    def check_all_read(self, deepest: int) -> None:
        """Refuse a network with weights that the graph does not read, for then it computes something else.

        Raises:
            SerError: naming one of them.
        """
        above = tuple(f"encoder.layers.{number}." for number in range(deepest, self._config.num_hidden_layers))
        last = "encoder.layer_norm."  # of pre-norm models: no hidden state has passed it
        left = sorted(name for name in self._all.keys() - self._all.read if not name.startswith((*above, last, "adapter.")))
        # rel_attn_embed is read through the module that knows its buckets
        if left := [name for name in left if not name.endswith("rel_attn_embed.weight")]:
            raise SerError(f"export: the encoder has the weight {left[0]}, which no published {self._config.model_type} has")

    @property
    def _config_norm(self) -> str:
        return getattr(self._config, "feat_extract_norm", "layer")

    def _over_time(self, x: str, name: str) -> str:
        return self.node("InstanceNormalization", x, self.vector(f"{name}.weight"), self.vector(f"{name}.bias"), epsilon=1e-5)

    def _over_channels(self, x: str, name: str) -> str:
        return self.node("Transpose", self.norm(self.node("Transpose", x, perm=[0, 2, 1]), name), perm=[0, 2, 1])

    def _forward(self, x: str, name: str) -> str:
        inner = self.node("Gelu", self.linear(x, f"{name}feed_forward.intermediate_dense"))
        return self.linear(inner, f"{name}feed_forward.output_dense")

    def _gated(self, x: str, name: str) -> str:
        """WavLM's bias by distance, which each token weighs by a gate of its own: (1, heads, tokens, tokens)."""
        heads, width = self._config.num_attention_heads, self._config.hidden_size
        if not self._distances:
            self._distances = self._by_distance(x)
        apart = self.node("Transpose", self.apart(x, heads, width), perm=[0, 2, 1, 3])
        # transformers projects to 2 × 4 numbers and adds up each four; the sum is taken in the weights here
        kernel, offset = (self.weights[f"{name}gru_rel_pos_linear.{part}"] for part in ("weight", "bias"))
        rows, sums = kernel.reshape(2, 4, -1).sum(1), offset.reshape(2, 4).sum(1)
        a, b = (self._gate(apart, f"{name}gate{number}", rows[number], sums[number]) for number in (0, 1))
        scaled = self.node("Mul", b, self.vector(f"{name}gru_rel_pos_const"))
        less = self.node("Sub", scaled, self.tensor(f"{name}one", np.float32(1)))
        gate = self.node("Add", self.node("Mul", a, less), self.tensor(f"{name}two", np.float32(2)))
        return self.node("Mul", gate, self._distances)

    def _gate(self, x: str, name: str, row: np.ndarray, offset: np.ndarray) -> str:
        product = self.node("MatMul", x, self.tensor(f"{name}.weight", row[:, None]))
        return self.node("Sigmoid", self.node("Add", product, self.tensor(f"{name}.bias", offset[None])))

    def _by_distance(self, x: str) -> str:
        """The bias of each pair of tokens, (heads, tokens, tokens), from a table over all distances that a piece can hold."""
        network: Any = self._encoder.network
        most, attention = self._encoder.positions, network.encoder.layers[0].attention
        with torch.inference_mode():
            after, before = attention.compute_bias(1, most)[:, 0], attention.compute_bias(most, 1)[:, :, 0]
            table = torch.cat([before.flip(1)[:, :-1], after], dim=1).numpy()  # (heads, 2 · most − 1); distance 0 in the middle
        count = self.counted(self.length(x))
        there, here = self.node("Unsqueeze", count, self.integers(0)), self.node("Unsqueeze", count, self.integers(1))
        places = self.node("Add", self.node("Sub", there, here), self.integers(most - 1))
        return self.node("Gather", self.stored("distances", table), places, axis=1)
