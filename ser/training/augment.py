"""Augmentation of training batches. Validation and test clips are never augmented.

Every draw is keyed by (seed, epoch, clip), never by the place in a batch: the order of batches, the number of devices and a resumed
run do not change what a clip looks like in an epoch. Band shift and
mel noise change log-mel; views that are linear in log-mel are then computed again from it, so all views show the same altered recording.
With ``noise_domain: waveform``, ``with_noisy_recordings`` adds noise to the recordings before batches are cut.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from ser.params.train import Augment
from ser.training.batches import Corpus, standardise
from ser.training.noise import Recordings

_TEXTURE = 65_537  # prime, so that rows of any width do not line up


@dataclass(frozen=True)
class Draws:
    """Random numbers of one epoch, one row per clip of the corpus (so that a clip's draw does not depend on its batch).

    Attributes:
        uniform: (clips, 8 + 2 · masks) in [0, 1).
        mix: (clips,) weights of mixup in [0.5, 1]; 1 without mixup.
        texture: (65537,) power of noise relative to its mean.
    """

    uniform: Tensor
    mix: Tensor
    texture: Tensor


_CROP, _SPEED, _SHIFT, _GAIN, _NOISE, _SNR, _BAND, _OFFSET, _MASKS = range(9)


def draw(params: Augment, clips: int, seed: int, epoch: int, device: torch.device) -> Draws:
    """Draw everything for one epoch."""
    random = np.random.default_rng((seed, epoch, 1))
    uniform = random.random((clips, _MASKS + 2 * (params.freq_masks + params.time_masks)))
    if params.mixup_alpha > 0:
        weight = np.random.default_rng((seed, epoch, 2)).beta(params.mixup_alpha, params.mixup_alpha, clips)
        mix = np.maximum(weight, 1 - weight)  # at least 0.5: the mixed clip keeps the length of the clip itself
    else:
        mix = np.ones(clips)
    # A mel band holds a few FFT bins of noise, whose powers are exponential: their mean is close to Gamma(2).
    texture = np.random.default_rng((seed, 3)).gamma(2.0, 0.5, _TEXTURE)
    return Draws(*(torch.from_numpy(part.astype(np.float32)).to(device) for part in (uniform, mix, texture)))


def with_noisy_recordings(
    corpus: Corpus, recordings: Recordings, rows: np.ndarray, draws: Draws, params: Augment, key: tuple[int, int]
) -> Corpus:
    """A corpus in which the frames of the clips that are drawn for noise are those of their noisy recordings.

    Args:
        corpus: the corpus.
        recordings: its audio.
        rows: (n,) numbers of the training clips; others stay as they are.
        draws: the epoch's draws.
        params: ``train.augment``.
        key: (seed, epoch); the noise of a clip depends on these and its number.
    """
    assert params.noise_snr_db is not None
    low, high = params.noise_snr_db
    uniform = draws.uniform.cpu().numpy()
    drawn = rows[uniform[rows, _NOISE] < params.noise_share]
    views = {name: frames.cpu().numpy().copy() for name, frames in corpus.views.items()}
    start = corpus.start.cpu().numpy()
    with threadpool_limits(1):  # more BLAS threads change the last bits, and are slower where cores are shared
        for row in drawn:
            snr = low + (high - low) * float(uniform[row, _SNR])
            for name, frames in recordings.noisy_frames(int(row), snr, (*key, 5, int(row))).items():
                views[name][start[row] : start[row] + len(frames)] = frames
    return replace(corpus, views={name: torch.from_numpy(frames).to(corpus.device) for name, frames in views.items()})


def augment(
    corpus: Corpus, rows: Tensor, draws: Draws, params: Augment, max_frames: int, frames_per_second: float
) -> tuple[dict[str, Tensor], Tensor]:
    """Cut, stretch, shift, amplify and add noise to the clips of a batch.

    Args:
        corpus: the corpus.
        rows: (B,) clip numbers.
        draws: the epoch's draws.
        params: ``train.augment``.
        max_frames: longer clips are cropped at a random place.
        frames_per_second: of the features.

    Returns:
        Each view (B, T, columns), and lengths (B,); beyond a clip's length there is silence, for mixup to blend with.
    """
    uniform = draws.uniform[rows]
    kept = corpus.length[rows].clamp_max(max_frames)
    first = first_frames(corpus, rows, draws, max_frames)
    rate = 1 + params.speed * (2 * uniform[:, _SPEED] - 1)
    silence = (uniform[:, _SHIFT] * (int(params.shift_seconds * frames_per_second) + 1)).long()
    lengths = silence + (kept / rate).long().clamp_min(1)
    steps = torch.arange(int(lengths.max()), device=corpus.device)
    inside = steps < lengths[:, None]
    place = (steps - silence[:, None]) * rate[:, None]
    voiced = place >= 0  # before it: the silence of the shift
    place = torch.minimum(place.clamp_min(0), kept[:, None] - 1.0)

    quiet = ~(voiced & inside)[:, :, None]
    views = {
        name: torch.where(quiet, corpus.silence[name], _between(frames, corpus.start[rows] + first, place))
        for name, frames in corpus.views.items()
        if name not in corpus.from_log_mel
    }
    if corpus.from_log_mel and params.band_shift:
        views["log_mel"] = _shift_bands(views["log_mel"], params.band_shift * (2 * uniform[:, _BAND] - 1))
    gain = params.gain_db * (2 * uniform[:, _GAIN] - 1)
    views = {name: frames + gain[:, None, None] * corpus.per_db[name] for name, frames in views.items()}
    if corpus.from_log_mel:
        log_mel = torch.maximum(views["log_mel"], corpus.silence["log_mel"])
        if params.noise_snr_db is not None and params.noise_domain == "mel":
            log_mel = _add_noise(log_mel, inside & voiced, uniform, draws.texture, params)
        views |= {"log_mel": log_mel, **{name: log_mel @ matrix for name, matrix in corpus.from_log_mel.items()}}
    return {name: standardise(corpus, name, views[name], rows, inside) for name in corpus.views}, lengths


def first_frames(corpus: Corpus, rows: Tensor, draws: Draws, max_frames: int) -> Tensor:
    """First frame of what is seen of each clip (B,): 0, or a random place where the clip is longer than ``max_frames``."""
    kept = corpus.length[rows].clamp_max(max_frames)
    return (draws.uniform[rows, _CROP] * (corpus.length[rows] - kept + 1)).long()


def _between(frames: Tensor, start: Tensor, place: Tensor) -> Tensor:
    """Frames at fractional places by linear interpolation; ``place`` (B, T) counts from ``start`` (B,)."""
    low = place.floor()
    index = start[:, None] + low.long()
    above = index + (place > low)
    weight = (place - low)[:, :, None]
    return torch.lerp(frames[index].float(), frames[above].float(), weight)


def _shift_bands(log_mel: Tensor, bands: Tensor) -> Tensor:
    """Move each clip's spectrum by a fractional number of bands; the edge band is repeated."""
    width = log_mel.shape[2]
    place = (torch.arange(width, device=log_mel.device) + bands[:, None]).clamp(0, width - 1)
    low = place.floor().long()
    above = (low + 1).clamp_max(width - 1)
    weight = (place - low)[:, None, :]
    shape = log_mel.shape
    return torch.lerp(log_mel.gather(2, low[:, None].expand(shape)), log_mel.gather(2, above[:, None].expand(shape)), weight)


def _add_noise(log_mel: Tensor, inside: Tensor, uniform: Tensor, texture: Tensor, params: Augment) -> Tensor:
    """White noise at a drawn ratio to the clip's mean power, in the mel domain (Slaney bands are area-normalised: white is flat)."""
    assert params.noise_snr_db is not None
    low, high = params.noise_snr_db
    power = torch.pow(10.0, log_mel / 10)
    mean = (power.mean(2) * inside).sum(1) / inside.sum(1).clamp_min(1)
    snr = low + (high - low) * uniform[:, _SNR]
    level = mean * torch.pow(10.0, -snr / 10) * (uniform[:, _NOISE] < params.noise_share)
    offset = (uniform[:, _OFFSET] * _TEXTURE).long()
    cells = torch.arange(log_mel.shape[1] * log_mel.shape[2], device=log_mel.device)
    noise = texture[(offset[:, None] + cells) % _TEXTURE].view(log_mel.shape)
    return 10 * torch.log10(power + level[:, None, None] * noise)


def mask(frames: Tensor, lengths: Tensor, uniform: Tensor, fill: Tensor, params: Augment) -> Tensor:
    """SpecAugment (Park et al. 2019): bands and stretches of time are replaced by ``fill``, the training mean.

    Args:
        frames: (B, T, rows).
        lengths: (B,).
        uniform: (B, …) the epoch's draws of these clips.
        fill: (rows,).
        params: ``train.augment``.
    """
    rows = torch.arange(frames.shape[2], device=frames.device)
    hidden = torch.zeros(frames.shape, dtype=torch.bool, device=frames.device)
    column = _MASKS
    for _ in range(params.freq_masks):
        width = (uniform[:, column] * (min(params.freq_width, frames.shape[2]) + 1)).long()
        low = (uniform[:, column + 1] * (frames.shape[2] - width + 1)).long()
        hidden |= ((rows >= low[:, None]) & (rows < (low + width)[:, None]))[:, None, :]
        column += 2
    hidden |= _masked_time(frames.shape[1], lengths, uniform, params)[:, :, None]
    return torch.where(hidden, fill, frames)


def mask_time(states: Tensor, counts: Tensor, uniform: Tensor, fill: Tensor, params: Augment) -> Tensor:
    """The time masks of ``mask`` for hidden states, at the same shares of the clip.

    Args:
        states: (B, N, layers, width).
        counts: (B,) tokens of each clip.
        uniform: (B, …) the epoch's draws of these clips.
        fill: (layers, width).
        params: ``train.augment``.
    """
    return torch.where(_masked_time(states.shape[1], counts, uniform, params)[:, :, None, None], fill, states)


def _masked_time(steps: int, lengths: Tensor, uniform: Tensor, params: Augment) -> Tensor:
    """Which steps of each clip are masked, (B, steps) bool."""
    step = torch.arange(steps, device=lengths.device)
    hidden = torch.zeros(len(lengths), steps, dtype=torch.bool, device=lengths.device)
    column = _MASKS + 2 * params.freq_masks
    for _ in range(params.time_masks):
        width = (uniform[:, column] * params.time_width * lengths).long()
        low = (uniform[:, column + 1] * (lengths - width + 1)).long()
        hidden |= (step >= low[:, None]) & (step < (low + width)[:, None])
        column += 2
    return hidden
