"""The frames of a corpus in memory, and batches cut from them without a Python step per clip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ser import SerError
from ser.params.features import Features
from ser.views import features
from ser.views.features import VIEWS
from ser.views.normalise import SMALLEST_SCALE, Statistics, scales, statistics


@dataclass(frozen=True)
class Corpus:
    """All frames of a corpus on one device, with what is known of each clip.

    Attributes:
        log_mel: (frames, bands) float16, all clips back to back.
        mfcc: (frames, coefficients) float16.
        start: (clips,) first frame of each clip.
        length: (clips,) number of frames of each clip.
        target: (clips,) class numbers.
        group: (clips,) number of the clip's speaker; with ``normalise=speaker`` the row of ``group_statistics``.
        group_statistics: for each view mean and scale of shape (groups, rows), only with ``normalise=speaker``.
        dct: (bands, coefficients) when MFCC can be recomputed from the log-mel bands, else None.
        bands: rows of log_mel that are levels in dB; the rest are deltas.
        mfcc_per_db: change of the first coefficient when every band rises by 1 dB, √(bands under the DCT).
        floor_db: the log-mel floor, which is what silence looks like.
        normalise: corpus, speaker or clip.
        functionals: (clips, n) float32 of openSMILE, with ``normalise=speaker`` standardised already; None where there are none.
    """

    log_mel: Tensor
    mfcc: Tensor
    start: Tensor
    length: Tensor
    target: Tensor
    group: Tensor
    group_statistics: dict[str, tuple[Tensor, Tensor]]
    dct: Tensor | None
    bands: int
    mfcc_per_db: float
    floor_db: float
    normalise: str
    functionals: Tensor | None = None

    @property
    def device(self) -> torch.device:
        """Where the frames live."""
        return self.log_mel.device


def load(folder: str, table: pd.DataFrame, classes: list[str], params: Features, device: torch.device) -> Corpus:
    """Read the features of a corpus once and move them to the device.

    Args:
        folder: what ``features`` wrote.
        table: ``clips.csv``; gives order, labels and speakers.
        classes: emotions in report order; their positions are the class numbers.
        params: ``features`` of params.yaml.
        device: torch device.

    Raises:
        SerError: if features and clips do not belong together, or the functionals that ``params`` asks for are not there.
    """
    views = features.read(folder)
    if len(views.offsets) != len(table) + 1:
        raise SerError(f"{folder} holds {len(views.offsets) - 1} clips, clips.csv {len(table)}: run the features stage again")
    if params.functionals is not None and views.functionals is None:
        raise SerError(f"{folder} holds no functionals.npy: run the features stage again")
    speakers, group = np.unique(table["speaker"].to_numpy(str), return_inverse=True)
    numbers = {name: number for number, name in enumerate(classes)}
    cosines = features.dct_matrix(params.log_mel.n_mels, params.mfcc.n_mfcc).T.astype(np.float32)
    dct = torch.from_numpy(cosines).to(device) if params.shared_bands else None
    by_speaker: dict[str, tuple[Tensor, Tensor]] = {}
    if params.normalise == "speaker":
        by_speaker = {name: _speaker_statistics(getattr(views, name), views.offsets, group, len(speakers), device) for name in VIEWS}
    return Corpus(
        log_mel=torch.from_numpy(np.array(views.log_mel)).to(device),
        mfcc=torch.from_numpy(np.array(views.mfcc)).to(device),
        start=torch.from_numpy(views.offsets[:-1].copy()).to(device),
        length=torch.from_numpy(np.diff(views.offsets)).to(device),
        target=torch.tensor([numbers[emotion] for emotion in table["emotion"]], device=device),
        group=torch.from_numpy(group).to(device),
        group_statistics=by_speaker,
        dct=dct,
        bands=params.log_mel.n_mels,
        mfcc_per_db=params.mfcc.n_mels**0.5,
        floor_db=params.log_mel.floor_db,
        normalise=params.normalise,
        functionals=None if views.functionals is None else _functionals(views.functionals, group, params.normalise).to(device),
    )


def _speaker_statistics(
    frames: np.ndarray, offsets: np.ndarray, group: np.ndarray, groups: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Mean and scale of every speaker's own frames; labels are not used."""
    owner = np.repeat(group, np.diff(offsets))
    each = [statistics(frames[owner == number]) for number in range(groups)]
    mean, scale = (np.stack([getattr(one, name) for one in each]) for name in ("mean", "scale"))
    return torch.from_numpy(mean).to(device), torch.from_numpy(scale).to(device)


