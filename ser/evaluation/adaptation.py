"""Answers that know the speaker's other recordings, though none of their labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import softmax

if TYPE_CHECKING:
    import pandas as pd

    from ser.evaluation.predictions import OutOfFold

FEWEST = 10
"""Recordings of a speaker below which its mean says more about what was said than about who spoke."""

SMALLEST = 1e-6
"""No class is taken for less probable: the predictions table keeps six digits."""


def centred(probabilities: np.ndarray, speaker: np.ndarray) -> np.ndarray:
    """Class probabilities once the mean log probability of each class over the speaker's clips has been taken off.

    q_k(clip) ∝ exp(log p_k(clip) − mean over the clips of the same speaker of log p_k), the idea of cepstral mean normalisation (Atal
    1974) applied to answers: a voice that always sounds angry to the network is judged by how angry it sounds *for itself*. It takes for
    granted that each speaker's clips hold all classes about evenly; where they do not, it takes away what is there to be found.

    Args:
        probabilities: shape (clips, K), rows sum to 1.
        speaker: shape (clips,), number of the speaker (or of network and speaker) of each clip.

    Returns:
        Shape (clips, K). Clips of speakers with fewer than ``FEWEST`` keep their probabilities.
    """
    logs = np.log(np.maximum(probabilities, SMALLEST))
    _, group, count = np.unique(speaker, return_inverse=True, return_counts=True)
    total = np.zeros((len(count), probabilities.shape[1]))
    np.add.at(total, group, logs)
    found = softmax(logs - (total / count[:, None])[group], axis=1)
    return np.where((count >= FEWEST)[group][:, None], found, probabilities)


def knowing_speakers(test: OutOfFold) -> pd.DataFrame | None:
    """Predictions of the test clips with ``centred`` answers, by each network (fold and seed) on its own.

    Returns:
        The table of predictions, test rows only; None where no speaker has enough clips.
    """
    _, network = np.unique(test.rows[["fold", "seed"]].to_numpy(), axis=0, return_inverse=True)
    group = network.ravel() * len(test.speakers) + test.speaker
    if np.bincount(group).max() < FEWEST:
        return None
    columns = [f"p_{name}" for name in test.classes]
    rows = test.rows[["clip", "fold", "seed", "part", "emotion", *columns]].copy()
    rows[columns] = centred(test.probabilities, group)
    return rows
