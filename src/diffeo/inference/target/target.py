"""A user's log density as a function of unconstrained points, with every way in which it may go
wrong accounted for.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ...core.errors import ConfigError, InferenceError
from ...core.numerics import full_precision
from .batching import Mode, UserDensity, choose_mode, evaluate, one_line, take
from .region import Inside, Region
from .space import Space, Value, check_points

__all__ = ["Target"]


_NO_GRADIENT = (
    "the log density carries no gradient; compute it from its argument with PyTorch, without"
    " .detach(), .item() or numpy, and if it is constant return 0 * x.sum(-1)"
)


class Target:
    """u (B, D) -> log p(x) + log|det ∂x/∂u|, x = space.constrain(u): shape (B,), differentiable.

    `log_density` takes values as `space` has them, a tensor (B, *event) or a dict of tensors, and
    returns (B,); a function of single points is mapped over rows. It may be −inf outside its
    support. NaN, and a point that is not finite itself, count as −inf; such rows have gradient
    zero. With `max_rows` it is never given more rows at once, with `device` it gets them there; the
    values are back on the device of the points. Where `inside` is false the density is zero by
    declaration: `log_density` never gets such rows.

    Raises `InferenceError` when it raises (its exception is the cause), returns another shape,
    integers, +inf, or no gradient where one is needed. Points of float32 are handed over as float64
    if it takes only those, and the other way round. The values returned have the wider dtype of the
    log density and the points.

    >>> import torch
    >>> from diffeo.inference import Space, Target
    >>> target = Target(lambda x: -x["rate"], Space.of({"rate": "positive"}))
    >>> target(torch.zeros(1, 1)), target.evaluations
    (tensor([-1.]), 1)
    """

    def __init__(
        self,
        log_density: UserDensity,
        space: Space,
        *,
        max_rows: int | None = None,
        device: torch.device | str | None = None,
        inside: Inside | None = None,
    ) -> None:
        if not callable(log_density):
            raise ConfigError(
                "a log density is a function of a batch of points, got"
                f" {type(log_density).__name__}"
            )
        if max_rows is not None and max_rows < 1:
            raise ConfigError(f"max_rows must be at least 1, got {max_rows}")
        self.log_density = log_density
        self.space = space
        self.max_rows = max_rows
        self.device = None if device is None else torch.device(device)
        """Where `log_density` gets its points, whatever device they come from; None leaves them
        where they are.
        """
        self.region = Region(inside)
        self.mode: Mode | None = None
        """How `log_density` is called, found out at the first call from a handful of points that
        are not counted.
        """
        self.given: dict[torch.dtype, torch.dtype] = {}
        """The dtype that `log_density` is given for points of a dtype: that, or the other one if it
        takes only this.
        """
        self.evaluations = 0
        """How many points the log density was evaluated at."""
        self.gradients = 0
        """How many of them a gradient was taken at."""
        self.nan_rows = 0
        """How many were NaN, or the point not finite."""
        self.outside_rows = 0
        """How many were −inf."""
        self.declared_rows = 0
        """At how many points it was not evaluated, since `inside` is false there."""
        self.nan_gradients = 0
        """How many had a finite density whose gradient is not finite; it is taken as zero."""

    def __call__(self, u: Tensor) -> Tensor:
        check_points(u, self.space.size)
        there = u if self.device is None else u.to(self.device)
        parts = [there] if self.max_rows is None else there.split(self.max_rows)
        return torch.cat([self._rows(part) for part in parts]).to(u.device)

    def counts(self) -> dict[str, int]:
        """The counters by name."""
        names = (
            "evaluations",
            "gradients",
            "nan_rows",
            "outside_rows",
            "declared_rows",
            "nan_gradients",
        )
        return {name: getattr(self, name) for name in names}

    def check(
        self,
        generator: torch.Generator | None = None,
        *,
        points: int = 8,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Evaluate a few points near 0 and raise `InferenceError` for what would spoil a long run.

        Besides what a call raises: no finite value or gradient at any point, a value that differs
        from one evaluation to the next, and one that depends on which points share the batch. The
        points are on the generator's device.
        """
        device = generator.device if generator is not None else None
        u = torch.randn(points, self.space.size, generator=generator, dtype=dtype, device=device)
        if self.region.inside is not None:
            u = self.region.points(self.space, 1.0, torch.Generator().manual_seed(0))[:points].to(u)
        else:
            u = u * torch.logspace(-1, 0, points, dtype=u.dtype, device=device)[:, None]
        u = (u if self.device is None else u.to(self.device)).requires_grad_()
        log_p = self(u)
        finite = log_p.detach().isfinite()
        if not finite.any():
            raise InferenceError(
                f"the log density is NaN or −inf at all {points} points tried near 0"
                f" (unconstrained), {self._first(u)}; declare the supports of its parameters, or"
                " shift and scale them so that 0 is within reach"
            )
        self._check_gradient(u, log_p, finite)
        with torch.no_grad():
            self._check_rows(u.detach(), log_p.detach())

    def _check_gradient(self, u: Tensor, log_p: Tensor, finite: Tensor) -> None:
        before = self.nan_gradients
        try:
            torch.autograd.grad(log_p[finite].sum(), u)
        except RuntimeError as error:
            raise InferenceError(
                f"the gradient of the log density raised {one_line(error)}"
            ) from error
        if self.nan_gradients - before == int(finite.sum()):
            raise InferenceError(
                "the gradient of the log density is NaN or infinite at all points tried near 0,"
                f" {self._first(u)}; look for torch.where or sqrt with a branch or a zero whose"
                " derivative is infinite"
            )
        # The log-det depends on u whatever the log density does, so that is asked for by itself.
        value, _ = self.space.constrain(u.detach().to(self.given[u.dtype]))
        leaves = [
            x.detach().requires_grad_()
            for x in (value.values() if isinstance(value, dict) else [value])
        ]
        value = dict(zip(value, leaves, strict=True)) if isinstance(value, dict) else leaves[0]
        total = self._density(value, u).sum()
        if all(grad is None for grad in torch.autograd.grad(total, leaves, allow_unused=True)):
            raise InferenceError(_NO_GRADIENT)

    def _check_rows(self, u: Tensor, log_p: Tensor) -> None:
        if not _close(self(u), log_p):
            raise InferenceError(
                "the log density differs from one evaluation to the next; draw its random numbers"
                " beforehand, and do not subsample the data: importance weights need the same"
                " function every time"
            )
        if len(u) > 1 and not _close(self(u[1::2]), log_p[1::2]):
            raise InferenceError(
                "the log density of a point depends on the other points of its batch; reduce over"
                " the event only, with .sum(-1) rather than .sum() or .mean(), and do not let data"
                " broadcast against the batch"
            )

    def _rows(self, u: Tensor) -> Tensor:
        real = u.detach().isfinite().all(1)
        points = torch.where(real[:, None], u, 0.0)
        if len(u) == 0:
            return points.sum(1)
        if points.dtype not in self.given:
            self._settle(points.detach())
        value, log_det = self.space.constrain(points.to(self.given.get(points.dtype, points.dtype)))
        declared = self.region.contains(value).to(points.device)
        log_p = self._inside(value, points, declared)
        if (
            torch.is_grad_enabled()
            and u.requires_grad
            and not log_p.requires_grad
            and bool(declared.any())
        ):
            raise InferenceError(_NO_GRADIENT)
        usable = real & log_p.detach().isfinite()
        if not usable.all():
            self._count(log_p.detach(), value, real=real, declared=declared)
        if points.requires_grad:
            points.register_hook(lambda grad: self._clean(grad, usable))
        return torch.where(usable, log_p + log_det, -math.inf)

    def _inside(self, value: Value, points: Tensor, declared: Tensor) -> Tensor:
        """log p (B,), −inf outside the declared region, whose rows the log density does not get."""
        if bool(declared.all()):
            return self._density(value, points)
        rows = declared.nonzero().squeeze(1)
        outside = 0 * points.sum(1) - math.inf  # with a gradient, of zero
        if not len(rows):
            return outside
        log_p = self._density(take(value, rows), points[rows])
        return outside.to(log_p.dtype).index_put((rows,), log_p)

    def _density(self, value: Value, points: Tensor) -> Tensor:
        """log p (B,) of values, its form checked."""
        self.evaluations += len(points)
        try:
            result = evaluate(self.log_density, value, self.mode or "batch")
        except Exception as error:
            if "requires grad" in str(error) and "numpy" in str(error):
                raise InferenceError(_NO_GRADIENT) from error
            raise InferenceError(
                f"the log density raised {one_line(error)}; the first of its points is"
                f" {_show(value)}"
            ) from error
        return self._accept(result, points)

    def _count(self, log_p: Tensor, value: Value, *, real: Tensor, declared: Tensor) -> None:
        """Count the rows that are of no use; raises at +inf."""
        top = (log_p == math.inf).nonzero()
        if len(top):
            raise InferenceError(
                f"the log density is +inf at {_show(take(value, slice(int(top[0]), None)))}; "
                "a density must be finite: declare the support of what it divides by, or bound it"
            )
        self.nan_rows += int((log_p.isnan() | ~real).sum())
        self.outside_rows += int(((log_p == -math.inf) & real & declared).sum())
        self.declared_rows += int((~declared).sum())

    def _settle(self, points: Tensor) -> None:
        """Find out how the log density wants to be called; raises the first complaint when no way
        works.
        """
        first: InferenceError | None = None
        usual = points.dtype
        for dtype in (usual, torch.float32 if usual == torch.float64 else torch.float64):
            value, _ = self.space.constrain(points.to(dtype))
            rows = self.region.contains(value).nonzero().squeeze(1)
            if not len(rows):
                return  # it is found out when there is a point that the log density may be given
            value = take(value, rows.to(points.device))
            try:
                self.mode = choose_mode(self.log_density, value)
                self.given[usual] = dtype
                return
            except InferenceError as error:
                first = first or InferenceError(
                    f"{error}; the first of its points is {_show(value)}"
                )
                first.__cause__ = error.__cause__
        raise first or InferenceError("unreachable")

    def _accept(self, result: Any, points: Tensor) -> Tensor:
        """The log density's result as a tensor (B,) of floats on the device of the points."""
        log_p = torch.as_tensor(result)
        if log_p.shape != (len(points),):
            shape = tuple(log_p.shape)
            raise InferenceError(
                f"the log density returned shape {shape} for {len(points)} points; return one value"
                " per point"
            )
        if not log_p.is_floating_point():
            raise InferenceError(
                f"the log density returned {log_p.dtype}; return floating-point numbers, in nats"
            )
        return full_precision(log_p.to(points.device))

    def _clean(self, grad: Tensor | None, usable: Tensor) -> Tensor | None:
        """Zero the gradients of rows that are of no use: 0 · ∞ within the user's function has made
        NaN of them.
        """
        if grad is None:  # autograd's usual zero
            return None
        self.gradients += len(grad)
        keep = usable & grad.detach().isfinite().all(1)
        if keep.all():
            return None  # as it is
        self.nan_gradients += int((usable & ~keep).sum())
        return torch.where(keep[:, None], grad, 0.0)

    def _first(self, u: Tensor) -> str:
        return f"the first being {_show(self.space.constrain(u.detach())[0])}"


def _show(value: Value, entries: int = 6) -> str:
    """The first row in a few words: `mu = 0.1, theta = [0.3, −1.2, …]`."""
    named = value if isinstance(value, dict) else {"x": value}
    return ", ".join(f"{name} = {_numbers(x[0].detach(), entries)}" for name, x in named.items())


def _numbers(x: Tensor, entries: int) -> str:
    if x.dim() == 0:
        return f"{x.item():.6g}"
    flat = [f"{v:.6g}" for v in x.flatten()[:entries].tolist()]
    return f"[{', '.join(flat)}{', …' if x.numel() > entries else ''}]"


def _close(a: Tensor, b: Tensor) -> bool:
    """Equal but for the rounding of other orders of summation; −inf equals −inf."""
    both = a.isfinite() & b.isfinite()
    return bool(((a == b) | (both & ((a - b).abs() <= 1e-3 * (1 + b.abs())))).all())
