"""The network: frames of several views → branches → fusion → classes.

::

    log-mel ─┬─ CNN ─┐
             │       ├─ joined at each step ── A ─┐
    MFCC ──┬─│─ CNN ─┘                            ├─ fusion ── classifier
           └─┴─ Transformer ─────────────────── X ┘

The picture shows two views. Each further view may have a CNN of its own, which joins the others. The hidden states of a frozen
pretrained encoder may stand in the Transformer's place (``ser.model.encoder_branch``).

All CNNs pool time by the same factor, so their tokens are aligned and are concatenated at each time step. Where a fusion needs a
common width d, one linear layer projects the concatenated tokens. This equals the sum of one projection per CNN, and the fusion
handles one sequence instead of two.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ser import SerError
from ser.encoders.pooled import STATISTICS
from ser.model.branches import CnnBranches, Tokens, TransformerBranch, token_mask
from ser.model.encoder_branch import EncoderBranch, EncoderInput, encoder_mask, pooled
from ser.model.fusion import Fused, Fusion, load
from ser.model.linear import Linear
from ser.model.weighing import Pool
from ser.params.model import Model


class Network(nn.Module):
    """The co-attention network, or a part of it where ``model.branches`` leaves some out.

    Normalisation is part of it: the buffers ``mean_*`` and ``scale_*`` hold statistics of the training clips, so the
    network takes features that are not standardised. A clip may have any length from one frame; padding changes nothing.
    """

    def __init__(
        self, model: Model, widths: dict[str, int], n_classes: int, encoder: EncoderInput | None = None, warm_start: bool = False
    ) -> None:
        """Build with random weights from torch's global generator.

        Args:
            model: the ``model`` section.
            widths: number of columns of each view, by its name; all views are inputs, whether or not a branch reads them.
            n_classes: number of classes K.
            encoder: what the branch ``encoder`` is fed with; None without it.
            warm_start: whether to add the logits of a frozen regression on pooled states (``train.warm_start``); ``set_linear`` sets it.

        Raises:
            SerError: if widths that follow from the features do not fit the parameters.
        """
        super().__init__()
        self.n_classes = n_classes
        self.widths = dict(widths)
        for view, count in widths.items():
            self.register_buffer(f"mean_{view}", torch.zeros(count))
            self.register_buffer(f"scale_{view}", torch.ones(count))
        self.encoder = encoder if "encoder" in model.branches else None
        if "encoder" in model.branches and encoder is None:
            raise SerError("model.branches: encoder needs hidden states: set features.encoder and run the encode stage")
        if self.encoder is not None:
            self.register_buffer("mean_encoder", torch.zeros(self.encoder.layers, self.encoder.width))
            self.register_buffer("scale_encoder", torch.ones(self.encoder.layers, self.encoder.width))

        joins = load(model.fusion)
        levels = len(model.cnn.channels) if len(model.branches) > 1 and joins.every_depth else 1
        read = [view for view in widths if f"{view}_cnn" in model.branches]
        # With neither Transformer nor encoder, the CNN of the first view meets those of the others.
        groups = [read] if {"transformer", "encoder"} & set(model.branches) else [read[:1], read[1:]]
        sides: dict[str, CnnBranches | TransformerBranch | EncoderBranch] = {}  # one or two; named after their branches, A first
        for group in filter(None, groups):
            sides[f"{group[0]}_cnn" if len(group) == 1 else "cnn"] = CnnBranches(model.cnn, {view: widths[view] for view in group}, levels)
        if "transformer" in model.branches:
            sides["transformer"] = TransformerBranch(model.transformer, widths, levels)
        if self.encoder is not None:
            sides["encoder"] = EncoderBranch(model.encoder, self.encoder, levels)

        self.sides = nn.ModuleDict(sides)
        self.frames = {name: side.frames for name, side in sides.items() if not isinstance(side, EncoderBranch)}

        self.projections = nn.ModuleList()
        self.fusion: Fusion | None = None
        tokens = [side.widths for side in sides.values()]
        self.pool = Pool(model)
        width = self.pool.width(tokens[0][-1])
        if len(tokens) == 2:
            if model.dim is not None and not joins.own_width:
                self.projections.extend(Projection(side, model.dim, model.token_norm) for side in tokens)
            self.fusion = joins(model, (tokens[0][-1], tokens[1][-1]), levels)
            width = self.fusion.width
        self.side_dropout = model.side_dropout
        self.dropout = nn.Dropout(model.dropout)
        self.classifier = nn.Linear(width, n_classes)
        self.linear: Linear | None = None
        if warm_start:
            if self.encoder is None:
                raise SerError("train.warm_start: linear fits hidden states; add encoder to model.branches")
            self.linear = Linear(STATISTICS * self.encoder.layers * self.encoder.width, n_classes)
            nn.init.zeros_(self.classifier.weight)
            nn.init.zeros_(self.classifier.bias)

    def set_linear(self, fitted: Linear) -> None:
        """Copy a fitted regression into the network; training does not change it."""
        assert self.linear is not None
        self.linear.load_state_dict(fitted.widened(len(self.linear.centre)).state_dict())

    def set_statistics(self, statistics: dict[str, tuple[Tensor, Tensor]]) -> None:
        """Set for each view what is subtracted from its columns, (columns,), and what they are then divided by, (columns,), positive."""
        named = [(f"{kind}_{view}", pair[number]) for view, pair in statistics.items() for number, kind in enumerate(("mean", "scale"))]
        for name, values in named:
            buffer = self.get_buffer(name)
            if values.shape != buffer.shape:
                raise ValueError(f"{name} has shape {tuple(values.shape)}, expected {tuple(buffer.shape)}")
            if not torch.isfinite(values).all() or (name.startswith("scale") and not (values > 0).all()):
                raise ValueError(f"{name} must be finite{', and positive' if name.startswith('scale') else ''}")
            buffer.copy_(values)

    def forward(self, views: dict[str, Tensor], lengths: Tensor) -> Tensor:
        """Classify a batch.

        Args:
            views: each view by its name, (B, T, columns) as the features stage computes it; with the branch ``encoder`` under this name
                hidden states (B, N, layers, width) as well; anything where padded.
            lengths: (B,) int64, frames of each clip, from 1 to T. Of its tokens ⌈(frames − 1) · rate⌉ are read, at least one.

        Returns:
            Logits, (B, K).
        """
        return self._logits(self._fused(views, lengths), views, lengths)

    def with_attention(self, views: dict[str, Tensor], lengths: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """What ``forward`` and ``attention`` give, of one pass."""
        fused = self._fused(views, lengths)
        return self._logits(fused, views, lengths), self._attention(fused, views, lengths)

    def token_counts(self, lengths: Tensor) -> Tensor:
        """Hidden states read of each clip, (B,) numbers of frames → (B,)."""
        assert self.encoder is not None
        return self.encoder.rate.tokens(lengths)

    def pooled_states(self, views: dict[str, Tensor], lengths: Tensor) -> Tensor:
        """What the regression of ``train.warm_start`` reads: hidden states as they come, pooled, (B, layers · 2 · width)."""
        assert self.encoder is not None
        states = views["encoder"].float()
        return pooled(states, encoder_mask(lengths, self.encoder.rate, states.shape[1]))

    def attention(self, views: dict[str, Tensor], lengths: Tensor) -> dict[str, Tensor]:
        """Where in time the fusion looked, for pictures.

        Takes what ``forward`` takes. Weights of a token are spread evenly over its frames, levels of a hierarchical fusion averaged.

        Returns:
            For each side of the fusion (``"cnn"``, with one view ``"<view>_cnn"``; ``"transformer"`` or ``"encoder"``) weights
            (B, T) that are zero where padded and sum to 1 over each clip; empty for fusions without attention over time.
        """
        return self._attention(self._fused(views, lengths), views, lengths)

    def _logits(self, fused: Fused, views: dict[str, Tensor], lengths: Tensor) -> Tensor:
        logits = self.classifier(self.dropout(fused.z))
        return logits if self.linear is None else logits + self.linear.decisions(self.pooled_states(views, lengths))

    def _attention(self, fused: Fused, views: dict[str, Tensor], lengths: Tensor) -> dict[str, Tensor]:
        mask = token_mask(lengths, 1, _steps(views))  # (B, T)
        seen = {}
        for (name, side), weights in zip(self.sides.items(), (fused.a_weights, fused.x_weights), strict=False):
            if isinstance(side, EncoderBranch):
                levels = [side.over_frames(level, mask.shape[1]) * mask for level in weights]
            else:
                frames = self.frames[name]
                levels = [
                    level.repeat_interleave(count, 1)[:, : mask.shape[1]] * mask for level, count in zip(weights, frames, strict=False)
                ]
            if levels:
                seen[name] = torch.stack([level / level.sum(1, keepdim=True) for level in levels]).mean(0)
        return seen

    def mean(self, view: str) -> Tensor:
        """What is subtracted from each column of a view, (columns,)."""
        return self.get_buffer(f"mean_{view}")

    def scale(self, view: str) -> Tensor:
        """What each column of a view is then divided by, (columns,)."""
        return self.get_buffer(f"scale_{view}")

    def _fused(self, views: dict[str, Tensor], lengths: Tensor) -> Fused:
        mask = token_mask(lengths, 1, _steps(views))[..., None]  # (B, T, 1)
        normalised = {view: ((views[view] - self.mean(view)) / self.scale(view)).masked_fill(~mask, 0.0) for view in self.widths}
        if self.encoder is not None:
            inside = encoder_mask(lengths, self.encoder.rate, views["encoder"].shape[1])[:, :, None, None]  # (B, N, 1, 1)
            standardised = (views["encoder"] - self.mean("encoder")) / self.scale("encoder")
            normalised["encoder"] = standardised.masked_fill(~inside, 0.0)
        sides = [side(normalised, lengths) for side in self.sides.values()]
        if self.fusion is None:
            return Fused(self.pool.evenly(sides[0][-1]), [], [])
        values = (sides[0][-1], sides[1][-1])
        if self.projections:
            sides = [project(side) for project, side in zip(self.projections, sides, strict=True)]
        if self.training and self.side_dropout > 0:
            sides, values = drop_sides(sides, values, self.side_dropout)
        return self.fusion(sides[0], sides[1], values)


def drop_sides(sides: list[list[Tokens]], values: tuple[Tokens, Tokens], share: float) -> tuple[list[list[Tokens]], tuple[Tokens, Tokens]]:
    """Dropout of a whole side: for ``share`` of the clips one side is set to zero, each side equally often; kept tokens are scaled up."""
    drawn = torch.rand(len(values[0].values), 1, 1, device=values[0].values.device)
    kept = [(drawn >= share / 2), (drawn < 1 - share / 2)]
    factors = [one.to(values[0].values.dtype) / (1 - share / 2) for one in kept]  # (B, 1, 1) of each side
    dropped = [[Tokens(x * factor, mask) for x, mask in side] for side, factor in zip(sides, factors, strict=True)]
    a, x = (Tokens(tokens.values * factor, tokens.mask) for tokens, factor in zip(values, factors, strict=True))
    return dropped, (a, x)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Within it the network is in evaluation mode; afterwards it is in the mode it was in, also after an error."""
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)


def _steps(views: dict[str, Tensor]) -> int:
    """Length T that a batch is padded to."""
    return next(iter(views.values())).shape[1]


class Projection(nn.Module):
    """Brings the tokens of one side to the common width, level by level."""

    def __init__(self, widths: list[int], dim: int, norm: bool) -> None:
        super().__init__()
        self.levels = nn.ModuleList(nn.Sequential(nn.Linear(width, dim), nn.LayerNorm(dim) if norm else nn.Identity()) for width in widths)

    def forward(self, side: list[Tokens]) -> list[Tokens]:
        """Tokens (B, N_k, width_k) → (B, N_k, dim), zero where padded."""
        return [Tokens(linear(values) * mask[..., None], mask) for linear, (values, mask) in zip(self.levels, side, strict=True)]
