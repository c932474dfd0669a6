"""NICE: additive couplings and one diagonal scaling."""

from __future__ import annotations

from collections.abc import Sequence

from ..flow import Flow
from ..layers import Pointwise
from ..layers.memory.recompute import Memory
from ..maps import Additive, Affine
from .recipe import model
from .vectors import BaseName, Mixing, Split, VectorModel

__all__ = ["nice"]


@model
def nice(
    event_shape: int | Sequence[int],
    context_shape: int | Sequence[int] | None = None,
    *,
    layers: int = 8,
    hidden: Sequence[int] = (128, 128),
    activation: str = "relu",
    dropout: float = 0.0,
    residual: bool = False,
    split: Split = "halves",
    mixing: Mixing = "none",
    base: BaseName = "normal",
    supports: Sequence[str] | None = None,
    memory: Memory = "store",
    regress: float | None = None,
    seed: int = 0,
) -> Flow:
    """NICE (Dinh et al. 2014, arXiv:1410.8516): y_B = x_B + t(x_A), volume-preserving, then a
    learned diagonal scale.

    `supports` names the kind of each column (`real`, `positive`, `interval:0:1`, `integer`); with
    it, samples are float64 in the data's own units. Raises `ShapeError` unless `event_shape` is
    (D,).

    `memory="invert"` trains in memory that does not grow with the depth (`layers.Recompute`).
    `regress=0.01` takes out of columns, before all couplings, what others or the context determine,
    where at most that share of the variance is left (`layers.Regress`); 0 leaves all as they are,
    and `fit` chooses where none is given.

    >>> import torch, diffeo
    >>> diffeo.models.nice((3,)).log_prob(torch.zeros(3)).item()
    -2.7568...
    """
    frame = VectorModel(
        event_shape=event_shape,
        context_shape=context_shape,
        supports=supports,
        hidden=hidden,
        activation=activation,
        dropout=dropout,
        residual=residual,
        split=split,
        mixing=mixing,
        base=base,
        bound=5.0,
        seed=seed,
        memory=memory,
        regress=regress,
    )
    return frame.build(layers, Additive(), last=[Pointwise(frame.size, Affine(log_scale=5.0))])
