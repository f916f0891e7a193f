"""The frames of a corpus in memory, and batches cut from them without a Python step per clip."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ser import SerError
from ser.model.norm import root
from ser.params.features import Features
from ser.training import hidden as states
from ser.training.hidden import Hidden
from ser.views import features
from ser.views.features import Views
from ser.views.normalise import SMALLEST_SCALE, Statistics, statistics


@dataclass(frozen=True)
class Corpus:
    """All frames of a corpus on one device, with what is known of each clip.

    Rows are the clips and then, for training, all of them again for each spoilt copy (``features.copies``): with n clips, row k·n + i is
    copy k of clip i.

    Attributes:
        views: of each view by its name (frames, columns) float16, all rows back to back.
        start: (rows,) first frame of each row.
        length: (rows,) number of frames of each row.
        target: (rows,) class numbers.
        group: (rows,) number of the clip's speaker; with ``normalise=speaker`` the row of ``group_statistics``.
        group_statistics: for each view mean and scale of shape (groups, columns), only with ``normalise=speaker``.
        silence: for each view (columns,) a frame of silence.
        per_db: for each view (columns,) what is added when a clip becomes 1 dB louder.
        from_log_mel: (bands, columns) for each view that can be computed from log-mel.
        normalise: corpus, speaker or clip.
        functionals: (rows, n) float32 of openSMILE, with ``normalise=speaker`` standardised already; None where there are none.
        hidden: states of a frozen encoder, where the model reads them.
        copies: copies of each clip.
        taught: (clips, K) soft targets instead of the labels (``ser.training.teacher``); None where there is no teacher.
    """

    views: dict[str, Tensor]
    start: Tensor
    length: Tensor
    target: Tensor
    group: Tensor
    group_statistics: dict[str, tuple[Tensor, Tensor]]
    silence: dict[str, Tensor]
    per_db: dict[str, Tensor]
    from_log_mel: dict[str, Tensor]
    normalise: str
    functionals: Tensor | None = None
    hidden: Hidden | None = None
    copies: int = 0
    taught: Tensor | None = None

    @property
    def clips(self) -> int:
        """Number of clips, without copies."""
        return len(self.start) // (1 + self.copies)

    @property
    def device(self) -> torch.device:
        """Where the frames live."""
        return self.start.device


def targets(corpus: Corpus, rows: Tensor, n_classes: int) -> Tensor:
    """What training learns of rows: their labels as (B, K) of 0 and 1, or the soft targets of their clips."""
    if corpus.taught is None:
        return torch.nn.functional.one_hot(corpus.target[rows], n_classes).float()
    return corpus.taught[rows % corpus.clips]


def load(
    source: Views | str | Path,
    table: pd.DataFrame,
    classes: list[str],
    params: Features,
    device: torch.device,
    hidden: Hidden | None = None,
) -> Corpus:
    """Read the features of a corpus once and move them to the device.

    Args:
        source: the features, or the folder that ``features`` wrote.
        table: ``clips.csv``; gives order, labels and speakers.
        classes: emotions in report order; their positions are the class numbers.
        params: ``features`` of params.yaml.
        device: torch device.
        hidden: states of a frozen encoder on the device, where the model reads them.

    Raises:
        SerError: if features and clips do not belong together, or the functionals that ``params`` asks for are not there.
    """
    views, where = (source, "memory") if isinstance(source, Views) else (features.read(source, params), str(source))
    if len(views) != len(table):
        raise SerError(f"{where} holds {len(views)} clips, clips.csv {len(table)}: run the features stage again")
    if params.functionals is not None and views.functionals is None:
        raise SerError(f"{where} holds no functionals.npy: run the features stage again")
    times = 1 + views.copies
    speakers, group = np.unique(table["speaker"].to_numpy(str), return_inverse=True)
    group = np.tile(group, times)
    numbers = {name: number for number, name in enumerate(classes)}
    each_speaker: dict[str, tuple[Tensor, Tensor]] = {}
    if params.normalise == "speaker":
        each_speaker = {
            name: _speaker_statistics(frames, views.offsets, group, len(speakers), device) for name, frames in views.frames.items()
        }
    return Corpus(
        views=_on(device, {name: np.array(frames) for name, frames in views.frames.items()}),
        start=torch.from_numpy(views.offsets[:-1].copy()).to(device),
        length=torch.from_numpy(np.diff(views.offsets)).to(device),
        target=torch.tensor([numbers[emotion] for emotion in table["emotion"]] * times, device=device),
        group=torch.from_numpy(group).to(device),
        group_statistics=each_speaker,
        silence=_on(device, features.silence(params)),
        per_db=_on(device, features.per_db(params)),
        from_log_mel=_on(device, features.from_log_mel(params)),
        normalise=params.normalise,
        functionals=None if views.functionals is None else states.by_speaker(views.functionals, group, params.normalise).to(device),
        hidden=hidden,
        copies=views.copies,
    )


def with_copies(rows: np.ndarray, clips: int, copies: int) -> np.ndarray:
    """Clips and their copies: row numbers (n,) → (n · (1 + copies),), all clips first.

    >>> with_copies(np.array([0, 2]), clips=3, copies=2)
    array([0, 2, 3, 5, 6, 8])
    """
    return (rows + clips * np.arange(1 + copies)[:, None]).ravel()


def one_of_each(rows: np.ndarray, clips: int, copies: int, share: float, key: tuple[int, ...]) -> np.ndarray:
    """For an epoch: each clip as it is, or, with probability ``share``, one of its copies, drawn by ``key``; row numbers (n,)."""
    if not copies:
        return rows
    random = np.random.default_rng((*key, 6))
    chosen = np.where(random.random(clips) < share, random.integers(1, 1 + copies, clips), 0)
    return rows + clips * chosen[rows]


def _on(device: torch.device, arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}


def _speaker_statistics(
    frames: np.ndarray, offsets: np.ndarray, group: np.ndarray, groups: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Mean and scale of every speaker's own frames; labels are not used."""
    owner = np.repeat(group, np.diff(offsets))
    each = [statistics(frames[owner == number]) for number in range(groups)]
    mean, scale = (np.stack([getattr(one, name) for one in each]) for name in ("mean", "scale"))
    return torch.from_numpy(mean).to(device), torch.from_numpy(scale).to(device)


