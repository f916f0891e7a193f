"""A recording as a model reads it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ser.serving.encoder import States
from ser.signal.preprocessing import Prepared


@dataclass(frozen=True)
class Heard:
    """A recording as the model reads it.

    Attributes:
        prepared: the clip.
        views: each view that the model reads by its name, float16 (frames, columns).
        states: hidden states of the encoder; None where there is none.
        pooled: mean and deviation of these over time, where the model reads them.
    """

    prepared: Prepared
    views: dict[str, np.ndarray]
    states: States | None = None
    pooled: np.ndarray | None = None
    unlike: tuple[str, ...] = ()
    """How the clip differs from the training clips, one phrase each (``ser.serving.unlike``)."""
    damage: str = ""
    """What is cut off or unreadable in the recording whose last part this is; empty where it is whole."""
