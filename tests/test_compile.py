"""`torch.compile` and `torch.export` take whole flows: no graph breaks, one graph for all batch
sizes.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo import reset, utils
from torch._dynamo.decorators import mark_unbacked
from torch.export import Dim, export

import diffeo
from diffeo.domains.image import bits_of

FLOWS = {
    "nsf": lambda: diffeo.models.nsf((4,), layers=2, hidden=(8,)),
    "nsf, lu, affine": lambda: diffeo.models.nsf(
        (4,), layers=2, hidden=(8,), mixing="lu", affine=True
    ),
    "realnvp": lambda: diffeo.models.realnvp((4,), layers=2, hidden=(8,)),
    "glow": lambda: diffeo.models.glow((3, 8, 8), size="tiny", scales=2, steps=1),
    "flowpp": lambda: diffeo.models.flowpp(
        (1, 8, 8), size="tiny", steps=(1, 1, 1), blocks=1, width=8, noise=1
    ),
}
flows = pytest.mark.parametrize(
    "build",
    [
        pytest.param(build, id=name, marks=pytest.mark.kernels if name == "nsf" else ())
        for name, build in FLOWS.items()
    ],
)
BATCHES = (7, 64, 1)


def rows(flow: diffeo.Flow, n: int) -> Tensor:
    shape = (n, *flow.event_shape)
    return torch.randint(0, 256, shape, dtype=torch.uint8) if bits_of(flow) else torch.randn(shape)


def compiled(call, **settings):
    """As one graph, by the tracer that all backends share; Inductor's own compilation takes
    minutes.
    """
    reset()
    utils.counters.clear()
    return torch.compile(call, fullgraph=True, backend="aot_eager", **settings)


def graphs() -> int:
    return utils.counters["stats"]["unique_graphs"]


@pytest.mark.slow
@flows
def test_log_prob_and_training_compile_to_one_graph(build):
    flow = build()
    vectors = len(flow.event_shape) == 1
    call = compiled(lambda x: flow.log_prob(x).mean(), dynamic=None if vectors else True)
    # below 16, PyTorch's own convolutions ask for another graph
    for n in BATCHES if vectors else (16, 64):
        x = rows(flow, n)
        if vectors:
            mark_unbacked(x, 0)  # or PyTorch compiles for one row apart
        loss = call(x)
        flow.zero_grad()
        loss.backward()
        if flow.exact:
            grads = [p.grad for p in flow.parameters()]
            flow.zero_grad()
            expected = flow.log_prob(x).mean()
            expected.backward()
            torch.testing.assert_close(loss, expected)
            for ours, p in zip(grads, flow.parameters(), strict=True):
                torch.testing.assert_close(ours, p.grad, rtol=1e-4, atol=1e-6)
    assert graphs() == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nsf", "realnvp"])
def test_sampling_compiles_to_one_graph(name):
    flow = FLOWS[name]()
    call = compiled(lambda n: flow.sample_and_log_prob((n,)), dynamic=True)
    for n in BATCHES[:2]:
        x, log_prob = call(n)
        torch.testing.assert_close(flow.log_prob(x), log_prob, rtol=1e-4, atol=1e-4)
    assert graphs() == 1


class Direction(nn.Module):
    def __init__(self, flow: diffeo.Flow, name: str) -> None:
        super().__init__()
        self.flow, self.name = flow, name

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        return getattr(self.flow, self.name)(x)


@pytest.mark.slow
@flows
@pytest.mark.parametrize("name", ["log_prob", "decode"])
def test_both_directions_export(build, name):
    flow = build()

    def argument(n: int) -> Tensor:
        return rows(flow, n) if name == "log_prob" else flow.base.sample((n,))

    program = export(
        Direction(flow, name), (argument(4),), dynamic_shapes=({0: Dim("rows", min=1)},)
    )
    for n in (1, 3):
        x = argument(n)
        ours, expected = program.module()(x), getattr(flow, name)(x)
        assert ours[0].shape == expected[0].shape
        if flow.exact:
            torch.testing.assert_close(ours, expected)


@pytest.mark.slow
def test_inductor_agrees():
    reset()
    flow, x = FLOWS["nsf"](), torch.randn(16, 4)
    torch.testing.assert_close(
        torch.compile(flow.log_prob, fullgraph=True)(x), flow.log_prob(x), rtol=1e-4, atol=1e-5
    )
