"""The base class of all views.

Each view is one subclass in a module of its own; ``ser/views/features.py`` lists them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from ser.params.features import Features
from ser.views.spectrum import Sound


class View(ABC):
    """One way to turn a clip into frames: a row of numbers for every ``features.frames.hop_length`` samples.

    Its name is that of its section of ``features``. Widths and columns here are those without deltas, because
    ``ser.views.features`` adds deltas to every view (``features.deltas``).

    Attributes:
        title: its name in pictures.
        features: section ``features`` of the parameters.
    """

    title: ClassVar[str]

    def __init__(self, features: Features) -> None:
        self.features = features

    @property
    @abstractmethod
    def width(self) -> int:
        """Number of columns."""

    @property
    def bands(self) -> tuple[int, ...]:
        """Numbers of mel bands whose levels ``frames`` reads; by default none."""
        return ()

    @abstractmethod
    def frames(self, sound: Sound) -> np.ndarray:
        """The view of a clip, float32 (``ser.views.spectrum.frame_count``, width), all finite."""

    @abstractmethod
    def silence(self) -> np.ndarray:
        """A frame of digital silence, (width,). Augmentation puts it before a clip that it shifts in time."""

    @abstractmethod
    def per_db(self) -> np.ndarray:
        """What 1 dB more level adds to each column, (width,). Augmentation changes the level with it."""

    def from_log_mel(self) -> np.ndarray | None:
        """Matrix (log-mel bands, width) that turns frames of log-mel into this view; None if there is none.

        When augmentation changes the mel bands, a view with a matrix is computed again from them. Its section
        then returns true in ``follows_bands``.
        """
        return None
