"""The usual baseline (``model.kind: svm``): an SVM on statistics of the views, or on functionals.

It has the inputs and outputs of the network, so all stages after training treat both the same. One-vs-rest
(Rifkin & Klautau 2004), Gaussian kernel, C = 1, γ = 1 / number of statistics (scikit-learn's ``scale`` after
standardisation).
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial.distance import pdist, squareform
from sklearn.svm import SVC
from torch import Tensor, nn

from ser.model.norm import root
from ser.views.normalise import scales

STATISTICS = 4
"""Mean, standard deviation, maximum and mean absolute change per frame, of each column of every view."""


class Svm(nn.Module):
    """Decision values of a fitted machine as logits.

    Attributes:
        centre, scale: (S,) standardisation of the S statistics, from training clips.
        support: (V, S) support vectors of all machines.
        weights: (V, K), offsets: (K,) of the K machines.
    """

    centre: Tensor
    scale: Tensor
    support: Tensor
    weights: Tensor
    offsets: Tensor

    def __init__(self, statistics: int, support: int, n_classes: int) -> None:
        super().__init__()
        self.n_classes = n_classes
        for name, shape in (
            ("centre", (statistics,)), ("scale", (statistics,)), ("support", (support, statistics)),
            ("weights", (support, n_classes)), ("offsets", (n_classes,)),
        ):  # fmt: skip
            self.register_buffer(name, torch.zeros(shape))

    @classmethod
    def shaped(cls, state: dict[str, Tensor]) -> Svm:
        """A machine of the shape of stored weights."""
        return cls(state["support"].shape[1], *state["weights"].shape)

    def forward(self, views: dict[str, Tensor], lengths: Tensor) -> Tensor:
        """views (B, T, columns), lengths (B,) → decision values (B, K)."""
        return self.decisions(clip_statistics(views, lengths))

    def decisions(self, statistics: Tensor) -> Tensor:
        """statistics, or functionals, (B, S) → decision values (B, K)."""
        x = (statistics - self.centre) / self.scale  # (B, S)
        squares = x.square().sum(1, keepdim=True) + self.support.square().sum(1) - 2 * x @ self.support.T  # (B, V)
        return torch.exp(-squares / len(self.centre)) @ self.weights + self.offsets


def clip_statistics(views: dict[str, Tensor], lengths: Tensor) -> Tensor:
    """Statistics over the frames of each clip, (B, ``STATISTICS`` · columns of all views); padding is
    ignored.
    """
    x = torch.cat(list(views.values()), 2)
    inside = (torch.arange(x.shape[1], device=x.device) < lengths[:, None])[:, :, None]  # (B, T, 1)
    count = lengths[:, None]
    mean = x.masked_fill(~inside, 0.0).sum(1) / count
    deviation = root((x - mean[:, None]).masked_fill(~inside, 0.0).square().sum(1) / count)
    highest = x.masked_fill(~inside, float("-inf")).amax(1)
    change = (x[:, 1:] - x[:, :-1]).abs().masked_fill(~inside[:, 1:], 0.0).sum(1) / (count - 1).clamp_min(1)
    return torch.cat([mean, deviation, highest, change], 1)


def fit(statistics: np.ndarray, target: np.ndarray, n_classes: int) -> Svm:
    """Fit one machine per class, classes weighted by the inverse of their frequency.

    Args:
        statistics: (clips, S) of training clips: statistics of the views, or functionals; constant columns
            have no effect.
        target: (clips,) class numbers.
        n_classes: number of classes; one that is missing in ``target`` gets the offset −1 and no weights.
    """
    centre, scale = statistics.mean(0), scales(statistics)
    x = ((statistics - centre) / scale).astype(np.float64)
    kernel = squareform(pdist(x, "sqeuclidean"))  # once for all machines; in place, because it has clips² values
    kernel /= -x.shape[1]
    np.exp(kernel, out=kernel)
    weights, offsets = np.zeros((len(x), n_classes)), np.full(n_classes, -1.0)
    for number in np.unique(target):
        machine = SVC(C=1.0, kernel="precomputed", class_weight="balanced").fit(kernel, target == number)
        weights[machine.support_, number], offsets[number] = machine.dual_coef_[0], machine.intercept_[0]
    used = weights.any(1)
    fitted = Svm(x.shape[1], int(used.sum()), n_classes)
    values = {"centre": centre, "scale": scale, "support": x[used], "weights": weights[used], "offsets": offsets}
    fitted.load_state_dict({name: torch.from_numpy(np.asarray(value, dtype=np.float32)) for name, value in values.items()})
    return fitted
