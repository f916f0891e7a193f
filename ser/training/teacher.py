"""Soft targets of a regression on a frozen encoder's hidden states, for a network that does without the encoder (``train.teacher``).

Knowledge distillation (Hinton et al. 2015, arXiv 1503.02531). The teacher's answers are out of fold: the training speakers are dealt
into groups, and the regression that answers for a speaker was fitted on training clips of the other groups. Validation and test
clips are never read. Each speaker's hidden states are standardised by the speaker's own clips, which training has in any case.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ser import SerError
from ser.encoders import store
from ser.model import linear
from ser.params.model import Linear as LinearParams
from ser.training import hidden
from ser.training.inference import Trained

GROUPS = 5
"""Of training speakers; fewer where there are fewer speakers."""


def of_corpus(folder: Path, table: pd.DataFrame, target: np.ndarray, train: np.ndarray, trained: Trained) -> np.ndarray:
    """``soft_targets`` from the hidden states that the stage encode stored.

    Args:
        folder: ``data/encoded/<corpus>``.
        table: ``clips.csv``.
        target: (clips,) class numbers.
        train: numbers of the training clips.
        trained: classes and parameters of the network that is taught.

    Raises:
        SerError: if there are no hidden states, or not of these clips, or training has clips of one speaker alone.
    """
    encoded = store.read(folder)
    if encoded is None:
        raise store.nothing_encoded(folder)
    speakers = table["speaker"].to_numpy(str)
    rate, hop = trained.preprocess.sample_rate, trained.features.frames.hop_length
    known = hidden.load(
        encoded.without_copies(), table["samples"].to_numpy(), speakers, rate, hop, "corpus", "pooled", torch.device("cpu")
    ).pooled
    assert known is not None
    return soft_targets(known.numpy(), target, speakers, train, encoded.about.layers, len(trained.classes), trained.model.linear)


def soft_targets(
    pooled: np.ndarray, target: np.ndarray, speakers: np.ndarray, train: np.ndarray, layers: list[int], classes: int, params: LinearParams
) -> np.ndarray:
    """What the teacher says of each training clip.

    Args:
        pooled: (clips, S) mean and deviation over time of the hidden states.
        target: (clips,) class numbers.
        speakers: (clips,) numbers or names of the speakers.
        train: numbers of the training clips; nothing is read of the others.
        layers: of the hidden states, in the order in which ``pooled`` holds them.
        classes: their number K.
        params: ``model.linear``.

    Returns:
        float32 (clips, K): probabilities that sum to 1; NaN for clips that are not for training, so that none can be used by mistake.

    Raises:
        SerError: if the training clips are of fewer than two speakers.
    """
    names, number = np.unique(speakers[train], return_inverse=True)
    if len(names) < 2:
        raise SerError(
            "train.teacher: all training clips are of one speaker, and a teacher has not heard whom it answers for; set it to none"
        )
    group = number % min(GROUPS, len(names))
    known = hidden.by_speaker(pooled[train], number, "speaker").numpy()
    found = np.full((len(target), classes), np.nan, np.float32)
    for held_out in np.unique(group):
        others, own = np.flatnonzero(group != held_out), np.flatnonzero(group == held_out)
        machine = linear.fit(known, target[train], others, others, layers, classes, params).machine
        found[train[own]] = machine.decisions(torch.from_numpy(known[own])).double().softmax(1).numpy()
    return found
