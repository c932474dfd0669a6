"""The report: baselines that are exactly right, and a page that says what it was given and lets
nothing in or out.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.neighbors import KernelDensity as SklearnKDE

import diffeo
from diffeo.core.gaussian import Gaussian
from diffeo.data import Column, Intake, Schema, Table
from diffeo.report import build_report
from diffeo.report.measures import (
    ks_normal,
    ks_two,
    most_dependent,
    normal_scores,
    ranks_correlation,
)
from diffeo.report.tables.baselines import baselines, prepare, score_baselines
from diffeo.report.tables.kde import KernelDensity, Scaling
from diffeo.training import FitResult

Floats = np.ndarray[Any, np.dtype[np.float64]]
RNG = np.random.default_rng


def rows(n: int, d: int, seed: int = 0) -> Floats:
    g = RNG(seed)
    return g.normal(size=(n, d)) @ g.normal(size=(d, d)) + g.normal(size=d)


def table(
    values: Floats,
    supports: dict[int, str] | None = None,
    names: list[str] | None = None,
    **more: Any,
) -> Table:
    names = names or [f"x{i}" for i in range(values.shape[1])]
    columns = tuple(
        Column(name=n, support=(supports or {}).get(i, "real")) for i, n in enumerate(names)
    )
    context = more.pop("context", None)
    own = () if context is None else tuple(Column(name=f"c{i}") for i in range(context.shape[1]))
    schema = Schema(columns=columns, context=own, **more)
    n = len(values)
    return Table(schema, values, context, Intake(n, n), "made up.csv", np.arange(2, n + 2))


def trained(t: Table, valid: int, **args: Any) -> tuple[diffeo.Flow, FitResult]:
    """A flow set up on the data but not trained, and the result of a run that took no steps."""
    size = None if t.context is None else (t.context.shape[1],)
    args = {"layers": 2, "hidden": (8,), "bins": 4, **args}
    flow = diffeo.models.nsf((t.values.shape[1],), size, supports=t.schema.supports, **args)
    flow.initialize(
        torch.from_numpy(t.values), None if t.context is None else torch.from_numpy(t.context)
    )
    order = torch.arange(len(t))
    held = order[len(t) - valid :] if valid else None
    history = [
        {"step": k, "train": 3.0 - 0.1 * k, "valid": 3.1 - 0.1 * k, "valid_se": 0.1}
        for k in range(5)
    ]
    counts = {"train": len(t) - valid, "valid": valid}
    best = {"nll": 2.7, "nll_se": 0.1, "step": 4} if valid else {"step": 4}
    settings = {"seed": 7, "lr": 1e-3, "batch_size": 32}
    return flow, FitResult(
        flow, history, best, counts, 4, 1.0, "limit", None, settings, order[: len(t) - valid], held
    )


def built(
    folder: Path, t: Table, valid: int, *, model: dict[str, Any] | None = None, **more: Any
) -> tuple[str, dict[str, Any]]:
    flow, result = trained(t, valid, **(model or {}))
    path, figures = build_report(folder, flow, t, result=result, **more)
    assert path == folder / "report.html"
    return path.read_text(encoding="utf-8"), figures


# Baselines


def test_the_gaussian_is_exactly_right() -> None:
    train, held = rows(500, 4), rows(60, 4, 1)
    expected = stats.multivariate_normal(train.mean(0), np.cov(train.T, bias=True)).logpdf(held)
    np.testing.assert_allclose(Gaussian.fit(train).log_prob(held), expected, rtol=1e-10)
    found = baselines(train, held)["gaussian"]
    assert found["nll"] == pytest.approx(-expected.mean(), rel=1e-10)
    assert found["nll_se"] == pytest.approx(expected.std(ddof=1) / math.sqrt(60), rel=1e-10)
    assert found["note"] == "maximum likelihood"


def test_the_conditional_gaussian_is_the_joint_one_over_the_marginal_one() -> None:
    train, held = rows(500, 4), rows(60, 4, 1)
    mean, cov = train.mean(0), np.cov(train.T, bias=True)
    joint = stats.multivariate_normal(mean, cov).logpdf(held)
    marginal = stats.multivariate_normal(mean[3:], cov[3:, 3:]).logpdf(held[:, 3:])
    np.testing.assert_allclose(
        Gaussian.fit(train, given=1).log_prob(held), joint - marginal, rtol=1e-9
    )


@pytest.mark.parametrize("white", [False, True])
def test_the_kernel_estimate_is_scikit_learns(white: bool) -> None:
    train, held = np.split(rows(340, 3), [300])
    kde = replace(KernelDensity.fit(train), white=white)
    if not white:
        kde = replace(kde, space=Scaling(train.mean(0), train.std(0)))
    kde = replace(kde, centres=kde.space.whiten(train)[0], bandwidth=0.4)
    moved, logdet = kde.space.whiten(held)
    expected = SklearnKDE(bandwidth=0.4).fit(kde.centres).score_samples(moved) + logdet
    np.testing.assert_allclose(kde.log_prob(held), expected, rtol=1e-8)


def test_the_bandwidth_is_as_good_as_any_on_a_grid() -> None:
    g = RNG(0)
    data = np.where(g.random((600, 1)) < 0.5, -3, 3) + 0.3 * g.normal(size=(600, 1))
    train, held = data[:400], data[400:]
    grid = [
        SklearnKDE(bandwidth=h).fit(train).score_samples(held).mean()
        for h in np.geomspace(0.01, 3, 40)
    ]
    assert KernelDensity.fit(train).log_prob(held).mean() > max(grid) - 0.03


def test_a_kernel_estimate_integrates_to_one_also_given_a_context() -> None:
    g = RNG(0)
    c = g.normal(size=(200, 1))
    data = np.hstack((2 * c + 0.5 * g.normal(size=(200, 1)), c))
    grid, step = np.linspace(-12, 12, 4001, retstep=True)
    grid = grid[:, None]
    for given, points in ((0, grid), (1, np.hstack((grid, np.full_like(grid, 0.7))))):
        kde = KernelDensity.fit(data[:, : 1 + given], given)
        assert step * np.exp(kde.log_prob(points)).sum() == pytest.approx(1, abs=1e-3)


def test_scales_only_shift_the_figures() -> None:
    train, held = rows(300, 3), rows(50, 3, 1)
    factors = np.array([1e30, 1e-30, 1.0])
    plain, scaled = baselines(train, held), baselines(train * factors, held * factors)
    for name in ("gaussian", "kde"):
        assert scaled[name]["nll"] == pytest.approx(
            plain[name]["nll"] + np.log(factors).sum(), abs=1e-6
        )


@pytest.mark.parametrize(
    "train",
    [
        rows(3, 8),
        np.repeat(rows(50, 1), 2, axis=1),
        np.ones((20, 2)),
        rows(2, 1),
        1.7e9 + rows(50, 2),
        1e300 * rows(50, 2),
    ],
    ids=["few rows", "copies", "constant", "two rows", "timestamps", "huge"],
)
def test_baselines_never_crash(train: Floats) -> None:
    held = np.concatenate((train[:2], train[:1] * 3))
    found = baselines(train, held)
    assert not any(math.isnan(f["nll"]) for f in found.values())
    singular = len(train) <= train.shape[1] or bool(
        (train[:, 0] == train[:, -1]).all() and train.shape[1] > 1
    )
    assert ("ridge" in found["gaussian"]["note"]) == singular


def test_integers_get_the_noise_of_the_flow_and_circles_are_wrapped() -> None:
    x = np.array([[3.0, 370.0], [4.0, -10.0]])
    with torch.random.fork_rng():
        torch.manual_seed(5)
        noisy = diffeo.layers.Dequantize()(torch.from_numpy(x[:, :1]))[0].numpy()
    found = prepare(x, ["integer", "circular:0:360"], 5)
    np.testing.assert_array_equal(found[:, :1], noisy)
    np.testing.assert_allclose(found[:, 1], [10.0, 350.0])


def test_many_rows_are_cut_and_it_is_said() -> None:
    scores = score_baselines(RNG(0).normal(size=(6000, 1)), RNG(1).normal(size=(12_000, 1)))
    assert len(scores["gaussian"].log_prob) == 12_000
    assert len(scores["kde"].log_prob) == len(scores["kde"].rows) == 10_000
    assert "5,000 of 6,000" in scores["kde"].note
    assert "10,000 of 12,000" in scores["kde"].note
    assert abs(scores["kde"].figures()["nll"] - 1.4189) < 0.05


# Measures


def test_distances_agree_with_scipy() -> None:
    a, b = RNG(0).normal(size=200), RNG(1).normal(size=333) + 0.3
    assert ks_two(a, b) == pytest.approx(stats.ks_2samp(a, b).statistic)
    assert ks_normal(b) == pytest.approx(stats.kstest(b, "norm").statistic)
    x = rows(80, 3)
    expected = stats.spearmanr(x).statistic
    np.testing.assert_allclose(ranks_correlation(x) + np.eye(3), expected, atol=1e-12)


def test_the_most_dependent_columns_are_found() -> None:
    x = RNG(0).normal(size=(500, 9))
    x[:, 7] = x[:, 2] + 0.1 * x[:, 7]
    x[:, 5] = x[:, 7] + 0.5 * x[:, 5]
    assert {2, 5, 7} <= set(most_dependent(ranks_correlation(x)))


def test_latents_of_other_bases_become_normal_scores() -> None:
    bases = diffeo.bases
    base = bases.Product(
        [
            ([0, 2], bases.Normal(2)),
            ([1], bases.Uniform(1, -5, 5)),
            ([3], bases.StudentT(1, df=2.0)),
        ]
    )
    z = base.sample((4000,), generator=torch.Generator().manual_seed(0)).double().numpy()
    scores, names = normal_scores(base, z)
    assert len(names) == 4
    assert "Uniform" in names[1]
    assert all(ks_normal(scores[:, i]) < 0.03 for i in range(4))
    assert normal_scores(bases.GaussianMixture(2), z[:, :2])[0].shape == (4000, 0)


# The page


class Tags(HTMLParser):
    """What a browser would see in a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.sources: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.sources += [str(value) for name, value in attrs if name in ("src", "href")]


