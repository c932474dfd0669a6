"""Sixty log densities with known log Z, made from seeds: what the verdict of `infer` is calibrated
on (verdict.py).

Every target is a function of a seed and adds a constant, so that log Z is no round number. `SUITE`
lists kind and seed; other seeds make other suites of the same kinds.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from targets import LOG_2PI, Known
from torch import Tensor

__all__ = ["KINDS", "SUITE", "make"]

GRID = 400_001  # points of a quadrature in one dimension


class Choices:
    """Random choices of a target, from its seed."""

    def __init__(self, kind: str, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(1_000 * seed + sum(map(ord, kind)))

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator, dtype=torch.float64)

    def uniform(self, low: float, high: float) -> float:
        return (
            low
            + (high - low) * torch.rand((), generator=self.generator, dtype=torch.float64).item()
        )

    def log_uniform(self, low: float, high: float) -> float:
        return math.exp(self.uniform(math.log(low), math.log(high)))

    def whole(self, low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=self.generator))

    def coin(self) -> bool:
        return self.uniform(0, 1) < 0.5

    def rotation(self, size: int) -> Tensor:
        return torch.linalg.qr(self.normal(size, size))[0]

    def constant(self) -> float:
        return self.uniform(-30, 30)


def mixture(seed: int) -> Known:
    """2 to 60 Gaussians in 2 to 50 dimensions, 3 to 40 standard deviations apart, of equal or very
    unequal weights.
    """
    c = Choices("mixture", seed)
    modes, size, apart = (
        round(c.log_uniform(2, 60)),
        round(c.log_uniform(2, 50)),
        c.log_uniform(3, 40),
    )
    means = apart / math.sqrt(2 * size) * c.normal(modes, size)
    log_weights = (0.0 if c.coin() else 2.0) * c.normal(modes)
    sd = torch.exp((0.25 if c.coin() and c.coin() else 0.0) * c.normal(modes))
    log_weights = log_weights.log_softmax(0)
    constant = c.constant()

    def log_density(x: Tensor) -> Tensor:
        away = ((x[:, None] - means.to(x)) / sd.to(x)[:, None]).square().sum(2)
        each = log_weights.to(x) - 0.5 * away - size * (sd.to(x).log() + 0.5 * LOG_2PI)
        return each.logsumexp(1) + constant

    return Known(log_density, size, constant)


def box(seed: int) -> Known:
    """Unit Gaussians in 6 dimensions with means anywhere in a box of side 30."""
    modes = (25, 10, 40)[seed % 3]
    means = (
        torch.rand(modes, 6, generator=torch.Generator().manual_seed(7 + seed)).double() - 0.5
    ) * 30

    def log_density(x: Tensor) -> Tensor:
        away = (x[:, None] - means.to(x)).square().sum(2)
        return (-0.5 * away).logsumexp(1) - math.log(modes) - 3 * LOG_2PI

    return Known(log_density, 6, 0.0)


def wells(seed: int) -> Known:
    """Products of quartic double wells and Gaussians: 2^k modes of unequal mass."""
    c = Choices("wells", seed)
    pairs, depth, tilt, constant = c.whole(1, 8), c.uniform(2, 7), c.uniform(-1, 1), c.constant()

    def well(x: Tensor) -> Tensor:
        return -x.pow(4) + depth * x.square() + tilt * x

    def log_density(u: Tensor) -> Tensor:
        return (well(u[:, :pairs]) - 0.5 * u[:, pairs:].square()).sum(1) + constant

    log_z = pairs * (_integral(well, -6.0, 6.0) + 0.5 * LOG_2PI) + constant
    return Known(log_density, 2 * pairs, log_z)


def funnel(seed: int) -> Known:
    """Neal's funnel, with mouths of several widths."""
    c = Choices("funnel", seed)
    size, sd, constant = c.whole(2, 15), c.uniform(1.0, 3.0), c.constant()

    def log_density(x: Tensor) -> Tensor:
        first, rest = x[:, 0], x[:, 1:]
        scales = -0.5 * rest.square().sum(1) * torch.exp(-first) - 0.5 * rest.shape[1] * (
            first + LOG_2PI
        )
        return -0.5 * (first / sd).square() - math.log(sd) - 0.5 * LOG_2PI + scales + constant

    return Known(log_density, size, constant)


def ring(seed: int) -> Known:
    """A spherical shell around a point, in 2 to 5 dimensions."""
    c = Choices("ring", seed)
    size, radius = c.whole(2, 5), c.uniform(3, 10)
    width, centre, constant = radius * c.log_uniform(0.03, 0.3), c.normal(size), c.constant()

    def log_density(x: Tensor) -> Tensor:
        r = (x - centre.to(x)).square().sum(1).clamp_min(1e-30).sqrt()
        return -0.5 * ((r - radius) / width).square() + constant

    def radial(r: Tensor) -> Tensor:
        return -0.5 * ((r - radius) / width).square() + (size - 1) * r.log()

    sphere = math.log(2) + 0.5 * size * math.log(math.pi) - math.lgamma(size / 2)
    return Known(
        log_density, size, _integral(radial, 1e-9, radius + 12 * width) + sphere + constant
    )


def banana(seed: int) -> Known:
    """A normal along a parabola, with other normal coordinates, rotated."""
    c = Choices("banana", seed)
    size, along, across = c.whole(2, 10), c.uniform(1, 4), c.log_uniform(0.05, 1)
    bend, turn, constant = c.uniform(0.1, 0.5), c.rotation(size), c.constant()
    log_norm = -math.log(along) - math.log(across) - 0.5 * size * LOG_2PI + constant

    def log_density(x: Tensor) -> Tensor:
        y = x @ turn.to(x)
        off = (y[:, 1] - bend * (y[:, 0].square() - along**2)) / across
        return (
            -0.5 * ((y[:, 0] / along).square() + off.square() + y[:, 2:].square().sum(1)) + log_norm
        )

    return Known(log_density, size, constant)


