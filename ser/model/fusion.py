"""What a fusion is: two sequences of tokens, A and X, become one vector z. ``ser.model.fusions`` has each.

Letters: A (B, N_a, d) are the CNN tokens and X (B, N_x, d) the Transformer tokens, both brought to width d
(with the Transformer off, log-mel and MFCC take these places). V_a (B, N_a, v_a) and V_x (B, N_x, v_x) are
the same tokens in their own width, as their branches made them. Where a fusion only weighs tokens, A and X
are the keys, which decide on the weights; V_a and V_x are what is weighed. σ is the logistic function, ⊙ the
elementwise product, [· ; ·] concatenation.

Weights p over tokens M sum them up in pool(p, M) = Σ p M. With ``statistics: mean_std`` the standard
deviation stands beside the mean, pool(p, M) = [Σ p M ; √(Σ p M² − (Σ p M)²)] (attentive statistics pooling,
Okabe et al. 2018, arXiv 1803.10963). s is the width of the result for tokens of width d, that is d or 2d. a
and x (B, s) are A and X pooled with equal weights; v_a and v_x the same of V_a and V_x. Padded tokens are
zero, get −∞ before every softmax and are left out of every mean.
"""

from __future__ import annotations

from importlib import import_module
from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from ser import SerError
from ser.model.branches import Tokens
from ser.model.weighing import Pool
from ser.params.model import FUSIONS, Model

Widths = tuple[int, int]  # v_a, v_x


class Fused(NamedTuple):
    """What a fusion gives.

    Attributes:
        z: (B, width).
        a_weights: attention over A's tokens for each level, (B, N_a), summing to 1; empty where the fusion
            has none.
        x_weights: the same over X's tokens, (B, N_x).
    """

    z: Tensor
    a_weights: list[Tensor]
    x_weights: list[Tensor]


class Fusion(nn.Module):
    """Base of all fusions.

    A subclass states its facts as class attributes, makes its layers and sets ``width`` in ``__init__``, and
    defines ``forward``.

    Attributes:
        formula: how z is made, in one to three short lines; printed, and drawn in the picture of the network.
        pooled: sees each side only as one vector, so that a CNN may hand over a single flattened token
            (``model.cnn.segments``).
        own_width: uses V_a and V_x alone, so that nothing is projected to the common width d.
        needs_dim: has layers of width d, so that ``model.dim`` may not be null.
        every_depth: reads the tokens of each depth; all others get those of the last.
        width: of z.
        pool: sums tokens up as ``model.statistics`` says.
    """

    formula: str
    pooled: ClassVar[bool] = False
    own_width: ClassVar[bool] = False
    needs_dim: ClassVar[bool] = True
    every_depth: ClassVar[bool] = False
    width: int

    def __init__(self, params: Model, values: Widths, levels: int) -> None:
        """Make the layers with random weights from torch's global generator.

        Args:
            params: the ``model`` section; it has passed ``check``.
            values: widths v_a and v_x.
            levels: number of depths in ``a`` and ``x``, 1 unless ``every_depth``.
        """
        super().__init__()
        self.pool = Pool(params)

    def forward(self, a: list[Tokens], x: list[Tokens], values: tuple[Tokens, Tokens]) -> Fused:
        """Join the sides of a batch.

        Args:
            a: A of each depth, shallowest first.
            x: X of each depth.
            values: V_a and V_x of the last depth.
        """
        raise NotImplementedError

    @classmethod
    def check(cls, params: Model) -> None:
        """Refuse parameters that this fusion cannot work with; a subclass adds rules of its own.

        Raises:
            SerError: naming the key, and the fusions that could take its value.
        """
        if params.dim is None and cls.needs_dim:
            takers = [name for name in FUSIONS.names() if not load(name).needs_dim]
            raise SerError(f"model.dim: null is for fusion {', '.join(takers)} only; {params.fusion} needs a common width")
        if params.cnn.segments is not None and not cls.pooled:
            takers = [name for name in FUSIONS.names() if load(name).pooled]
            raise SerError(f"model.cnn.segments: {params.fusion} attends over time and needs null; a number is for {', '.join(takers)}")


def load(name: str) -> type[Fusion]:
    """The class of a fusion: the one subclass of ``Fusion`` that its module defines.

    Raises:
        SerError: if there is no such module, or it does not define exactly one.
    """
    if name not in FUSIONS.names():
        raise SerError(f"no fusion {name!r}; known: {', '.join(FUSIONS.names())}")
    module = import_module(f"{FUSIONS.package}.{name}")
    defined = [
        one for one in vars(module).values() if isinstance(one, type) and issubclass(one, Fusion) and one.__module__ == module.__name__
    ]
    if len(defined) != 1:
        raise SerError(f"{module.__file__} must define exactly one subclass of Fusion; found {len(defined)}")
    return defined[0]


def common_width(params: Model) -> int:
    """Width d, for fusions with ``needs_dim``."""
    assert params.dim is not None, "Fusion.check has refused null"
    return params.dim