def standardise(corpus: Corpus, name: str, frames: Tensor, rows: Tensor, inside: Tensor) -> Tensor:
    """Per-speaker or per-clip standardisation of a batch; with ``normalise=corpus`` the network's own statistics do it all.

    Args:
        corpus: the corpus the batch is from.
        name: of the view.
        frames: (B, T, columns of the view).
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
        return (frames - mean) / root(variance).clamp_min(SMALLEST_SCALE)
    return frames


def view_statistics(corpus: Corpus, rows: np.ndarray) -> dict[str, Statistics]:
    """Statistics of each view, and of hidden states, over the given clips, after per-speaker or per-clip standardisation."""
    pieces: dict[str, list[np.ndarray]] = {name: [] for name in corpus.views}
    for part in np.array_split(rows, max(1, len(rows) // 256)):
        chosen = torch.tensor(part, device=corpus.device)
        views, inside = gather_views(corpus, chosen, torch.zeros_like(chosen), corpus.length[chosen])
        for name, frames in views.items():
            pieces[name].append(frames[inside].cpu().numpy())
    found = {name: statistics(np.concatenate(piece)) for name, piece in pieces.items()}
    if corpus.hidden is not None and corpus.hidden.states is not None:
        found["encoder"] = states.state_statistics(corpus.hidden, rows, corpus.group)
    return found


def gather(corpus: Corpus, rows: Tensor, first: Tensor, length: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Stretches of clips as a network takes them: all views, cut, padded and standardised (``standardise``), and hidden states.

    Args:
        corpus: the corpus.
        rows: (B,) clip numbers.
        first: (B,) first frame within the clip.
        length: (B,) number of frames.

    Returns:
        Each view (B, T, columns) float32, where T is the greatest length, where the model reads them ``encoder`` (B, N, layers, width),
        and inside (B, T) bool, true where a frame is of the clip.
    """
    views, inside = gather_views(corpus, rows, first, length)
    return views | gather_states(corpus, rows, first, length), inside


def gather_states(corpus: Corpus, rows: Tensor, first: Tensor, length: Tensor) -> dict[str, Tensor]:
    """Hidden states of stretches of clips under the name ``encoder`` (``ser.training.hidden.cut``); nothing where none are read."""
    if corpus.hidden is None or corpus.hidden.states is None:
        return {}
    return {"encoder": states.cut(corpus.hidden, rows, corpus.group[rows], first, length)}


def gather_views(corpus: Corpus, rows: Tensor, first: Tensor, length: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """``gather`` without hidden states."""
    views = {}
    for name in corpus.views:
        frames, inside = cut(corpus, name, rows, first, length)
        views[name] = standardise(corpus, name, frames, rows, inside)
    return views, inside


def cut(corpus: Corpus, name: str, rows: Tensor, first: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """Stretches of clips as one padded batch.

    Args:
        corpus: the corpus.
        name: the view.
        rows: (B,) clip numbers.
        first: (B,) first frame within the clip.
        length: (B,) number of frames.

    Returns:
        frames (B, T, columns of the view) float32, where T is the greatest length, and inside (B, T) bool; padding repeats an edge
        frame and means nothing.
    """
    steps = torch.arange(int(length.max()), device=corpus.device)
    inside = steps < length[:, None]
    index = corpus.start[rows, None] + first[:, None] + torch.minimum(steps, length[:, None] - 1)
    return corpus.views[name][index].float(), inside


def epoch_batches(rows: np.ndarray, batch_size: int, target: np.ndarray | None, key: tuple[int, ...]) -> list[np.ndarray]:
    """The clips of one epoch, shuffled, in batches; every clip is in exactly one batch.

    Batches are not sorted by length, though that would save padding. Length correlates with speaker and emotion, so batch norm would
    take its statistics from batches of few classes. ``train.max_seconds`` bounds the padding instead.

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
