"""The trained model of a bundle, run on what it reads of one clip: windows are cut, given to the graph in batches, and averaged."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ser.serving import bundle as bundles
from ser.serving.bundle import LENGTHS, MODEL, POOLED, PROBABILITIES, STATES, Bundle, BundleError, attention_of
from ser.serving.encoder import States
from ser.serving.graph import FLOAT, Graph, Port
from ser.serving.heard import Heard
from ser.serving.model_graph import takes
from ser.views.normalise import Statistics, statistics
from ser.views.spectrum import frame_count
from ser.views.windows import windows

BATCH = 8
"""Windows given to the graph at once."""
SpeakerStatistics = dict[str, Statistics] | None
"""Statistics over a speaker's clips of all that is standardised by speaker; None: nothing is."""


@dataclass(frozen=True)
class Judged:
    """What the graph gave for some windows of a clip.

    Attributes:
        first: the frame at which each window begins, (windows,).
        probabilities: float32 (networks, windows, classes).
        attention: by side, float32 (networks, windows, frames).
    """

    first: np.ndarray
    probabilities: np.ndarray
    attention: dict[str, np.ndarray]


class Networks:
    """The graph ``model.onnx`` of a bundle, with networks or regressions; several threads may use it at once."""

    def __init__(self, folder: str | Path, facts: Bundle) -> None:
        """Open the graph, and hold it against the facts.

        Raises:
            BundleError: if it is missing, damaged, or not what the facts say.
        """
        self._facts, self._where = facts, Path(folder) / MODEL
        model = bundles.graph(folder, MODEL, facts.model_sha256)
        gives = {PROBABILITIES: Port(FLOAT, (len(facts.networks), None, len(facts.classes)))}
        gives |= {attention_of(side): Port(FLOAT, (len(facts.networks), None, None)) for side in facts.attention}
        self._graph = Graph(self._where, model, takes(facts), gives)

    def probabilities(self, heard: Heard, speaker: SpeakerStatistics) -> np.ndarray:
        """Each network's own probabilities of a clip, the mean over its windows: float64 (networks, classes).

        Raises:
            BundleError: if the graph gives none.
        """
        if self._facts.kind == "linear":
            return self._checked(self._graph.run(self._pooled(heard, speaker)))[:, 0].astype(np.float64)
        return np.concatenate([some.probabilities for some in self._judged(heard, speaker)], axis=1).astype(np.float64).mean(axis=1)

    def attention(self, heard: Heard, speaker: SpeakerStatistics) -> dict[str, np.ndarray]:
        """Mean attention of all networks and windows over the frames of a clip, by side: float64 (frames,) with sum 1."""
        found = {side: np.zeros(self._frames(heard)) for side in self._facts.attention}
        if not found:
            return {}
        for some in self._judged(heard, speaker):
            for side, weights in some.attention.items():
                for first, window in zip(some.first, weights.mean(axis=0, dtype=np.float64), strict=True):
                    found[side][first : first + len(window)] += window
        return {side: weights / weights.sum() for side, weights in found.items()}

    def _judged(self, heard: Heard, speaker: SpeakerStatistics) -> Iterator[Judged]:
        """The windows of a clip, ``BATCH`` at a time."""
        _, first, length = windows(np.array([self._frames(heard)]), self._facts.max_frames)
        for start in range(0, len(first), BATCH):
            chosen = slice(start, start + BATCH)
            feeds = {view: self._cut(values, view, first[chosen], int(length[0]), speaker) for view, values in heard.views.items()}
            if heard.states is not None and STATES in self._facts.reads:
                feeds[STATES] = self._tokens(heard.states, first[chosen], int(length[0]), speaker)
            probabilities, *attention = self._graph.outputs({**feeds, LENGTHS: length[chosen].astype(np.int64)})
            yield Judged(first[chosen], self._checked(probabilities), dict(zip(self._facts.attention, attention, strict=True)))

    def _checked(self, given: np.ndarray) -> np.ndarray:
        """What the graph gave, which may be anything.

        Raises:
            BundleError: if it is no probabilities.
        """
        if not (np.isfinite(given).all() and (given >= 0).all() and np.allclose(given.sum(axis=-1), 1, atol=1e-3)):
            raise BundleError(f"{self._where} gives no probabilities for this recording: export the bundle again, or use another")
        return given

    def _frames(self, heard: Heard) -> int:
        return frame_count(len(heard.prepared.pcm), self._facts.features.frames)

    def _pooled(self, heard: Heard, speaker: SpeakerStatistics) -> dict[str, np.ndarray]:
        """Pooled hidden states of a clip, float32 (1, columns)."""
        assert heard.pooled is not None
        vector = heard.pooled[None]
        return {POOLED: speaker[POOLED].apply(vector) if speaker and self._facts.features.normalise == "speaker" else vector}

    def _cut(self, values: np.ndarray, view: str, first: np.ndarray, length: int, speaker: SpeakerStatistics) -> np.ndarray:
        """Windows of one view, float32 (windows, length, rows), normalised as far as the networks do not do it themselves."""
        cut = np.stack([values[start : start + length] for start in first]).astype(np.float32)
        if self._facts.features.normalise == "clip":
            return np.stack([statistics(window).apply(window) for window in cut])
        return speaker[view].apply(cut) if speaker and self._facts.features.normalise == "speaker" else cut

    def _tokens(self, states: States, first: np.ndarray, length: int, speaker: SpeakerStatistics) -> np.ndarray:
        """Hidden states of windows of frames, float32 (windows, tokens, layers, width); the last is repeated where a window has fewer."""
        per_frame = self._facts.features.frames.hop_length * states.per_sample
        most = max(1, math.ceil((length - 1) * per_frame))
        starts = [min(math.floor(int(start) * per_frame), states.tokens - 1) for start in first]
        parts = [states.part(start, min(start + most, states.tokens)) for start in starts]
        cut = np.stack([np.pad(part, ((0, most - len(part)), (0, 0), (0, 0)), mode="edge") for part in parts]).astype(np.float32)
        return speaker[STATES].apply(cut) if speaker and self._facts.features.normalise == "speaker" else cut
