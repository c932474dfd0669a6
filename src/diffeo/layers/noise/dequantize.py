"""From integers to a density."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from ...core.constraints import integer
from ...core.distribution import Distribution
from ...core.errors import ConfigError, ExactnessError, ShapeError
from ...core.settings import whole
from ...core.shapes import Shape
from ...core.transform import Transform

__all__ = ["Dequantize", "VariationalDequantize"]


class Dequantize(Transform):
    """y = x + u, u ~ U[0, 1): a density on reals whose integral over [n, n + 1) bounds the
    probability of n.

    E_u log p(x + u) ≤ log P(x) (Theis et al. 2016, arXiv:1511.01844), hence `exact = False`:
    log-densities are terms of a lower bound, −∞ for rows with a value between the integers; noise
    comes from torch's global generator. The inverse rounds down to the integers.

    With `bits=n`, for images: x is uint8 with values below 2ⁿ, y = (x + u) / 2ⁿ lies in [0, 1),
    log|det| = −D n log 2, and −∞ for rows with a value that is no level; the inverse returns uint8,
    values beyond the unit interval going to the nearest level. Raises `ConfigError` unless 1 ≤ bits
    ≤ 8.

    >>> import torch, diffeo
    >>> layer = diffeo.layers.Dequantize()
    >>> layer.inverse(layer(torch.tensor([[3.0]]))[0])[0]
    tensor([[3.]])
    >>> diffeo.layers.Dequantize(bits=8).inverse(torch.tensor([[0.5]]))[0]
    tensor([[128]], dtype=torch.uint8)
    """

    exact, draws = False, True
    any_dtype = True
    _like: Tensor

    def __init__(self, bits: int | None = None) -> None:
        super().__init__()
        self.bits = _checked(bits)
        self.settles_dtype = bits is not None
        self.register_buffer("_like", torch.zeros(()), persistent=False)

    @property
    def support(self) -> Constraint:
        return integer if self.bits is None else constraints.integer_interval(0, 2**self.bits - 1)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if self.bits is not None:
            levels = x.to(self._like.dtype)
            return _to_unit(levels, torch.rand_like(levels), self.bits, wrong=_wrong(x, self.bits))
        x = x if x.is_floating_point() else x.double()
        weight = x.new_zeros(x.shape[0]).masked_fill((x != x.floor()).flatten(1).any(1), -math.inf)
        return _below_next(x, torch.rand_like(x)), weight

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if self.bits is not None:
            return _from_unit(y, self.bits)
        return y.floor(), y.new_zeros(y.shape[0])

    def extra_repr(self) -> str:
        return "" if self.bits is None else f"bits={self.bits}"


class VariationalDequantize(Transform):
    """y = (x + u) / 2ⁿ, u ~ q(u | x) in (0, 1), learned: log p(y) − log q(u | x) − D n log 2 bounds
    log P(x) from below.

    `noise` is q: an exact conditional distribution whose events and contexts are images of one
    shape; it reads x scaled to [−½, ½). The inverse is that of `Dequantize(bits=n)`. Flow++, Ho et
    al. 2019, arXiv:1902.00275. Raises `ShapeError` or `ExactnessError` when `noise` does not fit.

    >>> import torch, diffeo
    >>> halves = diffeo.partitions.Checkerboard((1, 4, 4)), diffeo.conditioners.ConvNet(width=8)
    >>> coupling = diffeo.layers.Coupling(
    ...     (1, 4, 4), diffeo.maps.Affine(), halves[1], halves[0], context_shape=(1, 4, 4))
    >>> chain = diffeo.Chain([diffeo.layers.Interval(0.0, 1.0), coupling])
    >>> noise = diffeo.Flow(chain, diffeo.bases.Normal((1, 4, 4)))
    >>> layer = diffeo.layers.VariationalDequantize(noise)
    >>> layer(torch.zeros(5, 1, 4, 4, dtype=torch.uint8))[1].shape
    torch.Size([5])
    """

    exact, draws = False, True
    any_dtype = True
    settles_dtype = True
    _like: Tensor

    def __init__(self, noise: Distribution, bits: int = 8) -> None:
        super().__init__()
        if getattr(noise, "context_shape", None) != noise.event_shape:
            raise ShapeError(
                "the noise must be conditional on the image: events and contexts of shape"
                f" {noise.event_shape}"
            )
        if not getattr(noise, "exact", True):
            raise ExactnessError("the noise needs an exact density: it must not dequantise itself")
        self.noise, self.bits = noise, _checked(bits) or 8
        self.register_buffer("_like", torch.zeros(()), persistent=False)

    @property
    def support(self) -> Constraint:
        return constraints.integer_interval(0, 2**self.bits - 1)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.forward_shape(tuple(x.shape[1:]))
        levels = x.to(self._like.dtype)
        u, log_prob = self.noise.sample_and_log_prob((), levels / 2**self.bits - 0.5)
        y, weight = _to_unit(levels, u, self.bits, wrong=_wrong(x, self.bits))
        return y, weight - log_prob

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.inverse_shape(tuple(y.shape[1:]))
        return _from_unit(y, self.bits)

    def forward_shape(self, shape: Shape) -> Shape:
        if shape != self.noise.event_shape:
            raise ShapeError(f"built for events of shape {self.noise.event_shape}, got {shape}")
        return shape

    def inverse_shape(self, shape: Shape) -> Shape:
        return self.forward_shape(shape)


def _checked(bits: int | None) -> int | None:
    if bits is not None and not 1 <= whole("bits", bits, least=None) <= 8:
        raise ConfigError(f"images have 1 to 8 bits a channel, not {bits}")
    return bits


def _below_next(x: Tensor, u: Tensor) -> Tensor:
    """x + u, which may round up to x + 1, another integer: then the number before it."""
    return torch.minimum(x + u, torch.nextafter(x + 1, x))


def _wrong(x: Tensor, bits: int) -> Tensor | None:
    """Which rows (B,) hold a value that is no level; None when none can."""
    if x.dtype == torch.uint8:
        return None if bits == 8 else (x >= 2**bits).flatten(1).any(1)
    x = x if x.is_floating_point() else x.long()
    wrong: Tensor = ((x < 0) | (x >= 2**bits) | (x != x.floor())).flatten(1).any(1)
    return wrong


def _to_unit(x: Tensor, u: Tensor, bits: int, *, wrong: Tensor | None) -> tuple[Tensor, Tensor]:
    size = math.prod(x.shape[1:])
    logdet = x.new_full((x.shape[0],), -size * bits * math.log(2))
    return _below_next(x, u) * 2.0**-bits, (
        logdet if wrong is None else logdet.masked_fill(wrong, -math.inf)
    )


def _from_unit(y: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    levels = 2**bits
    x = (y * levels).floor().clamp(0, levels - 1).to(torch.uint8)
    return x, y.new_full((y.shape[0],), math.prod(y.shape[1:]) * bits * math.log(2))
