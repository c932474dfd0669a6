"""Models of Pyro as log densities: `infer(*from_pyro(model, data))`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from ...core.errors import ConfigError, InferenceError, ShapeError
from ...core.seeds import seeded
from ...supports import Bijection, SupportLike, bijection, ordered
from .batching import one_line
from .space import Parameter

__all__ = ["PyroTarget", "from_pyro"]

DTYPES = (torch.float32, torch.float64)
TRACES = 4  # points at which the model must have the same sites, shapes and supports
SPREAD = 0.5  # of those points, unconstrained
# densities of one turn, though their support says real
CIRCULAR = {"VonMises", "SineSkewed", "SineBivariateVonMises"}


class PyroTarget(NamedTuple):
    """What `infer`, `Target` and `Space.of` take of a model, in the order in which they take it."""

    log_density: Callable[[Mapping[str, Tensor]], Tensor]
    """log p(latent sites, data) () of one point, {site: tensor of its shape}; `Target` maps it over
    batches.
    """
    parameters: dict[str, Parameter]
    """The latent sites in the order in which the model samples them."""


def from_pyro(model: Callable[..., Any], /, *args: Any, **kwargs: Any) -> PyroTarget:
    """log p̃(z) = log p(z, data) of a model of Pyro, over all z that `pyro.sample` draws and
    nothing observes.

    `model(*args, **kwargs)` is called with the data, as for Pyro's NUTS. Plates, `pyro.factor`,
    `pyro.deterministic` and the handlers of `pyro.poutine` keep their meaning. The result is a pair
    for `diffeo.infer`, which evaluates the model on batches by `torch.func.vmap`, or point by
    point, about a hundred times slower, when that does not go: when the model branches on values,
    or observes an `OrderedLogistic` or `DiscreteHMM`.

    Raises `ConfigError` naming the site that is discrete (sum it out), has a support without a
    bijection or one that depends on other sites, is masked in part, or is a `pyro.param` (its value
    would go unquestioned; say so with `poutine.block(model, hide_types=["param"])`), and the plate
    that subsamples; `InferenceError` when the model raises, or draws random numbers in other ways.
    Needs pyro-ppl: `pip install 'diffeo[pyro]'`.

    References: Bingham et al. 2019, Pyro (arXiv:1810.09538).

    >>> import diffeo, torch
    >>> import pyro, pyro.distributions as dist
    >>> from diffeo.inference import from_pyro
    >>> def model(y):
    ...     mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    ...     with pyro.plate("rows", len(y)):
    ...         pyro.sample("y", dist.Normal(mu, 1.0), obs=y)
    >>> target = from_pyro(model, torch.tensor([2.0, 4.0]))
    >>> posterior = diffeo.infer(*target, steps=50, samples=2000)
    >>> posterior.trusted, round(float(posterior.summary()[0]["mean"]), 1)
    (True, 2.0)
    """
    _require_pyro()
    with seeded(0):
        first, *others = (_traced(model, args, kwargs) for _ in range(TRACES))
        for other in others:
            _check_same(first, other)
        density = _Density(
            model=model,
            args=args,
            kwargs=kwargs,
            sites=frozenset(first.sites),
            parameters=first.parameters,
        )
        takes = [dtype for dtype in DTYPES if _takes(density, first.point, dtype)]
        density = replace(density, dtype=None if len(takes) == 2 else first.dtype)
        _check_repeats(density, first.point)
    return PyroTarget(density, first.parameters)


@dataclass(frozen=True, repr=False, kw_only=True)
class _Density:
    """log p of one point, {site: value} -> (). Pyro's checks are off: they branch on values, which
    `vmap` cannot.
    """

    model: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    sites: frozenset[str]
    parameters: dict[str, Parameter]
    dtype: torch.dtype | None = None
    """What points are cast to, None where the model takes float32 and float64: X @ w, for one,
    takes that of its data.
    """

    def __call__(self, point: Mapping[str, Tensor]) -> Tensor:
        import pyro
        from pyro import poutine

        for name, parameter in self.parameters.items():
            if point[name].shape != parameter.shape:
                raise ShapeError(
                    f"{name} has shape {tuple(point[name].shape)}, not {parameter.shape}: one point"
                    " at a time"
                )
        with pyro.validation_enabled(False):
            data = (
                dict(point)
                if self.dtype is None
                else {name: x.to(self.dtype) for name, x in point.items()}
            )
            conditioned = poutine.condition(self.model, data=data)
            trace = poutine.trace(conditioned).get_trace(*self.args, **self.kwargs)
            for name in self.sites ^ {name for name, _ in _samples(trace)}:
                raise _sometimes(name)
            for _, site in _samples(trace):
                if type(site["fn"]).__name__ == "Multinomial":
                    # which the trace takes instead of its own
                    site["log_prob_sum"] = _multinomial(site)
            return torch.as_tensor(trace.log_prob_sum())


def _multinomial(site: Mapping[str, Any]) -> Tensor:
    """Σ log p of counts, as PyTorch's `Multinomial` has it but for a boolean index, which `vmap`
    cannot take.
    """
    from pyro.distributions.util import scale_and_mask

    n = site["value"]
    log_p = site["fn"].logits
    ways = (n.sum(-1) + 1).lgamma() - (n + 1).lgamma().sum(-1)
    log_prob = ways + (n * log_p.masked_fill(n == 0, 0.0)).sum(-1)
    return torch.as_tensor(scale_and_mask(log_prob, site["scale"], site["mask"])).sum()


@dataclass(frozen=True, kw_only=True)
class _Traced:
    """One run of the model at a random point."""

    sites: list[str]
    parameters: dict[str, Parameter]
    point: dict[str, Tensor]
    dtype: torch.dtype


def _traced(model: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Traced:
    """The model run once, on a point of float64 where it does not take float32."""
    first: Exception | None = None
    for dtype in DTYPES:
        try:
            return _run(model, args, kwargs, dtype=dtype)
        except ConfigError as error:
            # Pyro adds a table of shapes
            raise ConfigError(str(error).partition("\n")[0]) from None
        except Exception as error:
            first = first or error
    assert first is not None
    raise InferenceError(
        f"the model raised {one_line(first).partition(' Trace Shapes:')[0]}"
    ) from first


def _run(
    model: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    dtype: torch.dtype,
) -> _Traced:
    """Pyro's checks are on, so that data outside their distribution's support are refused."""
    import pyro
    from pyro import poutine
    from pyro.infer.autoguide.initialization import InitMessenger

    def draw(site: dict[str, Any]) -> Tensor:
        """A value for a latent site, from around the middle of its support: improper priors cannot
        be sampled.
        """
        there = _bijection(site)
        return there.value(SPREAD * torch.randn(1, *there.latent, dtype=dtype))[0]

    with pyro.validation_enabled(True), torch.no_grad():
        trace = poutine.trace(InitMessenger(draw)(model)).get_trace(*args, **kwargs)
        for name, site in trace.nodes.items():
            _check_site(name, site)
        trace.compute_log_prob()
    latent = {name: site for name, site in _samples(trace) if not site["is_observed"]}
    if not latent:
        raise ConfigError("the model has no latent site: pyro.sample without obs")
    spaces = {name: _bijection(site) for name, site in latent.items()}
    parameters = {name: Parameter(there.shape, there.written) for name, there in spaces.items()}
    return _Traced(
        sites=[n for n, _ in _samples(trace)],
        parameters=parameters,
        point={n: site["value"] for n, site in latent.items()},
        dtype=dtype,
    )


def _bijection(site: Mapping[str, Any]) -> Bijection:
    support = _support(site["name"], site["fn"])
    return bijection(site["name"], tuple(site["fn"].shape()), support)


def _samples(trace: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """The sites that have a density."""
    return (
        (name, site)
        for name, site in trace.nodes.items()
        if site["type"] == "sample" and not _is_plate(site)
    )


def _is_plate(site: Mapping[str, Any]) -> bool:
    return type(site["fn"]).__name__ == "_Subsample"


def _support(name: str, fn: Any) -> SupportLike:
    """The support of a latent site, in the terms of `bijection`."""
    kind = type(_innermost(fn)).__name__
    support = getattr(fn, "support", None)
    if not isinstance(support, Constraint):
        raise ConfigError(
            f"site {name!r} is drawn from a {kind}, which is no distribution with a support"
        )
    if kind == "Delta":
        raise ConfigError(
            f"site {name!r} is a Delta, which has no density: write pyro.deterministic({name!r},"
            " value)"
        )
    if support.is_discrete:
        raise ConfigError(
            f"site {name!r} is discrete ({kind}); it must be marginalised: sum it out in the model,"
            " for example by a mixture distribution (MixtureSameFamily) or pyro.factor with"
            " logsumexp"
        )
    return f"circular:{-math.pi}:{math.pi}" if kind in CIRCULAR else _plain(name, support)


def _plain(name: str, support: Constraint) -> Constraint:
    """A constraint without its wrappers, which say what axes belong together, and Pyro's for
    ordered vectors as ours.
    """
    from pyro.distributions.constraints import ordered_vector

    mixed = type(support).__name__ == "MixtureSameFamilyConstraint"
    while isinstance(base := getattr(support, "base_constraint", None), Constraint):
        support = base
    if mixed and any(
        isinstance(bound, Tensor) and bound.dim() > 0 for bound in vars(support).values()
    ):
        raise ConfigError(
            f"site {name!r} mixes distributions with bounds of their own; give all the same, as"
            " numbers"
        )
    return ordered if isinstance(support, type(ordered_vector)) else support


def _innermost(fn: Any) -> Any:
    """Without the wrappers that leave values as they are."""
    while type(fn).__name__ in ("Independent", "MaskedDistribution", "ExpandedDistribution"):
        fn = fn.base_dist
    return fn


def _check_site(name: str, site: Mapping[str, Any]) -> None:
    """What the model may not contain."""
    if site["type"] == "param":
        raise ConfigError(
            f"{name!r} is a pyro.param, which has no prior: draw it with pyro.sample, or hold it at"
            " its present value with poutine.block(model, hide_types=['param'])"
        )
    if site["type"] != "sample":
        return
    if _is_plate(site):
        if len(site["value"]) < site["fn"].size:
            raise ConfigError(
                f"plate {name!r} subsamples {len(site['value'])} of {site['fn'].size}: importance"
                " weights need all of the data"
            )
    elif not site["is_observed"] and any(
        _in_part(mask) for mask in (site["mask"], getattr(site["fn"], "_mask", None))
    ):
        raise ConfigError(
            f"site {name!r} is masked in part, and entries without a density cannot be inferred;"
            " sample only those that have one, and observe by indexing rather than with obs_mask"
        )


def _in_part(mask: Any) -> bool:
    return isinstance(mask, Tensor) and not bool(mask.all()) and bool(mask.any())


def _check_same(first: _Traced, other: _Traced) -> None:
    for name in set(first.sites) ^ set(other.sites):
        raise _sometimes(name)
    for name, parameter in first.parameters.items():
        if other.parameters.get(name) != parameter:
            raise ConfigError(
                f"the shape or support of site {name!r} depends on other sites, being"
                f" {_short(parameter)} at one point and {_short(other.parameters.get(name))} at"
                " another; sample on a fixed support and scale it in the model, such as width *"
                f" pyro.sample({name!r}, dist.Uniform(0, 1)) for dist.Uniform(0, width)"
            )


def _short(parameter: Parameter | None) -> str:
    return "observed" if parameter is None else f"{parameter.shape} {parameter.support}"[:80]


def _takes(density: _Density, point: dict[str, Tensor], dtype: torch.dtype) -> bool:
    try:
        with torch.no_grad():
            replace(density, dtype=dtype)(point)
    except Exception:
        return False
    return True


def _check_repeats(density: _Density, point: dict[str, Tensor]) -> None:
    """The same point has the same density."""
    with torch.no_grad():
        one, two = (torch.as_tensor(density(point)) for _ in range(2))
    if not torch.equal(one.nan_to_num(), two.nan_to_num()):
        raise InferenceError(
            "the model's log density differs from one evaluation to the next at the same point: it"
            " draws random numbers other than by pyro.sample; draw them beforehand"
        )


def _sometimes(name: str) -> InferenceError:
    return InferenceError(
        f"site {name!r} is there at some points only: a posterior is over the same sites everywhere"
    )


def _require_pyro() -> None:
    try:
        import pyro  # noqa: F401
    except ImportError:
        raise ConfigError("from_pyro needs pyro-ppl: pip install 'diffeo[pyro]'") from None
