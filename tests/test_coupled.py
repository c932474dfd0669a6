"""Whole coupling layers in one call against the same by parts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

import diffeo
from diffeo.conditioners import MLP, ConvNet
from diffeo.kernels import coupling, kernels, planner, pool
from diffeo.layers import Coupling, LULinear
from diffeo.layers.coupling import plan
from diffeo.maps import Affine, LogisticMixture, RQSpline
from diffeo.partitions import Channels, Halves, Indices, Partition, alternating, random

pytestmark = pytest.mark.skipif(
    not kernels().native, reason=f"no compiled kernels: {kernels().reason}"
)
ROWS = 300  # several blocks, the last of them short


@pytest.fixture
def by_parts(monkeypatch):
    """Call it to have what follows done by parts."""
    return lambda: monkeypatch.setattr(coupling, "takes", lambda *_: False)


def layer(
    size: int = 7,
    map: object = None,
    hidden: tuple[int, ...] = (40, 24),
    partition: Partition | None = None,
    context: int | None = None,
) -> Coupling:
    """A coupling layer in float64 that is not the identity."""
    made = Coupling(
        size, map or RQSpline(bins=5), MLP(hidden), partition, context_shape=context
    ).double()
    with torch.no_grad():
        for p in made.parameters():
            p.copy_(torch.randn_like(p) * 0.3)
    return made


def rows(size: int = 7, count: int = ROWS) -> Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def everything(
    module: torch.nn.Module, x: Tensor, context: Tensor | None = None, inverse: bool = False
) -> list[Tensor]:
    """Value, log-det, and the gradients of a random combination of both by x, context and
    weights.
    """
    given = [t.detach().requires_grad_() for t in (x, context) if t is not None]
    y, logdet = (module.inverse if inverse else module)(*given)
    generator = torch.Generator().manual_seed(2)
    weights = [
        torch.randn(t.shape, generator=generator, dtype=torch.float64).to(t.dtype)
        for t in (y, logdet)
    ]
    return [y, logdet, *torch.autograd.grad([y, logdet], [*given, *module.parameters()], weights)]


def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many layers each call that follows does at once."""
    counts: list[int] = []
    real = coupling.couple
    monkeypatch.setattr(
        coupling, "couple", lambda layers, *rest: counts.append(len(layers)) or real(layers, *rest)
    )
    return counts


