"""flowjax on JAX: the whole training step is one compiled function, as are log_prob and sample.

XLA takes as many threads as there are processors that it may run on: bench.py ties every contender
to as many as asked for.
"""

from __future__ import annotations

from functools import partial
from importlib.metadata import version
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
import paramax
from flowjax.bijections import RationalQuadraticSpline
from flowjax.distributions import Normal
from flowjax.flows import coupling_flow
from worker import RATE, Contender, Settings, serve

NSF_NOTE = (
    "its splines' slopes at the ends of the box are learned: 3 bins + 1 outputs an entry instead of"
    " 3 bins - 1"
)
NOTE = "entries are permuted at random between layers instead of halves alternating"


def build(s: Settings) -> Contender:
    params, static = parts(s)
    optimizer = optax.adam(RATE)
    state = optimizer.init(params)

    def whole(params: Any) -> Any:
        return paramax.unwrap(eqx.combine(params, static))

    @partial(jax.jit, donate_argnums=(0, 1))
    def update(params: Any, state: Any, x: jax.Array) -> tuple[Any, Any, jax.Array]:
        loss, grads = jax.value_and_grad(lambda p: -whole(p).log_prob(x).mean())(params)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state, loss

    @jax.jit
    def score(params: Any, x: jax.Array) -> jax.Array:
        return whole(params).log_prob(x)

    @partial(jax.jit, static_argnums=2)
    def draw(params: Any, key: jax.Array, n: int) -> jax.Array:
        return whole(params).sample(key, (n,))

    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    kept = {"params": params, "state": state, "key": jr.key(1)}

    def step(x: jax.Array) -> float:
        kept["params"], kept["state"], loss = jax.block_until_ready(
            update(kept["params"], kept["state"], x)
        )
        return float(loss)

    def sample(n: int) -> jax.Array:
        kept["key"], key = jr.split(kept["key"])
        return draw(kept["params"], key, n).block_until_ready()

    note = f"{NSF_NOTE}; {NOTE}" if s.model == "nsf" else NOTE
    release = f"flowjax {version('flowjax')} on jax {version('jax')}"
    return Contender(
        release,
        count,
        jnp.asarray,
        step,
        lambda x: score(kept["params"], x).block_until_ready(),
        sample,
        note,
    )


def parts(s: Settings) -> tuple[Any, Any]:
    """The flow, cut into its trainable arrays and the rest."""
    # inner knots
    spline = RationalQuadraticSpline(knots=s.bins - 1, interval=5) if s.model == "nsf" else None
    flow = coupling_flow(
        jr.key(0),
        base_dist=paramax.non_trainable(Normal(jnp.zeros(s.shape))),
        transformer=spline,
        flow_layers=s.layers,
        nn_width=s.hidden[0],
        nn_depth=len(s.hidden),
    )
    return eqx.partition(
        flow, eqx.is_inexact_array, is_leaf=lambda leaf: isinstance(leaf, paramax.NonTrainable)
    )


if __name__ == "__main__":
    serve(build)
