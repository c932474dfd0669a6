"""From free real coordinates to constrained values and back: scalars and vectors."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ...core.errors import ConfigError, ShapeError
from ...core.numerics import sum_event
from ...core.shapes import Shape
from ...core.transform import Transform

__all__ = ["TOLERANCE", "Bijection", "Bounded", "Ordered", "Simplex", "as_rows"]

# by how much a sum may miss 1: draws that were written with six digits still belong
TOLERANCE = 1e-5


class Bijection(Transform, ABC):
    """x (B, *shape) in a support <-> free coordinates u (B, *latent), one-to-one; `inverse`
    constrains.

    To write one: `value`, `log_det` and `coordinates`. Values never lie on the edge of an open
    support, and value, log-det and gradients are finite for any u within ±30 in float32. Where
    values have more entries than coordinates the log-det is that of some of the entries, which each
    class names. Outside the support `forward` gives the log-det −inf.
    """

    any_dtype = True

    def __init__(self, shape: Shape, latent: Shape) -> None:
        super().__init__()
        self.shape, self.latent = shape, latent

    @abstractmethod
    def value(self, u: Tensor) -> Tensor:
        """u (B, *latent) -> x (B, *shape)."""

    @abstractmethod
    def log_det(self, u: Tensor) -> Tensor:
        """log|det dx/du| at u: (B,)."""

    @abstractmethod
    def coordinates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """u of x (B, *shape), and what of x is inside: (B, *shape), or (B, *leading axes)
        where entries depend.
        """

    def kept(self) -> Tensor:
        """Which entries are worth a column of a table, a mask (*shape): all but constants and
        repetitions.
        """
        return torch.ones(self.shape, dtype=torch.bool)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        u, inside = self.coordinates(x if x.is_floating_point() else x.double())
        return u, torch.where(as_rows(inside).all(1), -self.log_det(u), -math.inf)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.value(y), self.log_det(y)

    def forward_shape(self, shape: Shape) -> Shape:
        return _exactly(shape, self.shape, self.latent)

    def inverse_shape(self, shape: Shape) -> Shape:
        return _exactly(shape, self.latent, self.shape)


class Bounded(Bijection):
    """Each entry between its own bounds: x = low + eᵘ, high − eᵘ, low + (high − low) σ(u), or u
    without bounds.

    `low` and `high` have the event's shape, ∓inf where there is no bound. log|det| = Σ u over
    half-lines plus Σ log(high − low) + log σ(u) + log σ(−u) over intervals. Raises `ConfigError`
    unless low < high everywhere.

    >>> import torch
    >>> from diffeo.inference.target.bijections import Bounded
    >>> Bounded(torch.tensor([0.0, 0.0]), torch.tensor([1.0, torch.inf])).inverse(torch.zeros(1, 2))
    (tensor([[0.5000, 1.0000]]), tensor([-1.3863]))
    """

    def __init__(self, low: Tensor, high: Tensor) -> None:
        super().__init__(tuple(low.shape), tuple(low.shape))
        if not (low < high).all() or (low == math.inf).any() or (high == -math.inf).any():
            raise ConfigError("a lower bound must lie below its upper one")
        # Plain tensors, not buffers: bounds are configuration and keep float64 whatever dtype a
        # model is moved to.
        self.low, self.high = low.double(), high.double()
        self.log_width = (self.high - self.low).log()
        above, below = self.low > -math.inf, self.high < math.inf
        # which formulas are needed
        self.half_lines, self.intervals = bool((above ^ below).any()), bool((above & below).any())

    def value(self, u: Tensor) -> Tensor:
        if not self.half_lines and not self.intervals:
            return u
        low, high, above, below = self._bounds(u)
        x = u
        if self.half_lines:
            info = torch.finfo(u.dtype)
            step = u.clamp(math.log(info.tiny), math.log(info.max) - 1).exp()
            x = torch.where(above, low + step, torch.where(below, high - step, u))
        if self.intervals:
            # Measured from the nearer end, so that neither end loses digits.
            width = high - low
            between = torch.where(
                u < 0, low + width * torch.sigmoid(u), high - width * torch.sigmoid(-u)
            )
            x = torch.where(above & below, between, x)
        return self._off_the_edge(x)

    def log_det(self, u: Tensor) -> Tensor:
        if not self.half_lines and not self.intervals:
            return u.new_zeros(len(u))
        _, _, above, below = self._bounds(u)
        slope = torch.where(above ^ below, u, 0.0) if self.half_lines else torch.zeros_like(u)
        if self.intervals:
            slope = torch.where(
                above & below, self.log_width.to(u) + logsigmoid(u) + logsigmoid(-u), slope
            )
        return sum_event(slope)

    def coordinates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        low, high, above, below = self._bounds(x)
        inside = (~above | (x > low)) & (~below | (x < high)) & x.isfinite()
        left = torch.where(above & inside, x - low, 1.0).log()
        right = torch.where(below & inside, high - x, 1.0).log()
        half = torch.where(above, left, torch.where(below, right, torch.where(inside, x, 0.0)))
        return torch.where(above & below, left - right, half), inside

    def _bounds(self, like: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Bounds with 0 for those that are not there, so that no branch computes with infinities;
        and which are.
        """
        low, high = self.low.to(like), self.high.to(like)
        above, below = low > -math.inf, high < math.inf
        return low.masked_fill(~above, 0.0), high.masked_fill(~below, 0.0), above, below

    def _off_the_edge(self, x: Tensor) -> Tensor:
        low, high = self.low.to(x), self.high.to(x)
        # beside a bound of 0 the next number is subnormal, and its inverse infinite
        tiny = torch.finfo(x.dtype).tiny
        least = torch.maximum(low.nextafter(high), low + tiny)
        most = torch.minimum(high.nextafter(low), high - tiny)
        return torch.clamp(x, least, most)


