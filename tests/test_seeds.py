"""A seed gives the same in threads as alone, nothing waits for ever, and PyTorch's global
generators stay as they were.
"""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import diffeo
from cases import TINY_IMAGES, TRANSFORMS
from diffeo import models
from diffeo.core.errors import ConfigError
from diffeo.core.seeds import draws, exclusive, seeded
from diffeo.inference import AlphaDivergence

PATIENCE = 120.0  # seconds that a thread may take, on a machine that others use too

X = torch.randn(200, 3, generator=torch.Generator().manual_seed(1))
COUNTS = torch.randint(0, 4, (200, 2), generator=torch.Generator().manual_seed(2)).double()
PIXELS = torch.randint(
    0, 256, (40, 1, 4, 4), generator=torch.Generator().manual_seed(3), dtype=torch.uint8
)
STEPS = {"steps": 12, "batch_size": 16, "eval_every": 6}
SMALL = {"layers": 3, "hidden": (8, 8)}


def in_threads(jobs: list[Callable[[], Any]]) -> list[Any]:
    """What each job gives, all started at once, each in its own thread."""
    found: list[Any] = [None] * len(jobs)
    start = threading.Barrier(len(jobs))

    def go(i: int) -> None:
        start.wait(PATIENCE)
        found[i] = jobs[i]()

    threads = [threading.Thread(target=go, args=(i,), daemon=True) for i in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads), "threads wait for each other"
    return found


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def agree(alone: dict[str, Tensor], other: dict[str, Tensor] | None) -> bool:
    return other is not None and all(torch.equal(alone[name], other[name]) for name in alone)


def assert_same_in_threads(jobs: dict[str, Callable[[], dict[str, Tensor]]]) -> None:
    """The same bits in threads as one by one, and the global generator as it was."""
    state = torch.get_rng_state()
    alone = {name: job() for name, job in jobs.items()}
    assert torch.equal(state, torch.get_rng_state())
    found = dict(zip(jobs, in_threads(list(jobs.values())), strict=True))
    assert [name for name in jobs if not agree(alone[name], found[name])] == []
    assert torch.equal(state, torch.get_rng_state())


def builds() -> dict[str, Callable[[], dict[str, Tensor]]]:
    """Sixteen models of all kinds and several seeds."""
    vectors: list[tuple[str, dict[str, Any]]] = [
        ("nsf", {"seed": 1}),
        ("nsf", {"mixing": "lu", "base": "mixture", "seed": 2}),
        ("nsf", {"split": "random", "mixing": "permute", "seed": 3}),
        ("nsf", {"dropout": 0.5, "seed": 4}),
        ("nice", {"seed": 5}),
        ("realnvp", {"seed": 6}),
        ("realnvp", {"residual": True, "seed": 7}),
        ("nsf", {"supports": ["positive", "integer", "circular:0:1"], "seed": 8}),
    ]
    images = [
        (name, settings | {"seed": i}) for i, (name, settings) in enumerate(TINY_IMAGES.items())
    ]
    made = {
        f"{i} {name}": _build(name, 3, **settings) for i, (name, settings) in enumerate(vectors)
    }
    made |= {f"image {name}": _build(name, (1, 4, 4), **settings) for name, settings in images}
    made["lattice"] = lambda: weights(models.lattice((1, 4, 4), layers=4, seed=9))
    made["context"] = lambda: weights(models.nsf(3, 2, seed=10))
    return made


def _build(name: str, event: Any, **settings: Any) -> Callable[[], dict[str, Tensor]]:
    return lambda: weights(models.MODELS[name](event, **settings))


def test_models_built_in_threads() -> None:
    jobs = builds()
    assert len(jobs) >= 16
    assert_same_in_threads(jobs)


class Noisy(nn.Module):
    """A network of somebody's own that draws noise in training."""

    def __init__(self, in_shape: Any, out_shape: Any, context_shape: Any) -> None:
        super().__init__()
        self.out_shape = tuple(out_shape)
        self.linear = nn.Linear(torch.Size(in_shape).numel(), torch.Size(out_shape).numel())
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        y: Tensor = self.linear(x + torch.randn_like(x) if self.training else x)
        return y.unflatten(1, self.out_shape)


def noisy() -> diffeo.Flow:
    with seeded(0):
        couplings = [diffeo.layers.Coupling((3,), diffeo.maps.Affine(), Noisy) for _ in range(2)]
        return diffeo.Flow(diffeo.Chain(couplings), diffeo.bases.Normal(3))


class Drawn:
    """Batches that are drawn when they are asked for."""

    def __iter__(self) -> Iterator[Tensor]:
        for _ in range(5):
            yield torch.randn(16, 3)


