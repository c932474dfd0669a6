"""The report of a posterior: what it was given is on the page, in words that hold, and nothing else
gets in.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor

import diffeo
from diffeo import report
from diffeo.cli import main
from diffeo.inference import Attempt, Chains, Posterior, Space, diagnose, verdict
from diffeo.inference.chains.convergence import ess_bulk, ess_tail, rhat
from diffeo.inference.weights.psis import smooth
from diffeo.report import build_posterior_report
from diffeo.report.page import plots
from diffeo.report.posterior import chains as posterior_chains
from diffeo.report.posterior import weights as posterior_weights
from diffeo.report.posterior.corner import logged
from diffeo.report.posterior.training import trained_by
from diffeo.report.posterior.weights import tail_size

HISTORY: list[dict[str, Any]] = [
    {"step": 10 * k, "train": 50.0 - k if k else None, "valid": 40.0 - k, "valid_se": 0.1}
    for k in range(6)
]
COUNTS = {
    "evaluations": 54_321,
    "gradients": 43_210,
    "nan_rows": 17,
    "outside_rows": 1_234,
    "nan_gradients": 5,
}


class Seen(HTMLParser):
    """What a browser would show: tags, attributes, sources, and the text of the sections by their
    titles.
    """

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.sources: list[str] = []
        self.sections: dict[str, str] = {}
        self.title, self.inside = "", ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.sources += [str(value) for name, value in attrs if name in ("src", "href")]
        self.inside = tag
        if tag == "h2":
            self.title = ""

    def handle_data(self, data: str) -> None:
        if self.inside == "h2" and not self.title:
            self.title = data
        self.sections[self.title] = self.sections.get(self.title, "") + data + "|"

    def __getitem__(self, title: str) -> str:
        return self.sections[title]


@pytest.fixture(autouse=True)
def _no_ink(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are made but not drawn, which takes most of a page's time, unless a test asks."""
    if "ink" not in request.fixturenames:
        monkeypatch.setattr(Figure, "savefig", lambda self, buffer, **_: buffer.write(b"a picture"))


@pytest.fixture
def ink() -> None:
    """Ask for it to have pictures drawn."""


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def given(
    parameters: int | Mapping[str, Any],
    log_w: Tensor | None = None,
    *,
    draws: Tensor | None = None,
    reference: Tensor | None = None,
    chains: Chains | None = None,
    **more: Any,
) -> Posterior:
    """A posterior with these raw log weights, as `infer` makes it of them."""
    space = Space.of(parameters)
    log_w = 0.3 * noise(1000, seed=1) if log_w is None else log_w
    draws = noise(len(log_w), space.size) if draws is None else draws
    found = diagnose(log_w, reference)
    trusted, reasons = verdict(found)
    weights = smooth(log_w)[0]
    name = "flow"
    if chains is not None:
        trusted, reasons = chains.verdict()
        draws, name = chains.samples.flatten(0, 1), "mcmc"
        weights = torch.full((len(draws),), -math.log(len(draws)), dtype=torch.float64)
    flow = diffeo.Flow(
        diffeo.Chain([diffeo.layers.Permute(list(range(space.size)))]),
        diffeo.bases.Normal(space.size),
    )
    tried = [Attempt(name, trusted, reasons, found, 50, 1.5, 50_000)]
    warnings = [f"{name}: {reason}" for reason in reasons]
    return replace(
        Posterior(
            flow, space, draws, weights, found, trusted, warnings, tried, COUNTS, HISTORY, chains
        ),
        **more,
    )


def running(samples: Tensor) -> Chains:
    return Chains(
        samples,
        rhat(samples),
        ess_bulk(samples),
        ess_tail(samples),
        0.625,
        0.8125,
        0.4375,
        3,
        9_999,
        True,
    )


def page_of(folder: Path, posterior: Posterior, **more: Any) -> str:
    path = build_posterior_report(folder, posterior, **more)
    assert path == folder / "report.html"
    return path.read_text(encoding="utf-8")


def seen(folder: Path, posterior: Posterior, **more: Any) -> Seen:
    return Seen(page_of(folder, posterior, **more))


