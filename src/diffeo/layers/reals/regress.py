"""A fixed linear map that takes out of some columns what the others, or the context, determine of
them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.linalg import solve_triangular

from ...core.buffers import is_permutation
from ...core.errors import ShapeError
from ...core.gaussian import Gaussian
from ...core.numerics import centre_and_scale, full_precision
from ...core.settings import number, wholes
from ...core.shapes import as_shape, flat
from ..fixed_shape import FixedShape

__all__ = ["Regress"]

# share of the variance below which a column is determined: nothing of it is left to model
EXACT = 1e-12
KEPT = 1e-4  # of such a column, in its standard deviations
MOST_COLUMNS = 500  # with those of the context; the set-up takes the cube of it


class Regress(FixedShape):
    """y_j = (u_j − Σ_k w_jk u_k − Σ_l g_jl c_l − b_j) / r_j, u = (x − m)/s, for columns j taken
    out; y_j = x_j for others.

    w is strictly triangular in an order of the columns that `initialize` chooses, so log|det| = −Σ
    log s_j r_j over those taken out. Not trained: w, g and b are least-squares regressions on the
    rows given, r their residual standard deviations. Taken out are columns of whose variance less
    than `share` is left when the context and the columns before are known, each coefficient shrunk
    by 1 − 1/t², t its ratio to its standard error, so that noise is not fitted. A column of which
    less than 1e-6 standard deviations is left has no density: 1e-4 of it stays, and all where the
    context is needed for it.

    `share=1` takes out all columns, unshrunk: the rows become standard normal if they are of the
    Gaussian of greatest likelihood (with a ridge where the covariance is singular), linear in the
    context. Columns in `skip` are left alone. The identity until `initialize`, and with more than
    500 columns.

    It computes in the precision of its input, in which a float64 column keeps the digits of
    residuals of 1e-6 standard deviations; a context comes in the precision of the model. Raises
    `ShapeError` for events that are no vectors, `ConfigError` unless 0 < `share` ≤ 1.

    >>> import torch, diffeo
    >>> x, noise = torch.randn(2, 500, 1, generator=torch.Generator().manual_seed(0))
    >>> layer = diffeo.layers.Regress(2)
    >>> layer.initialize(torch.cat([x, 3 * x + 0.01 * noise], 1))
    >>> int(layer.taken.sum())
    1
    """

    taken: Tensor
    order: Tensor
    mean: Tensor
    mean_rest: Tensor
    scale: Tensor
    residual: Tensor
    any_dtype = True

    def __init__(
        self,
        event_shape: int | Sequence[int],
        context_shape: int | Sequence[int] | None = None,
        *,
        share: float = 0.01,
        skip: Sequence[int] = (),
    ) -> None:
        super().__init__(event_shape)
        if len(self.event_shape) != 1:
            raise ShapeError(
                f"Regress takes vectors (D,), not {self.event_shape}: put layers.Flatten before it"
            )
        size = self.event_shape[0]
        self.share, self.skip = (
            number("share", share, above=0, most=1),
            wholes("skip", skip, least=0, fewest=0),
        )
        self.context_shape = None if context_shape is None else as_shape(context_shape)
        contexts = 0 if self.context_shape is None else math.prod(self.context_shape)
        self.register_buffer("taken", torch.zeros(size, dtype=torch.bool))
        self.register_buffer("order", torch.arange(size))
        for name in ("scale", "residual"):
            self.register_buffer(name, torch.ones(size))
        # Two float32 numbers hold 48 bits of each, whatever dtype the model is moved to.
        for name, shape in (
            ("mean", (size,)),
            ("weight", (size, size)),
            ("gain", (size, contexts)),
            ("bias", (size,)),
        ):
            self.register_buffer(name, torch.zeros(shape))
            self.register_buffer(f"{name}_rest", torch.zeros(shape))

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        self.check_pair(x, context)
        rows = x.double()
        mean, scale, constant = centre_and_scale(rows)
        scale = scale.float().double()
        free = ~constant & scale.isfinite() & (scale > 0)
        free[list(self.skip)] = False
        scale = torch.where(free, scale, 1.0)
        given = rows.new_zeros(len(rows), 0) if context is None else flat(context.double())
        centre, spread, fixed = centre_and_scale(given)
        live = torch.cat([~fixed, free])
        columns = torch.where(
            live, torch.cat([(given - centre) / spread, (rows - mean) / scale], 1), 0.0
        )
        taken, order, coefficients, residual = _regressions(
            columns, live, given.shape[1], share=self.share
        )
        for name, value in {
            "taken": taken,
            "order": order,
            "scale": scale,
            "residual": residual,
        }.items():
            self.get_buffer(name).copy_(value)
        gain = coefficients[:, : given.shape[1]] / spread
        parts = {
            "mean": mean,
            "weight": coefficients[:, given.shape[1] :],
            "gain": gain,
            "bias": -gain @ centre,
        }
        for name, value in parts.items():
            main, rest = self._halves(name)
            main.copy_(value)
            rest.copy_(value - main)

    def buffer_fault(self, buffers: Mapping[str, Tensor]) -> str | None:
        """The order in which columns are put back has to name each of them once."""
        return None if is_permutation(buffers["order"]) else "order is no permutation"

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check_pair(x, context)
        with torch.autocast(x.device.type, enabled=False):
            x = full_precision(x if x.is_floating_point() else x.double())
            u = self._standardised(x)
            y = (
                u - u @ self._whole("weight", x.dtype).T - self._of_context(context, x.dtype)
            ) / self.residual
            return torch.where(self.taken, y, x), (-self._log_scale()).expand(x.shape[0])

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check_pair(y, context)
        with torch.autocast(y.device.type, enabled=False):
            y = full_precision(y)
            residuals = y * self.residual + self._of_context(context, y.dtype)
            known = torch.where(self.taken, residuals, self._standardised(y))[:, self.order]
            weight = self._whole("weight", y.dtype)[self.order][:, self.order]
            unit = torch.eye(len(weight), dtype=weight.dtype, device=weight.device) - weight
            u = solve_triangular(unit, known.T, upper=False, unitriangular=True).T[
                :, self.order.argsort()
            ]
            x = u * self.scale + self.mean_rest + self.mean
            return torch.where(self.taken, x, y), self._log_scale().expand(y.shape[0])

    def _standardised(self, x: Tensor) -> Tensor:
        return (x - self.mean - self.mean_rest) / self.scale

    def _of_context(self, context: Tensor | None, dtype: torch.dtype) -> Tensor:
        """What a column is expected to be, in its standard deviations, for what the context is."""
        bias = self._whole("bias", dtype)
        return (
            bias
            if context is None
            else bias + flat(context.to(dtype)) @ self._whole("gain", dtype).T
        )

    def _log_scale(self) -> Tensor:
        """Σ log s_j r_j over the columns taken out."""
        return torch.where(self.taken, self.scale.log() + self.residual.log(), 0.0).sum()

    def _whole(self, name: str, dtype: torch.dtype) -> Tensor:
        """A buffer in the precision of what it goes with."""
        main, rest = self._halves(name)
        return main.to(dtype) + rest.to(dtype)

    def _halves(self, name: str) -> tuple[Tensor, Tensor]:
        return self.get_buffer(name), self.get_buffer(f"{name}_rest")

    def extra_repr(self) -> str:
        return f"{self.event_shape}, share={self.share}"


def _regressions(
    columns: Tensor, live: Tensor, contexts: int, *, share: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Which columns are taken out (D,), their order (D,), coefficients (D, C + D) and residual
    standard deviations (D,).

    `columns` (N, C + D) are standardised, those of the context first; columns that are not `live`
    take no part.
    """
    rows, count = columns.shape
    size = count - contexts
    if rows < 2 or count > MOST_COLUMNS:
        none = torch.zeros_like(live[contexts:]), torch.arange(size, device=live.device)
        return *none, columns.new_zeros(size, count), columns.new_ones(size)
    whole = share >= 1
    products = _likeliest(columns, live, contexts) if whole else columns.T @ columns / rows
    lower, left, order = _decompose(products, live, contexts)
    place = torch.empty_like(order).index_copy(0, order, torch.arange(count, device=order.device))
    if whole:
        taken, shrunk = live, lower
    else:
        # of the ratios of coefficients to their standard errors
        squares = rows * lower.square() * left / left[:, None]
        shrunk = lower * (1 - 1 / squares.clamp_min(1))
        known = place + 1.0  # coefficients and a mean, to be estimated from so many rows
        # of the variance, in rows to come
        unseen = left * rows / (rows - known).clamp_min(1e-9) * (1 + known / rows)
        known_enough = rows > 2 * known  # or any column would be determined
        exact = live & (left < EXACT)
        taken = live & (unseen < share) & ~exact & known_enough
    eye = torch.eye(count, dtype=left.dtype, device=left.device)
    residuals = solve_triangular(
        lower[order][:, order] + eye, eye, upper=False, unitriangular=True
    )[place][:, place]
    coefficients, spread = shrunk @ residuals, left.sqrt()
    if not whole:
        alone = exact & known_enough & ~(coefficients[:, :contexts].abs() > KEPT).any(1)
        taken, spread = taken | alone, torch.where(exact, KEPT, spread)
        coefficients = torch.where(exact[:, None], (1 - KEPT) * coefficients, coefficients)
    taken, coefficients, spread = taken[contexts:], coefficients[contexts:], spread[contexts:]
    events = order[contexts:] - contexts
    return (
        taken,
        events,
        torch.where(taken[:, None], coefficients, 0.0),
        torch.where(taken, spread, 1.0),
    )


