"""Encoders that read the waveform (wav2vec 2.0, HuBERT, WavLM, data2vec); they need the package
``transformers``.

Hidden states are numbered as in ``transformers``: 0 is the input of the first layer, k the output of layer k.
In the large models (pre-norm) the final layer norm is applied to no hidden state, not even the last.
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
from ser.encoders.cutting import FIELD, HOP, fed, standardised, waveform_pieces
from ser.runtime.files import OF_ANOTHER_FORM, text

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FAMILIES = ("wav2vec2", "hubert", "wavlm", "data2vec-audio")
"""``model_type`` of the models that are read here; all have the same convolutional stem."""

POSITIONS = 1500
"""Tokens per pass (30 s): the memory of attention grows with their square.

These models have no limit of their own.
"""

_IGNORED = ("masked_spec_embed",)
"""Weights that only training uses."""


@dataclass(frozen=True)
class Waveform:
    """A loaded encoder that turns signals into hidden states.

    Attributes:
        network: without the layers above the highest hidden state in use.
        chosen: numbers of the hidden states to return, ascending.
        normalise: standardise each clip to mean 0 and variance 1 first, as ``preprocessor_config.json`` says.
        positions: maximum number of tokens of a piece.
    """

    network: PreTrainedModel
    chosen: tuple[int, ...]
    normalise: bool
    positions: int = POSITIONS

    def states(self, signal: np.ndarray, silence: int) -> np.ndarray:
        """Hidden states of a signal, float32 (tokens, chosen, width), tokens = (samples − 400) // 320 + 1.

        Only the clip is standardised and the appended silence stays zero, as ``transformers`` treats padding.
        A signal of more than ``positions`` tokens is cut into the fewest pieces of equal length, each with
        the full receptive field of its tokens. (The small models normalise the first convolution over time,
        so there a piece differs a little from the uncut signal.)

        Args:
            signal: mono float at 16 kHz, shape (n,).
            silence: samples of silence appended.
        """
        whole = fed(standardised(signal) if self.normalise else signal, silence)
        return np.concatenate([self.piece(whole[part]) for _, part in waveform_pieces(len(whole), self.positions)])

    def piece(self, part: np.ndarray) -> np.ndarray:
        """Hidden states of one piece of what ``states`` feeds: (samples,) → (tokens, chosen, width), float32."""
        with torch.inference_mode():
            hidden = self.network(torch.from_numpy(part)[None], output_hidden_states=True).hidden_states
            return torch.stack([hidden[number][0] for number in self.chosen], dim=1).numpy()


def load(folder: Path, chosen: Sequence[int]) -> Waveform:
    """Load what the chosen hidden states need from a folder with config.json, preprocessor_config.json and
    model.safetensors.

    Raises:
        SerError: without transformers; if a file is damaged or missing, a weight is missing, or the stem
            differs.
    """
    try:
        import transformers
    except ImportError:
        raise SerError(
            f"features.encoder: a model of the families {', '.join(FAMILIES)} needs an optional package: "
            "pip install 'transformers>=5.24' (Whisper needs none)"
        ) from None
    transformers.logging.set_verbosity_error()  # it would report every weight of the omitted layers
    transformers.logging.disable_progress_bar()
    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
        if int(np.prod(config.conv_stride)) != HOP or _field(config.conv_kernel, config.conv_stride) != FIELD:
            raise SerError(f"{folder}: its stem is unknown: it must give a token per {HOP} samples with a receptive field of {FIELD}")
        config.num_hidden_layers = max(1, *chosen)  # hidden state 0 is read at the input of the first layer
        network, report = transformers.AutoModel.from_pretrained(
            folder, config=config, local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, AttributeError, SafetensorError) as error:
        raise SerError(f"{folder} cannot be loaded: {error}") from None
    if missing := sorted(name for name in report["missing_keys"] if not name.endswith(_IGNORED)):
        raise SerError(f"{folder / 'model.safetensors'} lacks {len(missing)} weights, {missing[0]} among them")
    return Waveform(network.eval().requires_grad_(False), tuple(chosen), _normalises(folder))


def _field(kernels: Sequence[int], strides: Sequence[int]) -> int:
    """Receptive field of stacked convolutions, in samples."""
    field = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        field = (field - 1) * stride + kernel
    return field


def _normalises(folder: Path) -> bool:
    path = folder / "preprocessor_config.json"
    try:
        normalises = json.loads(text(path, 1 << 20))["do_normalize"]
    except FileNotFoundError:
        raise SerError(f"{path} is missing: it says whether this encoder needs standardised clips") from None
    except OF_ANOTHER_FORM as error:
        raise SerError(f"{path} does not say do_normalize: {error}") from None
    if not isinstance(normalises, bool):
        raise SerError(f"{path}: do_normalize is {normalises!r}; allowed: true or false")
    return normalises
