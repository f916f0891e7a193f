"""What a view of a clip is. Each view is one subclass in one module; ``ser/views/features.py`` lists them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from ser.params.features import Features
from ser.views.spectrum import Sound


class View(ABC):
    """One way to turn a clip into frames: a row of numbers for every ``features.frames.hop_length`` samples.

    Its name is that of its section of ``features``. The first-order deltas of ``features.deltas`` are added to every view alike
    (``ser.views.features``): widths and columns here are those without deltas.

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
        """Numbers of mel bands whose levels ``frames`` reads; none unless a subclass says so."""
        return ()

    @abstractmethod
    def frames(self, sound: Sound) -> np.ndarray:
        """The view of a clip, float32 (``ser.views.spectrum.frame_count``, width), all finite."""

    @abstractmethod
    def silence(self) -> np.ndarray:
        """A frame of digital silence, (width,). Augmentation puts it before a clip that starts later."""

    @abstractmethod
    def per_db(self) -> np.ndarray:
        """What is added to each column when the clip becomes 1 dB louder, (width,). Augmentation changes the level by it."""

    def from_log_mel(self) -> np.ndarray | None:
        """Matrix (log-mel bands, width) that turns frames of log-mel into this view; None where there is none.

        A view that has one follows when augmentation changes the mel bands (and its section says so: ``follows_bands``).
        """
        return None
