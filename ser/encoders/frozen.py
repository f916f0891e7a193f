"""Load any encoder from its folder, up to the highest hidden state in use, and run it clip by clip in
float32.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ser import SerError
from ser.encoders.store import EncoderFacts
from ser.runtime.files import OF_ANOTHER_FORM, text
from ser.signal.audio import resample

MOST = 16 << 20
"""Bytes that ``config.json`` may have."""
RATE = 16_000
"""Sample rate of every encoder in the table, in Hz."""


class Frozen(Protocol):
    """An encoder that returns hidden states and is not trained."""

    def states(self, signal: np.ndarray, silence: int) -> np.ndarray:
        """Hidden states of a mono signal at 16 kHz plus ``silence`` zero samples: float32 (tokens, chosen,
        width).
        """


@dataclass(frozen=True)
class Chosen:
    """An encoder on this machine and what is asked of it; small enough to be sent to every worker.

    Attributes:
        folder: absolute path of its files.
        about: what the states are of: layers, silence, sha256 of the weights.
    """

    folder: Path
    about: EncoderFacts

    def states(self, signal: np.ndarray, sample_rate: int) -> np.ndarray:
        """``hidden_states`` of a clip; the weights are read once for each process."""
        return hidden_states(
            loaded(self.folder, self.about.sha256, tuple(self.about.layers)), signal, sample_rate, self.about.silence_seconds
        )


@functools.lru_cache(maxsize=1)
def loaded(folder: Path, sha256: str, layers: tuple[int, ...]) -> Frozen:
    """The encoder, once for each process and edition; one thread, because each core already runs a worker."""
    import torch  # slow to import, and only needed here

    torch.set_num_threads(1)
    return load(folder, layers)


def read_config(folder: Path) -> dict[str, Any]:
    """``config.json`` of an encoder's folder.

    Raises:
        SerError: if it is missing, or is not a JSON object with a ``model_type``.
    """
    path = folder / "config.json"
    try:
        config = json.loads(text(path, MOST))
        if not isinstance(config["model_type"], str):
            raise ValueError("model_type is not text")
    except FileNotFoundError:
        raise SerError(f"{path} is missing: it describes the weights beside it") from None
    except OF_ANOTHER_FORM as error:
        raise SerError(f"{path} is not a config.json of an encoder: {error!r}") from None
    return config


def size(config: dict[str, Any]) -> tuple[int, int]:
    """Layers and width of the whole encoder, from its ``config.json``."""
    keys = ("encoder_layers", "d_model") if config["model_type"] == "whisper" else ("num_hidden_layers", "hidden_size")
    for key in keys:
        if not isinstance(config.get(key), int) or config[key] < 1:
            raise SerError(f"config.json of the encoder: {key} is {config.get(key)!r}, not a whole number from 1")
    return config[keys[0]], config[keys[1]]


def check_layers(config: dict[str, Any], chosen: Sequence[int]) -> None:
    """Check that the encoder has the chosen hidden states.

    Raises:
        SerError: if it has not; the message names those that it has.
    """
    layers, _ = size(config)
    if max(chosen) > layers:
        raise SerError(f"features.encoder.layers: found {max(chosen)}; this encoder has hidden states 0 to {layers}")


def load(folder: Path, chosen: Sequence[int]) -> Frozen:
    """The encoder in a folder with ``config.json`` and ``model.safetensors``; waveform encoders need
    ``preprocessor_config.json`` too.

    Args:
        folder: where the files lie.
        chosen: numbers of the hidden states to return, ascending.

    Raises:
        SerError: if the family is unknown, a layer does not exist, or a file is damaged.
    """
    from ser.encoders import waveform, whisper  # torch: slow to import, and only needed here

    config = read_config(folder)
    family = config["model_type"]
    if family not in ("whisper", *waveform.FAMILIES):
        raise SerError(f"{folder}: unknown model family {family!r}; known: {', '.join(('whisper', *waveform.FAMILIES))}")
    check_layers(config, chosen)
    if family == "whisper":
        return whisper.load(folder / "model.safetensors", config, chosen)
    return waveform.load(folder, chosen)


def hidden_states(encoder: Frozen, signal: np.ndarray, sample_rate: int, silence_seconds: float) -> np.ndarray:
    """Hidden states of a clip for storage: float16 (tokens, chosen, width), about 50 tokens per second.

    Args:
        encoder: from ``load``.
        signal: mono float in [−1, 1), shape (n,), n ≥ 1.
        sample_rate: of the signal in Hz; another rate than 16 kHz is resampled.
        silence_seconds: silence appended; its hidden states are returned too.

    Raises:
        SerError: if a value does not fit into float16.
    """
    states = encoder.states(resample(signal, sample_rate, RATE), round(silence_seconds * RATE))
    with np.errstate(over="ignore"):
        half = states.astype(np.float16)
    if not np.isfinite(half).all():
        raise SerError(
            f"features.encoder: hidden states up to {np.abs(states).max():g} do not fit into float16 (65504); choose lower layers"
        )
    return half
