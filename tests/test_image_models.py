"""Models of images: their bits per dimension are bookkept exactly, they invert at every size, they
train.
"""

from __future__ import annotations

import hashlib
import io
import math
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images
from torch import Tensor, nn

import diffeo
from cases import IMAGE_PARTITIONS, TINY_IMAGES, TOKEN_PARTITIONS, randomise
from diffeo.bases import Normal, Uniform
from diffeo.core.errors import ConfigError, ContextError, DataError, ShapeError
from diffeo.domains.recommend import recommend_images
from diffeo.kernels import kernels
from diffeo.layers import ActNorm, Conv1x1, Coupling, Dequantize, Logit, Pad, Pointwise
from diffeo.maps import Additive, Affine, ElementwiseMap, RQSpline
from diffeo.models.images.frame import multiscale
from diffeo.partitions import Channels, Checkerboard
from diffeo.runs import fingerprint
from diffeo.training import NegativeLogLikelihood, evaluate
from diffeo.training.dataset import Dataset
from diffeo.training.sample_grid import SampleGrid

NAMES = list(TINY_IMAGES)


def tiny(name: str, event: tuple[int, ...], **options: object) -> diffeo.Flow:
    return diffeo.models.MODELS[name](event, **{"size": "tiny", **options})


def pixels(*shape: int, bits: int = 8, seed: int = 0) -> Tensor:
    return torch.randint(
        0, 2**bits, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


def digits() -> Tensor:
    """1,797 images (1, 8, 8) of values 0 to 16, hence of 5 bits."""
    return torch.from_numpy(load_digits().images).to(torch.uint8)[:, None]


def photographs(n: int, size: int = 32, seed: int = 0) -> Tensor:
    """Crops (n, 3, size, size) of two photographs."""
    images = [
        torch.from_numpy(image.copy()).permute(2, 0, 1) for image in load_sample_images().images
    ]
    g = torch.Generator().manual_seed(seed)
    tops = torch.randint(0, images[0].shape[1] - size, (n,), generator=g).tolist()
    lefts = torch.randint(0, images[0].shape[2] - size, (n,), generator=g).tolist()
    crops = [
        images[i % 2][:, t : t + size, s : s + size]
        for i, (t, s) in enumerate(zip(tops, lefts, strict=True))
    ]
    return torch.stack(crops)


def steps(flow: diffeo.Flow, x: Tensor, n: int, batch: int = 32, lr: float = 1e-3) -> list[float]:
    """Losses, in bits per dimension, of n steps of Adam."""
    flow.initialize(x[: 4 * batch])
    optimizer = torch.optim.Adam(flow.parameters(), lr)
    losses = []
    for i in range(n):
        rows = torch.arange(i * batch, (i + 1) * batch) % len(x)
        loss = -flow.log_prob(x[rows]).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 5.0)
        optimizer.step()
        losses.append(loss.item() / math.prod(flow.event_shape) / math.log(2))
    return losses


# --- bookkeeping ----------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [1, 5, 8])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 32, 32)])
def test_uniform_model_scores_its_bits(bits: int, shape: tuple[int, ...]) -> None:
    """8.000 bits/dim at 8 bits and 5.000 at 5, whatever the pixels."""
    flow = diffeo.Flow(Dequantize(bits=bits), Uniform(shape, 0.0, 1.0))
    assert evaluate(flow, pixels(20, *shape, bits=bits)).bits_per_dim == pytest.approx(
        bits, abs=1e-6
    )


def one_pixel(alpha: float | None) -> diffeo.Flow:
    """A random density of one pixel."""
    links = [Dequantize(bits=8), *([] if alpha is None else [Logit(alpha)]), ActNorm((1, 1, 1))]
    flow = diffeo.Flow(
        diffeo.Chain([*links, Pointwise((1, 1, 1), RQSpline(bins=6))]), Normal((1, 1, 1))
    )
    flow.initialize(pixels(500, 1, 1, 1))
    return randomise(flow, spread=0.7).double()