def test_the_page_says_what_it_was_given(tmp_path: Path) -> None:
    page, figures = built(
        tmp_path, table(rows(300, 4), set_aside={"same": 4.25}, dropped=("name",)), 60
    )
    for text in (
        "made up.csv",
        "x3",
        "same",
        "always 4.25",
        "name",
        "2.7",
        "seed",
        "240",
        "60",
        str(tmp_path),
    ):
        assert text in page
    for value in (
        figures["nll"],
        figures["gaussian"]["nll"],
        figures["kde"]["nll"],
        figures["gaussian"]["difference"],
    ):
        assert f"{abs(value):.3f}" in page
    assert set(figures["gaussian"]) == {
        "nll",
        "nll_se",
        "rows",
        "note",
        "difference",
        "difference_se",
    }
    assert figures["split"] == "held-out"
    assert figures["bits_per_dim"] == pytest.approx(figures["nll"] / 4 / math.log(2))
    order = [
        "How good",
        "Losses",
        "Columns",
        "Dependence",
        "Latents",
        "Least likely",
        "Choices",
        "Checkup",
        "How to use",
    ]
    places = [page.index(f"<h2>{title}") for title in order]
    assert places == sorted(places)


def test_the_difference_is_paired(tmp_path: Path) -> None:
    t = table(rows(300, 1))
    _, figures = built(tmp_path, t, 80)
    flow, _ = trained(t, 80)
    with torch.no_grad():
        mine = flow.eval().log_prob(torch.from_numpy(t.values[-80:])).double().numpy()
    theirs = Gaussian.fit(t.values[:220]).log_prob(t.values[-80:])
    assert figures["nll"] == pytest.approx(-mine.mean(), abs=1e-5)
    assert figures["gaussian"]["difference"] == pytest.approx((mine - theirs).mean(), abs=1e-5)
    assert figures["gaussian"]["difference_se"] == pytest.approx(
        (mine - theirs).std(ddof=1) / 80**0.5, abs=1e-5
    )


