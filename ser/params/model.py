"""``model``: the network. To compare fusions, change only ``model.fusion``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ser.params.base import ModuleOf, Section

FUSIONS = ModuleOf("ser.model.fusions")
"""One module for each fusion."""


class Cnn(Section):
    """Both CNN branches: stages of [3×3 convolution → max pool → batch norm → activation → dropout]."""

    channels: list[int] = Field(min_length=1, max_length=6)
    """Output channels of each stage."""
    stride_bins: list[int] = Field(min_length=1, max_length=6)
    """Step of each stage's convolution over mel bands / coefficients."""
    stride_time: list[int] = Field(min_length=1, max_length=6)
    """Step of each stage's convolution over frames."""
    pool_bins: list[int] = Field(min_length=1, max_length=6)
    """Max-pool factor over mel bands / coefficients in each stage; lowered where fewer are left."""
    pool_time: list[int] = Field(min_length=1, max_length=6)
    """Max-pool factor over frames in each stage."""
    activation: Literal["relu", "leaky_relu", "silu"]
    """leaky_relu has slope 0.01."""
    bias: bool
    """Bias in the convolutions. Batch norm cancels it, so true only reproduces published parameter counts."""
    dropout: float = Field(ge=0, lt=1)
    """Share of whole channels dropped after each stage."""
    segments: int | None = Field(ge=1, le=64)
    """null: one token per pooled step. A number: the clip is averaged into that many equal parts, which are flattened into one vector
    (the fixed grid of the published systems, for any clip length); only for fusions that see each side as one vector."""
    blocks: int = Field(ge=1, le=4)
    """Parallel CNNs over each view (Zenkov's system has two on the same input)."""

    @model_validator(mode="after")
    def same_depth(self) -> Cnn:
        lists = {name: getattr(self, name) for name in ("channels", "stride_bins", "stride_time", "pool_bins", "pool_time")}
        if len({len(values) for values in lists.values()}) > 1:
            raise ValueError(
                f"{', '.join(lists)} must have one entry per stage; they have {', '.join(str(len(v)) for v in lists.values())}"
            )
        for name, values in lists.items():
            if min(values) < 1 or max(values) > 1024:
                raise ValueError(f"{name}: found {values}; allowed: whole numbers from 1 to 1024")
        return self


class Transformer(Section):
    """Encoder over the frame sequence: ReLU, padded tokens never attended to."""

    view: str
    """The view whose frames the encoder reads; both: all views, side by side."""
    pooling: Literal["max", "stack"]
    """How the frames of a token become one vector; stack: side by side, before the linear layer to ``dim``."""
    pool_time: int = Field(ge=1, le=64)
    """Frames per token."""
    pool_bins: int = Field(ge=1, le=64)
    """Max-pool factor over the rows of a view before all else (the preset cnn_transformer halves its 128 bands)."""
    layers: int = Field(ge=1, le=24)
    """Encoder layers, one after the other."""
    heads: int = Field(ge=1, le=64)
    """Attention heads of a layer; the token width must be a multiple of it."""
    dim: int | None = Field(ge=4, le=2048)
    """Token width; null keeps the view's own number of rows (as in the published systems)."""
    ffn: int = Field(ge=4, le=8192)
    """Width of the feed-forward layers."""
    dropout: float = Field(ge=0, lt=1)
    """Dropout on what each sub-layer adds."""
    norm: Literal["pre", "post"]
    """Layer norm before each sub-layer (trains at higher rates, Xiong et al. 2020) or after it (Vaswani et al. 2017)."""
    positions: Literal["sinusoidal", "none"]
    """sinusoidal: Vaswani et al. 2017. none: the encoder cannot see order, as in the published systems."""

    @model_validator(mode="after")
    def widths_fit(self) -> Transformer:
        if self.dim is not None and self.dim % self.heads:
            raise ValueError(f"transformer.dim {self.dim} must be a multiple of transformer.heads {self.heads}")
        if self.pooling == "stack" and self.dim is None:
            raise ValueError("transformer.pooling stack needs transformer.dim, the width that the stacked frames are brought to")
        return self


