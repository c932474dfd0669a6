"""From a posterior to `report.html`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..page.content import Page, Section
from ..page.page import write_report
from .chains import chains
from .corner import corner
from .headline import headline
from .parts import attempts, counts, summary, usage
from .training import objective
from .weights import weights

if TYPE_CHECKING:
    from ...inference import Posterior

__all__ = ["build_posterior_report"]


def build_posterior_report(
    folder: str | Path, posterior: Posterior, *, source: str = "a log density"
) -> Path:
    """Write `folder/report.html` about what `diffeo.infer` returned; return its path.

    The verdict with its reasons, the figures, what was tried, a summary of every entry, and
    pictures of draws, weights, training and chains. `source` says on the page where the log density
    is from. Raises `OSError` when it cannot write.

    >>> import diffeo, tempfile
    >>> posterior = diffeo.infer(lambda x: -x.square().sum(1), 2, steps=20, samples=500)
    >>> build_posterior_report(tempfile.mkdtemp(), posterior).name
    'report.html'
    """
    folder = Path(folder)
    sections = [
        Section("Can the draws be trusted?", headline(posterior)),
        Section("What was tried", attempts(posterior)),
        Section("Summary", summary(posterior)),
        Section("Draws", corner(posterior)),
        Section("Weights", weights(posterior)),
        *([Section("Chains", chains(posterior))] if posterior.chains is not None else []),
        Section("Training", objective(posterior)),
        Section("Evaluations", counts(posterior)),
        Section("How to use the draws", usage(folder, posterior)),
    ]
    return write_report(
        folder, Page(title="Posterior", source=source, tags=_tags(posterior), sections=sections)
    )


def _tags(p: Posterior) -> list[str]:
    entries = len(p.space.names)
    size = p.space.size
    return [
        "trusted" if p.trusted else "failed the diagnostics",
        (
            f"{entries:,} {'entry' if entries == 1 else 'entries'}, {size:,} free"
            f" coordinate{'' if size == 1 else 's'}"
        ),
        f"{len(p.draws):,} {'draws' if p.chains is None else 'states of chains'}",
        f"{p.counts.get('evaluations', 0):,} evaluations of the log density",
        f"{sum(a.seconds for a in p.attempts):,.0f} s",
    ]