def test_the_verdict_comes_first_and_the_figures_follow(tmp_path: Path) -> None:
    p = given(3, reference=0.2 + 0.3 * noise(500, seed=2))
    found = seen(tmp_path, p, source="where it is from")
    order = [
        "Can the draws be trusted?",
        "What was tried",
        "Summary",
        "Draws",
        "Weights",
        "Training",
        "Evaluations",
    ]
    assert list(found.sections)[1:] == [*order, "How to use the draws"]
    text, d = found["Can the draws be trusted?"], p.diagnostics
    assert text.index("The draws can be trusted") < text.index("log Z")
    assert "NOT" not in text
    assert d.eubo is not None
    for value in (
        d.log_z,
        d.log_z_se,
        d.elbo,
        d.iw_elbo,
        d.log_z - d.elbo,
        d.eubo,
        d.eubo - d.log_z,
    ):
        assert f"{abs(value):.4f}" in text
    for words in (
        f"{d.ess:.2%}",
        f"{1000 * d.ess:,.0f} of 1,000",
        f"{abs(d.k_hat):.2f}",
        f"{d.max_weight_share:.3%}",
    ):
        assert words in text
    assert "where it is from" in found[""]


def test_no_upper_bound_without_reference(tmp_path: Path) -> None:
    assert "EUBO" not in page_of(tmp_path, given(2))


def test_every_reason_is_given_in_full(tmp_path: Path) -> None:
    reasons = [
        f"reason number {k}, " + "and more of it " * 20 + f"to the end of {k}" for k in range(3)
    ]
    p = given(2, trusted=False, warnings=[f"flow: {r}" for r in reasons])
    p.attempts[0] = replace(p.attempts[0], trusted=False, reasons=reasons)
    found = seen(tmp_path, p)
    assert "The draws FAILED the diagnostics." in found["Can the draws be trusted?"]
    for reason in reasons:
        assert reason in found["Can the draws be trusted?"]
        assert reason in found["What was tried"]
    assert "failed the diagnostics" in found["Draws"]


def test_what_earlier_attempts_lacked_is_no_word_against_the_draws(tmp_path: Path) -> None:
    p = given(2, warnings=["flow: it was too short", "the log density was NaN at 17 points"])
    p.attempts.insert(
        0,
        replace(
            p.attempts[0], name="flow", trusted=False, reasons=["it was too short"], evaluations=777
        ),
    )
    p.attempts[1] = replace(p.attempts[1], name="annealed")
    found = seen(tmp_path, p)
    assert "too short" not in found["Can the draws be trusted?"]
    assert "NaN at 17 points" in found["Can the draws be trusted?"]
    assert "Against flow: it was too short." in found["What was tried"]
    assert "777" in found["What was tried"]


@pytest.mark.parametrize(
    ("k_hat", "ess", "words"),
    [
        (-0.2, 0.5, "up to 0.5"),
        (0.6, 0.5, "between 0.5 and 0.7"),
        (0.9, 0.5, "too heavy to average"),
        (math.inf, 0.5, "too few distinct weights"),
        (math.inf, 1.0, "they are even, so it does not matter"),
        (math.nan, 0.5, "unknown"),
    ],
)
def test_k_hat_in_words(k_hat: float, ess: float, words: str, tmp_path: Path) -> None:
    p = given(2)
    assert words in page_of(
        tmp_path, replace(p, diagnostics=replace(p.diagnostics, k_hat=k_hat, ess=ess))
    )


def test_a_signal_to_noise_where_there_is_one(tmp_path: Path) -> None:
    p = given(2)
    for value, shown in ((None, False), (3.25, True)):
        page = page_of(tmp_path, replace(p, diagnostics=replace(p.diagnostics, gradient_snr=value)))
        assert ("signal to noise" in page) is shown
        assert ("3.25" in page) is shown


def test_a_search_that_was_stopped(tmp_path: Path) -> None:
    p = given(2)
    for signum in (None, 15):
        assert ("A signal ended" in page_of(tmp_path, replace(p, signum=signum))) is (
            signum is not None
        )


def test_counts_of_evaluations(tmp_path: Path) -> None:
    text = seen(tmp_path, given(2))["Evaluations"]
    for words in ("54,321", "43,210", "17|", "1,234", "2.27%", "5|"):
        assert words in text


