"""Encoders that hear the waveform (wav2vec 2.0, HuBERT, WavLM, data2vec), run by the optional package ``transformers``.

Hidden states are numbered as in ``transformers``: 0 is what enters the first layer, k the output of layer k. In the large models
(pre-norm) no hidden state, not even the last, has gone through the final layer norm.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError

from ser import SerError
from ser.encoders.cutting import HOP, fed, pieces

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FAMILIES = ("wav2vec2", "hubert", "wavlm", "data2vec-audio")
"""``model_type`` of the models that are read here; all of them have one convolutional stem."""

FIELD = 400
"""Samples that a token sees through the stem."""

POSITIONS = 1500
"""Tokens encoded at once (30 s): attention needs memory by their square. These models have no limit of their own."""

_IGNORED = ("masked_spec_embed",)
"""Weights that only training uses."""


@dataclass(frozen=True)
class Waveform:
    """A loaded encoder that turns signals into hidden states.

    Attributes:
        network: cut behind the highest hidden state that is used.
        chosen: numbers of the hidden states to give, ascending.
        normalise: whether a clip is brought to mean 0 and variance 1 first, as its ``preprocessor_config.json`` says.
        positions: most tokens of a piece.
    """

    network: PreTrainedModel
    chosen: tuple[int, ...]
    normalise: bool
    positions: int = POSITIONS

    def states(self, signal: np.ndarray, silence: int) -> np.ndarray:
        """Hidden states of a signal, float32 (tokens, chosen, width), tokens = (samples fed − 400) // 320 + 1.

        A clip is normalised alone and the silence behind it stays zero, as ``transformers`` treats padding. What has more than
        ``positions`` tokens is cut into as few pieces of the same length as possible, each with all samples that its tokens see.
        (The small models norm the first convolution over time, so that there a piece does differ a little from the same part of a whole.)

        Args:
            signal: mono float at 16 kHz, shape (n,).
            silence: samples of silence appended.
        """
        if self.normalise:
            signal = (signal - signal.mean()) / np.sqrt(signal.var() + 1e-7)
        whole = fed(signal, silence)
        cuts = pieces((len(whole) - FIELD) // HOP + 1, self.positions)
        ends = [HOP * (end - 1) + FIELD for _, end in cuts[:-1]] + [len(whole)]
        parts = [whole[HOP * start : end] for (start, _), end in zip(cuts, ends, strict=True)]
        return np.concatenate([self._piece(part) for part in parts])

    def _piece(self, part: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            hidden = self.network(torch.from_numpy(part)[None], output_hidden_states=True).hidden_states
            return torch.stack([hidden[number][0] for number in self.chosen], dim=1).numpy()


def load(folder: Path, chosen: Sequence[int]) -> Waveform:
    """Load what the chosen hidden states need from a folder with config.json, preprocessor_config.json and model.safetensors.

    Raises:
        SerError: without transformers; when a file is broken or missing, a weight is not there, or the stem is another.
    """
    try:
        import transformers
    except ImportError:
        raise SerError(
            f"features.encoder: a model of the families {', '.join(FAMILIES)} needs an optional package: "
            "pip install 'transformers>=5.24' (Whisper needs none)"
        ) from None
    transformers.logging.set_verbosity_error()  # it would report every weight of the layers that are left out
    transformers.logging.disable_progress_bar()
    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
        if int(np.prod(config.conv_stride)) != HOP or _field(config.conv_kernel, config.conv_stride) != FIELD:
            raise SerError(f"{folder}: its stem is not that of the models on offer (a token each {HOP} samples, which sees {FIELD})")
        config.num_hidden_layers = max(1, *chosen)  # hidden state 0 is seen where it enters the first layer
        network, told = transformers.AutoModel.from_pretrained(
            folder, config=config, local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, AttributeError, SafetensorError) as error:
        raise SerError(f"{folder} cannot be loaded: {error}") from None
    if missing := sorted(name for name in told["missing_keys"] if not name.endswith(_IGNORED)):
        raise SerError(f"{folder / 'model.safetensors'} lacks {len(missing)} weights, {missing[0]} among them")
    return Waveform(network.eval().requires_grad_(False), tuple(chosen), _normalises(folder))


def _field(kernels: Sequence[int], strides: Sequence[int]) -> int:
    """Samples that a token sees through convolutions on top of each other."""
    field = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        field = (field - 1) * stride + kernel
    return field


def _normalises(folder: Path) -> bool:
    path = folder / "preprocessor_config.json"
    try:
        told = json.loads(path.read_text(encoding="utf-8"))["do_normalize"]
    except FileNotFoundError:
        raise SerError(f"{path} is missing: it says whether clips are normalised before this encoder hears them") from None
    except (ValueError, KeyError, TypeError) as error:
        raise SerError(f"{path} does not say do_normalize: {error}") from None
    if not isinstance(told, bool):
        raise SerError(f"{path}: do_normalize is {told!r}, neither true nor false")
    return told
