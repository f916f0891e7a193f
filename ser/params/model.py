"""``model``: the network of the mission; a researcher changes ``model.fusion`` and nothing else."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ser.params.base import Section

Branch = Literal["log_mel_cnn", "mfcc_cnn", "transformer"]
FusionName = Literal[
    "concat",
    "sum",
    "gate",
    "hierarchical_gate",
    "parallel_coattention",
    "alternating_coattention",
    "hierarchical_coattention",
    "cross_attention",
]


class Cnn(Section):
    """Both CNN branches: stages of [3×3 convolution → batch norm → activation → max pool → dropout]."""

    channels: list[int] = Field(min_length=1, max_length=6)
    """Output channels of each stage."""
    pool_bins: list[int] = Field(min_length=1, max_length=6)
    """Max-pool factor over mel bands / coefficients after each stage."""
    pool_time: list[int] = Field(min_length=1, max_length=6)
    """Max-pool factor over frames after each stage."""
    activation: Literal["relu", "leaky_relu", "silu"]
    dropout: float = Field(ge=0, lt=1)
    """Dropout after each stage."""
    blocks: int = Field(ge=1, le=4)
    """Parallel CNNs over each view (the seeds use two on the same input)."""

    @model_validator(mode="after")
    def same_depth(self) -> Cnn:
        if not len(self.channels) == len(self.pool_bins) == len(self.pool_time):
            raise ValueError("channels, pool_bins and pool_time must have one entry per stage")
        return self


class Transformer(Section):
    view: Literal["log_mel", "mfcc", "both"]
    """Frames that the encoder reads."""
    pool_time: int = Field(ge=1, le=64)
    """Frames pooled into one token."""
    layers: int = Field(ge=1, le=24)
    heads: int = Field(ge=1, le=64)
    dim: int | None = Field(ge=4, le=2048)
    """Token width; null keeps the view's own number of rows (the seeds' choice)."""
    ffn: int = Field(ge=4, le=8192)
    dropout: float = Field(ge=0, lt=1)
    positions: Literal["sinusoidal", "none"]


class Model(Section):
    kind: Literal["network", "svm"]
    """network: the co-attention network; svm: RBF SVM on statistics of our own views, the baseline every reader asks for."""
    branches: list[Branch] = Field(min_length=1)
    """Branches switched on; for ablations."""
    fusion: FusionName
    """How the CNN branches and the Transformer meet (ser/model/fusion.py has each formula)."""
    gate_op: Literal["mul", "add"]
    """hierarchical_gate only: σ(C ⊙ T) or σ(C + T)."""
    dim: int = Field(ge=4, le=2048)
    """Width d in which the branches meet."""
    heads: int = Field(ge=1, le=64)
    """cross_attention only."""
    cnn: Cnn
    transformer: Transformer
    dropout: float = Field(ge=0, lt=1)
    """Dropout before the classifier."""
