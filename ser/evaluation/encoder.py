"""Which encoder a result uses, and which of its layers the networks read."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from ser.encoders.pooled import STATISTICS
from ser.encoders.store import EncoderFacts
from ser.evaluation.encoder_section import EncoderRead, EncoderUsed
from ser.evaluation.numbers import DIGITS
from ser.training.inference import Trained


def used(folder: str | Path, trained: Trained) -> EncoderUsed | None:
    """The encoder of trained models, with the layers or layer weights of each; None where they read none.

    Args:
        folder: ``models/<corpus>``.
        trained: what lies there.
    """
    if trained.encoder is None:
        return None
    about = trained.encoder
    networks = []
    for fold in trained.folds:
        for seed in trained.seeds:
            state = load_file(Path(folder) / f"fold{fold}-seed{seed}.safetensors")
            networks.append(EncoderRead.model_validate({"fold": fold, "seed": seed, **read(state, about)}))
    return EncoderUsed(name=about.name, layers=about.layers, sha256=about.sha256, licence=about.licence, networks=networks)


def read(state: dict[str, Tensor], about: EncoderFacts) -> dict[str, list]:
    """``layers`` of a regression and ``layer_weights`` of a branch, as far as the weights of a network hold them.

    Args:
        state: weights of one model.
        about: the encoder.
    """
    found: dict[str, list] = {}
    prefix = "linear." if "linear.columns" in state else ""
    if f"{prefix}columns" in state:
        # A regression inside a network has all columns, and no weight where it reads nothing.
        columns = state[f"{prefix}columns"][state[f"{prefix}weight"].ne(0).any(0)]
        places = torch.unique(columns // (STATISTICS * about.width))
        found["layers"] = [about.layers[place] for place in places.tolist()]
    if "sides.encoder.weights" in state:
        shares = state["sides.encoder.weights"].double().softmax(1)
        found["layer_weights"] = [[round(share, DIGITS) for share in level] for level in shares.tolist()]
    return found
