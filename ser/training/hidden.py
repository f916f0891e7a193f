"""Hidden states of a frozen encoder in memory: pooled for each clip, or over time and cut in step with the frames of the views."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ser import SerError
from ser.encoders.pooled import own_tokens, pooled
from ser.encoders.store import Encoded
from ser.model.encoder_branch import TokenRate
from ser.views.normalise import Statistics, scales, statistics


@dataclass(frozen=True)
class Hidden:
    """Hidden states that a model reads. Only tokens that cover the clip are kept; those of the appended silence are dropped.

    Attributes:
        rate: tokens per frame of the views.
        start: (rows,) first token of each row in ``states``; rows are clips, then copies of all clips.
        length: (rows,) own tokens of each row.
        states: float16 (tokens, layers, width), for the branch ``encoder``; else None.
        pooled: float32 (rows, layers · 2 · width), for ``model.kind: linear``, with ``normalise=speaker`` standardised already; or None.
        group_statistics: mean and scale of each speaker's own tokens, (groups, layers, width), with ``normalise=speaker``; else None.
    """

    rate: TokenRate
    start: Tensor
    length: Tensor
    states: Tensor | None = None
    pooled: Tensor | None = None
    group_statistics: tuple[Tensor, Tensor] | None = None


def load(
    encoded: Encoded,
    samples: np.ndarray,
    speakers: np.ndarray,
    sample_rate: int,
    hop_length: int,
    normalise: str,
    reads: Literal["states", "pooled"],
    device: torch.device,
) -> Hidden:
    """Read what the model needs from the output of the encode stage, clip by clip to save memory.

    Args:
        encoded: hidden states of the corpus, and of the copies where training hears them.
        samples: (clips,) length of each clip.
        speakers: (clips,) text.
        sample_rate: of the clips, in Hz.
        hop_length: samples from one frame of the views to the next.
        normalise: corpus or speaker.
        reads: ``Model.reads_encoder``.
        device: torch device.

    Raises:
        SerError: if states and clips do not belong together.
    """
    if len(encoded) != len(samples):
        raise SerError(f"hidden states of {len(encoded)} clips, clips.csv {len(samples)}: run the encode stage again")
    per_second = float(encoded.facts["tokens_per_second"])
    times = 1 + encoded.copies
    length = own_tokens(np.diff(encoded.offsets), np.tile(samples, times), sample_rate, per_second)
    start = np.concatenate([[0], np.cumsum(length)[:-1]])
    group = np.tile(np.unique(speakers, return_inverse=True)[1], times)
    rate = TokenRate.of(hop_length, per_second, sample_rate)
    found = Hidden(rate, torch.from_numpy(start).to(device), torch.from_numpy(length).to(device))
    if reads == "pooled":
        vectors = np.stack([pooled(encoded.clip(row)[:count]) for row, count in enumerate(length)])
        return replace(found, pooled=by_speaker(vectors, group, normalise).to(device))
    states = np.concatenate([encoded.clip(row)[:count] for row, count in enumerate(length)])
    by_group = None
    if normalise == "speaker":
        owner = np.repeat(group, length)
        each = [_statistics(states[owner == number]) for number in range(group.max() + 1)]
        mean, scale = (torch.from_numpy(np.stack([getattr(one, name) for one in each])).to(device) for name in ("mean", "scale"))
        by_group = mean, scale
    return replace(found, states=torch.from_numpy(states).to(device), group_statistics=by_group)


def by_speaker(values: np.ndarray, group: np.ndarray, normalise: str) -> Tensor:
    """Vectors of clips (clips, n), with ``normalise=speaker`` standardised by each speaker's own clips; labels are not used."""
    found = np.array(values)
    if normalise == "speaker":
        for number in np.unique(group):
            own = found[group == number].astype(np.float64)
            found[group == number] = (own - own.mean(axis=0)) / scales(own)
    return torch.from_numpy(found)


def cut(hidden: Hidden, rows: Tensor, group: Tensor, first: Tensor, length: Tensor) -> Tensor:
    """Hidden states of stretches of clips as one padded batch, with ``normalise=speaker`` standardised by the speaker's own tokens.

    Args:
        hidden: of the corpus, with states.
        rows: (B,) clip numbers.
        group: (B,) numbers of their speakers.
        first: (B,) first frame of the views within the clip.
        length: (B,) number of frames.

    Returns:
        float32 (B, N, layers, width) from token ⌊first · rate⌋ on, N being the greatest number of tokens of a stretch
        (``TokenRate.tokens``). Padding repeats the clip's last token and has no meaning. So does a token that the frames need and
        the encoder did not return.
    """
    assert hidden.states is not None
    steps = torch.arange(int(hidden.rate.tokens(length).max()), device=rows.device)
    place = hidden.rate.before(first)[:, None] + steps
    states = hidden.states[hidden.start[rows, None] + torch.minimum(place, hidden.length[rows, None] - 1)].float()
    if hidden.group_statistics is None:
        return states
    mean, scale = hidden.group_statistics
    return (states - mean[group, None]) / scale[group, None]


def state_statistics(hidden: Hidden, rows: np.ndarray, group: Tensor) -> Statistics:
    """Mean and scale (layers, width) over the own tokens of the given clips, after standardisation by speaker where that is asked for."""
    assert hidden.states is not None
    pieces = []
    for row in rows.tolist():
        own = hidden.states[hidden.start[row] : hidden.start[row] + hidden.length[row]]
        if hidden.group_statistics is not None:
            mean, scale = (values[group[row]] for values in hidden.group_statistics)
            own = (own.float() - mean) / scale
        pieces.append(own.cpu().numpy())
    return _statistics(np.concatenate(pieces))


def mixed(states: Tensor, counts: Tensor, weight: Tensor) -> Tensor:
    """Mixup of each clip (B, N, layers, width) with the previous one in the batch; steps where that one has no token are kept."""
    there = torch.arange(states.shape[1], device=states.device) < counts.roll(1, 0)[:, None]  # (B, N)
    partner = torch.where(there[:, :, None, None], states.roll(1, 0), states)
    return torch.lerp(partner, states, weight[:, None, None, None])


def _statistics(states: np.ndarray) -> Statistics:
    flat = statistics(states.reshape(len(states), -1))
    return Statistics(flat.mean.reshape(states.shape[1:]), flat.scale.reshape(states.shape[1:]))