def test_nothing_is_loaded_from_elsewhere_and_nothing_hostile_gets_in(tmp_path: Path) -> None:
    names = ["<script>alert(1)</script>", "$\\frac{x$", "' onload='x", "温度 & co", "n" * 500]
    page, _ = built(tmp_path, table(rows(100, 5), names=names, dropped=("<img src=x>",)), 20)
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "温度 &amp; co" in page
    tags = Tags(page)
    assert len(tags.sources) == 8
    assert all(s.startswith("data:image/") for s in tags.sources)
    assert not {"script", "iframe", "link", "object", "form"} & tags.names
    assert not any(name.startswith("on") for name in tags.attributes)
    assert not re.search(r"https?://|url\(|@import", page)
    for encoded in re.findall(r"data:image/svg\+xml;base64,([^'\"]+)", page):
        assert b"<script" not in base64.b64decode(encoded)


def test_the_same_input_gives_the_same_page(tmp_path: Path) -> None:
    state = torch.random.get_rng_state()
    pages = [built(tmp_path, table(rows(60, 2)), 20)[0] for _ in range(2)]
    assert pages[0] == pages[1]
    assert torch.equal(state, torch.random.get_rng_state())
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]  # no temporary file is left


def test_an_honest_word_when_the_flow_is_worse_or_rows_are_few(tmp_path: Path) -> None:
    t = table(rows(400, 3))
    flow, result = trained(t, 100)
    with torch.no_grad():
        flow.transform[0].mean += 50.0
    path, figures = build_report(tmp_path, flow, t, result=result)
    assert figures["gaussian"]["difference"] < 0
    assert "worse than a full-covariance Gaussian" in path.read_text()
    assert "Only 100 rows were held out" in path.read_text()


