"""Losses: cross-entropy with label smoothing, focal loss, and weights against class imbalance.

All accept the soft targets of mixup.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ser.params.train import Train


def loss(logits: Tensor, targets: Tensor, train: Train, class_weights: Tensor | None = None) -> Tensor:
    """Mean loss of a batch, weighted by class.

    ``cross_entropy``: −Σ_k w_k t_k log p_k with targets smoothed to t (1 − ε) + ε/K, ε = ``label_smoothing``
    (Szegedy et al. 2016).
    ``focal``: −Σ_k w_k t_k (1 − p_k)^γ log p_k, γ = ``focal_gamma`` (Lin et al. 2017). The sum over clips is
    divided by Σ w_k t_k of the unsmoothed targets, which for hard targets is what torch's own cross-entropy
    does.

    Args:
        logits: (B, K).
        targets: (B,) int64 class numbers, or (B, K) shares that sum to 1.
        train: the ``train`` section.
        class_weights: (K,) weights w as ``class_weights`` gives them; None: all 1.

    Returns:
        Scalar in nats, ≥ 0.
    """
    logits = logits.float()  # bf16 is too imprecise for a softmax
    classes = logits.shape[1]
    if targets.dim() == 1:
        targets = (targets[:, None] == torch.arange(classes, device=targets.device)).to(logits.dtype)  # (B, K)
    weights = torch.ones(classes, device=logits.device) if class_weights is None else class_weights.to(logits)
    log_p = F.log_softmax(logits, 1)
    if train.loss == "focal":
        each = targets * (1 - log_p.exp()).clamp_min(1e-12).pow(train.focal_gamma) * -log_p
    else:
        each = (targets * (1 - train.label_smoothing) + train.label_smoothing / classes) * -log_p
    return (each @ weights).sum() / (targets @ weights).sum().clamp_min(1e-12)


def class_weights(counts: Tensor, train: Train) -> Tensor:
    """Weight of each class from the number of its training clips.

    ``inverse``: 1/n. ``effective``: (1 − β)/(1 − βⁿ), the inverse effective number of clips (Cui et al.
    2019). Scaled so that the weights of the classes that occur have mean 1; a class without clips gets 0,
    because only label smoothing could raise it.

    Args:
        counts: (K,) numbers of clips.
        train: the ``train`` section.

    Returns:
        (K,) float32.

    Raises:
        ValueError: if no class has a clip or a count is negative.
    """
    n = counts.cpu().to(torch.float64)  # not every device has float64
    present = n > 0
    if (n < 0).any() or not present.any():
        raise ValueError(f"class_weights: counts must be ≥ 0 and not all 0, found {counts.tolist()}")
    if train.class_weight == "none":
        return torch.ones(len(n))
    raw = 1 / n if train.class_weight == "inverse" else (1 - train.effective_beta) / (1 - train.effective_beta**n)
    raw = torch.where(present, raw, 0.0)
    return (raw / raw.sum() * present.sum()).float()