def test_the_summary_has_every_entry_and_folds_the_later_ones(tmp_path: Path) -> None:
    few = seen(tmp_path / "few", given({"mu": (), "sd": "positive", "w": (3, "simplex")}))
    assert "details" not in few.tags
    p = given(50)
    page = page_of(tmp_path / "many", p)
    shown, folded = page.split("<details>")
    assert "<td class='n'>x[29]</td>" in shown.replace("class=n", "class='n'")
    assert "x[30]" not in shown
    assert "x[49]" in folded.split("</details>")[0]
    assert "The 5 most dependent of 50 entries" in page
    row = p.summary()[0]
    assert f"{row['sd']:.3g}" in shown
    assert f"{row['q95']:.4g}".replace("-", "−") in shown


def test_a_small_spread_around_a_large_number_keeps_its_digits(tmp_path: Path) -> None:
    p = given({"t": "greater_than:1700000000"}, draws=0.1 * noise(1000, 1).double())
    q5, q95 = (p.summary()[0][key] for key in ("q5", "q95"))
    text = seen(tmp_path, p)["Summary"]
    assert f"|{q5:.14g}|" in text
    assert f"|{q95:.14g}|" in text


@pytest.mark.usefixtures("ink")
def test_names_from_the_user_are_escaped_and_nothing_comes_from_elsewhere(tmp_path: Path) -> None:
    hostile = "<script>alert('1')</script>"
    names = {hostile: "positive", "$\\frac{$": (), "a&b \"q\" 'r'": (2,)}
    reason = f"{hostile} & reason"
    folder = tmp_path / "<b> & 'f'"
    p = given(names, chains=running(noise(4, 100, 4)), trusted=False, warnings=[reason])
    p.attempts[0] = replace(p.attempts[0], name=hostile, trusted=False, reasons=[reason])
    for q in (p, given({hostile: ()}), given({"$\\frac{$": ()})):
        page = page_of(folder, q, source=f"{hostile}.py:f")
        found = Seen(page)
        assert found.tags.isdisjoint({"script", "link", "iframe", "object"})
        assert "<script" not in page
        assert not {name for name in found.attributes if name.startswith("on")}
        assert all(source.startswith("data:image/") for source in found.sources)
        for uri in found.sources:
            assert b"<script" not in base64.b64decode(uri.split(",", 1)[1])
    assert hostile in unescape(page_of(folder, p))