EDGES: dict[str, Callable[[], tuple[Table, int]]] = {
    "no held-out rows": lambda: (table(rows(50, 2)), 0),
    "one held-out row": lambda: (table(rows(50, 2)), 1),
    "one column": lambda: (table(rows(80, 1)), 20),
    "ten rows": lambda: (table(rows(10, 3)), 2),
    "two rows": lambda: (table(rows(2, 2)), 1),
    "contexts": lambda: (table(rows(300, 3), context=rows(300, 2, 1)), 250),
    "few contexts": lambda: (table(rows(40, 1), context=rows(40, 1, 1)), 5),
    "one integer of two values": lambda: (
        table(RNG(0).integers(0, 2, (60, 1)).astype(float), {0: "integer"}),
        20,
    ),
    "badly scaled": lambda: (table(rows(80, 3) * [1e30, 1e-30, 1.0] + [0, 0, 1.7e9]), 20),
    "fewer rows than columns": lambda: (table(rows(12, 20)), 2),
}


@pytest.mark.parametrize("name", EDGES)
def test_edges(name: str, tmp_path: Path) -> None:
    t, valid = EDGES[name]()
    page, figures = built(tmp_path, t, valid, samples=300)
    assert page.endswith("</html>\n")
    assert len(page) < 3_000_000
    assert not math.isnan(figures["nll"])
    assert ("gaussian" in figures) == (valid > 0)
    if not valid:
        assert figures["split"] == "training"
        assert "No rows were held out" in page
    if t.context is not None:
        assert "The flow is conditional" in page


def test_every_kind_of_column_and_rows_outside(tmp_path: Path) -> None:
    g = RNG(0)
    values = np.stack(
        [
            g.normal(size=200),
            np.exp(3 * g.normal(size=200)),
            g.random(200),
            360 * g.random(200),
            g.poisson(3, 200),
        ],
        1,
    )
    kinds = {1: "positive", 2: "interval:0:1", 3: "circular:0:360", 4: "integer"}
    t = table(values, kinds)
    held = table(np.concatenate((values[:30], [[0.0, -1.0, 0.5, 400.0, 2.0]])), kinds)
    page, figures = built(tmp_path, t, 0, held_out=held)
    assert figures["bound"]
    assert figures["outside"] == 1
    assert figures["rows"] == 31
    assert figures["nll"] == math.inf
    assert math.isfinite(figures["gaussian"]["difference"])
    assert "upper bounds" in page
    assert "density zero" in page
    assert "Uniform base" in page


def test_a_checkup_is_shown_as_an_object_and_as_a_dict(tmp_path: Path) -> None:
    t = table(rows(60, 1))
    flow, result = trained(t, 20)
    checkup = diffeo.check(flow, torch.from_numpy(t.values))
    for form in (checkup, checkup.as_dict()):
        page = build_report(tmp_path, flow, t, result=result, checkup=form)[0].read_text()
        assert checkup.verdict in page
    assert "No checkup was run" in build_report(tmp_path, flow, t, result=result)[0].read_text()


def test_a_thousand_columns(tmp_path: Path) -> None:
    t = table(RNG(0).normal(size=(400, 1000)))
    page, _ = built(tmp_path, t, 40, samples=500)
    assert page.count("<figure>") == 24
    assert "The other 976 columns" in page
    assert len(page) < 3_000_000


def test_a_real_run(tmp_path: Path) -> None:
    g = RNG(0)
    x = g.normal(size=(600, 2))
    x[:, 1] += 2 * np.abs(x[:, 0])
    t = table(x)
    flow = diffeo.models.nsf((2,), layers=2, hidden=(16,), supports=t.schema.supports)
    result = diffeo.fit(flow, t, steps=60, valid=0.4, lr=5e-3)
    path, figures = build_report(tmp_path, flow, t, result=result)
    assert figures["nll"] == pytest.approx(result.best["nll"], abs=1e-4)
    assert figures["gaussian"]["difference"] > 2 * figures["gaussian"]["difference_se"]
    assert "better than a full-covariance Gaussian" in path.read_text()