class EncoderBranch(Section):
    """Branch over the hidden states of the frozen encoder of ``features.encoder``."""

    dim: int | None = Field(ge=4, le=2048)
    """Token width after a linear layer; null keeps the encoder's own."""
    layers: int = Field(ge=0, le=24)
    """Additional Transformer layers on top of the frozen states; 0: none."""
    heads: int = Field(ge=1, le=64)
    """Attention heads of these layers; the token width must be a multiple of it."""
    ffn: int = Field(ge=4, le=8192)
    """Width of their feed-forward layers."""
    dropout: float = Field(ge=0, lt=1)
    """Dropout on the tokens, and on what each sub-layer of these layers adds."""

    @model_validator(mode="after")
    def widths_fit(self) -> EncoderBranch:
        if self.layers and self.dim is not None and self.dim % self.heads:
            raise ValueError(f"encoder.dim {self.dim} must be a multiple of encoder.heads {self.heads}")
        return self


class Linear(Section):
    """Multinomial logistic regression on pooled hidden states; also the start of ``train.warm_start``."""

    layers: Literal["auto"] | list[int]
    """Hidden states that it reads, among those of ``features.encoder.layers``. auto: tries single layers,
    two and three adjacent layers, and all; the best UA on the fold's validation clips decides, and a tie takes fewer layers."""
    C: float = Field(gt=0, le=1e6)
    """Inverse strength of the L2 penalty (scikit-learn's C)."""

    @model_validator(mode="after")
    def layers_ascend(self) -> Linear:
        if self.layers != "auto" and (not self.layers or self.layers != sorted(set(self.layers))):
            raise ValueError(f"linear.layers {self.layers} must ascend, each named once, or be auto")
        return self


class Model(Section):
    kind: Literal["network", "svm", "linear"]
    """network: the co-attention network; svm: RBF SVM on statistics of our own views or, with features.functionals, on
    these: the usual baseline; linear: logistic regression on hidden states of ``features.encoder``."""
    branches: list[str] = Field(min_length=1)
    """Branches switched on, for ablations: VIEW_cnn for any view of ``features``, and transformer or, in its place, encoder: the hidden
    states of ``features.encoder``."""
    fusion: Annotated[str, FUSIONS]
    """How the CNN branches and the Transformer meet (`python -m ser.model.fusions` prints each formula). With the Transformer off,
    log-mel and MFCC meet; a single branch has nothing to fuse."""
    gate_op: Literal["mul", "add"]
    """hierarchical_gate only: σ(C ⊙ T) or σ(C + T)."""
    dim: int | None = Field(ge=4, le=2048)
    """Width d in which the branches meet; null: each keeps its own width (concat only, as in Zenkov's system)."""
    token_norm: bool
    """Layer norm on the tokens brought to ``dim``, so that affinities of both sides start on the same scale."""
    statistics: Literal["mean", "mean_std"]
    """How the tokens of a side are pooled. mean: (attention-weighted) mean. mean_std: mean and standard deviation."""
    heads: int = Field(ge=1, le=64)
    """cross_attention only."""
    cnn: Cnn
    transformer: Transformer
    encoder: EncoderBranch
    linear: Linear
    side_dropout: float = Field(ge=0, lt=1)
    """Share of training clips for which all tokens of one side are set to zero, each side equally often; kept tokens are scaled up."""
    dropout: float = Field(ge=0, lt=1)
    """Dropout before the classifier."""

    @model_validator(mode="after")
    def branches_differ(self) -> Model:
        if len(set(self.branches)) != len(self.branches):
            raise ValueError("model.branches: a branch is named twice")
        return self

    @model_validator(mode="after")
    def one_side_beside_the_cnns(self) -> Model:
        if {"transformer", "encoder"} <= set(self.branches):
            raise ValueError(
                "model.branches: a fusion joins the CNNs with either transformer or encoder, not both; remove one of them "
                "(model.encoder.layers puts Transformer layers on top of the encoder)"
            )
        return self

    @property
    def reads_encoder(self) -> Literal["states", "pooled"] | None:
        """What it reads of ``features.encoder``: hidden states over time, their mean and deviation for each clip, or nothing."""
        if self.kind == "linear":
            return "pooled"
        return "states" if self.kind == "network" and "encoder" in self.branches else None
