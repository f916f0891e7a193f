"""The frozen encoder of trained models, for the stages after train."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ser import SerError
from ser.encoders.frozen import Chosen
from ser.params import Params
from ser.runtime.machine import cache_dir, mirror

if TYPE_CHECKING:
    from ser.training.inference import Trained


def encoder_for(trained: Trained, params: Params) -> Chosen | None:
    """The encoder that a model reads, found as the encode stage finds it; None where the model reads none.

    Raises:
        SerError: if it cannot be had, or its weights are not those that the model was trained with.
    """
    if trained.encoder is None or trained.features.encoder is None:
        return None
    from ser.encoders import weights

    found = weights.obtain(trained.features.encoder, mirror=mirror(params.runtime), cache=cache_dir(params.runtime))
    if found.sha256 != trained.encoder.sha256:
        raise SerError(
            f"encoder {trained.encoder.name}: the weights here have sha256 {found.sha256}, the model was trained with "
            f"{trained.encoder.sha256}; run encode and train again, or give the same weights"
        )
    return Chosen(found.folder.resolve(), trained.encoder)