def _functionals(values: np.ndarray, group: np.ndarray, normalise: str) -> Tensor:
    """Functionals, with ``normalise=speaker`` standardised by each speaker's own clips; labels are not used."""
    found = np.array(values)
    if normalise == "speaker":
        for number in np.unique(group):
            own = found[group == number].astype(np.float64)
            found[group == number] = (own - own.mean(axis=0)) / scales(own)
    return torch.from_numpy(found)


def standardise(corpus: Corpus, name: str, frames: Tensor, rows: Tensor, inside: Tensor) -> Tensor:
    """Per-speaker or per-clip standardisation of a batch; with ``normalise=corpus`` the network's own statistics do it all.

    Args:
        corpus: the corpus the batch is from.
        name: the view, ``log_mel`` or ``mfcc``.
        frames: (B, T, rows of the view).
        rows: (B,) clip numbers.
        inside: (B, T) True where a frame belongs to the clip.
    """
    if corpus.normalise == "speaker":
        mean, scale = corpus.group_statistics[name]
        return (frames - mean[corpus.group[rows], None]) / scale[corpus.group[rows], None]
    if corpus.normalise == "clip":
        weight = inside[:, :, None].to(frames.dtype)
        count = weight.sum(1, keepdim=True)
        mean = (frames * weight).sum(1, keepdim=True) / count
        variance = ((frames - mean).square() * weight).sum(1, keepdim=True) / count
        return (frames - mean) / variance.sqrt().clamp_min(SMALLEST_SCALE)
    return frames


def view_statistics(corpus: Corpus, rows: np.ndarray) -> dict[str, Statistics]:
    """Statistics of both views over the frames of the given clips, after per-speaker or per-clip standardisation."""
    found = {}
    for name in VIEWS:
        pieces = []
        for part in np.array_split(rows, max(1, len(rows) // 256)):
            chosen = torch.tensor(part, device=corpus.device)
            frames, inside = cut(corpus, name, chosen, torch.zeros_like(chosen), corpus.length[chosen])
            pieces.append(standardise(corpus, name, frames, chosen, inside)[inside].cpu().numpy())
        found[name] = statistics(np.concatenate(pieces))
    return found


def cut(corpus: Corpus, name: str, rows: Tensor, first: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """Stretches of clips as one padded batch.

    Args:
        corpus: the corpus.
        name: the view.
        rows: (B,) clip numbers.
        first: (B,) first frame within the clip.
        length: (B,) number of frames.

    Returns:
        frames (B, T, rows of the view) float32, where T is the greatest length, and inside (B, T) bool; padding repeats an edge
        frame and means nothing.
    """
    steps = torch.arange(int(length.max()), device=corpus.device)
    inside = steps < length[:, None]
    index = corpus.start[rows, None] + first[:, None] + torch.minimum(steps, length[:, None] - 1)
    return getattr(corpus, name)[index].float(), inside


def epoch_batches(rows: np.ndarray, batch_size: int, target: np.ndarray | None, key: tuple[int, ...]) -> list[np.ndarray]:
    """The clips of one epoch, shuffled, in batches; every clip is in exactly one batch.

    Batches are not sorted by length, though that would save padding: length tells of speaker and emotion, so that the statistics of
    batch norm would come from batches of few classes. ``train.max_seconds`` bounds the padding instead.

    Args:
        rows: (n,) clip numbers.
        batch_size: clips per batch; batches are of equal size to within one.
        target: (clips,) class numbers for balanced sampling (every class equally often, with repetition), or None for natural.
        key: what the order depends on, e.g. (seed, epoch).

    Returns:
        Batches of clip numbers.
    """
    random = np.random.default_rng(key)
    if target is not None:
        classes = np.unique(target[rows])
        share = -(-len(rows) // len(classes))
        rows = np.concatenate([random.choice(rows[target[rows] == number], share) for number in classes])
    return np.array_split(random.permutation(rows), max(1, round(len(rows) / batch_size)))