@pytest.mark.parametrize("alpha", [0.05, 1e-5])
def test_probabilities_of_all_pixel_values_sum_to_one(
    alpha: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Σ_x E_u p(x + u), the noise on a grid of 512 points, is the mass that the base has on the
    image of [0, 1] (uva#57).

    With α = 1e-5 that is 1 to 1e-4; with α = 0.05 some of it lies beyond the pixels' range.
    """
    flow, points = one_pixel(alpha), 512
    noise = ((torch.arange(points, dtype=torch.float64) + 0.5) / points).repeat(256)
    values = torch.arange(256).repeat_interleave(points).to(torch.uint8).view(-1, 1, 1, 1)
    with torch.no_grad(), monkeypatch.context() as patch:
        patch.setattr(torch, "rand_like", lambda x: noise.view_as(x).to(x))
        total = float(flow.log_prob(values).exp().view(256, points).mean(1).sum())
        z = torch.tensor([0.0, 1.0], dtype=torch.float64).view(2, 1, 1, 1)
        for link in list(flow.transform)[1:]:  # type: ignore[call-overload]
            z = link(z)[0]
    low, high = torch.special.ndtr(z).flatten().tolist()
    assert total == pytest.approx(high - low, abs=1e-4)
    assert (total == pytest.approx(1.0, abs=1e-4)) == (alpha == 1e-5)


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_quantise_undoes_dequantise(bits: int, dtype: torch.dtype) -> None:
    """Bit for bit, for every value and noise next to both ends of its level."""
    layer = Dequantize(bits=bits).to(dtype)
    x = torch.arange(2**bits, dtype=torch.uint8).repeat(4000).view(-1, 1, 1, 1)
    y, there = layer(x)
    again, back = layer.inverse(y)
    assert again.dtype == torch.uint8
    assert torch.equal(again, x)
    assert torch.equal(there, -back)
    assert y.dtype == dtype


def test_logdets_of_the_preprocessing_cancel() -> None:
    """With α = 1e-5, to rounding (uva#57)."""
    chain = diffeo.Chain([Dequantize(bits=8), Logit(1e-5)]).double()
    y, there = chain(pixels(500, 1, 4, 4))
    assert (there + chain.inverse(y)[1]).abs().max() < 1e-9


def test_pad_costs_nothing_when_left_alone() -> None:
    """log p(x, u) − log N(u) = log p(x) where the flow does not touch the noise."""
    plain = diffeo.Flow(ActNorm((1, 3, 5)), Normal((1, 3, 5)))
    padded = diffeo.Flow(diffeo.Chain([ActNorm((1, 3, 5)), Pad((1, 3, 5), 4)]), Normal((1, 4, 8)))
    x = torch.randn(50, 1, 3, 5)
    torch.testing.assert_close(padded.log_prob(x), plain.log_prob(x), rtol=1e-5, atol=1e-4)


def test_pad_counts_the_margin_alone() -> None:
    """Not as a difference of sums over all pixels, which large ones would swallow."""
    layer = Pad((1, 3, 5), 4)
    x = 1e4 * torch.randn(20, 1, 3, 5)
    y, there = layer(x)
    again, back = layer.inverse(y)
    inner = torch.zeros(1, 4, 8, dtype=torch.bool)
    inner[:, :3, :5] = True
    exact = Normal(17).double().log_prob(y[:, ~inner].double())
    torch.testing.assert_close(back.double(), exact, rtol=1e-5, atol=1e-5)
    assert torch.equal(there, -back)
    assert torch.equal(again, x)


def test_importance_tightens_the_bound() -> None:
    """More draws of the noise, a likelihood that is no smaller; one draw is the plain bound."""
    flow, x = tiny("glow", (1, 8, 8), bits=5, scales=1, steps=1, width=8), digits()[:256]
    steps(flow, x, 20)
    one, eight = (evaluate(flow, x, importance=k) for k in (1, 8))
    assert eight.bits_per_dim < one.bits_per_dim - 1e-3
    assert evaluate(flow, x).bits_per_dim == one.bits_per_dim
    with pytest.raises(ConfigError, match="at least 1"):
        evaluate(flow, x, importance=0)


# --- inversion ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 48), (1, 39, 39), (2, 66, 67)])
def test_round_trip_of_sizes(name: str, shape: tuple[int, ...]) -> None:
    """decode(encode(x)) is x to 1e-4, also through factored-out latents (ros#41, anom#461,
    mcity#75).
    """
    flow = tiny(name, shape, **({"width": 16, "depth": 1} if name == "nice" else {}), bits=None)
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(1))
    flow.initialize(x)
    with torch.no_grad():
        randomise(flow, spread=0.02)
        z, there = flow.encode(x)
        again, back = flow.decode(z)
        latents = flow.unpack(z)
    assert (again - x).abs().max() <= 1e-4
    assert ((there + back) / math.prod(shape)).abs().max() < 1e-5
    assert torch.equal(flow.pack(latents), z)
    assert sum(part[0].numel() for part in latents) == z[0].numel()
    assert flow.sample((2,)).shape == (2, *shape)


SCREENS: dict[str, dict[str, object]] = {
    "realnvp": {"width": 8, "scales": 2},
    "glow": {"width": 8, "scales": 2, "steps": 1},
    "nsf": {"width": 8, "scales": 2, "steps": 1},
    # 27 × 48 patches: every one attends to every other
    "jet": {"width": 8, "patch": 40, "heads": 1},
    # no attention between a million pixels
    "flowpp": {"width": 2, "steps": (1, 1, 0), "components": 2, "heads": 0},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SCREENS)
def test_round_trip_of_a_screen(name: str) -> None:
    """1080×1920 pixels, two scales where there are any (anom#2135). `nice` would need a matrix of a
    million columns.
    """
    shape = (1 if name == "flowpp" else 3, 1080, 1920)
    flow = tiny(name, shape, **SCREENS[name])
    x = pixels(1, *shape)
    with torch.no_grad():
        flow.initialize(x)
        z, _ = flow.encode(x)
        again, _ = flow.decode(z)
    if "scales" in SCREENS[name]:
        assert [part.shape[1:] for part in flow.unpack(z)] == [(6, 540, 960), (24, 270, 480)]
    assert (again.int() - x.int()).abs().max() <= 1
    assert (again != x).double().mean() < 1e-3


def test_shapes_of_three_scales() -> None:
    """(3, 32, 32) over three scales: 16×16×6, 8×8×12 and 4×4×48 latents
    (glow-realnvp-tutorial#2).
    """
    flow = diffeo.models.glow((3, 32, 32), size="tiny", scales=3, steps=1, width=8)
    z = flow.encode(pixels(2, 3, 32, 32))[0]
    assert [tuple(part.shape[1:]) for part in flow.unpack(z)] == [
        (6, 16, 16),
        (12, 8, 8),
        (48, 4, 4),
    ]
    with pytest.raises(ShapeError, match="3 scales"):
        flow.pack(flow.unpack(z)[:2])
    with pytest.raises(ShapeError, match="scale 1"):
        flow.pack([part[..., :-1] if i == 1 else part for i, part in enumerate(flow.unpack(z))])


@pytest.mark.parametrize("name", ["realnvp", "glow", "nsf"])
def test_unpadded_sizes_name_the_largest_number_of_scales(name: str) -> None:
    with pytest.raises(ShapeError, match="at most scales=2"):
        tiny(name, (1, 28, 28), scales=3, pad="none")
    with pytest.raises(ShapeError, match="crop the images to an even size"):
        tiny(name, (1, 39, 39), pad="none")


@pytest.mark.parametrize("name", ["realnvp", "glow", "nsf"])
def test_padding_is_no_larger_than_sensible(name: str) -> None:
    """Asked for more scales than an image has room for, a model says how many it has; a size takes
    fewer by itself.
    """
    with pytest.raises(ShapeError, match=r"scales=7 pads an image \(1, 8, 8\).*at most scales=3"):
        tiny(name, (1, 8, 8), scales=7)
    for event, scales in (((1, 8, 8), 3), ((1, 5, 5), 3), ((1, 2, 28), 2), ((1, 1, 1), 1)):
        assert tiny(name, event, scales=scales).event_shape == event
        with pytest.raises(ShapeError, match=f"at most scales={scales}$"):
            tiny(name, event, scales=scales + 1)
    for event, pad, scales in (
        ((1, 2, 2), "auto", 1),
        ((1, 6, 6), "none", 1),
        ((1, 8, 8), "none", 3),
    ):
        flow = tiny(
            name,
            event,
            size="paper",
            width=4,
            pad=pad,
            **({"blocks": 1} if name != "glow" else {"steps": 1}),
        )
        assert len(flow.transform.parts(event)) == scales


def test_patches_are_no_larger_than_sensible() -> None:
    with pytest.raises(ShapeError, match=r"not multiples of 4.*at most patch=2$"):
        tiny("jet", (1, 28, 30), patch=4, pad="none")
    with pytest.raises(ShapeError, match=r"patch=64 pads.*at most patch=15$"):
        tiny("jet", (1, 8, 8), patch=64)
    assert tiny("jet", (1, 28, 30), size="small", pad="none", layers=1).base.event_shape == (
        14 * 15,
        4,
    )
    assert tiny("jet", (1, 1, 1), size="small", layers=1).sample((2,)).shape == (2, 1, 1, 1)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("event", [(1, 1, 1), (3, 1, 1), (1, 1, 2), (1, 2, 2), (1, 4, 4)])
def test_the_smallest_images(name: str, event: tuple[int, ...]) -> None:
    """Every model takes them as it comes: where a checkerboard has one square left, there is
    none.
    """
    flow, x = tiny(name, event, bits=None), torch.randn(4, *event)
    randomise(flow.initialize(x), spread=0.05)
    with torch.no_grad():
        assert (flow.decode(flow.encode(x)[0])[0] - x).abs().max() < 1e-4
    plain = tiny(name, event)
    assert plain.log_prob(pixels(3, *event)).isfinite().all()
    assert plain.sample((2,)).shape == (2, *event)


def test_the_digits_in_every_size() -> None:
    """The deepest of three scales of 8×8 pixels is a single pixel."""
    assert diffeo.models.realnvp((1, 8, 8), size="paper", width=4, blocks=1).sample((2,)).shape == (
        2,
        1,
        8,
        8,
    )


@pytest.mark.filterwarnings("error")
def test_patches_of_one_grey_pixel_draw_no_warning() -> None:
    flow = tiny("jet", (1, 4, 4), patch=1)
    assert flow.log_prob(pixels(2, 1, 4, 4)).isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_batch_of_one_and_batch_shapes(name: str) -> None:
    """A batch of one is not squeezed away (anom#450); sample shapes fold."""
    flow = tiny(name, (1, 8, 8))
    x = pixels(6, 1, 8, 8)
    flow.initialize(x)
    assert flow.log_prob(x[:1]).shape == (1,)
    assert flow.log_prob(x.view(2, 3, 1, 8, 8)).shape == (2, 3)
    assert flow.log_prob(x[0]).shape == ()
    assert flow.sample((2, 2)).shape == (2, 2, 1, 8, 8)
    assert flow.sample().dtype == torch.uint8


def test_image_of_one_channel_into_a_coupling() -> None:
    """(1, 28, 28) directly into a coupling names the fix, or works (FrEIA#8, #101)."""
    with pytest.raises(ShapeError, match=r"Squeeze|Checkerboard"):
        Coupling((1, 28, 28), Affine(), diffeo.conditioners.ConvNet(8), Channels())
    with pytest.raises(ShapeError, match="Flatten"):
        Coupling((1, 28, 28), Affine())
    layer = Coupling(
        (1, 28, 28), Affine(), diffeo.conditioners.ConvNet(8), Checkerboard((1, 28, 28))
    )
    assert layer(torch.randn(2, 1, 28, 28))[0].shape == (2, 1, 28, 28)


@pytest.mark.parametrize("shape", [(1, 5, 3), (2, 4, 4), (1, 1, 2), (3, 7, 4)])
@pytest.mark.parametrize("flip", [False, True])
def test_checkerboard_transforms_every_second_pixel(shape: tuple[int, ...], flip: bool) -> None:
    """Those with i + j odd, with `flip` even; the others pass."""
    torch.default_generator.manual_seed(0)
    layer = randomise(
        Coupling(shape, Affine(), diffeo.conditioners.ConvNet(4), Checkerboard(shape, flip))
    )
    x = torch.randn(3, *shape)
    changed = (layer(x)[0] != x).all(0).all(0)
    i, j = torch.meshgrid(torch.arange(shape[1]), torch.arange(shape[2]), indexing="ij")
    assert torch.equal(changed, (i + j) % 2 == int(not flip))


@pytest.mark.parametrize("shape", [(1, 200, 300), (1, 201, 301)])
def test_a_checkerboard_keeps_nothing_as_large_as_the_image(shape: tuple[int, ...]) -> None:
    """Nor makes it on the way: with a shape alone, memory is claimed by whoever wrote the shape."""
    assert sum(t.numel() for t in Checkerboard(shape).buffers()) < 600
    with torch.device("meta"):
        assert all(t.is_meta for t in Checkerboard(shape).buffers())


# --- classes and contexts -------------------------------------------------------------------------


def test_classes() -> None:
    """Contexts are class numbers; others are refused in words."""
    flow = tiny("glow", (1, 8, 8), classes=3)
    x = pixels(4, 1, 8, 8)
    assert flow.sample((2,), torch.arange(3)).shape == (2, 3, 1, 8, 8)
    assert flow.log_prob(x, torch.tensor([0, 1, 2, 0])).shape == (4,)
    with pytest.raises(ContextError, match="from 0 to 2"):
        flow.log_prob(x, torch.tensor([0, 1, 2, 3]))
    with pytest.raises(ConfigError, match="not both"):
        diffeo.models.glow((1, 8, 8), (2,), classes=3)


@pytest.mark.parametrize("name", NAMES)
def test_settings_are_checked(name: str) -> None:
    with pytest.raises(ConfigError, match="tiny, small, paper"):
        diffeo.models.MODELS[name]((1, 8, 8), size="huge")
    with pytest.raises(ConfigError, match="1 to 8 bits"):
        tiny(name, (1, 8, 8), bits=9)
    for wrong in (0, 2.5, "8", True):
        with pytest.raises(ConfigError, match="width must be a whole number, at least 1"):
            tiny(name, (1, 8, 8), width=wrong)
    if name not in ("nice", "realnvp", "nsf"):
        with pytest.raises(ShapeError, match="for images"):
            diffeo.models.MODELS[name]((5,))


@pytest.mark.parametrize(
    "steps", [(1, 2), (1, 2, 3, 4), (0, 0, 0), (1.5, 1, 1), (1, -1, 1), 3, "abc", (None, 1, 1)]
)
def test_steps_of_flowpp_are_three_counts(steps: object) -> None:
    with pytest.raises(ConfigError, match="steps must be 3 whole numbers"):
        tiny("flowpp", (1, 8, 8), steps=steps)


def test_heads_divide_the_width() -> None:
    for heads, width in ((3, 8), (-1, 8), (5, 4)):
        with pytest.raises(ConfigError, match=f"heads={heads} must divide width={width}"):
            diffeo.conditioners.GatedConv(width=width, heads=heads)
    assert diffeo.conditioners.GatedConv(width=7, heads=0).heads == 0
    with pytest.raises(ConfigError, match="heads=2 must divide width=5"):
        tiny("flowpp", (1, 8, 8), width=5, heads=2)


# --- training -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_training_lowers_bits_per_dimension(name: str) -> None:
    """60 steps on digits: below the uniform model's 5 bits, below the start, finite."""
    losses = steps(tiny(name, (1, 8, 8), bits=5), digits(), 60, batch=64, lr=3e-3)
    assert all(math.isfinite(loss) for loss in losses)
    assert losses[-1] < min(losses[0] - 0.3, 4.6)


def test_log_dets_under_autocast() -> None:
    """500 steps with networks in bfloat16: the same weights score the same in float32, |Δ| < 0.005
    bits/dim.
    """
    x = digits()
    flow = tiny("glow", (1, 8, 8), bits=5, steps=2, width=16)
    flow.initialize(x[:512])
    optimizer = torch.optim.Adam(flow.parameters(), 1e-3)
    for i in range(500):
        rows = x[torch.arange(i * 32, (i + 1) * 32) % len(x)]
        with torch.autocast("cpu", torch.bfloat16):
            loss = -flow.log_prob(rows).mean()
        assert loss.dtype == torch.float32
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if i % 100 == 99:
            full, half = (_bits(flow, x[:512], enabled) for enabled in (False, True))
            assert abs(full - half) < 0.005
    assert full < 4.0


@torch.no_grad()
def _bits(flow: diffeo.Flow, x: Tensor, half: bool) -> float:
    torch.default_generator.manual_seed(3)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        return -flow.log_prob(x).mean().item() / x[0].numel() / math.log(2)


@pytest.mark.parametrize("seed", [7314, *range(19)])
def test_glow_never_turns_nan(seed: int) -> None:
    """30 steps at 20 seeds (y0#1, reported at step 18)."""
    flow = diffeo.models.glow((3, 16, 16), size="tiny", steps=4, width=16, seed=seed)
    losses = steps(flow, photographs(64, 16, seed), 30, batch=8)
    assert all(math.isfinite(loss) for loss in losses)


@pytest.mark.parametrize("map", [Affine(1.5), Additive()], ids=["affine", "additive"])
def test_affine_couplings_train_where_additive_ones_do(map: ElementwiseMap) -> None:
    """The same 32 steps of Glow, at a rate that is too high for either: the affine twin is no more
    fragile (ros#25).
    """

    def flow_steps(shape: tuple[int, ...]) -> list[diffeo.Transform]:
        net = diffeo.conditioners.ConvNet(8)
        each = [
            [ActNorm(shape), Conv1x1(shape), Coupling(shape, map, net, Channels())]
            for _ in range(16)
        ]
        return [link for step in each for link in step]

    body = multiscale((1, 8, 8), 2, lambda _: (), after=flow_steps, prior=lambda _: ())
    flow = diffeo.Flow(diffeo.Chain([Dequantize(bits=5), ActNorm((1, 8, 8)), *body]), Normal(64))
    losses = steps(flow, digits(), 30, lr=1e-2)
    assert all(math.isfinite(loss) for loss in losses)
    assert losses[-1] < losses[0]


@pytest.mark.slow
def test_latents_reconstruct_after_a_thousand_steps() -> None:
    """decode(encode(x)) is x, through factored-out latents, also of a model that has learned scales
    (ros#7).
    """
    flow, x = tiny("glow", (1, 8, 8), bits=5, steps=1, width=8), digits()
    losses = steps(flow, x, 1000, batch=16)
    assert losses[-1] < losses[0] - 1
    assert torch.equal(diffeo.latents.reconstruct(flow, x[:500]), x[:500])


@pytest.mark.slow
def test_deep_glow_stays_finite() -> None:
    """32 steps a scale, three scales, affine (ros#25)."""
    flow = diffeo.models.glow((3, 16, 16), scales=3, steps=32, width=8)
    assert all(math.isfinite(loss) for loss in steps(flow, photographs(32, 16), 12, batch=8))


@pytest.mark.slow
def test_realnvp_generalises() -> None:
    """Three scales on photographs: bits of new crops at most twice those of training (flows_ood#5,
    reported 62,053).
    """
    flow = diffeo.models.realnvp((3, 32, 32), size="tiny", scales=3)
    losses = steps(flow, photographs(256), 60, batch=16)
    assert evaluate(flow, photographs(64, seed=9)).bits_per_dim <= 2 * sum(losses[-5:]) / 5


def test_reload_changes_nothing(tmp_path: Path) -> None:
    """After 50 batches, saved and loaded, parameters, densities and the next gradients are the same
    (falcon#115, nflows#4).
    """
    x, labels = digits(), torch.from_numpy(load_digits().target)
    flow = tiny("glow", (1, 8, 8), bits=5, classes=10, steps=1, width=8)
    flow.initialize(x[:256], labels[:256])
    optimizer = torch.optim.Adam(flow.parameters(), 1e-3)
    for i in range(50):
        rows = torch.arange(i * 16, (i + 1) * 16)
        optimizer.zero_grad()
        (-flow.log_prob(x[rows], labels[rows]).mean()).backward()
        optimizer.step()
    optimizer.zero_grad()
    again = diffeo.load(diffeo.save(flow, tmp_path))
    scores = []
    for one in (flow, again):
        torch.default_generator.manual_seed(1)
        one.train()
        scores.append(one.log_prob(x[:32], labels[:32]))
        (-scores[-1].mean()).backward()
    assert torch.equal(*scores)
    for mine, theirs in zip(flow.parameters(), again.parameters(), strict=True):
        assert torch.equal(mine, theirs)
        assert torch.equal(mine.grad, theirs.grad)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NAMES)
def test_save_and_load(name: str, tmp_path: Path) -> None:
    flow = tiny(name, (1, 8, 8), bits=5)
    x = digits()[:16]
    flow.initialize(x)
    again = diffeo.load(diffeo.save(flow.eval(), tmp_path))
    assert evaluate(again, x) == evaluate(flow, x)
    assert again.recipe == flow.recipe


@pytest.mark.parametrize("name", NAMES)
def test_a_whole_model_is_pickled(name: str) -> None:
    """torch.save of the module itself (nf#43, FastFlow#3)."""
    flow = tiny(name, (1, 8, 8), **TINY_IMAGES[name], classes=3)
    file = io.BytesIO()
    torch.save(flow.initialize(pixels(9, 1, 8, 8), torch.arange(9) % 3), file)
    file.seek(0)
    again = torch.load(file, weights_only=False)
    assert again.recipe == flow.recipe
    x, labels = pixels(4, 1, 8, 8, seed=1), torch.tensor([0, 1, 2, 0])
    assert evaluate(again, x, labels) == evaluate(flow, x, labels)


@pytest.mark.parametrize("name", NAMES)
def test_inverse_before_forward(name: str) -> None:
    """Sampling comes first, before any forward pass or set-up (iko#8, INNLab#17)."""
    assert tiny(name, (1, 8, 8)).sample((2,)).dtype == torch.uint8
    flow = tiny(name, (1, 8, 8), bits=None)
    z = flow.base.sample((3,))
    with torch.no_grad():
        torch.testing.assert_close(flow.encode(flow.decode(z)[0])[0], z, rtol=1e-4, atol=1e-4)


class Density(nn.Module):
    """The density as what export takes: a module's forward pass."""

    def __init__(self, flow: diffeo.Flow) -> None:
        super().__init__()
        self.flow = flow

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.flow.log_prob(x, context)


@pytest.mark.parametrize("classes", [None, 3])
@pytest.mark.parametrize("name", NAMES)
def test_exported_for_deployment(name: str, classes: int | None) -> None:
    """torch.export of the density in evaluation mode, weights with gradients and all, is the same
    function (glow-tts#39).
    """
    flow = tiny(name, (1, 4, 4), **TINY_IMAGES[name], bits=None, classes=classes).eval()
    randomise(flow, spread=0.05)
    given = (torch.randn(4, 1, 4, 4), *(() if classes is None else (torch.tensor([0, 1, 2, 0]),)))
    exported = torch.export.export(Density(flow), given, strict=False).module()
    torch.testing.assert_close(exported(*given), flow.log_prob(*given))


def test_the_scale_of_contexts_is_in_the_state(tmp_path: Path) -> None:
    """Of images too, the constants that contexts are normalised with travel with the weights
    (sbi#324).
    """
    flow = tiny("glow", (1, 4, 4), context_shape=(2,), **TINY_IMAGES["glow"], bits=None)
    flow.initialize(torch.randn(50, 1, 4, 4), 4 + torch.randn(50, 2))
    assert (flow.state_dict()["embedding.mean"] > 3).all()
    randomise(flow, spread=0.1)
    x, context = torch.randn(3, 1, 4, 4), 4 + torch.randn(3, 2)
    again = diffeo.load(diffeo.save(flow, tmp_path))
    assert torch.equal(again.log_prob(x, context), flow.eval().log_prob(x, context))


def test_batches_of_large_images_are_small() -> None:
    """The networks hold hundreds of numbers for every value of an image."""
    sizes = {8: 64, 32: 64, 64: 21, 128: 5, 256: 1, 1024: 1}
    assert {side: recommend_images(60_000, 3 * side * side).batch_size for side in sizes} == sizes
    assert recommend_images(80, 64).batch_size == 10
    assert recommend_images(3, 64).batch_size == 1
    flow = tiny("glow", (1, 200, 200), scales=1, steps=1, width=1)
    assert diffeo.fit(flow, pixels(60, 1, 200, 200), steps=1).settings["batch_size"] == 6


def test_a_fingerprint_is_taken_in_blocks() -> None:
    """The same as of all bytes at once, of which there may be as many as there is memory."""
    images = pixels(2000, 1, 64, 64)
    tracemalloc.start()
    found = fingerprint(images)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == {
        "rows": 2000,
        "columns": {"all": hashlib.sha256(images.numpy().tobytes()).hexdigest()[:16]},
    }
    assert peak < 3 * 2**20
    turned = images.transpose(2, 3)
    assert fingerprint(turned) == fingerprint(turned.contiguous())
    table = torch.randn(5, 3, dtype=torch.float64)
    column = hashlib.sha256(table[:, 1].numpy().tobytes()).hexdigest()[:16]
    assert fingerprint(table)["columns"]["x1"] == column


@pytest.mark.parametrize(("classes", "across"), [(1, 8), (3, 6), (8, 8), (10, 10), (40, 8)])
def test_every_class_has_its_column_of_the_grid(classes: int, across: int, tmp_path: Path) -> None:
    flow = tiny("glow", (1, 8, 8), scales=1, steps=1, width=4, classes=classes)
    grid = SampleGrid(flow, tmp_path, contexts=torch.arange(classes))
    assert grid.contexts is not None
    shown = grid.contexts.view(8, across)
    assert (shown == shown[:1]).all() == (classes <= 16)
    assert set(shown.flatten().tolist()) == set(range(classes))
    grid(3)
    with Image.open(tmp_path / "samples" / "0000003.png") as picture:
        assert picture.width == 2 + across * 66


def test_fit_writes_sample_grids(tmp_path: Path) -> None:
    """At every evaluation, of the same noise: two runs draw the same pictures, and they change as
    the model learns.
    """
    flow = tiny("glow", (1, 8, 8), bits=5, steps=1, width=8, classes=10)
    labels = load_digits().target
    result = diffeo.fit(
        flow, digits(), labels, steps=6, eval_every=2, out=tmp_path, valid=0.1, flips=True
    )
    assert sorted(p.name for p in (tmp_path / "samples").iterdir()) == [
        f"{i:07d}.png" for i in (0, 2, 4, 6)
    ]
    pictures = [(tmp_path / "samples" / f"{i:07d}.png").read_bytes() for i in (0, 6)]
    assert pictures[0] != pictures[1]
    twin = tiny("glow", (1, 8, 8), bits=5, steps=1, width=8, classes=10)
    diffeo.fit(
        twin, digits(), labels, steps=6, eval_every=2, out=tmp_path / "twin", valid=0.1, flips=True
    )
    assert [
        (tmp_path / "twin" / "samples" / f"{i:07d}.png").read_bytes() for i in (0, 6)
    ] == pictures
    assert result.rows["valid"] == 180
    assert diffeo.load(tmp_path).sample((2,), torch.tensor([1])).dtype == torch.uint8


def test_flips_are_for_images() -> None:
    with pytest.raises(ConfigError, match="flips"):
        diffeo.fit(diffeo.models.nsf((2,)), torch.randn(100, 2), flips=True, steps=1)
    with pytest.raises(ConfigError, match="precision"):
        diffeo.fit(diffeo.models.nsf((2,)), torch.randn(100, 2), precision="float16", steps=1)  # type: ignore[arg-type]


def test_flips_mirror_training_images_alone() -> None:
    """Images with one bright side: in training about half of them are mirrored, in evaluation
    none.
    """
    x = torch.zeros(200, 1, 2, 4, dtype=torch.uint8)
    x[..., :2] = 255
    seen: list[Tensor] = []

    class Recorder(diffeo.Flow):  # type: ignore[misc]
        def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
            seen.append(x)
            return super().log_prob(x, context)

    objective = NegativeLogLikelihood(
        Recorder(Dequantize(bits=8), Uniform((1, 2, 4), 0.0, 1.0)), flips=True
    )
    objective.train()(x)
    objective.eval()(x)
    mirrored = [(rows[:, 0, 0, 0] == 0).double().mean().item() for rows in seen]
    assert 0.35 < mirrored[0] < 0.65
    assert mirrored[1] == 0


@pytest.mark.parametrize("name", ["glow", "realnvp"])
def test_half_precision_trains_as_full(name: str) -> None:
    """fit(precision="bfloat16"): float32 losses, and a held-out figure within 0.05 bits/dim of
    float32's after 60 steps.
    """
    found = {}
    for precision in ("float32", "bfloat16"):
        flow = tiny(name, (1, 8, 8), bits=5, width=16)
        result = diffeo.fit(flow, digits()[:600], steps=60, precision=precision)  # type: ignore[arg-type]
        found[precision] = result.best["nll"] / 64 / math.log(2)
        assert all(p.dtype == torch.float32 for p in flow.parameters())
    assert found["bfloat16"] == pytest.approx(found["float32"], abs=0.05)
    whole = name == "glow" and kernels().native  # compiled whole, its couplings stay in float32
    assert (found["bfloat16"] == found["float32"]) == whole


@pytest.mark.parametrize("alpha", [None, 0.05])
def test_pixels_beyond_the_bits_have_density_zero(alpha: float | None) -> None:
    """ros#17: values that a model of 5 bits cannot take are neither scored nor trained on; NaN
    stays NaN.
    """
    flow = tiny("glow", (1, 4, 4), bits=5, alpha=alpha, steps=1, width=4)
    good = pixels(3, 1, 4, 4, bits=5)
    bad = good.clone()
    bad[1, 0, 0, 0] = 255
    torch.default_generator.manual_seed(0)
    wanted = flow.log_prob(good)
    torch.default_generator.manual_seed(0)
    found = flow.log_prob(bad)
    assert found.isneginf().tolist() == [False, True, False]
    assert torch.equal(found[[0, 2]], wanted[[0, 2]])
    fractions = good.float()
    fractions[0, 0, 0, 0] += 0.5
    fractions[2, 0, 0, 0] = math.nan
    scores = flow.log_prob(fractions)
    assert scores[0] == -math.inf
    assert scores[1].isfinite()
    assert scores[2].isnan()
    with pytest.raises(DataError, match="5 bits"):
        diffeo.fit(flow, pixels(50, 1, 4, 4), steps=1)
    with pytest.raises(DataError, match="bits=5"):
        diffeo.fit(flow, diffeo.read_images(pixels(50, 1, 4, 4)), steps=1)


def test_held_out_labels_are_numbered_as_the_training_ones(tmp_path: Path) -> None:
    classes = np.array(["a", "b", "c"])
    data = pixels(30, 1, 4, 4).numpy()
    np.savez(
        tmp_path / "held.npz",
        images=data[:6, 0],
        labels=np.array([0, 1, 0, 1, 0, 1]),
        classes=classes[1:],
    )
    images = diffeo.read_images(data, labels=np.repeat(classes, 10))
    flow = tiny("glow", (1, 4, 4), classes=3, steps=1, width=4)
    found = Dataset.of(
        flow, images, valid=tmp_path / "held.npz", seed=0, device=torch.device("cpu")
    )
    assert found.valid is not None
    assert found.valid[1].tolist() == [1, 2, 1, 2, 1, 2]


def test_reconstruct_keeps_the_coarse_latents() -> None:
    """keep=k redraws all but the k coarsest scales: those come back as they were."""
    flow = tiny("glow", (1, 8, 8), bits=None, scales=3, steps=1, width=4)
    x = torch.randn(5, 1, 8, 8)
    steps(flow, x, 2, batch=4)
    before = flow.unpack(flow.encode(x)[0])
    for keep in (1, 2):
        after = flow.unpack(flow.encode(diffeo.latents.reconstruct(flow, x, keep=keep))[0])
        same = [torch.allclose(a, b, atol=1e-3) for a, b in zip(before, after, strict=True)]
        assert same == [False] * (3 - keep) + [True] * keep


@pytest.mark.parametrize("name", [*IMAGE_PARTITIONS, *TOKEN_PARTITIONS])
def test_merge_undoes_split(name: str) -> None:
    event, build = {**IMAGE_PARTITIONS, **TOKEN_PARTITIONS}[name]
    partition, x = build(), torch.randn(4, *event)
    a, b = partition.split(x)
    assert torch.equal(partition.merge(a, b), x)
    assert (tuple(a.shape[1:]), tuple(b.shape[1:])) == partition.shapes(event)
