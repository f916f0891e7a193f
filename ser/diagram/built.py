"""The network of a whole parameter file, before anything is trained."""

from __future__ import annotations

from ser.encoders import frozen
from ser.encoders import table as encoders
from ser.encoders.cutting import HOP
from ser.encoders.frozen import RATE
from ser.model import fusion
from ser.model.encoder_branch import EncoderInput, TokenRate
from ser.model.network import Network
from ser.params import Params
from ser.runtime.machine import at_home
from ser.views.features import widths


def build(params: Params, classes: int | None = None) -> Network:
    """The network of a whole parameter file, for the classes of its first corpus unless a number is given."""
    fusion.load(params.model.fusion).check(params.model)
    classes = classes or len(params.corpora[params.datasets[0]].labels.classes)
    return Network(params.model, widths(params.features), classes, encoder_input(params), params.train.warm_start == "linear")


def encoder_input(params: Params) -> EncoderInput | None:
    """What the branch ``encoder`` would be fed with, from the table of encoders or the folder that is named; None without the branch.

    Raises:
        SerError: if the encoder is unknown, or its folder has no ``config.json``.
    """
    asked = params.features.encoder
    if asked is None or params.model.reads_encoder != "states":
        return None
    if asked.path is not None:
        width, per_second = frozen.size(frozen.read_config(at_home(asked.path)))[1], RATE / HOP
    else:
        row = encoders.row(asked.name)
        width, per_second = row.width, row.frames_per_second
    rate = TokenRate.of(params.features.frames.hop_length, per_second, params.preprocess.sample_rate)
    return EncoderInput(len(asked.layers), width, rate)