class Simplex(Bijection):
    """x = softmax(V u) with K entries, positive and of sum 1, from K − 1 coordinates; V Vᵀ = I −
    1/K.

    The isometric log-ratio transform, Stan's: u = 0 is the middle, and no entry is special.
    log|det| = ½ log K + Σ log x_k, for densities with respect to the first K − 1 entries (as those
    of Dirichlet distributions). https://mc-stan.org/math (simplex_constrain).

    >>> import torch
    >>> from diffeo.inference.target.bijections import Simplex
    >>> Simplex((4,)).inverse(torch.zeros(1, 3))[0]
    tensor([[0.2500, 0.2500, 0.2500, 0.2500]])
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape, (*shape[:-1], shape[-1] - 1))
        self.basis = _contrasts(shape[-1])

    def value(self, u: Tensor) -> Tensor:
        return self._log(u).clamp_min(math.log(2 * torch.finfo(u.dtype).tiny)).exp()

    def log_det(self, u: Tensor) -> Tensor:
        return sum_event(self._log(u).sum(-1) + 0.5 * math.log(self.shape[-1]))

    def coordinates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        inside = (x > 0).all(-1) & ((x.sum(-1) - 1).abs() < TOLERANCE)
        return torch.where(inside[..., None], x, 1.0).log() @ self.basis.to(x), inside

    def kept(self) -> Tensor:
        return torch.full(self.shape, self.shape[-1] > 1)

    def _log(self, u: Tensor) -> Tensor:
        return torch.log_softmax(u @ self.basis.T.to(u), -1)


class Ordered(Bijection):
    """x_0 = u_0, x_k = x_{k−1} + exp(u_k): vectors that increase; log|det| = Σ_{k>0} u_k. As in
    Stan.

    Where rounding swallows a step, two entries are equal; such ties count as inside.

    >>> import torch
    >>> from diffeo.inference.target.bijections import Ordered
    >>> Ordered((3,)).inverse(torch.zeros(1, 3))[0]
    tensor([[0., 1., 2.]])
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape, shape)

    def value(self, u: Tensor) -> Tensor:
        info = torch.finfo(u.dtype)
        steps = u[..., 1:].clamp(math.log(info.tiny), math.log(info.max / self.shape[-1]) - 1).exp()
        return torch.cat([u[..., :1], steps], -1).cumsum(-1)

    def log_det(self, u: Tensor) -> Tensor:
        return sum_event(u[..., 1:].sum(-1))

    def coordinates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        steps = x.diff(dim=-1)
        inside = (steps >= 0).all(-1) & x.isfinite().all(-1)
        return torch.cat([x[..., :1], steps.clamp_min(torch.finfo(x.dtype).tiny).log()], -1), inside


def _exactly(shape: Shape, wanted: Shape, result: Shape) -> Shape:
    if shape != wanted:
        raise ShapeError(f"takes events of shape {wanted}, got {shape}")
    return result


def as_rows(x: Tensor) -> Tensor:
    """(B, *shape) -> (B, N), also for scalars and for no rows."""
    return x.flatten(1) if x.dim() > 1 else x[:, None]


def _contrasts(size: int) -> Tensor:
    """V (K, K − 1), float64: orthonormal columns that each sum to zero, Helmert's."""
    basis = torch.ones(size, size - 1, dtype=torch.float64).triu()
    k = torch.arange(1, size, dtype=torch.float64)
    basis[torch.arange(1, size), torch.arange(size - 1)] = -k
    return basis / (k * (k + 1)).sqrt()