def student(seed: int) -> Known:
    """Student t with 2 to 8 degrees of freedom: elliptical, or independent entries."""
    c = Choices("student", seed)
    size, df, constant = c.whole(2, 12), c.log_uniform(2, 8), c.constant()
    together, scale, centre = c.coin(), torch.exp(c.normal(size)), 3 * c.normal(size)

    def const(d: int) -> float:
        return math.lgamma((df + d) / 2) - math.lgamma(df / 2) - 0.5 * d * math.log(df * math.pi)

    def log_density(x: Tensor) -> Tensor:
        y = ((x - centre.to(x)) / scale.to(x)).square() / df
        if together:
            value = const(size) - 0.5 * (df + size) * torch.log1p(y.sum(1))
        else:
            value = size * const(1) - 0.5 * (df + 1) * torch.log1p(y).sum(1)
        return value - float(scale.log().sum()) + constant

    return Known(log_density, size, constant)


def ridge(seed: int) -> Known:
    """A Gaussian of width 1e-4 in one direction, straight or bent along a parabola."""
    c = Choices("ridge", seed)
    size, bend = c.whole(2, 8), (0.0 if c.coin() else c.uniform(0.05, 0.3))
    turn, constant, width = c.rotation(size), c.constant(), 1e-4
    log_norm = -math.log(width) - 0.5 * size * LOG_2PI + constant

    def log_density(x: Tensor) -> Tensor:
        y = x.double() @ turn
        off = (y[:, 1] - bend * y[:, 0].square()) / width
        rest = torch.cat([y[:, :1], y[:, 2:]], 1)
        return -0.5 * (off.square() + rest.square().sum(1)) + log_norm

    return Known(log_density, size, constant)


def plateau(seed: int) -> Known:
    """Constant within a ball, a box or a shell and −inf outside; normal in the other
    coordinates.
    """
    c = Choices("plateau", seed)
    size, shape, radius = c.whole(1, 4), ("ball", "box", "shell")[seed % 3], c.uniform(1, 4)
    more, constant = c.whole(0, 3), c.constant()
    size = max(size, 2)
    ball = 0.5 * size * math.log(math.pi) - math.lgamma(size / 2 + 1)
    volume = {
        "ball": ball + size * math.log(radius),
        "box": size * math.log(2 * radius),
        "shell": ball + size * math.log(radius) + math.log1p(-(0.5**size)),
    }[shape]

    def log_density(x: Tensor) -> Tensor:
        flat, rest = x[:, :size], x[:, size:]
        r = flat.abs().amax(1) if shape == "box" else flat.norm(dim=1)
        inside = r < radius if shape != "shell" else (r < radius) & (r > 0.5 * radius)
        value = constant - 0.5 * (rest.square() + LOG_2PI).sum(1) + 0 * flat.sum(1)
        return torch.where(inside, value, -math.inf)

    return Known(log_density, size + more, volume + constant)


def half_space(seed: int) -> Known:
    """A Gaussian cut by an oblique plane: −inf beyond it."""
    c = Choices("half-space", seed)
    size, cut, constant = c.whole(2, 10), c.uniform(-1, 1.5), c.constant()
    direction, sd = (
        torch.nn.functional.normalize(c.normal(size), dim=0),
        torch.exp(0.5 * c.normal(size)),
    )
    log_norm = -0.5 * size * LOG_2PI - float(sd.log().sum()) + constant

    def log_density(x: Tensor) -> Tensor:
        z = x / sd.to(x)
        value = -0.5 * z.square().sum(1) + log_norm
        return torch.where(z @ direction.to(x) < cut, value, -math.inf)

    inside = 0.5 * math.erfc(-cut / math.sqrt(2))
    return Known(log_density, size, constant + math.log(inside))


def scales(seed: int) -> Known:
    """One or two Gaussians whose coordinates have standard deviations from 1e-6 to 1e6."""
    c = Choices("scales", seed)
    size, constant = c.whole(3, 10), c.constant()
    sd = torch.logspace(-6, 6, size, dtype=torch.float64)
    means = torch.stack([c.normal(size), c.normal(size) + 6]) if c.coin() else c.normal(1, size)
    log_norm = constant - float(sd.log().sum()) - 0.5 * size * LOG_2PI - math.log(len(means))

    def log_density(x: Tensor) -> Tensor:
        away = (x.double() / sd)[:, None] - means
        return (-0.5 * away.square().sum(2)).logsumexp(1) + log_norm

    return Known(log_density, size, constant)


def _integral(log_f: Callable[[Tensor], Tensor], low: float, high: float) -> float:
    """log ∫ f by the trapezoidal rule: exact to rounding for what falls to nothing at both ends."""
    x = torch.linspace(low, high, GRID, dtype=torch.float64)
    return float(log_f(x).logsumexp(0)) + math.log((high - low) / (GRID - 1))


KINDS: dict[str, tuple[Callable[[int], Known], int]] = {
    "mixture": (mixture, 18),
    "box": (box, 3),
    "wells": (wells, 5),
    "funnel": (funnel, 5),
    "ring": (ring, 5),
    "banana": (banana, 5),
    "student": (student, 5),
    "ridge": (ridge, 4),
    "plateau": (plateau, 3),
    "half-space": (half_space, 4),
    "scales": (scales, 3),
}
SUITE = [(kind, seed) for kind, (_, count) in KINDS.items() for seed in range(count)]


def make(kind: str, seed: int) -> Known:
    """The target of a kind and seed."""
    return KINDS[kind][0](seed)
