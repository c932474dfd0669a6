"""The report of images: the figure is training's own, the baseline is exactly right, and the page
lets nothing in or out.
"""

from __future__ import annotations

import base64
import io
import math
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import diffeo
from diffeo.core.errors import DataError
from diffeo.data import Images, read_images
from diffeo.report import build_image_report
from diffeo.report.images import pixel_histograms
from diffeo.report.images import rows as image_rows
from diffeo.report.images.headline import headline as image_headline
from diffeo.report.images.pictures import _spread, as_pixels, blank
from diffeo.report.images.pixel_histograms import independent_pixels
from diffeo.report.tables.baselines import Score
from diffeo.training import FitResult
from test_report import Tags

Uints = np.ndarray[Any, np.dtype[np.uint8]]
PER_BIT = 64 * math.log(2)  # nats per 8×8 image that make a bit per dimension


@dataclass
class Run:
    """A model, what it was trained on, and where."""

    folder: Path
    flow: diffeo.Flow
    images: Images
    result: FitResult

    @cached_property
    def plain(self) -> tuple[str, dict[str, Any]]:
        return self.report()

    def report(self, **more: Any) -> tuple[str, dict[str, Any]]:
        """The page and the figures."""
        path, figures = build_image_report(
            self.folder, self.flow, self.images, result=self.result, **more
        )
        assert path == self.folder / "report.html"
        return path.read_text(encoding="utf-8"), figures


def digits(count: int = 300) -> Images:
    return read_images("sklearn:digits").subset(np.arange(count))


def trained(
    folder: Path,
    images: Images,
    model: str = "glow",
    *,
    fit: dict[str, Any] | None = None,
    **args: Any,
) -> Run:
    build = getattr(diffeo.models, model)
    flow = build(images.event_shape, size="tiny", **{"bits": images.bits, **args})
    result = diffeo.fit(
        flow, images, out=folder, **{"steps": 12, "eval_every": 4, "valid": 0.2, **(fit or {})}
    )
    return Run(folder, flow, images, result)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained(tmp_path_factory.mktemp("plain"), digits(), scales=3)