def fitted(
    make: Callable[[], diffeo.Flow], x: Any, **settings: Any
) -> Callable[[], dict[str, Tensor]]:
    return lambda: weights(diffeo.fit(make(), x, **STEPS | {"seed": 5} | settings).flow)


def fits() -> dict[str, Callable[[], dict[str, Tensor]]]:
    def table(**settings: Any) -> Callable[[], diffeo.Flow]:
        return lambda: models.nsf(3, **SMALL | settings)

    def image(name: str, **settings: Any) -> Callable[[], diffeo.Flow]:
        return lambda: models.MODELS[name]((1, 4, 4), **TINY_IMAGES[name] | settings)

    return {
        "plain": fitted(table(), X),
        "dropout": fitted(table(dropout=0.4), X),
        "dropout, other seed": fitted(table(dropout=0.4), X, seed=6),
        "dropout, recomputed": fitted(table(dropout=0.4), X, memory="invert"),
        "counts": fitted(
            lambda: models.realnvp(2, supports=["integer", "integer"], **SMALL), COUNTS
        ),
        "pixels": fitted(image("realnvp"), PIXELS, flips=True),
        "pixels, recomputed": fitted(image("glow"), PIXELS, memory="invert"),
        "learned dequantisation": fitted(image("flowpp", dropout=0.2), PIXELS),
        "a module of one's own": fitted(noisy, X),
        "a loader that shuffles": fitted(
            table(), DataLoader(TensorDataset(X), 16, shuffle=True), valid=X[:20]
        ),
        "batches drawn on demand": fitted(table(dropout=0.4), Drawn(), valid=X[:20]),
    }


def test_fits_in_threads() -> None:
    assert_same_in_threads(fits())


def test_estimators_in_threads() -> None:
    def job(seed: int) -> Callable[[], dict[str, Tensor]]:
        def run() -> dict[str, Tensor]:
            made = diffeo.FlowEstimator(model_args=SMALL, fit_args=STEPS, random_state=seed).fit(
                X.numpy()
            )
            return weights(made.flow_) | {"drawn": torch.from_numpy(made.sample(5))}

        return run

    assert_same_in_threads({f"seed {seed}": job(seed) for seed in range(4)})


def tails(x: Tensor) -> Tensor:
    """Too heavy for flows of a normal base: the verdict is quick."""
    return -2 * x.square().log1p().sum(1)


def test_posteriors_in_threads() -> None:
    def job(**settings: Any) -> Callable[[], dict[str, Tensor]]:
        common = {"effort": "flow", "steps": 10, "samples": 200, "batch_size": 32} | SMALL

        def run() -> dict[str, Tensor]:
            found = diffeo.infer(tails, 2, **common | settings)
            return {
                "draws": found.draws,
                "weights": found.log_weights,
                "snr": torch.tensor(found.diagnostics.gradient_snr),
            }

        return run

    jobs = {"plain": job(seed=1)}
    jobs["objective"] = job(objective=lambda flow, target: AlphaDivergence(flow, target, 0.5))
    jobs["dropout"] = job(model=models.nsf(2, dropout=0.3, **SMALL))
    assert_same_in_threads(jobs)


def test_scores_and_checks_in_threads() -> None:
    counts, pixels = (
        models.nsf(2, supports=["integer", "integer"], **SMALL),
        models.MODELS["glow"]((1, 4, 4), **TINY_IMAGES["glow"]),
    )

    def checked() -> dict[str, Tensor]:
        return {"gap": torch.tensor(diffeo.check(counts, COUNTS).round_trip_max)}

    assert_same_in_threads(
        {
            "score": lambda: {"log p": diffeo.training.log_probs(counts, COUNTS)},
            "bound": lambda: {"log p": diffeo.training.log_probs(pixels, PIXELS, importance=3)},
            "check": checked,
            "reconstruct": lambda: {"x": diffeo.latents.reconstruct(pixels, PIXELS, keep=1)},
        }
    )


# What is said to draw nothing does not


@pytest.mark.parametrize("name", TRANSFORMS)
def test_what_draws_is_known_to(name: str) -> None:
    case = TRANSFORMS[name]
    transform = case.ready().train()
    if draws(getattr(transform, "flow", transform)):
        return
    x, context = case.inputs(4)
    state = torch.get_rng_state()
    y, _ = transform(x, context)
    transform.inverse(y, context)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (nn.Linear(2, 2), False),
        (nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.1)), True),
        (nn.Dropout2d(), True),
        (nn.RReLU(), True),
        (nn.TransformerEncoderLayer(4, 2), True),
        (Noisy((2,), (2,), None), True),
        (models.nsf(2, **SMALL), False),
        (models.nsf(2, dropout=0.1, **SMALL), True),
        (models.nsf(2, supports=["integer", "real"], **SMALL), True),
    ],
    ids=lambda value: type(value).__name__,
)
def test_draws(module: nn.Module, expected: bool) -> None:
    assert draws(module) is expected


