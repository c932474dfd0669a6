"""The coupling layer: one class for all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from ...conditioners import MLP, ConditionerFactory
from ...core.numerics import full_precision
from ...core.shapes import as_shape
from ...kernels import planner
from ...maps import ElementwiseMap
from ...partitions import Halves, Partition
from ..fixed_shape import FixedShape

__all__ = ["Coupling"]

ByRow = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class Coupling(FixedShape):
    """y_A = x_A, y_B = T(x_B; θ(x_A, c)), log|det| = Σ log ∂T/∂x_B: a partition, a conditioner θ
    and a map T.

    The inverse evaluates the conditioner once more and never inverts it. NICE (arXiv:1410.8516)
    with `Additive`, RealNVP (arXiv:1605.08803) with `Affine`, Neural Spline Flow (arXiv:1906.04032)
    with `RQSpline`. Raises `ShapeError` when the partition cannot cut the event.

    >>> import torch, diffeo
    >>> layer = diffeo.layers.Coupling((3,), diffeo.maps.Affine(), diffeo.conditioners.MLP((16,)))
    >>> y, logdet = layer(torch.randn(5, 3))
    >>> y.shape, logdet.shape
    (torch.Size([5, 3]), torch.Size([5]))
    """

    def __init__(
        self,
        event_shape: int | Sequence[int],
        map: ElementwiseMap,
        conditioner: ConditionerFactory | None = None,
        partition: Partition | None = None,
        context_shape: int | Sequence[int] | None = None,
    ) -> None:
        super().__init__(event_shape)
        self.context_shape = None if context_shape is None else as_shape(context_shape)
        self.map = map
        self.partition = partition if partition is not None else Halves()
        factory: ConditionerFactory = conditioner if conditioner is not None else MLP()
        part_a, part_b = self.partition.shapes(self.event_shape)
        self.conditioner = factory(part_a, (*part_b, map.num_params), self.context_shape)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check_pair(x, context)
        at_once = planner.alone(self, x, context, inverse=False)
        return at_once or self.by_parts(x, context, self.map.forward_by_row)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check_pair(y, context)
        at_once = planner.alone(self, y, context, inverse=True)
        return at_once or self.by_parts(y, context, self.map.inverse_by_row)

    def by_parts(self, x: Tensor, context: Tensor | None, map: ByRow) -> tuple[Tensor, Tensor]:
        """Split, condition, transform, merge: what either direction is, if no kernel does it in one
        call.
        """
        a, b = self.partition.split(x)
        y, logdet = map(full_precision(b), self.params(a, context))
        return self.partition.merge(a, y), logdet

    def params(self, a: Tensor, context: Tensor | None = None) -> Tensor:
        """The parameters of the map for a conditioning part a."""
        return self.partition.mask_params(full_precision(self.conditioner(a, context)))

    def extra_repr(self) -> str:
        return f"event_shape={self.event_shape}, map={self.map}"
