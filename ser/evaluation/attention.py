"""Where in time a trained network looked at a clip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ser.evaluation.examples import Attend
from ser.model.network import Network
from ser.training import batches, inference


def attender(
    folder: str | Path, features_folder: str | Path, table: pd.DataFrame, device: torch.device, encoded_folder: str | Path | None = None
) -> Attend:
    """A function (row of clips.csv, fold) → attention weights over the clip's frames, by side of the fusion.

    It asks the network of the first seed that tests the fold, through the same batches as prediction. Weights
    sum to 1 over the first ``max_frames`` frames, which is all of a clip that is not cut into windows. No
    sides for a fusion without attention over time, or where the model is not a network.

    Args:
        folder: ``models/<corpus>``.
        features_folder: ``data/features/<corpus>``.
        table: ``clips.csv``.
        device: torch device.
        encoded_folder: ``data/encoded/<corpus>``; opened only where the model reads hidden states.
    """
    trained = inference.describe(folder)
    corpus = inference.load_corpus(trained, features_folder, encoded_folder, table, device)

    @torch.no_grad()
    def attend(row: int, fold: int) -> dict[str, np.ndarray]:
        network = inference.load_network(folder, trained, fold, min(trained.seeds), device)
        if not isinstance(network, Network):
            return {}
        rows = torch.tensor([row], device=device)
        length = corpus.length[rows].clamp(max=trained.max_frames)
        views, _ = batches.gather(corpus, rows, torch.zeros_like(rows), length)
        weights = network.attention(views, length)
        return {side: values[0].float().cpu().numpy() for side, values in weights.items()}

    return attend
