"""Is this flow right on this data? Round trips, log-dets, precision, and the layer that is worst.

A flow of images is looked at behind the links that draw noise (dequantisation, padding), where it
is an exact flow of reals and everything can be measured.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..core.chain import Chain
from ..core.errors import DataError
from ..core.links import Links
from ..core.seeds import seeded, seeder
from ..core.tensors import to_tensor
from ..core.transform import Transform
from ..domains import of_flow
from ..flow import Flow
from ..layers import Coupling
from ..maps import RQSpline
from ..supports import Support
from .density import Density, density

__all__ = ["Checkup", "check"]

TOLERANCE = 1e-4  # round trip in standardised units, float32
PIXEL_TOLERANCE = 0.05  # latents of images that come back through pixels
LOGDET_TOLERANCE = 1e-6  # float64 log-det against autograd, per entry
# of the nats, or the entries, of a typical row: what rounding alone may do in float32
FLOAT32_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Checkup:
    """What `check` measured. Lengths are in units of the data's spread (standard deviation) per
    column, or per channel.
    """

    rows: int
    round_trip_max: float
    """max |decode(encode(x)) − x| over rows and columns, in standard deviations."""
    round_trip_p999: float
    latent_round_trip_max: float
    """max |encode(decode(z)) − z| for z drawn from the base."""
    latent_round_trip_p999: float
    logdet_sum_max: float
    """max |log-det of encode + log-det of decode|, nats."""
    logdet_autograd_max: float | None
    """max |log-det − log|det of autograd's Jacobian||, nats, float64, on a sample; None for bounds
    and for large images.
    """
    float32_log_prob_max: float
    """max |log p in float32 − log p in float64|, nats."""
    float32_log_prob_allowed: float
    """What of it is no fault: 0.05 nats, or more where rows have many entries or a large |log
    p|.
    """
    outside_box: float | None
    """Share of spline inputs outside their box, where the map is the identity."""
    pixels_back: float | None
    """Of images: the share of pixel values that decode(encode(x)) brings back exactly."""
    non_finite: int
    """Rows whose log-density is not finite."""
    worst_layer: str
    worst_layer_error: float
    layers: list[dict[str, Any]]
    problems: list[str]
    density: Density = field(default_factory=Density)
    """Whether these rows have a density at all, of flows of vectors."""

    @property
    def ok(self) -> bool:
        """True when nothing is wrong, with the flow or with the rows."""
        return not self.problems and self.density.ok

    @property
    def verdict(self) -> str:
        """One sentence."""
        if self.ok:
            return (
                f"The flow is sound on these {self.rows} rows: it inverts to"
                f" {self.round_trip_max:.1e} standard deviations."
            )
        if self.density.ok:
            return "Something is off: " + "; ".join(self.problems) + "."
        flow = (
            "something is off with the flow too: " + "; ".join(self.problems)
            if self.problems
            else "the flow itself inverts"
        )
        return (
            "These rows have no density, so no figure in nats says how good the flow is: "
            + "; ".join([*self.density.problems, flow])
        )

    def as_dict(self) -> dict[str, Any]:
        """JSON-able, with verdict."""
        return {
            "ok": self.ok,
            "verdict": self.verdict,
            **asdict(self),
            "density": self.density.as_dict(),
        }

    def lines(self) -> list[tuple[str, str]]:
        """(label, value) pairs for people."""
        autograd = (
            "not measured"
            if self.logdet_autograd_max is None
            else f"{self.logdet_autograd_max:.1e} nats"
        )
        pixels = (
            []
            if self.pixels_back is None
            else [("pixel values that come back exactly", f"{self.pixels_back:.4%}")]
        )
        outside = (
            []
            if self.outside_box is None
            else [("spline inputs outside their box", f"{self.outside_box:.3%}")]
        )
        return [
            *(("no density", text) for text in self.density.problems),
            *(("note", text) for text in self.density.notes),
            *pixels,
            (
                "data → latent → data",
                f"max {self.round_trip_max:.1e} sd, p99.9 {self.round_trip_p999:.1e} sd",
            ),
            (
                "latent → data → latent",
                f"max {self.latent_round_trip_max:.1e}, p99.9 {self.latent_round_trip_p999:.1e}",
            ),
            ("log-dets of the two directions", f"opposite to {self.logdet_sum_max:.1e} nats"),
            ("log-det against autograd (float64)", autograd),
            ("log-density, float32 against float64", f"{self.float32_log_prob_max:.1e} nats"),
            *outside,
            ("rows without a finite log-density", str(self.non_finite)),
            (
                "layer with the largest round-trip error",
                f"{self.worst_layer} ({self.worst_layer_error:.1e})",
            ),
        ]


@torch.no_grad()
def check(
    flow: Flow,
    x: Any,
    context: Any = None,
    *,
    rows: int = 10_000,
    jacobians: int = 16,
    seed: int = 0,
) -> Checkup:
    """Measure how well a flow inverts and how right its log-dets are, on (at most `rows` of) this
    data.

    x (N, *event), a tensor or an array, in which a masked cell is NaN; of images at most as many
    as go through a flow at a time, of 2^18 values together, or one. Raises `DataError` when there
    are no rows.

    >>> import torch, diffeo
    >>> diffeo.check(diffeo.models.nsf((3,), layers=2), torch.randn(100, 3)).ok
    True
    """
    x, context = to_tensor("x", x), None if context is None else to_tensor("context", context)
    if len(x) == 0:
        raise DataError("no rows to check the flow on")
    flow = copy.deepcopy(flow).eval()
    generator = torch.Generator().manual_seed(seed)
    domain = of_flow(flow)
    rows = domain.checked(rows, flow.event_shape)
    jacobians = domain.jacobians(jacobians, flow.event_shape)
    some = torch.randperm(len(x), generator=generator)[:rows]
    x = x[some].to(flow.device)
    context = None if context is None else context[some].to(flow.device)
    with seeder(flow)(seed):
        pixels = None
        if domain.levels and _dequantises(flow):
            pixels = float(
                (flow.decode(flow.encode(x, context)[0], context)[0] == x).double().mean()
            )
            flow, x = _behind_noise(flow, x, context)
        return replace(
            _measure(flow, x, context, jacobians=jacobians, generator=generator, pixels=pixels),
            density=_density(flow, x, context) if domain.examined else Density(),
        )


def _density(flow: Flow, x: Tensor, context: Tensor | None) -> Density:
    """With the kinds and names of columns that the flow knows."""
    kinds = flow.card.args.get("supports")
    names = list(getattr(flow.card.data, "names", ()))
    given = None if context is None else context.double().flatten(1).cpu().numpy()
    return density(
        x.double().flatten(1).cpu().numpy(),
        kinds,
        names if len(names) == x.shape[1] else None,
        context=given,
    )


def _dequantises(flow: Flow) -> bool:
    first = next(iter(_links(flow.transform)), None)
    return first is not None and first.settles_dtype and not first.exact


def _behind_noise(flow: Flow, x: Tensor, context: Tensor | None) -> tuple[Flow, Tensor]:
    """The flow behind its last link that draws noise, and images with their noise, drawn once."""
    links = _links(flow.transform)
    split = 1 + max(i for i, link in enumerate(links) if not link.exact)
    y, _ = Chain(links[:split])(x, _embedded(flow, context))
    return (
        Flow(
            Chain(links[split:]),
            flow.base,
            context_shape=flow.context_shape,
            embedding=flow.embedding,
        ).eval(),
        y,
    )


def _measure(
    flow: Flow,
    x: Tensor,
    context: Tensor | None,
    *,
    jacobians: int,
    generator: torch.Generator,
    pixels: float | None,
) -> Checkup:
    finite = flow.log_prob(x, context).isfinite()
    kept = x[finite], (None if context is None else context[finite])
    layers = list(_layer_errors(flow, *kept)) if bool(finite.any()) else []
    worst = max(layers, key=lambda layer: layer["error"], default={"name": "none", "error": 0.0})
    there, sums = _round_trip(flow, *kept)
    back = _latent_round_trip(flow, kept[1], len(x), generator=generator)
    gap, allowed = _against_float64(flow, *kept)
    numbers: dict[str, Any] = {
        "round_trip_max": _max(there),
        "round_trip_p999": _p999(there),
        "latent_round_trip_max": _max(back),
        "latent_round_trip_p999": _p999(back),
        "logdet_sum_max": _max(sums),
        "logdet_autograd_max": (
            _against_autograd(flow, *kept, count=jacobians) if flow.exact and jacobians else None
        ),
        "float32_log_prob_max": gap,
        "float32_log_prob_allowed": allowed,
        "outside_box": _outside_box(flow, *kept),
        "pixels_back": pixels,
        "non_finite": int((~finite).sum()),
        "worst_layer": worst["name"],
        "worst_layer_error": worst["error"],
    }
    return Checkup(
        rows=len(x), **numbers, layers=layers, problems=_problems(numbers, flow.event_shape)
    )


def _problems(n: dict[str, Any], event_shape: tuple[int, ...]) -> list[str]:
    problems = []
    if not n["round_trip_max"] <= TOLERANCE:
        problems.append(
            f"data do not come back from latent space (error {n['round_trip_max']:.1e} sd, worst in"
            f" {n['worst_layer']})"
        )
    # Images pass through pixels in [0, 1], where float32 cannot tell the brightest apart that a
    # logit spreads out.
    latent = 10 * TOLERANCE if n["pixels_back"] is None else PIXEL_TOLERANCE
    if not n["latent_round_trip_max"] <= latent:
        problems.append(
            f"latents do not come back from data space (error {n['latent_round_trip_max']:.1e})"
        )
    if n["logdet_autograd_max"] is not None and not n[
        "logdet_autograd_max"
    ] <= LOGDET_TOLERANCE * math.prod(event_shape):
        problems.append(f"log-dets disagree with autograd by {n['logdet_autograd_max']:.1e} nats")
    if not n["float32_log_prob_max"] <= n["float32_log_prob_allowed"]:
        problems.append(f"float32 log-densities are off by {n['float32_log_prob_max']:.1e} nats")
    if n["outside_box"] is not None and n["outside_box"] > 0.05:
        problems.append(
            f"{n['outside_box']:.1%} of spline inputs lie outside the box: raise `bound`, or look"
            " for outliers"
        )
    if n["non_finite"]:
        problems.append(
            f"{n['non_finite']} rows have no finite log-density: they lie outside a column's"
            " support, or hold NaN"
        )
    return problems


def _scale(x: Tensor) -> Tensor:
    # pixels of a channel share their spread: some never change
    over = (0, 2, 3) if x.dim() == 4 else (0,)
    spread = x.double().std(over, correction=0, keepdim=x.dim() == 4)
    return torch.where(spread > 0, spread, torch.ones_like(spread))


def _round_trip(flow: Flow, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
    z, logdet = flow.encode(x, context)
    back, opposite = flow.decode(z, context)
    return _difference(flow, back, x) / _scale(x), logdet + opposite


def _difference(flow: Flow, a: Tensor, b: Tensor) -> Tensor:
    """|a − b|, around the circle for circular columns."""
    gap = (a.double() - b.double()).abs()
    for column, width in _circles(flow).items():
        gap[:, column] = torch.minimum(gap[:, column], (width - gap[:, column]).abs())
        gap[:, column] = gap[:, column].remainder(width)
    return gap


def _circles(flow: Flow) -> dict[int, float]:
    texts = flow.card.args.get("supports") or []
    parsed = {i: Support.parse(text) for i, text in enumerate(texts)}
    return {i: s.period for i, s in parsed.items() if s.period is not None}


def _latent_round_trip(
    flow: Flow, context: Tensor | None, rows: int, *, generator: torch.Generator
) -> Tensor:
    if context is not None:
        rows = len(context)
    z = flow.base.sample((rows,), generator=generator)
    if not flow.exact:
        return torch.zeros_like(z)  # rounding down to integers forgets the noise on purpose
    x, _ = flow.decode(z, context)
    # the logit of an image model decodes beyond black and white
    inside = flow.log_prob(x, context).isfinite()
    return (flow.encode(x, context)[0] - z).double().abs()[inside]


def _against_autograd(flow: Flow, x: Tensor, context: Tensor | None, *, count: int) -> float:
    """Worst error of the log-det against log|det| of autograd's Jacobian, in float64."""
    double = copy.deepcopy(flow).double()
    some = min(count, max(1, 20_000 // math.prod(flow.event_shape)), len(x))
    errors = [0.0]
    for i in range(some):
        context_i = None if context is None else context[i]
        jacobian = _jacobian(double, x[i].double(), context_i)
        unit = _unit(jacobian)
        logdet = torch.linalg.slogdet(jacobian * unit)[1] - unit.log().sum()
        errors.append((logdet - double.encode(x[i : i + 1].double(), context_i)[1]).abs().item())
    return max(errors)


def _jacobian(flow: Flow, x: Tensor, context: Tensor | None) -> Tensor:
    """∂z/∂x at one event, (D, D): D copies of it go through at once, and copy i gives row i."""
    size = x.numel()
    with torch.enable_grad():
        rows = []
        for part in torch.arange(size, device=x.device).split(256):
            copies = x.expand(len(part), *x.shape).clone().requires_grad_()
            z = flow.encode(copies, context)[0].reshape(len(part), size)
            rows.append(torch.autograd.grad(z.gather(1, part[:, None]).sum(), copies)[0])
    return torch.cat(rows).reshape(size, size)


def _unit(jacobian: Tensor) -> Tensor:
    """Column factors that bring a badly scaled Jacobian (units of 1e±30) into range."""
    size = jacobian.abs().amax(0, keepdim=True)
    return torch.where(size > 0, 1 / size, torch.ones_like(size))


def _against_float64(flow: Flow, x: Tensor, context: Tensor | None) -> tuple[float, float]:
    """The largest gap between log-densities in float32 and in float64, and the largest that
    rounding explains.
    """
    if flow.device.type == "mps" or not len(x):
        return 0.0, 0.05
    double = copy.deepcopy(flow).double()
    with seeded():  # the same dequantisation noise for both
        single = flow.log_prob(x, context)
    right = double.log_prob(x, context)
    typical = max(math.prod(flow.event_shape), float(right.abs().median()))
    return _max((right - single.double()).abs()), max(0.05, FLOAT32_TOLERANCE * typical)


def _layer_errors(flow: Flow, x: Tensor, context: Tensor | None) -> Iterator[dict[str, Any]]:
    """Round-trip error of every layer on the inputs that it really gets, in standard deviations of
    these.
    """
    inner = _embedded(flow, context)
    for i, layer in enumerate(_links(flow.transform)):
        y, _ = layer(x, inner)
        back, _ = layer.inverse(y, inner)
        error = (
            _max((back.double() - x.double()).abs() / _scale(x))
            if layer.exact and "Wrap" not in str(layer)
            else 0.0
        )
        yield {"name": f"{i} {type(layer).__name__}", "error": error}
        x = y


def _outside_box(flow: Flow, x: Tensor, context: Tensor | None) -> float | None:
    inner = _embedded(flow, context)
    outside = 0
    total = 0
    for layer in _links(flow.transform):
        if isinstance(layer, Coupling) and isinstance(layer.map, RQSpline):
            part = layer.partition.split(x)[1]
            outside += int(((part < layer.map.low) | (part > layer.map.high)).sum())
            total += part.numel()
        x, _ = layer(x, inner)
    return outside / total if total else None


def _links(transform: Transform) -> list[Transform]:
    return list(transform) if isinstance(transform, Links) else [transform]


def _embedded(flow: Flow, context: Tensor | None) -> Tensor | None:
    if context is None or not isinstance(flow.embedding, nn.Module):
        return None if context is None else context.to(flow.dtype)
    embedded: Tensor = flow.embedding(context)
    return embedded


def _max(values: Tensor) -> float:
    return float(values.max()) if values.numel() else 0.0


def _p999(values: Tensor) -> float:
    rows = values.flatten(1).amax(1) if values.dim() > 1 else values
    return float(torch.quantile(rows.double(), 0.999)) if rows.numel() else 0.0
