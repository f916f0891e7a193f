"""An exported bundle applied to recordings, by the code that prepared the training clips. Imports neither torch nor DVC."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnxruntime

from ser import SerError
from ser.corpora.labels import AUDIO, not_audio
from ser.evaluation.adaptation import FEWEST, centred
from ser.evaluation.calibration import softmax_at
from ser.serving.bundle import BundleError, read
from ser.signal.audio import AudioError
from ser.signal.clips import to_float
from ser.signal.preprocessing import Prepared, prepare
from ser.views.features import extract, frames_of
from ser.views.normalise import Statistics, statistics
from ser.views.windows import windows

BATCH = 32
"""Windows given to the networks at once."""


@dataclass(frozen=True)
class Prediction:
    """What a bundle says about one recording.

    Attributes:
        path: the recording, as it was named.
        probabilities: of each class, in the bundle's order, summing to 1; empty where there is a problem.
        seconds: length of the recording.
        speech_seconds: what voice activity detection left of it.
        no_speech: it found none, so the whole recording was judged.
        problem: why there is no prediction; empty otherwise.
    """

    path: str
    probabilities: dict[str, float]
    seconds: float = 0.0
    speech_seconds: float = 0.0
    no_speech: bool = False
    problem: str = ""

    @property
    def emotion(self) -> str:
        """The most probable class; empty where there is a problem."""
        return max(self.probabilities, key=lambda name: self.probabilities[name]) if self.probabilities else ""


class Predictor:
    """A bundle, ready for use.

    Attributes:
        bundle: its facts.
    """

    def __init__(self, folder: str | Path) -> None:
        """Open and check a bundle.

        Raises:
            BundleError: if it is missing or damaged.
        """
        self.bundle, model = read(folder)
        try:
            self._session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises many kinds, all of its own
            raise BundleError(f"{folder}: onnxruntime {onnxruntime.__version__} cannot read the model: {error}") from None

    def files(self, paths: Iterable[str | Path]) -> Iterator[Prediction]:
        """Predictions in the order of the paths. With ``normalise: speaker`` all of them are taken as recordings of one speaker."""
        if self.bundle.features.normalise != "speaker":
            for path in paths:
                found = self._load(path)
                yield found if isinstance(found, Prediction) else self._predict(str(path), *found, None)
            return
        loaded = [(str(path), self._load(path)) for path in paths]
        frames = [found[1] for _, found in loaded if not isinstance(found, Prediction)]
        own = {view: statistics(np.concatenate([clip[view] for clip in frames])) for view in frames[0]} if frames else None
        for name, found in loaded:
            yield found if isinstance(found, Prediction) else self._predict(name, *found, own)

    def views(self, data: bytes) -> tuple[Prepared, dict[str, np.ndarray]]:
        """A recording's bytes → the clip and its features, float16 (frames, rows), as the pipeline makes them.

        Raises:
            AudioError: if it cannot become a clip.
        """
        prepared = prepare(data, self.bundle.preprocess)
        return prepared, extract(to_float(prepared.pcm), self.bundle.preprocess.sample_rate, self.bundle.features)

    def networks(self, views: dict[str, np.ndarray], speaker: dict[str, Statistics] | None = None) -> np.ndarray:
        """Each network's own probabilities of one clip, before calibration: float64 (networks, classes).

        Args:
            views: each view by its name, (frames, columns).
            speaker: statistics of each view over the speaker's clips, needed with ``normalise: speaker`` only.
        """
        _, first, length = windows(np.array([frames_of(views)]), self.bundle.max_frames)
        found = []
        for start in range(0, len(first), BATCH):
            chosen = slice(start, start + BATCH)
            cut = {view: self._cut(values, view, first[chosen], int(length[0]), speaker) for view, values in views.items()}
            found.append(self._session.run(None, {**cut, "lengths": length[chosen].astype(np.int64)})[0])  # (networks, windows, classes)
        return np.concatenate(found, axis=1).astype(np.float64).mean(axis=1)

    def average(self, networks: np.ndarray) -> np.ndarray:
        """Mean over the networks, each calibrated by its temperature if it has one: (networks, classes) → (classes,)."""
        members = zip(networks, self.bundle.networks, strict=True)
        return np.mean([softmax_at(p[None], member.temperature)[0] if member.temperature else p for p, member in members], axis=0)

    def _cut(self, values: np.ndarray, view: str, first: np.ndarray, length: int, speaker: dict[str, Statistics] | None) -> np.ndarray:
        """Windows of one view, float32 (windows, length, rows), normalised as far as the networks do not do it themselves."""
        cut = np.stack([values[start : start + length] for start in first]).astype(np.float32)
        if self.bundle.features.normalise == "clip":
            return np.stack([statistics(window).apply(window) for window in cut])
        if self.bundle.features.normalise == "speaker":
            if speaker is None:
                raise ValueError("speaker: normalise is 'speaker', so the statistics of the speaker's clips are needed")
            return speaker[view].apply(cut)
        return cut

    def _load(self, path: str | Path) -> tuple[Prepared, dict[str, np.ndarray]] | Prediction:
        try:
            return self.views(Path(path).read_bytes())
        except AudioError as error:
            return Prediction(str(path), {}, problem=str(error))
        except OSError as error:
            return Prediction(str(path), {}, problem=error.strerror or str(error))

    def _predict(self, path: str, prepared: Prepared, views: dict[str, np.ndarray], speaker: dict[str, Statistics] | None) -> Prediction:
        p = self.average(self.networks(views, speaker))
        named = {name: float(value) for name, value in zip(self.bundle.classes, p, strict=True)}
        left = prepared.source_seconds * (1 - prepared.removed)
        return Prediction(path, named, prepared.source_seconds, left, prepared.no_speech)


def centred_on_speaker(predictions: list[Prediction]) -> list[Prediction]:
    """The same predictions, each judged by how it differs from the others, all being of one speaker (``ser.evaluation.adaptation``).

    Recordings that could not be judged stay as they are.

    Raises:
        SerError: if fewer than ``FEWEST`` could.
    """
    judged = [found for found in predictions if found.probabilities]
    if len(judged) < FEWEST:
        raise SerError(f"to know how one speaker sounds takes {FEWEST} recordings or more; there are {len(judged)} that can be judged")
    names = list(judged[0].probabilities)
    adapted = iter(centred(np.array([[found.probabilities[name] for name in names] for found in judged]), np.zeros(len(judged))))
    return [
        replace(found, probabilities=dict(zip(names, next(adapted).tolist(), strict=True))) if found.probabilities else found
        for found in predictions
    ]


def recordings(paths: Iterable[str]) -> list[str]:
    """Files as they are named, and for each folder all recordings below it, sorted.

    Raises:
        SerError: if a path does not exist, or a folder holds no recording.
    """
    found: list[str] = []
    for name in paths:
        path = Path(name)
        if path.is_dir():
            below = (entry for entry in path.rglob("*") if not_audio(entry.relative_to(path).as_posix()) is None)
            inside = sorted(str(entry) for entry in below if entry.is_file())
            if not inside:
                raise SerError(f"{name}: no recording in this folder ({', '.join(AUDIO)})")
            found += inside
        elif path.exists():
            found.append(name)
        else:
            raise SerError(f"{name}: no such file or folder")
    return found


def default_bundle(exports: Path) -> Path:
    """The bundle to use when none is named: the only one, or the only one besides the demo's.

    Raises:
        BundleError: if there is none, or a choice.
    """
    found = sorted(path.parent for path in exports.glob("*/bundle.json"))
    real = [path for path in found if path.name != "demo"] or found
    if len(real) == 1:
        return real[0]
    if not found:
        raise BundleError(f"no exported model in {exports.absolute()}: run `dvc repro`, or name one with --bundle FOLDER")
    raise BundleError(f"several exported models ({', '.join(map(str, real))}): name one with --bundle")
