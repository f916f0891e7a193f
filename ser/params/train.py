"""``train``: optimisation, augmentation, several seeds."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ser.params.base import Range, Section, Seed


class Augment(Section):
    """Augmentation of training batches; each random draw is keyed by (seed, epoch, clip).

    Hidden states of an encoder are frozen: they get the time masks (at the same places as the views) and mixup, and neither noise nor gain.
    """

    noise_snr_db: Range | None
    """White noise at a signal-to-noise ratio drawn from [low, high] dB; null: none."""
    noise_domain: Literal["mel", "waveform"]
    """mel: noise is added to the mel power of a batch, at no cost. waveform: it is added to the recordings.
    Their features are then recomputed in every epoch, on one core. Use waveform for MFCC with bands of their
    own, for deltas, and for published systems that worked this way."""
    noise_share: float = Field(ge=0, le=1)
    """Share of clips that get noise."""
    gain_db: float = Field(ge=0, le=40)
    """Level changed by up to ± this many dB."""
    shift_seconds: float = Field(ge=0, le=10)
    """Silence of up to this many seconds before the clip."""
    speed: float = Field(ge=0, lt=0.5)
    """Time axis stretched by a factor drawn from 1 ± this."""
    band_shift: int = Field(ge=0, le=16)
    """Log-mel shifted by up to ± this many bands: a rough change of vocal-tract length."""
    freq_masks: int = Field(ge=0, le=10)
    """SpecAugment: number of masked bands."""
    freq_width: int = Field(ge=0, le=128)
    """SpecAugment: maximum width of a masked band, in bins."""
    time_masks: int = Field(ge=0, le=10)
    """SpecAugment: number of masked time spans."""
    time_width: float = Field(ge=0, le=0.5)
    """SpecAugment: maximum width of a masked time span, as a share of the clip."""
    copies_share: float = Field(0.7, ge=0, le=1)
    """Share of the clips that an epoch of a network hears as one of their copies (``features.copies``). The regression and the SVM have no
    epochs, and hear all of them."""
    mixup_alpha: float = Field(ge=0, le=10)
    """Beta(α, α) of mixup; 0: none."""


class Train(Section):
    seeds: list[Seed] = Field(min_length=1)
    """One network per fold and seed. Scores are mean ± sd over seeds; predictions are averaged over seeds."""
    epochs: int = Field(ge=1, le=10_000)
    """Maximum passes over the training clips; see ``patience``."""
    batch_size: int = Field(ge=2, le=4096)
    """Clips per step, over all devices together."""
    max_seconds: float = Field(gt=0, le=600)
    """Longer clips are cropped at random in training. At test they are cut into windows, whose
    probabilities are averaged."""
    optimizer: Literal["adamw", "sgd"]
    """adamw: Loshchilov & Hutter 2019; sgd: with ``momentum``."""
    lr: float = Field(gt=0, le=10)
    """Peak learning rate."""
    warm_start: Literal["none", "linear"]
    """linear: linear probing first (LP-FT, Kumar et al. 2022, arXiv 2202.10054). The regression of ``model.linear`` is fitted on the
    training clips and stays frozen inside the network. The network's own classifier starts at zero and learns what the regression misses,
    so that epoch 0 is the regression."""
    teacher: Literal["none", "linear"] = "none"
    """linear: a network without the branch encoder learns from what a regression on the hidden states of ``features.encoder`` says of each
    training clip, beside the labels (Hinton et al. 2015, arXiv 1503.02531). ``model.linear`` is the regression; it is fitted on other
    training speakers than those it answers for, and never on validation or test clips. Prediction needs no encoder."""
    teacher_share: float = Field(0.5, gt=0, le=1)
    """The teacher's share of each training target; the rest is the label."""
    momentum: float = Field(ge=0, lt=1)
    """sgd only."""
    weight_decay: float = Field(ge=0, le=10)
    """adamw: share of the weights subtracted per step, times the learning rate. sgd: L2 penalty's factor."""
    schedule: Literal["cosine", "one_cycle", "constant"]
    """Learning rate schedule after the warm-up."""
    warmup: float = Field(ge=0, lt=1)
    """Share of all steps in which the learning rate rises."""
    clip_norm: float = Field(ge=0, le=1e6)
    """Maximum norm of the gradient; 0: no clipping."""
    patience: int = Field(ge=0, le=10_000)
    """Stop after this many epochs without a better validation UA; 0: never."""
    keep: Literal["best", "last"]
    """Weights kept: best validation UA, or the last epoch's."""
    ema: float = Field(ge=0, lt=1)
    """Decay of the weights' exponential moving average, which is validated and kept; 0: none."""
    loss: Literal["cross_entropy", "focal"]
    """Training loss."""
    label_smoothing: float = Field(ge=0, lt=1)
    """cross_entropy only."""
    focal_gamma: float = Field(ge=0, le=10)
    """focal only (Lin et al. 2017)."""
    class_weight: Literal["none", "inverse", "effective"]
    """effective: (1 − β)/(1 − β^n) of Cui et al. 2019."""
    effective_beta: float = Field(gt=0, lt=1)
    """β of ``class_weight: effective``; otherwise unused."""
    sampling: Literal["natural", "balanced"]
    """balanced: every class equally often in an epoch."""
    precision: Literal["fp32", "bf16"]
    """bf16: autocast, meant for CUDA; most CPUs run it slowly."""
    compile: bool
    """torch.compile the network."""
    fast: bool
    """Allow non-deterministic kernels; the metrics record it."""
    kernels: Literal["portable", "native"]
    """portable: on a CPU, torch uses only what every x86-64 processor with AVX2 has, so that weights are the same bytes on all of them
    (docs/reproducibility.md). native: whatever is fastest on this processor, with figures of its own."""
    augment: Augment

    @model_validator(mode="after")
    def seeds_can_be_used(self) -> Train:
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("train.seeds: a seed is named twice")
        return self
