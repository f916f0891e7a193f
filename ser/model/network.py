"""The network: frames of two views → branches → fusion → classes.

::

    log-mel ─┬─ CNN ─┐
             │       ├─ joined at each step ── A ─┐
    MFCC ──┬─│─ CNN ─┘                            ├─ fusion ── classifier
           └─┴─ Transformer ─────────────────── X ┘

Both CNNs pool time alike, so their tokens are aligned: those of one moment are laid side by side. Where a fusion needs both sides in one
width d, one linear layer brings them there. That is the sum of a projection of each CNN, costs one sequence instead of two, and keeps
log-mel and MFCC of a moment together.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ser.model.branches import CnnBranches, Tokens, TransformerBranch, token_mask
from ser.model.fusion import Fused, Fusion, load
from ser.model.weighing import Pool
from ser.params.model import Model


class Network(nn.Module):
    """The co-attention network, or a part of it where ``model.branches`` leaves some out.

    Normalisation is part of it: the buffers ``mean_*`` and ``scale_*`` hold statistics of the training clips, and whoever has the
    weights can feed features as they come. Clips may be of any length from one frame; padding changes nothing.
    """

    mean_log_mel: Tensor
    scale_log_mel: Tensor
    mean_mfcc: Tensor
    scale_mfcc: Tensor

    def __init__(self, model: Model, n_log_mel: int, n_mfcc: int, n_classes: int) -> None:
        """Build with random weights from torch's global generator.

        Args:
            model: the ``model`` section.
            n_log_mel: rows of the log-mel view.
            n_mfcc: rows of the MFCC view.
            n_classes: number of classes K.

        Raises:
            SerError: if widths that follow from the features do not fit the parameters.
        """
        super().__init__()
        self.n_classes = n_classes
        rows = {"log_mel": n_log_mel, "mfcc": n_mfcc}
        for view, count in rows.items():
            self.register_buffer(f"mean_{view}", torch.zeros(count))
            self.register_buffer(f"scale_{view}", torch.ones(count))

        joins = load(model.fusion)
        levels = len(model.cnn.channels) if len(model.branches) > 1 and joins.every_depth else 1
        views = {view: rows[view] for view in rows if f"{view}_cnn" in model.branches}
        sides: dict[str, CnnBranches | TransformerBranch] = {}  # one or two; named after their branches, A first
        if "transformer" not in model.branches and len(views) == 2:
            for view in views:
                sides[f"{view}_cnn"] = CnnBranches(model.cnn, {view: rows[view]}, levels)
        elif views:
            sides["cnn" if len(views) == 2 else f"{next(iter(views))}_cnn"] = CnnBranches(model.cnn, views, levels)
        if "transformer" in model.branches:
            sides["transformer"] = TransformerBranch(model.transformer, rows, levels)

        self.sides = nn.ModuleDict(sides)
        self.frames = {name: side.frames for name, side in sides.items()}

        self.projections = nn.ModuleList()
        self.fusion: Fusion | None = None
        widths = [side.widths for side in sides.values()]
        self.pool = Pool(model)
        width = self.pool.width(widths[0][-1])
        if len(widths) == 2:
            if model.dim is not None and not joins.own_width:
                self.projections.extend(Projection(side, model.dim, model.token_norm) for side in widths)
            self.fusion = joins(model, (widths[0][-1], widths[1][-1]), levels)
            width = self.fusion.width
        self.dropout = nn.Dropout(model.dropout)
        self.classifier = nn.Linear(width, n_classes)

    def set_statistics(self, mean_log_mel: Tensor, scale_log_mel: Tensor, mean_mfcc: Tensor, scale_mfcc: Tensor) -> None:
        """Set what is subtracted from each row of a view, (rows,), and what it is then divided by, (rows,), positive."""
        for name, values in (
            ("mean_log_mel", mean_log_mel),
            ("scale_log_mel", scale_log_mel),
            ("mean_mfcc", mean_mfcc),
            ("scale_mfcc", scale_mfcc),
        ):
            buffer = self.get_buffer(name)
            if values.shape != buffer.shape:
                raise ValueError(f"{name} has shape {tuple(values.shape)}, expected {tuple(buffer.shape)}")
            if not torch.isfinite(values).all() or (name.startswith("scale") and not (values > 0).all()):
                raise ValueError(f"{name} must be finite{', and positive' if name.startswith('scale') else ''}")
            buffer.copy_(values)

    def forward(self, log_mel: Tensor, mfcc: Tensor, lengths: Tensor) -> Tensor:
        """Classify a batch.

        Args:
            log_mel: (B, T, n_log_mel) in dB, anything where padded.
            mfcc: (B, T, n_mfcc), likewise.
            lengths: (B,) int64, frames of each clip, from 1 to T.

        Returns:
            Logits, (B, K).
        """
        return self.classifier(self.dropout(self._fused(log_mel, mfcc, lengths).z))

    def attention(self, log_mel: Tensor, mfcc: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """Where in time the fusion looked, for pictures.

        Takes what ``forward`` takes. Weights of a token are spread evenly over its frames, levels of a hierarchical fusion averaged.

        Returns:
            For each side of the fusion (``"cnn"``, of one view ``"log_mel_cnn"`` or ``"mfcc_cnn"``; ``"transformer"``) weights
            (B, T) that are zero where padded and sum to 1 over each clip; empty for fusions without attention over time.
        """
        fused = self._fused(log_mel, mfcc, lengths)
        mask = token_mask(lengths, 1, log_mel.shape[1])  # (B, T)
        seen = {}
        for (name, frames), weights in zip(self.frames.items(), (fused.a_weights, fused.x_weights), strict=False):
            levels = [level.repeat_interleave(count, 1)[:, : mask.shape[1]] * mask for level, count in zip(weights, frames, strict=False)]
            if levels:
                seen[name] = torch.stack([level / level.sum(1, keepdim=True) for level in levels]).mean(0)
        return seen

    def _fused(self, log_mel: Tensor, mfcc: Tensor, lengths: Tensor) -> Fused:
        mask = token_mask(lengths, 1, log_mel.shape[1])[..., None]  # (B, T, 1)
        views = {
            "log_mel": ((log_mel - self.mean_log_mel) / self.scale_log_mel).masked_fill(~mask, 0.0),
            "mfcc": ((mfcc - self.mean_mfcc) / self.scale_mfcc).masked_fill(~mask, 0.0),
        }
        sides = [side(views, lengths) for side in self.sides.values()]
        if self.fusion is None:
            return Fused(self.pool.evenly(sides[0][-1]), [], [])
        values = (sides[0][-1], sides[1][-1])
        if self.projections:
            sides = [project(side) for project, side in zip(self.projections, sides, strict=True)]
        return self.fusion(sides[0], sides[1], values)


class Projection(nn.Module):
    """Brings the tokens of one side to the common width, level by level."""

    def __init__(self, widths: list[int], dim: int, norm: bool) -> None:
        super().__init__()
        self.levels = nn.ModuleList(nn.Sequential(nn.Linear(width, dim), nn.LayerNorm(dim) if norm else nn.Identity()) for width in widths)

    def forward(self, side: list[Tokens]) -> list[Tokens]:
        """Tokens (B, N_k, width_k) → (B, N_k, dim), zero where padded."""
        return [Tokens(linear(values) * mask[..., None], mask) for linear, (values, mask) in zip(self.levels, side, strict=True)]