@pytest.fixture(scope="module")
def by_class(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained(tmp_path_factory.mktemp("by class"), digits(), classes=10)


def pictures(page: str) -> Iterator[tuple[str, Image.Image]]:
    """(alt text, picture) of every PNG on a page."""
    for encoded, alt in re.findall(r"<img src='data:image/png;base64,([^']+)' alt='([^']*)'", page):
        yield alt, Image.open(io.BytesIO(base64.b64decode(encoded)))


# The baseline


def test_the_histograms_are_those_of_a_hand_computation() -> None:
    train = np.array([[0, 3], [0, 1], [2, 1]], np.uint8)
    asked = np.array([[0, 1], [1, 3], [3, 0]], np.uint8)
    expected = np.log([3 / 7 * 3 / 7, 1 / 7 * 2 / 7, 1 / 7 * 1 / 7])
    np.testing.assert_allclose(independent_pixels(train, asked, 4), expected, rtol=1e-12)


def test_the_probabilities_of_all_images_sum_to_one() -> None:
    train = np.random.default_rng(0).integers(0, 4, (20, 3), dtype=np.uint8)
    everything = np.array(list(product(range(4), repeat=3)), np.uint8)
    assert np.exp(independent_pixels(train, everything, 4)).sum() == pytest.approx(1, abs=1e-12)


def test_blocks_of_pixels_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    g = np.random.default_rng(0)
    train, asked = (
        g.integers(0, 256, (30, 50), dtype=np.uint8),
        g.integers(0, 256, (7, 50), dtype=np.uint8),
    )
    whole = independent_pixels(train, asked, 256)
    monkeypatch.setattr(pixel_histograms, "BLOCK", 256 * 7)
    np.testing.assert_allclose(independent_pixels(train, asked, 256), whole, rtol=1e-12)


# The figures


def test_the_figure_is_the_one_that_training_printed(run: Run, by_class: Run) -> None:
    for one in (run, by_class):
        page, figures = one.plain
        assert figures["nll"] == pytest.approx(one.result.best["nll"], abs=1e-4)
        assert figures["nll_se"] == pytest.approx(one.result.best["nll_se"], abs=1e-4)
        assert figures["bits_per_dim"] == pytest.approx(figures["nll"] / PER_BIT, rel=1e-12)
        assert figures["bits_per_dim_se"] == pytest.approx(figures["nll_se"] / PER_BIT, rel=1e-12)
        assert (figures["rows"], figures["split"], figures["bound"]) == (60, "held-out", True)
        assert f"{figures['bits_per_dim']:.3f} ± {figures['bits_per_dim_se']:.3f}" in page


def test_the_noise_is_drawn_for_the_same_passes_as_in_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Learned noise starts from normal draws, of which 175 and then 175 more are not the first
    350.
    """
    images = digits(60)
    images = replace(images, pixels=np.asarray(images.pixels)[..., :5, :5])
    with monkeypatch.context() as patched:
        patched.setattr(sys.modules["diffeo.core.passes"], "NUMBERS", 25 * 7)
        one = trained(tmp_path, images, "flowpp", fit={"steps": 2, "valid": 0.5})
    assert one.result.settings["eval_rows"] == 7
    assert one.report()[1]["nll"] == pytest.approx(one.result.best["nll"], abs=1e-4)


def test_the_references_are_exact_and_the_differences_paired(run: Run) -> None:
    _, figures = run.plain
    assert run.result.train_index is not None
    assert run.result.valid_index is not None
    pixels = np.asarray(run.images.pixels).reshape(300, 64)
    counts = np.stack([(pixels[run.result.train_index] == v).sum(0) for v in range(32)])
    held = pixels[run.result.valid_index]
    theirs = np.log2((counts[held, np.arange(64)] + 1) / (240 + 32)).mean(1)
    uniform, histogram = figures["uniform"], figures["histogram"]
    assert uniform["bits_per_dim"] == pytest.approx(5, abs=1e-12)
    assert uniform["bits_per_dim_se"] == 0
    assert uniform["difference"] == pytest.approx(5 - figures["bits_per_dim"], abs=1e-9)
    assert uniform["difference_se"] == pytest.approx(figures["bits_per_dim_se"], abs=1e-9)
    assert histogram["bits_per_dim"] == pytest.approx(-theirs.mean(), abs=1e-9)
    assert histogram["bits_per_dim_se"] == pytest.approx(theirs.std(ddof=1) / 60**0.5, abs=1e-9)
    assert histogram["difference"] == pytest.approx(
        histogram["bits_per_dim"] - figures["bits_per_dim"], abs=1e-9
    )
    assert histogram["difference_se"] != pytest.approx(
        math.hypot(histogram["bits_per_dim_se"], figures["bits_per_dim_se"])
    )


def test_held_out_images_of_their_own_have_their_classes_numbered_as_in_training(
    by_class: Run, tmp_path: Path
) -> None:
    assert by_class.result.valid_index is not None
    held = by_class.images.subset(by_class.result.valid_index)
    backwards = replace(held, labels=9 - np.asarray(held.labels), classes=held.classes[::-1])
    apart = replace(by_class.result, valid_index=None)
    _, expected = by_class.plain
    for own in (held, backwards):
        _, figures = build_image_report(
            tmp_path, by_class.flow, by_class.images, result=apart, held_out=own
        )
        assert figures["nll"] == pytest.approx(expected["nll"], abs=1e-6)


# The page


def test_the_page_says_what_it_was_given(run: Run) -> None:
    page, figures = run.plain
    for text in (
        "sklearn:digits",
        "8 × 8 grey images, 5 bits",
        "240 training images",
        "60 held-out images",
        str(run.folder),
    ):
        assert text in page
    for value in (
        figures["bits_per_dim"],
        figures["histogram"]["bits_per_dim"],
        figures["uniform"]["difference"],
    ):
        assert f"{abs(value):.3f}" in page
    order = [
        "How good",
        "Losses",
        "Samples",
        "Reconstructions",
        "Latents by scale",
        "Per-image bits",
        "Choices made",
    ]
    places = [page.index(f"<h2>{title}") for title in [*order, "Checkup", "How to use the model"]]
    assert places == sorted(places)
    assert "Only 60 images were held out" in page
    for verb in ("evaluate", "sample", "interpolate", "reconstruct"):
        assert f"diffeo {verb} {run.folder}" in page
    assert "--class" not in page


def test_every_scale_is_looked_at(run: Run) -> None:
    page, _ = run.plain
    assert "<b>1 (finest)</b>" in page
    assert "<b>3 (coarsest)</b>" in page
    assert [alt for alt, _ in pictures(page) if "scale" in alt] == [
        "the 2 coarsest scales kept",
        "the coarsest scale kept",
    ]
    assert "all values of 60 held-out images come back as they were" in page


def test_pictures_show_the_pixels(run: Run) -> None:
    page, _ = run.plain
    shown = dict(pictures(page))
    strip = np.asarray(shown["held-out images"])
    np.testing.assert_array_equal(strip, np.asarray(shown["decoded again"]))
    assert run.result.valid_index is not None
    first = np.asarray(run.images.pixels)[run.result.valid_index[0], 0]
    np.testing.assert_array_equal(strip[2:66:8, 2:66:8, 0], np.round(first * (255 / 31)))
    assert shown["training images"].size == (8 * 66 + 2, 8 * 66 + 2)
    assert {"samples, temperature 1", "samples, temperature 0.7"} <= shown.keys()


def test_the_least_and_the_most_likely_are_where_they_were_in_the_source(run: Run) -> None:
    page, _ = run.plain
    assert run.result.valid_index is not None
    x = torch.tensor(run.images.pixels)[run.result.valid_index]
    training, held, _ = image_rows.collect(run.flow, run.images, run.result, held_out=None, seed=0)
    assert held is not None
    assert len(training) == 240
    torch.testing.assert_close(held.tensor, x)
    for k in (held.log_prob.argmin(), held.log_prob.argmax()):
        number = int(run.result.valid_index[k])
        row = f"<td class=n>1</td><td class=n>{held.bits[k]:.3f}</td><td class=n>{number}</td>"
        assert f"{row}<td class=n>{run.images.classes[run.images.labels[number]]}</td>" in page  # type: ignore[index]


def test_the_course_of_training_is_in_order_and_of_this_run(tmp_path: Path, run: Run) -> None:
    page, _ = run.plain
    assert re.findall(r"<b>step (\d+)</b>", page) == ["0", "4", "8", "12"]
    (tmp_path / "samples").mkdir()
    for name in ("0000000.png", "0000004.png", "0000005.png", "notes.png"):
        Image.new("RGB", (530, 530)).save(tmp_path / "samples" / name)
    (tmp_path / "samples" / "0000008.png").write_bytes(b"no picture")
    page = build_image_report(tmp_path, run.flow, run.images, result=run.result)[0].read_text()
    assert re.findall(r"<b>step (\d+)</b>", page) == ["0", "4"]
    assert [p.size for alt, p in pictures(page) if alt == "samples in training"] == [(266, 266)] * 2


@pytest.mark.parametrize("count", [0, 1, 5, 6, 7, 8, 20, 101])
def test_pictures_of_the_course_go_from_first_to_last(count: int) -> None:
    chosen = list(_spread(count))
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(6, count)
    assert count == 0 or (chosen[0], chosen[-1]) == (0, count - 1)


def test_classes_have_a_row_each(by_class: Run) -> None:
    page, _ = by_class.plain
    assert "Classes row by row: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9." in page
    assert "conditional on 10 classes" in page
    assert "--temperature 0.7 --class 0" in page
    assert dict(pictures(page))["samples, temperature 1"].size == (8 * 66 + 2, 10 * 66 + 2)


def test_a_class_of_few_images_leaves_its_row_open(tmp_path: Path) -> None:
    images = digits(60)
    labels = np.where(np.arange(60) == 3, 1, 0)
    one = trained(
        tmp_path,
        replace(images, labels=labels, classes=("many & more", "one")),
        classes=2,
        fit={"valid": 0.0},
    )
    page, _ = one.report()
    assert "many &amp; more, one." in page
    grid = np.asarray(next(picture for alt, picture in pictures(page) if alt == "training images"))
    np.testing.assert_array_equal(
        grid[68:132:8, 2:66:8, 0], np.round(np.asarray(images.pixels)[3, 0] * (255 / 31))
    )
    assert (grid[68:132, 70:] > 220).all()


def test_the_python_lines_run(
    by_class: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in by_class.images.classes:
        (tmp_path / "images" / name).mkdir(parents=True)
        Image.fromarray(np.full((8, 8), 99, np.uint8)).save(tmp_path / "images" / name / "a.png")
    page, _ = by_class.plain
    monkeypatch.chdir(tmp_path)
    code = re.findall(r"<pre>(.*?)</pre>", page, re.DOTALL)[-1]
    names: dict[str, Any] = {}
    exec(code.replace("&#x27;", "'"), names)
    assert names["log_p"].shape == (10,)
    assert names["samples"].dtype == torch.uint8


def test_nothing_is_loaded_from_elsewhere_and_nothing_hostile_gets_in(
    run: Run, by_class: Run, tmp_path: Path
) -> None:
    hostile = "<script>alert('x')</script>"
    names = tuple(f"{hostile}/{i}' onload='x.png" for i in range(300))
    for one in (run, by_class):
        classes = (hostile, "<img src=x>", "n" * 500, "' onload='x", *"456789")
        images = replace(one.images, names=names, source=hostile, classes=classes)
        page = build_image_report(tmp_path, one.flow, images, result=one.result)[0].read_text()
        assert "<script" not in page
        assert "<img src=x" not in page
        assert "&lt;script&gt;alert(" in page
        assert "onload=&#x27;x.png" in page
        tags = Tags(page)
        assert all(s.startswith("data:image/") for s in tags.sources)
        assert len(tags.sources) >= 12
        assert not {"script", "iframe", "link", "object", "form"} & tags.names
        assert not any(name.startswith("on") for name in tags.attributes)
        assert not re.search(r"https?://|url\(|@import", page)


def test_the_same_input_gives_the_same_page(by_class: Run) -> None:
    state = torch.random.get_rng_state()
    assert by_class.report()[0] == by_class.report()[0]
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_checkup_is_shown(run: Run) -> None:
    checkup = diffeo.check(run.flow, torch.tensor(run.images.pixels)[:20])
    for form in (checkup, checkup.as_dict()):
        assert checkup.verdict in run.report(checkup=form)[0]
    assert "No checkup was run" in run.report()[0]


# Other images, other models


def of_colour() -> Images:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 3, 6, 10), dtype=np.uint8)
    return Images(pixels, None, (), 8, "made up", ())


EDGES: dict[str, Callable[[Path], Run]] = {
    "colour, odd sizes": lambda folder: trained(folder, of_colour(), fit={"steps": 2}),
    "no held-out images": lambda folder: trained(
        folder, digits(40), fit={"steps": 2, "valid": 0.0}
    ),
    "one held-out image": lambda folder: trained(
        folder, digits(40), fit={"steps": 2, "valid": 0.01}
    ),
    "two images": lambda folder: trained(folder, digits(2), "jet", fit={"steps": 1, "valid": 0.5}),
    "constant images": lambda folder: trained(
        folder, replace(digits(30), pixels=np.full((30, 1, 8, 8), 7, np.uint8))
    ),
    "single scale, logistic base": lambda folder: trained(folder, digits(100), "nice"),
    "real-valued": lambda folder: trained(folder, digits(100), bits=None),
    "many classes": lambda folder: trained(
        folder, replace(digits(60), classes=tuple(map(str, range(40)))), classes=40
    ),
}


@pytest.mark.parametrize("name", EDGES)
def test_edges(name: str, tmp_path: Path) -> None:
    one = EDGES[name](tmp_path)
    page, figures = one.report()
    assert page.endswith("</html>\n")
    assert len(page) < 3_000_000
    assert math.isfinite(figures["nll"])
    if "nll" in one.result.best:
        assert figures["nll"] == pytest.approx(one.result.best["nll"], rel=1e-4)
    if name == "no held-out images":
        assert (figures["split"], figures["rows"]) == ("training", 40)
        assert "uniform" not in figures
        assert "No images were held out" in page
    if name == "single scale, logistic base":
        assert "the base is a Logistic distribution" in page
        assert "scales kept" not in page
    if name == "real-valued":
        assert not {"uniform", "histogram"} & figures.keys()
        assert not figures["bound"]
        assert "density of real numbers" in page
        assert "used from Python" in page
    if name == "many classes":
        assert "(12 of 40 classes)" in page


def test_unlabelled_images(run: Run, by_class: Run, tmp_path: Path) -> None:
    bare = replace(run.images, labels=None, classes=())
    page = build_image_report(tmp_path, run.flow, bare, result=run.result)[0].read_text()
    assert "<th>class</th>" not in page
    with pytest.raises(DataError, match="no labels"):
        build_image_report(tmp_path, by_class.flow, bare, result=by_class.result)


def test_images_of_other_bits_are_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="read with bits=5"):
        build_image_report(
            tmp_path,
            run.flow,
            replace(run.images, pixels=run.images.pixels * 9, bits=8),
            result=run.result,
        )


def test_many_images_are_cut_and_it_is_said(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_rows, "FEWEST", 10)
    monkeypatch.setattr(image_rows, "MOST", 20)
    monkeypatch.setattr(image_rows, "COUNTED", 64 * 50)
    page, figures = run.report()
    assert figures["rows"] == 20
    assert "20 of 60 held-out images, chosen by seed, were scored" in page
    assert "50 of 240 training images" in page


def test_large_images_are_few(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of screens, 100 latents or 2,000 images would be gigabytes."""
    screen = 3 * 1080 * 1920
    for values, most in ((image_rows.HELD_OUT, image_rows.MOST), (image_rows.TRAINING, 1_000)):
        assert 2 <= image_rows._limit(values, screen, most) <= image_rows.FEW_VALUES // screen
        assert image_rows._limit(values, 3 * 256 * 256, most) == image_rows.FEWEST
    monkeypatch.setattr(image_rows, "COUNTED", 64 * 5)
    monkeypatch.setattr(image_rows, "COUNTED_AT_MOST", 64 * 7)
    assert image_rows.training_pixels(run.images, np.arange(300), 0).shape == (7, 64)


def scored(bits: Sequence[float], what: str, total: int | None = None) -> image_rows.Scored:
    """Images with these bits per dimension."""
    images = Images(np.zeros((len(bits), 1, 8, 8), np.uint8), None, (), 5, "made up", ())
    nats = -np.array(bits, float) * PER_BIT
    return image_rows.Scored(
        images=images,
        context=None,
        index=np.arange(len(bits)),
        log_prob=nats,
        z=np.zeros((len(bits), 64), np.float32),
        total=total or len(bits),
        what=what,
    )


def test_an_honest_word() -> None:
    g = np.random.default_rng(0)
    held, baseline = scored(3 + 0.1 * g.normal(size=300), "held-out"), 3 + 0.1 * g.normal(size=300)
    uniform = Score(np.full(300, -5 * PER_BIT), np.arange(300), "")

    def verdict(gain: float, training: float) -> str:
        theirs = Score(-(baseline + gain) * PER_BIT, np.arange(300), "")
        scores = {"uniform": uniform, "histogram": theirs}
        return " ".join(
            image_headline(
                scored(training + 0.1 * g.normal(size=300), "training"),
                held,
                scores,
                exact=False,
                real=False,
            ).verdict
        )

    assert "fewer than independent pixels, and 2.0" in verdict(0.5, 3.0)
    assert "not distinguishable from independent pixels" in verdict(0.0, 3.0)
    assert "more than independent pixels. Train longer" in verdict(-0.5, 3.0)
    assert "overfits" not in verdict(0.5, 3.0)
    assert (
        "0.2"
        in re.findall(
            r"needs (\S+) bits per dimension fewer than on held-out ones: it overfits",
            verdict(0.5, 2.8),
        )[0]
    )
    assert "held out: another split" in " ".join(
        image_headline(held, scored([3.0] * 199, "held-out"), {}, exact=False, real=True).verdict
    )


def test_images_of_density_zero_are_counted_and_left_out_of_differences() -> None:
    held = scored([3.0, 3.2, math.inf], "held-out", 9)
    scores = {
        k: Score(np.full(3, -5 * PER_BIT), np.arange(3), "") for k in ("uniform", "histogram")
    }
    head = image_headline(scored([3.0, 3.1], "training"), held, scores, exact=False, real=False)
    assert head.figures["nll"] == math.inf
    assert head.figures["uniform"]["difference"] == pytest.approx(1.9)
    assert any("1 of 3 images have density zero" in note for note in head.notes)
    assert any("3 of 9 held-out images" in note for note in head.notes)


def test_what_a_flow_draws_becomes_pixels() -> None:
    drawn = torch.tensor([-3.0, 1.4, 1.6, 300.0, float("nan"), float("inf")])
    assert as_pixels(drawn, 5).tolist() == [0, 1, 2, 31, 0, 31]
    assert blank((1, 2, 2), 8).max() == 232
