"""One regression for all clips of a corpus, fitted like those of the folds (``export.model: refit``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ser import SerError
from ser.encoders import store
from ser.encoders.pooled import STATISTICS
from ser.model.linear import Linear, fit
from ser.signal.clips import read_table
from ser.training import hidden
from ser.training.batches import with_copies
from ser.training.inference import Trained


def refit(folds: Sequence[Linear], trained: Trained, clips: Path, encoded: Path) -> Linear:
    """Fit a regression on all clips.

    No clip is left to choose layers with. So it reads each layer that at least half of the folds' regressions read.

    Args:
        folds: the regressions of cross-validation.
        trained: what they are.
        clips: ``data/clips/<corpus>``.
        encoded: ``data/encoded/<corpus>``.

    Raises:
        SerError: if the hidden states are not those of the trained model.
    """
    assert trained.encoder is not None
    found = store.read(encoded)
    if found is None or found.about != trained.encoder:
        raise SerError(f"{encoded} holds no hidden states of {trained.encoder.name} as the model was trained with: run encode and train")
    table = read_table(clips)
    number = {name: place for place, name in enumerate(trained.classes)}
    rows = np.flatnonzero(table["emotion"].isin(trained.classes))
    target = np.array([number.get(name, 0) for name in table["emotion"]])
    read = hidden.load(
        found, table["samples"].to_numpy(), table["speaker"].to_numpy(str), trained.preprocess.sample_rate,
        trained.features.frames.hop_length, trained.features.normalise, "pooled", torch.device("cpu"),
    )  # fmt: skip
    assert read.pooled is not None
    layers = shared_layers(folds, trained.encoder.layers, trained.encoder.width)
    settings = trained.model.linear.model_copy(update={"layers": layers})
    target = np.tile(target, 1 + found.copies)
    heard = with_copies(rows, len(table), found.copies)
    return fit(read.pooled.numpy(), target, heard, rows, trained.encoder.layers, len(trained.classes), settings).machine


def shared_layers(folds: Sequence[Linear], stored: Sequence[int], width: int) -> list[int]:
    """Of the stored layers, those that at least half of the regressions read, ascending; all where there are none."""
    read = [set((one.columns // (STATISTICS * width)).tolist()) for one in folds]
    return [layer for place, layer in enumerate(stored) if 2 * sum(place in places for places in read) >= len(folds)] or list(stored)