def test_a_hook_may_draw() -> None:
    module = nn.Linear(2, 2)
    module.register_forward_hook(lambda _, __, y: y + torch.randn_like(y))
    assert draws(module)


# Nobody waits for ever


def test_what_draws_nothing_does_not_wait() -> None:
    """A fit of a plain table goes on while another thread has the generators."""
    flow = models.nsf(3, **SMALL)
    objective = diffeo.training.NegativeLogLikelihood(flow)
    with exclusive():
        (found,) = in_threads([lambda: diffeo.core.seeds.seeder(objective)(1).__enter__() is None])
    assert found


def test_a_callback_may_wait_for_a_fit_in_another_thread() -> None:
    done: list[bool] = []

    def tell(progress: Any) -> None:
        if not done:
            done.extend(value is not None for value in in_threads([fits()["dropout"]]))

    diffeo.fit(models.nsf(3, dropout=0.4, **SMALL), X, progress=tell, **STEPS)
    assert done == [True]


def test_a_callback_may_fit() -> None:
    plain, inner = fits()["dropout"](), []

    def tell(progress: Any) -> None:
        inner.append(fits()["pixels"]())

    outer = weights(
        diffeo.fit(models.nsf(3, dropout=0.4, **SMALL), X, progress=tell, seed=5, **STEPS).flow
    )
    assert agree(plain, outer)
    assert agree(inner[0], inner[-1])


@pytest.mark.parametrize(
    "held", [True, False], ids=["in the turn of its forward pass", "by itself"]
)
def test_backward_in_a_thread_of_autograd(held: bool) -> None:
    """On accelerators `backward` runs in a thread for which the caller waits."""
    with seeded(3):
        couplings = [
            diffeo.layers.Coupling(
                (4,), diffeo.maps.Affine(), diffeo.conditioners.MLP((8,), dropout=0.5)
            )
            for _ in "ab"
        ]
        chain = diffeo.Chain(couplings)
        for parameter in chain.parameters():
            nn.init.normal_(parameter, std=0.3)
    x = torch.randn(16, 4)

    def gradients(run: nn.Module, elsewhere: bool) -> list[Tensor]:
        chain.zero_grad()
        with seeded(7):
            loss = run(x)[0].square().sum()
            if held:
                in_threads([loss.backward]) if elsewhere else loss.backward()
        if not held:
            in_threads([loss.backward]) if elsewhere else loss.backward()
        return [p.grad.clone() for p in chain.parameters() if p.grad is not None]

    expected = gradients(chain, False)
    for one, other in zip(expected, gradients(diffeo.layers.Recompute(chain), True), strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)


def _interrupted() -> None:
    torch.rand(3)
    raise KeyboardInterrupt


def test_an_interrupt_leaves_the_generators_free() -> None:
    state = torch.get_rng_state()
    with pytest.raises(KeyboardInterrupt), seeded(1):
        _interrupted()
    assert torch.equal(state, torch.get_rng_state())
    assert agree(builds()["0 nsf"](), in_threads([builds()["0 nsf"]])[0])


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
def test_a_process_forked_meanwhile_is_free() -> None:
    """As workers of a DataLoader are, while another thread has the generators."""
    inside, over = threading.Event(), threading.Event()

    def hold() -> None:
        with exclusive():
            inside.set()
            over.wait(PATIENCE)

    holder = threading.Thread(target=hold, daemon=True)
    holder.start()
    inside.wait(PATIENCE)
    worker = multiprocessing.get_context("fork").Process(target=_enter, daemon=True)
    worker.start()
    worker.join(PATIENCE / 4)
    worker.kill()
    over.set()
    holder.join(PATIENCE)
    assert worker.exitcode == 0


def _enter() -> None:
    with seeded(1):
        pass


# Large seeds


@pytest.mark.parametrize("seed", [-(2**63), -1, 2**43, 2**63, 2**64 - 1])
def test_every_seed_of_64_bits(seed: int) -> None:
    diffeo.models.nsf(4, split="random", mixing="permute", base="mixture", seed=seed, **SMALL)
    models.MODELS["jet"]((1, 4, 4), **TINY_IMAGES["jet"] | {"seed": seed})


@pytest.mark.parametrize("seed", [2**64, -(2**63) - 1])
def test_a_seed_of_more_bits_is_refused(seed: int) -> None:
    with pytest.raises(ConfigError, match="seed must be a whole number"):
        diffeo.models.nsf(4, seed=seed)
