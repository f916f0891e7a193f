"""A pretrained encoder from a bundle: a clip becomes the hidden states that the laboratory stored, by onnxruntime and without torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import numpy as np

from ser.encoders.cutting import HOP, fed, pieces, standardised, waveform_pieces
from ser.encoders.pooled import STATISTICS, own_tokens, pooled
from ser.encoders.whisper_mel import RATE, log_mel
from ser.serving.bundle import ENCODER, BundledEncoder, BundleError
from ser.serving.graph import FLOAT, Graph, Port
from ser.signal.audio import resample
from ser.views.normalise import SMALLEST_SCALE, Statistics


class Runs(Protocol):
    """What turns log-mel or a waveform into hidden states."""

    def run(self, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
        """``mel`` (1, bands, frames) or ``signal`` (1, samples) → (1, tokens, layers, width), float32 all."""


class States:
    """Hidden states of one recording, without those of the silence behind it.

    They are computed piece by piece, 30 s at most, when they are asked for: an hour of them would take several hundred megabytes.

    Attributes:
        tokens: how many there are, at least 1.
        per_sample: tokens for each sample of the signal, exactly.
    """

    def __init__(self, graph: Runs, facts: BundledEncoder, signal: np.ndarray, sample_rate: int) -> None:
        """Prepare what the encoder is fed.

        Args:
            graph: the encoder.
            facts: what it is.
            signal: mono float in [−1, 1), shape (n,), n ≥ 1.
            sample_rate: of the signal in Hz.
        """
        self._graph, self._facts = graph, facts
        self._input, cuts = _fed(facts, resample(signal, sample_rate, RATE))
        tokens = cuts[-1][0][1]
        self.per_sample = Fraction(facts.tokens_per_second) / sample_rate
        self.tokens = int(own_tokens(np.array([tokens]), np.array([len(signal)]), sample_rate, facts.tokens_per_second)[0])
        within = [(cut, part) for cut, part in cuts if cut[0] < self.tokens]
        self._cuts, self._parts = [cut for cut, _ in within], [part for _, part in within]
        self._kept: dict[int, np.ndarray] = {}

    def part(self, first: int, last: int) -> np.ndarray:
        """Hidden states from token ``first`` to before ``last``, float16 (tokens, layers, width); only the pieces they need are kept."""
        needed = [number for number, (start, end) in enumerate(self._cuts) if start < last and end > first]
        self._kept = {number: self._kept[number] if number in self._kept else self._piece(number) for number in needed}
        begin = self._cuts[needed[0]][0]
        return np.concatenate(list(self._kept.values()))[first - begin : last - begin]

    def pooled(self) -> np.ndarray:
        """Mean and standard deviation over time (``ser.encoders.pooled``), float32 (layers · 2 · width,)."""
        parts = [(len(states), pooled(states)) for states in self.pieces()]
        if len(parts) == 1:
            return parts[0][1]
        counts = np.array([count for count, _ in parts], dtype=np.float64)[:, None, None]
        sums = np.stack([vector.astype(np.float64).reshape(-1, STATISTICS, self._facts.width) for _, vector in parts])
        means, deviations = sums[:, :, 0], sums[:, :, 1]
        mean = (counts * means).sum(axis=0) / counts.sum()
        # the variance of a whole is the mean of its parts' variances and the variance of their means
        variance = (counts * (np.square(deviations) + np.square(means - mean))).sum(axis=0) / counts.sum()
        return np.stack([mean, np.sqrt(variance)], axis=1).astype(np.float32).ravel()

    def pieces(self) -> Iterator[np.ndarray]:
        """All hidden states in pieces, float16 (tokens, layers, width) each, of which none but the last is kept."""
        for start, end in self._cuts:
            yield self.part(start, min(end, self.tokens))

    def _piece(self, number: int) -> np.ndarray:
        states = self._graph.run({_takes(self._facts): self._input[None, ..., self._parts[number]]})[0]
        with np.errstate(over="ignore"):
            half = states.astype(np.float16)  # as the laboratory stores them
        if not np.isfinite(half).all():
            raise BundleError(
                f"hidden states of {self._facts.name} do not fit into float16 (65504); export a model that reads lower layers"
            )
        return half


def _fed(facts: BundledEncoder, signal: np.ndarray) -> tuple[np.ndarray, list[tuple[tuple[int, int], slice]]]:
    """What the encoder is fed of a signal at 16 kHz, and its pieces: first and last token of each, and its place on the last axis."""
    silence = round(facts.silence_seconds * RATE)
    if facts.mel_bands is None:
        whole = fed(standardised(signal) if facts.normalise else signal, silence)
        return whole, waveform_pieces(len(whole), facts.positions)
    whole = fed(signal, silence)
    cuts = pieces(len(whole) // HOP, facts.positions)
    return log_mel(whole, facts.mel_bands), [(cut, slice(2 * cut[0], 2 * cut[1])) for cut in cuts]  # two frames for each token


def _takes(facts: BundledEncoder) -> str:
    """Name of the input of ``encoder.onnx``."""
    return "signal" if facts.mel_bands is None else "mel"


def together(clips: Sequence[States]) -> Statistics:
    """Mean and standard deviation over the hidden states of several recordings, both (layers, width), summed in double precision."""
    total, squares, count = np.zeros(1), np.zeros(1), 0
    for states in (piece.astype(np.float64) for clip in clips for piece in clip.pieces()):
        total, squares, count = total + states.sum(axis=0), squares + np.square(states).sum(axis=0), count + len(states)
    mean = total / count
    variance = np.maximum(squares / count - np.square(mean), 0.0)
    return Statistics(mean.astype(np.float32), np.maximum(np.sqrt(variance), SMALLEST_SCALE).astype(np.float32))


class Encoder:
    """An encoder, ready for use; several threads may use it at once."""

    def __init__(self, graph: Runs, facts: BundledEncoder) -> None:
        self._graph, self._facts = graph, facts

    @classmethod
    def opened(cls, folder: str | Path, model: bytes, facts: BundledEncoder) -> Encoder:
        """The encoder of a bundle.

        Args:
            folder: the bundle, for messages.
            model: bytes of ``encoder.onnx``.
            facts: what it is.

        Raises:
            BundleError: when the graph is refused, or is not what the facts say.
        """
        takes = {_takes(facts): Port(FLOAT, (1, None) if facts.mel_bands is None else (1, facts.mel_bands, None))}
        gives = {"states": Port(FLOAT, (1, None, len(facts.layers), facts.width))}
        return cls(Graph(Path(folder) / ENCODER, model, takes, gives), facts)

    def hear(self, signal: np.ndarray, sample_rate: int) -> States:
        """Hidden states of a mono signal, float in [−1, 1), shape (n,), n ≥ 1."""
        return States(self._graph, self._facts, signal, sample_rate)