LAYERS = {
    "halves": lambda: layer(),
    "flipped halves": lambda: layer(partition=Halves(flip=True)),
    "alternating": lambda: layer(8, partition=alternating(8)),
    "alternating the other way": lambda: layer(8, partition=alternating(8, flip=True)),
    "any columns": lambda: layer(partition=Indices(7, [6, 1, 2])),
    "affine": lambda: layer(map=Affine()),
    "mixture of logistics": lambda: layer(map=LogisticMixture(components=3)),
    "free ends": lambda: layer(map=RQSpline(bins=4, ends="free")),
    "many outputs": lambda: layer(100, RQSpline(bins=16)),
    "many inputs": lambda: layer(90, Affine(), hidden=(33,)),
    "one layer": lambda: layer(hidden=()),
    "narrow": lambda: layer(hidden=(3, 2, 5)),
    "three layers": lambda: diffeo.Chain([layer(), layer(partition=Halves(flip=True)), layer()]),
    "four layers, alternating": lambda: diffeo.Chain(
        [layer(8, Affine(), partition=alternating(8, flip=i % 2 == 0)) for i in range(4)]
    ),
}


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("inverse", [False, True])
def test_agrees_with_the_parts(make, inverse, by_parts, monkeypatch):
    module, counts = make(), calls(monkeypatch)
    size = (module[0] if isinstance(module, diffeo.Chain) else module).event_shape[0]
    at_once = everything(module, rows(size), inverse=inverse)
    assert counts == [len(module) if isinstance(module, diffeo.Chain) else 1]
    by_parts()
    for ours, theirs in zip(at_once, everything(module, rows(size), inverse=inverse), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("count", [1, 5, 16, 17, 128, 129, 1_100])
def test_any_number_of_rows(count, by_parts):
    module, x, context = (
        diffeo.Chain([layer(context=2), layer(context=2)]),
        rows(count=count),
        rows(2, count),
    )
    at_once = everything(module, x, context)
    by_parts()
    for ours, theirs in zip(at_once, everything(module, x, context), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)


def test_memory_layouts_and_no_rows(by_parts):
    module, x, context = layer(context=2), rows(), rows(2, 1)
    cases = [
        (x.t().contiguous().t(), context.expand(ROWS, 2)),
        (rows(14)[:, ::2], rows(4)[:, 1:3]),
        (x[:0], rows(2, 0)),
    ]
    at_once = [everything(module, *case) for case in cases]
    by_parts()
    for case, result in zip(cases, at_once, strict=True):
        for ours, theirs in zip(result, everything(module, *case), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)


def test_nan_stays_in_its_row():
    module, x = layer(), rows()
    clean = module(x)
    x[9, 0] = x[11, 6] = float("nan")
    y, logdet = module(x)
    assert y[9, 3:].isnan().all()
    assert y[11, 6].isnan()
    others = [i for i in range(ROWS) if i not in (9, 11)]
    assert torch.equal(y[others], clean[0][others])
    assert torch.equal(logdet[others], clean[1][others])


@pytest.mark.parametrize(
    "make",
    [
        lambda: (diffeo.Chain([layer(), layer(partition=Halves(flip=True))]), rows(count=2_500)),
        lambda: (of_images((12, 8, 8)), images((12, 8, 8), 70)),
    ],
    ids=["vectors", "images"],
)
def test_same_bits_for_any_number_of_threads(make):
    module, x = make()
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(everything(module.float(), x.float()))
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_gradients_only_where_they_are_wanted(by_parts):
    module, x, context = layer(context=2), rows(), rows(2)
    module.conditioner.requires_grad_(False)
    (grad,) = torch.autograd.grad(module(x.requires_grad_(), context)[1].sum(), x)
    module.conditioner.body[2].requires_grad_(True)
    wanted = list(module.conditioner.body[2].parameters())
    of_some = torch.autograd.grad(module(x.detach(), context)[1].sum(), wanted)
    by_parts()
    truth = torch.autograd.grad(module(x, context)[1].sum(), [x, *wanted])
    for ours, theirs in zip((grad, *of_some), truth, strict=True):
        torch.testing.assert_close(ours, theirs)


def of_images(
    shape: tuple[int, int, int],
    map: object = None,
    width: int = 20,
    flip: bool = False,
    **context: object,
) -> Coupling:
    made = Coupling(shape, map or Affine(), ConvNet(width), Channels(flip), **context).double()
    with torch.no_grad():
        for p in made.parameters():
            p.copy_(torch.randn_like(p) * 0.1)
    return made


def images(shape: tuple[int, int, int], count: int) -> Tensor:
    return torch.randn(
        count, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("inverse", [False, True])
# 40: blocks of several images, the last of them short
@pytest.mark.parametrize("count", [1, 3, 40])
@pytest.mark.parametrize(
    "shape", [(12, 16, 16), (24, 8, 8), (48, 4, 4), (3, 5, 7), (4, 1, 1), (6, 2, 3)]
)
def test_images(shape, count, inverse, layout, by_parts):
    module, x = (
        of_images(shape, flip=count == 3),
        images(shape, count).contiguous(memory_format=layout),
    )
    at_once = everything(module, x, inverse=inverse)
    assert at_once[0].stride() == x.stride()
    by_parts()
    for ours, theirs in zip(at_once, everything(module, x, inverse=inverse), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)


def test_images_by_splines_and_mixtures(by_parts):
    for map in (RQSpline(bins=4), LogisticMixture(components=2)):
        module, x = (
            diffeo.Chain([of_images((4, 6, 5), map), of_images((4, 6, 5), map, flip=True)]),
            images((4, 6, 5), 7),
        )
        assert len(planner.together(list(module), x, None, inverse=False)) == 2
        at_once, expected = everything(module, x), None
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(coupling, "takes", lambda *_: False)
            expected = everything(module, x)
        for ours, theirs in zip(at_once, expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)


def test_strided_images_and_weights(by_parts):
    module, x = of_images((4, 6, 5)), images((8, 12, 5), 7)[:, ::2, 1::2]
    module.conditioner.first.weight.data = module.conditioner.first.weight.data.contiguous()
    at_once = everything(module, x)
    by_parts()
    for ours, theirs in zip(at_once, everything(module, x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)


def test_nan_stays_in_its_image():
    module, x = of_images((4, 3, 3)), images((4, 3, 3), 30)
    clean = module(x)
    x[9, 0, 1, 1] = float("nan")
    y, logdet = module(x)
    others = [i for i in range(30) if i != 9]
    assert y[9, 2:].isnan().all()
    assert torch.equal(y[others], clean[0][others])
    assert torch.equal(logdet[others], clean[1][others])


def test_images_with_a_context_go_by_parts(monkeypatch):
    counts = calls(monkeypatch)
    of_images((4, 3, 3), context_shape=2)(images((4, 3, 3), 2), rows(2, 2))
    assert counts == []


def test_second_derivatives_of_images():
    module, x = of_images((2, 2, 3), width=3), images((2, 2, 3), 2).requires_grad_()
    weight = module.conditioner.rest[3].weight
    assert gradgradcheck(lambda x, _: module(x), (x, weight))


@pytest.mark.parametrize("map", [Affine(), RQSpline(bins=3)])
def test_first_and_second_derivatives(map):
    first, second = (
        layer(3, map, (4,), context=2),
        layer(3, map, (4,), Halves(flip=True), context=2),
    )
    chain, x, context = (
        diffeo.Chain([first, second]),
        rows(3, 2).requires_grad_(),
        rows(2, 2).requires_grad_(),
    )
    weight = first.conditioner.body[0].weight

    def run(x: Tensor, context: Tensor, _: Tensor) -> tuple[Tensor, ...]:
        return chain(x, context)

    assert gradcheck(run, (x, context, weight))
    assert gradgradcheck(run, (x, context, weight))


def test_what_cannot_go_together_does_not(monkeypatch):
    counts = calls(monkeypatch)
    different = layer(map=RQSpline(bins=6))
    hidden = layer(hidden=(8,))
    chain = diffeo.Chain([layer(), layer(), LULinear(7).double(), layer(), different, hidden])
    y, logdet = chain(rows())
    assert counts == [2, 1, 1, 1]
    x, back = chain.inverse(y)
    assert counts == [2, 1, 1, 1, 1, 1, 1, 2]
    torch.testing.assert_close(x, rows(), atol=1e-8, rtol=0)
    torch.testing.assert_close(back, -logdet)


def test_dropout_goes_by_parts_while_training(monkeypatch):
    counts = calls(monkeypatch)
    module = Coupling(7, Affine(), MLP((9,), dropout=0.5), random(7)).double()
    torch.nn.init.normal_(module.conditioner.body[-1].weight)
    assert not torch.equal(module(rows())[0], module(rows())[0])
    assert counts == []
    module.eval()
    torch.testing.assert_close(
        module(rows())[0], module.by_parts(rows(), None, module.map.forward_by_row)[0]
    )
    assert counts == [1]


def test_what_is_put_upon_a_layer_is_heeded():
    seen = []
    module = layer()
    chain = diffeo.Chain([module, layer()])
    module.conditioner.body[0].register_forward_hook(lambda *_: seen.append("linear"))
    chain(rows())
    module.conditioner.register_forward_pre_hook(lambda *_: seen.append("network"))
    chain(rows())
    chain[1].register_forward_hook(lambda *_: seen.append("coupling"))
    chain(rows())
    assert seen == ["linear", "network", "linear", "network", "linear", "coupling"]
    scaled = layer()
    torch.nn.utils.parametrizations.weight_norm(scaled.conditioner.body[0])
    torch.testing.assert_close(
        scaled(rows())[0], scaled.by_parts(rows(), None, scaled.map.forward_by_row)[0]
    )


@pytest.mark.parametrize("map", [Affine(), RQSpline(bins=5)])
def test_operators_keep_their_contract_with_pytorch(map):
    module, x, context = (
        layer(map=map, context=2),
        rows(count=4).requires_grad_(),
        rows(2, 4).requires_grad_(),
    )
    call = plan.describe(module, inverse=False)
    given, settings = (
        (x, context, call.weights, call.biases),
        (list(call.order), call.kernel.name, call.kernel.settings),
    )
    torch.library.opcheck(torch.ops.diffeo.coupling.default, (*given, *settings))
    shapes = {"test_utils": ("test_schema", "test_faketensor")}
    kept, grads = torch.empty(16 * 1_000, dtype=x.dtype), (rows(count=4), rows(1, 4)[:, 0])
    torch.library.opcheck(
        torch.ops.diffeo.coupling_keep.default, (*given, kept, *settings, False), **shapes
    )
    torch.library.opcheck(
        torch.ops.diffeo.coupling_backward.default,
        (*grads, *given, None, *settings, True, True),
        **shapes,
    )


def test_operators_on_images_keep_their_contract_with_pytorch():
    module, x = of_images((4, 3, 2)), images((4, 3, 2), 3).requires_grad_()
    call = plan.describe(module, inverse=False)
    settings = (list(call.order), call.kernel.name, call.kernel.settings)
    torch.library.opcheck(
        torch.ops.diffeo.coupling.default, (x, None, call.weights, call.biases, *settings)
    )


def test_what_was_not_kept_is_made_again():
    module, x = layer(), rows().requires_grad_()
    call = plan.describe(module, inverse=False)
    y, logdet = torch.ops.diffeo.coupling(
        x,
        None,
        call.weights,
        call.biases,
        list(call.order),
        call.kernel.name,
        call.kernel.settings,
    )
    given = [x, *module.parameters()]
    truth = torch.autograd.grad([(out**2).sum() for out in module(x)], given)
    for ours, theirs in zip(
        torch.autograd.grad([(out**2).sum() for out in (y, logdet)], given), truth, strict=True
    ):
        assert torch.equal(ours, theirs)


def test_a_wrong_shape_is_an_error():
    call = plan.describe(layer(), inverse=False)
    op, rest = torch.ops.diffeo.coupling, (call.kernel.name, call.kernel.settings)
    with pytest.raises(RuntimeError, match="do not fit together"):
        op(rows(8), None, call.weights, call.biases, [*call.order, 7], *rest)
    for order in ([0, 1, 2, 3, 4, 5, 7], [0, 1, 2, 3, 4, 5, 5], [0, 1, 2]):
        with pytest.raises(RuntimeError, match="each feature"):
            op(rows(), None, call.weights, call.biases, order, *rest)
    with pytest.raises(RuntimeError, match="context"):
        op(rows(), rows(2, 5), call.weights, call.biases, list(call.order), *rest)
    with pytest.raises(RuntimeError, match="no compiled map is called nothing"):
        op(rows(), None, call.weights, call.biases, list(call.order), "nothing", [])
    with pytest.raises(RuntimeError, match="too little is kept"):
        torch.ops.diffeo.coupling_keep(
            rows(), None, call.weights, call.biases, rows(1), list(call.order), *rest, False
        )


def test_memory_that_is_used_again(monkeypatch):
    monkeypatch.setattr(pool, "LARGE", 0)
    memory = pool.Pool()
    first = memory.empty(100, torch.float32)
    place, held = first.data_ptr(), first[3:]  # whoever holds a part holds it all
    del first
    second = memory.empty(100, torch.float32)
    assert second.data_ptr() != place
    del held
    others = [memory.empty(50, torch.float32), memory.empty(100, torch.float64)]
    assert place not in [other.data_ptr() for other in others]
    assert memory.empty(100, torch.float32).data_ptr() == place


@pytest.mark.parametrize("same", ["context", "layer", "input"])
def test_gradients_that_can_be_differentiated_are_the_same(same):
    """Also where one thing that is given depends on another, or is the same."""
    first, second = layer(context=7), layer(context=7)
    x, context = rows().requires_grad_(), rows(7, ROWS).requires_grad_()
    mixed = LULinear(7).double()
    chain = diffeo.Chain([first, mixed, first if same == "layer" else second])

    def gradients(create_graph: bool) -> tuple[Tensor, ...]:
        y, logdet = chain(x, x if same == "input" else context)
        wanted = [x, *first.parameters()] if same == "input" else [x, context, *first.parameters()]
        return torch.autograd.grad([y.sum(), (logdet**2).sum()], wanted, create_graph=create_graph)

    for ours, theirs in zip(gradients(True), gradients(False), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)


def test_networks_of_another_kind_go_by_parts(monkeypatch):
    counts = calls(monkeypatch)
    flat = Coupling((4, 4, 4), Affine(), MLP((8,)), Channels()).double()
    flat(images((4, 4, 4), 3))
    of_images((4, 4, 4))(images((4, 4, 4), 3), rows(2, 3))  # a context that it does not read
    diffeo.Chain([flat, of_images((4, 4, 4))])(images((4, 4, 4), 3))
    strange = layer()
    strange.conditioner.body[1] = torch.nn.Tanh()
    strange(rows())
    assert counts == [1]


def test_shared_weights_are_retraced(by_parts):
    module = layer(hidden=(8, 8, 8))
    module.conditioner.body[4].weight = module.conditioner.body[2].weight
    y, grads = module(rows())[0].detach(), (rows(7, ROWS), rows(1, ROWS)[:, 0])
    at_once = planner.retrace(module, y, None, grads, list(module.parameters()))
    by_parts()
    expected = planner.retrace(module, y, None, grads, list(module.parameters()))
    for ours, theirs in zip(
        (*at_once[:2], *at_once[2]), (*expected[:2], *expected[2]), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-7)