def _likeliest(columns: Tensor, live: Tensor, contexts: int) -> Tensor:
    """The correlations of the Gaussian of greatest likelihood, with the ridge on its diagonal if
    one is needed.
    """
    some = live.nonzero().flatten()
    fitted = Gaussian.fit(columns[:, some].cpu().numpy()).correlation
    products = torch.zeros(len(live), len(live), dtype=columns.dtype, device=columns.device)
    products[some[:, None], some] = torch.from_numpy(fitted).to(columns)
    return products


def _decompose(products: Tensor, live: Tensor, contexts: int) -> tuple[Tensor, Tensor, Tensor]:
    """L − I, the diagonal of D and the order of a pivoted L D Lᵀ of the products (K, K).

    The columns of the context come first, and of the others always the one of which most is left:
    what others determine comes last. A column of which nothing is left explains nothing.
    """
    count = len(products)
    left, lower = products.clone(), torch.zeros_like(products)
    waiting = torch.ones(count, dtype=torch.bool, device=left.device)
    early = torch.arange(count, device=left.device) < contexts
    order, last = [], torch.zeros_like(left[0])
    for step in range(count):
        pool = waiting & (early if step < contexts else ~early)
        diagonal = torch.where(live, left.diagonal(), 0.0)
        pivot = int(torch.where(pool, diagonal, -1.0).argmax())
        order.append(pivot)
        waiting[pivot] = False
        last[pivot] = diagonal[pivot].clamp_min(EXACT / 1e3)
        if diagonal[pivot] >= EXACT:
            column = torch.where(waiting, left[:, pivot] / diagonal[pivot], 0.0)
            lower[:, pivot] = column
            left = left - torch.outer(column, left[pivot])
    return lower, last, torch.tensor(order, device=left.device)
