"""Speaker adaptation without labels: each answer is centred on the answers to the speaker's other recordings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import softmax

if TYPE_CHECKING:
    import pandas as pd

    from ser.evaluation.predictions import OutOfFold

FEWEST = 10
"""Fewest recordings of a speaker to adapt to.

With fewer, their mean depends more on what was said than on who spoke.
"""

SMALLEST = 1e-6
"""Lower bound of a probability before its logarithm is taken: the predictions table keeps six digits."""


def centred(probabilities: np.ndarray, speaker: np.ndarray) -> np.ndarray:
    """Class probabilities after the speaker's mean log probability of each class is subtracted.

    q_k(clip) ∝ exp(log p_k(clip) − mean of log p_k over the clips of the same speaker). This applies the idea
    of cepstral mean normalisation (Atal 1974) to answers: a voice that always sounds angry to the network is
    judged by how angry it sounds *for itself*. It assumes that each speaker's clips cover all classes about
    evenly. Where they do not, it removes real differences.

    Args:
        probabilities: shape (clips, K), rows sum to 1.
        speaker: shape (clips,), number of the speaker (or of network and speaker) of each clip.

    Returns:
        Shape (clips, K). Clips of speakers with fewer than ``FEWEST`` clips keep their probabilities.
    """
    logs = np.log(np.maximum(probabilities, SMALLEST))
    _, group, count = np.unique(speaker, return_inverse=True, return_counts=True)
    total = np.zeros((len(count), probabilities.shape[1]))
    np.add.at(total, group, logs)
    adapted = softmax(logs - (total / count[:, None])[group], axis=1)
    return np.where((count >= FEWEST)[group][:, None], adapted, probabilities)


def speaker_adapted(test: OutOfFold) -> pd.DataFrame | None:
    """Predictions of the test clips with ``centred`` answers, each network (fold and seed) separately.

    Returns:
        The table of predictions, test rows only; None if no speaker has enough clips.
    """
    _, network = np.unique(test.rows[["fold", "seed"]].to_numpy(), axis=0, return_inverse=True)
    group = network.ravel() * len(test.speakers) + test.speaker
    if np.bincount(group).max() < FEWEST:
        return None
    columns = [f"p_{name}" for name in test.classes]
    rows = test.rows[["clip", "fold", "seed", "part", "emotion", *columns]].copy()
    rows[columns] = centred(test.probabilities, group)
    return rows