def test_the_python_lines_run(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    name = "a 'quoted' \\ name"
    p = given({name: (), "w": (2,)})
    p.to_dataframe().to_parquet(tmp_path / "draws.parquet")
    code = unescape(re.findall(r"<pre>(.*?)</pre>", page_of(tmp_path, p), re.S)[0])
    scope: dict[str, Any] = {}
    exec(code, scope)
    assert isinstance(scope["draws"], pandas.DataFrame)
    assert name in scope["draws"]


@pytest.mark.usefixtures("ink")
def test_the_same_posterior_gives_the_same_page(tmp_path: Path) -> None:
    p = given(3)
    assert page_of(tmp_path, p) == page_of(tmp_path, p)


# Awkward posteriors


@pytest.mark.usefixtures("ink")
def test_one_dimension(tmp_path: Path) -> None:
    found = seen(tmp_path, given({"only": ()}))
    assert len(found.sources) == 3
    assert "correlation" not in found["Draws"]


def test_entries_that_do_not_vary_are_named_and_not_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[list[str]] = []
    corner = plots.corner
    monkeypatch.setattr(
        plots,
        "corner",
        lambda x, y, names, *, rho: drawn.append(names) or corner(x, y, names, rho=rho),
    )
    draws = noise(1000, 3)
    draws[:, 1] = 0.0
    found = seen(tmp_path / "some", given({"a": (), "still": (), "c": ()}, draws=draws))
    assert drawn == [["a", "c"]]
    assert "Not drawn, since they do not vary: still." in found["Draws"]
    found = seen(tmp_path / "all", given(3, draws=torch.zeros(1000, 3)))
    assert "no spread to draw" in found["Draws"]
    assert len(found.sources) == 2


@pytest.mark.usefixtures("ink")
def test_weights_that_are_all_equal(tmp_path: Path) -> None:
    found = seen(tmp_path, given(2, torch.full((1000,), 3.0)))
    assert "The draws can be trusted" in found["Can the draws be trusted?"]
    assert "All weights are equal" in found["Weights"]
    assert "100.00%" in found["Can the draws be trusted?"]


@pytest.mark.usefixtures("ink")
def test_one_draw_with_all_the_weight(tmp_path: Path) -> None:
    log_w = torch.full((1000,), -math.inf)
    log_w[3] = 0.0
    found = seen(tmp_path, given(2, log_w))
    assert "FAILED the diagnostics" in found["Can the draws be trusted?"]
    assert "999 draws have weight zero" in found["Weights"]
    assert "1 of them are distinct" in found["Draws"]
    log_w[4] = -1.0
    assert "Only 2 weights differ" in seen(tmp_path, given(2, log_w))["Weights"]


@pytest.mark.usefixtures("ink")
def test_an_infinite_elbo(tmp_path: Path) -> None:
    log_w = 0.1 * noise(1000)
    log_w[::2] = -math.inf
    history = [{"step": 0, "valid": math.inf}, {"step": 1, "event": "skipped"}, *HISTORY[1:]]
    p = given(2, log_w, history=history)
    found = seen(tmp_path, p)
    text = found["Can the draws be trusted?"]
    assert "ELBO|−∞|lower bound on log Z, nats; −∞ because draws lie outside the support" in text
    assert (
        f"IW-ELBO|{p.diagnostics.iw_elbo:.4f}".replace("-0", "−0")
        + "|a tighter lower bound, from groups of 50 draws, nats|"
        in text
    )
    assert "log Z − ELBO|∞" in text
    assert "50.00%" in text
    assert "500 draws have weight zero" in found["Weights"]


def test_no_history(tmp_path: Path) -> None:
    assert "left no losses" in seen(tmp_path, given(2, history=[]))["Training"]


def test_draws_of_a_wide_range_are_drawn_as_logarithms() -> None:
    x = np.stack(
        (
            np.exp(3 * noise(500).numpy()),
            np.exp(0.1 * noise(500).numpy()),
            100 * noise(500).numpy(),
        ),
        1,
    )
    values, labels = logged(x, ["wide", "narrow", "signed"])
    assert labels == ["log10 wide", "narrow", "signed"]
    np.testing.assert_allclose(values[:, 0], np.log10(x[:, 0]))
    np.testing.assert_array_equal(values[:, 1:], x[:, 1:])


# Weights


@pytest.mark.parametrize("count", [10, 100, 1000, 10_000])
def test_the_tail_drawn_is_the_tail_smoothed(count: int) -> None:
    log_w = noise(count).double()
    smoothed = smooth(log_w)[0]
    shift = (smoothed - log_w).median()  # most weights only change by the normalisation
    order = log_w.argsort()
    changed = ((smoothed - log_w - shift).abs() > 1e-9)[order].nonzero().flatten()
    if count < 25:  # a tail too short to be smoothed
        assert len(changed) == 0
    else:
        assert int(changed.min()) == count - tail_size(count)
        assert len(changed) >= 0.95 * tail_size(count)


def test_every_weight_is_in_the_histogram(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bars: list[Any] = []
    svg = posterior_weights.svg
    monkeypatch.setattr(
        posterior_weights,
        "svg",
        lambda f: bars.extend(p.get_data() for p in f.axes[0].patches) or svg(f),
    )
    log_w = 0.1 * noise(1000).double()
    log_w[0], log_w[1] = 3.0, -300.0
    p = given(2, log_w)
    page_of(tmp_path, p)
    everything, largest = bars
    assert everything.values.sum() == 1000
    assert largest.values.sum() == tail_size(1000)
    assert everything.edges[-1] == pytest.approx(
        float(p.log_weights.max() + math.log(1000)) / math.log(10)
    )
    assert everything.edges[0] > -2


def test_the_dashed_tail_is_a_pareto_tail_of_the_same_median() -> None:
    share = (np.arange(100)[::-1] + 0.5) / 1000
    above = share / 0.1
    excess = 2.5 * (above**-0.7 - 1) / 0.7  # of a generalised Pareto distribution with k = 0.7
    log_w = np.concatenate(([0.0], np.log1p(excess)))
    found, at = posterior_weights._limit(log_w, share)
    np.testing.assert_allclose(at, share)
    np.testing.assert_allclose(found[:-5], log_w[1:-5] / math.log(10), rtol=0.05, atol=0.02)


# Training


def test_the_objective_is_named_after_the_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []
    curves = plots.loss_curves
    monkeypatch.setattr(
        plots,
        "loss_curves",
        lambda h, best, **k: drawn.append((h, best, k)) or curves(h, best, **k),
    )
    p = given(2)
    for name, words in (
        ("flow", "too little to start from"),
        ("annealed", "an easy density at first"),
        ("fab", "no bound on log Z"),
    ):
        own = replace(p, attempts=[replace(p.attempts[0], name=name)])
        assert words in seen(tmp_path, own)["Training"]
        history, best, settings = drawn.pop()
        assert best == (None if name == "fab" else 50)
        assert settings.get("floor") == (None if name == "fab" else (-p.log_z, "−log Z"))
        assert any("valid" in entry for entry in history) is (name != "fab")
        assert [entry["train"] for entry in history] == [entry["train"] for entry in HISTORY]


def test_the_flow_is_that_of_the_attempt_with_its_figures() -> None:
    p = given(2)
    other = replace(p.diagnostics, log_z=-5.0)
    tried = [
        replace(p.attempts[0], name=name, diagnostics=d)
        for name, d in (("flow", other), ("annealed", p.diagnostics), ("fab", other))
    ]
    assert trained_by(replace(p, attempts=tried)) == "annealed"
    alone = replace(p, attempts=[replace(p.attempts[0], name="mcmc")])
    assert trained_by(alone) == "flow"


def test_a_huge_beginning_does_not_flatten_the_end() -> None:
    history = [
        {"step": k, "train": 10.0 ** max(0, 20 - k) + 1 / (k + 1), "valid": 10.0 ** max(0, 20 - k)}
        for k in range(200)
    ]
    limits: list[tuple[float, float]] = []
    svg = plots.svg

    def noted(figure: Any) -> str:
        limits.append(figure.axes[0].get_ylim())
        return svg(figure)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "svg", noted)
        plots.loss_curves(history, None, floor=(0.5, "−log Z"))
    low, high = limits[0]
    assert low < 0.5
    assert high < 10


# Chains


def test_chains_have_figures_of_their_own(tmp_path: Path) -> None:
    samples = noise(8, 400, 2)
    c = running(samples)
    p = given({"mu": (), "sd": "positive"}, chains=c)
    assert p.trusted
    found = seen(tmp_path, p)
    text = found["Can the draws be trusted?"]
    assert "The draws of the chains can be trusted" in text
    assert text.index("The chains") < text.index("The flow they start from")
    for words in (
        "8 × 400",
        f"{c.rhat.max():.3f}",
        f"{c.ess_bulk.min():.0f}",
        f"{c.ess_tail.min():.0f}",
        "62.5%",
        "81.2%",
        "0.438",
        "3|",
    ):
        assert words in text
    assert "equally weighted" in found["Summary"]
    assert "count alike" in found["Weights"]
    assert "time ran out" not in text
    assert "Hamiltonian" not in page_of(
        tmp_path, replace(p, chains=replace(c, local_acceptance=math.nan))
    )
    assert "time ran out" in page_of(tmp_path, replace(p, chains=replace(c, complete=False)))


def test_log_z_is_the_bridge_s_where_chains_ran(tmp_path: Path) -> None:
    """And what the flow alone failed is said beside it."""
    chains = running(noise(8, 400, 2))
    failed = page_of(tmp_path, given(2, 9 * noise(1000, seed=3), chains=chains))
    assert "The flow alone failed" in failed
    assert "The flow alone failed" not in page_of(tmp_path, given(2, chains=chains))
    assert "by a bridge between the chains and the flow" in failed
    assert "by a bridge" not in page_of(tmp_path, given(2))


def test_the_worst_entry_is_traced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    traced: list[Any] = []
    trace = posterior_chains._trace
    monkeypatch.setattr(
        posterior_chains, "_trace", lambda x, name: traced.append((x, name)) or trace(x, name)
    )
    samples = noise(8, 400, 3)
    samples[3, :, 1] += 8.0
    found = seen(tmp_path, given({"a": (), "b": "positive", "c": ()}, chains=running(samples)))
    assert "The draws of the chains FAILED the diagnostics." in found["Can the draws be trusted?"]
    assert "R-hat is" in found["Can the draws be trusted?"]
    (x, name), = traced  # fmt: skip
    assert name == "b"
    np.testing.assert_allclose(x, samples[:, :, 1].double().exp().numpy(), rtol=1e-6)
    table = found["Chains"]
    assert table.index("|b|") < min(table.index("|a|"), table.index("|c|"))


@pytest.mark.usefixtures("ink")
@pytest.mark.parametrize("shape", [(1, 3, 1), (2, 10, 1), (4, 50, 2)])
def test_few_chains_short_ones_and_stuck_ones(shape: tuple[int, ...], tmp_path: Path) -> None:
    for samples in (noise(*shape), torch.zeros(shape)):
        found = seen(tmp_path, given(shape[2], chains=running(samples)))
        assert "FAILED the diagnostics" in found["Can the draws be trusted?"]
        assert f"{min(6, shape[0])} of {shape[0]} chains" in found["Chains"]
    assert "n/a" in found["Chains"]


# From the command, and of a posterior that `infer` made

FILE = "import torch\ndef f(x):\n    return -0.5 * x.square().sum(1)\n"


def command(out: Path, *words: str) -> int:
    path = out.parent / "model.py"
    path.write_text(FILE)
    options = ["--dim", "2", "--steps", "20", "-n", "500", "--quiet", "--out", str(out)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["diffeo", "infer", f"{path}:f", *options, *words])
        with pytest.raises(SystemExit) as stopped:
            main()
    return int(stopped.value.code or 0)


def test_the_command_writes_the_report_and_names_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert command(out, "--json") == 0
    assert json.loads(capsys.readouterr().out)["report"] == str(out / "report.html")
    assert "model.py:f" in Seen((out / "report.html").read_text())[""]
    assert command(out) == 0
    assert f"report   {out / 'report.html'}" in capsys.readouterr().out


def test_a_report_that_fails_costs_no_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(folder: Path, posterior: Posterior, **_: Any) -> Path:
        assert (folder / "draws.parquet").is_file()
        assert (folder / "posterior.json").is_file()
        raise ZeroDivisionError("no ink")

    monkeypatch.setattr(report, "build_posterior_report", broken)
    out = tmp_path / "out"
    assert command(out, "--json") == 0
    said = capsys.readouterr()
    assert '"report": null' in said.out
    assert "ZeroDivisionError: no ink" in said.err
    assert len(diffeo.read_table(out / "draws.parquet")) == 500


def _bounded(x: Tensor) -> Tensor:
    return torch.where(x[:, 0] > 0, -0.5 * x.square().sum(1), -math.inf)


def _two(x: Tensor) -> Tensor:
    return torch.logaddexp(-2 * (x - 5).square().sum(1), -2 * (x + 5).square().sum(1))


@pytest.mark.slow
@pytest.mark.usefixtures("ink")
@pytest.mark.parametrize(
    ("density", "effort", "trusted"),
    [
        (lambda x: -0.5 * x.square().sum(1), "flow", True),
        (_bounded, "flow", True),
        (_two, "annealed", None),
        (_two, "fab", None),
    ],
)
def test_what_infer_makes_can_be_reported(
    density: Callable[[Tensor], Tensor], effort: Any, trusted: bool | None, tmp_path: Path
) -> None:
    p = diffeo.infer(density, 2, effort=effort, steps=20, samples=1000, layers=2, hidden=(16,))
    found = seen(tmp_path, p)
    assert trusted is None or p.trusted is trusted
    assert ("FAILED the diagnostics" in found["Can the draws be trusted?"]) is not p.trusted
    assert len(found.sources) == 3
