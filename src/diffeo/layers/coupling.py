"""The coupling layer: one class for all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..conditioners import MLP, ConditionerFactory
from ..conditioners.base import plain_layers
from ..core.numerics import full_precision, gradients
from ..core.shapes import as_shape
from ..core.transform import Transform
from ..kernels import Coupled, coupled, retraced
from ..maps import ElementwiseMap
from ..partitions import Halves, Partition
from .fixed_shape import FixedShape

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
        layers = self._in_one_call([], x, context, inverse=False)
        return (
            coupled(layers, x, context)
            if layers
            else self._by_parts(x, context, self.map.forward_by_row)
        )

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check_pair(y, context)
        layers = self._in_one_call([], y, context, inverse=True)
        return (
            coupled(layers, y, context)
            if layers
            else self._by_parts(y, context, self.map.inverse_by_row)
        )

    def run(
        self, following: Sequence[Transform], x: Tensor, context: Tensor | None, inverse: bool
    ) -> tuple[Tensor, Tensor, int]:
        self.check_pair(x, context)
        layers = self._in_one_call(following, x, context, inverse)
        return (
            (*coupled(layers, x, context), len(layers))
            if layers
            else super().run(following, x, context, inverse)
        )

    def _in_one_call(
        self, following: Sequence[Transform], x: Tensor, context: Tensor | None, inverse: bool
    ) -> list[Coupled]:
        """This layer and those of the following that one call does together; none if it goes by
        parts.
        """
        first = self._coupled(inverse)
        if first is None or not first.takes(x, context):
            return []
        found = [first]
        for layer in following:
            own = (
                layer._coupled(inverse)
                if isinstance(layer, Coupling) and layer.context_shape == self.context_shape
                else None
            )
            if own is None or not own.joins(first) or not own.takes(x, context):
                break
            found.append(own)
        return found

    def _coupled(self, inverse: bool) -> Coupled | None:
        """What one call for the whole layer needs, where there is one for this partition, network
        and map.
        """
        kernel, cut, layers = (
            self.map.kernel(inverse),
            self.partition.cut(self.event_shape),
            plain_layers(self.conditioner),
        )
        hooks = (
            self._forward_hooks,
            self._forward_pre_hooks,
            self._backward_hooks,
            self._backward_pre_hooks,
        )
        if kernel is None or cut is None or layers is None or any(hooks):
            return None
        return Coupled(kernel, cut, *layers)

    def _by_parts(self, x: Tensor, context: Tensor | None, map: ByRow) -> tuple[Tensor, Tensor]:
        a, b = self.partition.split(x)
        y, logdet = map(full_precision(b), self.params(a, context))
        return self.partition.merge(a, y), logdet

    def retrace(
        self,
        y: Tensor,
        context: Tensor | None,
        grads: tuple[Tensor, Tensor],
        others: Sequence[Tensor],
    ) -> tuple[Tensor, Tensor, tuple[Tensor | None, ...]]:
        """Through the inverse alone, so that the conditioner is evaluated once.

        x_B = T⁻¹(y_B; θ) with log-derivative l' and its bend ∂l'/∂y_B. For gradients g by y_B and h
        by log|det|, that by x_B is G = (g − h ∂l'/∂y_B) ∂y_B/∂x_B, and those by θ are those of −G
        x_B − h l' at fixed G and h.
        """
        layer, kernel = self._coupled(inverse=True), self.map.kernel()
        if layer is not None and kernel is not None and layer.takes(y, context):
            return retraced(layer, kernel, y, context, grads, others)
        (a, b), (grad_a, grad_b) = self.partition.split(y), self.partition.split(grads[0])
        by_logdet = grads[1].view(-1, *[1] * (b.dim() - 1))
        with torch.enable_grad():
            a = a.detach().requires_grad_()
            x, logdet, bend = self.map.inverse_and_bend(full_precision(b), self.params(a, context))
        back = torch.addcmul(grad_b, by_logdet, bend, value=-1) * (-logdet.detach()).exp()
        by_a, *rest = gradients([(x, -back), (logdet, -by_logdet.expand_as(logdet))], [a, *others])
        grad_x = self.partition.merge(grad_a if by_a is None else grad_a + by_a, back)
        return self.partition.merge(a.detach(), x.detach()), grad_x, tuple(rest)

    def params(self, a: Tensor, context: Tensor | None = None) -> Tensor:
        """The parameters of the map for a conditioning part a."""
        return self.partition.mute(full_precision(self.conditioner(a, context)))

    def extra_repr(self) -> str:
        return f"event_shape={self.event_shape}, map={self.map}"
