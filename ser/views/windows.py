"""How a clip longer than the network's input is read, in evaluation and in the exported predictor."""

from __future__ import annotations

import numpy as np


def windows(lengths: np.ndarray, max_frames: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Windows of each clip: the fewest of equal length ≤ ``max_frames`` that cover the clip, evenly spaced.

    The caller averages the outputs of the windows of a clip.

    Returns:
        owner, first and length of each window, shape (windows,); owner is the position in ``lengths``.

    >>> windows(np.array([5, 25]), 10)
    (array([0, 1, 1, 1]), array([ 0,  0,  7, 15]), array([ 5, 10, 10, 10]))
    """
    count = -(-lengths // max_frames)
    owner = np.repeat(np.arange(len(lengths)), count)
    number = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    room = (lengths - np.minimum(lengths, max_frames))[owner]
    first = number * room // np.maximum(count[owner] - 1, 1)
    return owner, first, np.minimum(lengths, max_frames)[owner]
