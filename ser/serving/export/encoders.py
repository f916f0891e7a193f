"""Packs the frozen encoder of a trained model into its bundle, and measures what the packing costs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ser.encoders.frozen import Chosen, load, read_config
from ser.encoders.table import TABLE
from ser.encoders.waveform import Waveform
from ser.encoders.whisper import Whisper
from ser.params.export import Export
from ser.serving.bundle import BundledEncoder, Commercial, Parity, Precision
from ser.serving.encoder import Encoder
from ser.serving.export import encoder_graph, waveform_graph
from ser.serving.heard import Heard
from ser.serving.predict import Predictor
from ser.signal.clips import read_table
from ser.signal.preprocessing import Prepared

LIMIT = 1e-3
"""Largest change of a probability that ``precision: auto`` accepts."""
MEASURED = 16
"""Clips on which packing is measured."""


@dataclass(frozen=True)
class Packed:
    """An encoder as it goes into a bundle.

    Attributes:
        model: bytes of ``encoder.onnx``.
        facts: what it is; ``parity`` is not measured yet.
        original: the encoder it was made from.
    """

    model: bytes
    facts: BundledEncoder
    original: Whisper | Waveform


def why_not(encoder: Chosen) -> str:
    """Why an encoder cannot be exported; empty where it can."""
    config = read_config(encoder.folder)
    return "" if config["model_type"] == "whisper" else waveform_graph.why_not(config)


def candidates(settings: Export, measurable: bool) -> list[Precision]:
    """How the weights may be stored, the smallest first; the last is taken where none before it is good enough."""
    if settings.precision != "auto":
        return [settings.precision]
    return ["int8", "float16", "float32"] if measurable else ["float16"]


def pack(encoder: Chosen, precision: Precision) -> Packed:
    """Pack an encoder.

    Raises:
        SerError: if it cannot be loaded, or its weights do not fit the precision.
    """
    about = encoder.about
    original = load(encoder.folder, about.layers)
    if isinstance(original, Whisper):
        model = encoder_graph.to_onnx(original, precision)
        hears = {"family": "whisper", "mel_bands": original.bands}
    elif isinstance(original, Waveform):
        model = waveform_graph.to_onnx(original, precision)
        hears = {"family": original.network.config.model_type, "mel_bands": None, "normalise": original.normalise}
    else:
        raise TypeError(f"no graph is known for {type(original).__name__}")
    commercial: dict[str, Commercial] = {row.name: row.commercial for row in TABLE}
    facts = {
        **hears,
        **{key: getattr(about, key) for key in ("name", "layers", "width", "tokens_per_second", "silence_seconds", "licence")},
        "positions": original.positions,
        "precision": precision,
        "parity": None,
        "commercial": commercial.get(about.name, "unclear"),
        "weights_sha256": about.sha256,
        "sha256": hashlib.sha256(model).hexdigest(),
    }
    return Packed(model, BundledEncoder.model_validate(facts), original)


def measured(folder: Path, packed: Packed, clips: Path) -> Parity:
    """How far a bundle with this encoder is from the float32 encoder of training, on clips spread over the corpus.

    Args:
        folder: the bundle.
        packed: the encoder that lies there.
        clips: ``data/clips/<corpus>``.
    """
    bundle = Predictor(folder)
    truth = bundle.hearing_by(Encoder(_Original(packed.original), packed.facts))
    states, answers = [], []
    prepared = list(_prepared(clips, bundle.bundle.preprocess.sample_rate))
    each = [[predictor.listen(clip) for clip in prepared] for predictor in (bundle, truth)]
    for predictor, heard in zip((bundle, truth), each, strict=True):
        speaker = predictor.speaker(heard)
        states.append([_pooled(clip) for clip in heard])
        answers.append([predictor.networks(clip, speaker) for clip in heard])
    return Parity(clips=len(prepared), states=_apart(states), probabilities=min(_apart(answers), 1.0))


@dataclass(frozen=True)
class _Original:
    """The encoder that training used, where a bundle has a graph."""

    encoder: Whisper | Waveform

    def run(self, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
        (piece,) = feeds.values()
        return self.encoder.piece(piece[0])[None]


def _prepared(clips: Path, sample_rate: int) -> Iterator[Prepared]:
    """Clips of a store, evenly spread."""
    table = read_table(clips)
    audio = np.load(clips / "audio.npy", mmap_mode="r", allow_pickle=False)
    for row in np.unique(np.linspace(0, len(table) - 1, MEASURED).astype(int)):
        start, samples = int(table["offset"].iloc[row]), int(table["samples"].iloc[row])
        yield Prepared(np.array(audio[start : start + samples]), samples / sample_rate, 0.0, False, float("nan"), "")


def _pooled(heard: Heard) -> np.ndarray:
    assert heard.states is not None
    return heard.states.pooled() if heard.pooled is None else heard.pooled


def _apart(pair: list[list[np.ndarray]]) -> float:
    return float(max(np.abs(a - b).max() for a, b in zip(*pair, strict=True)))
