"""From a trained flow and its images to `report.html`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...data import Images
from ...domains.image import bits_of, by_class
from ...flow import Flow
from ...training import FitResult
from ..page import plots
from ..page.content import Page, Pictured, Section
from ..page.page import write_report
from ..tables.choices import closing
from ..tables.headline import Headline
from ..tables.rows import Numbers
from .choices import choices, usage
from .headline import baselines, headline
from .parts import extremes, reconstructions, scales
from .rows import Scored, collect
from .samples import samples

__all__ = ["build_image_report"]


def build_image_report(
    folder: str | Path,
    flow: Flow,
    images: Images,
    *,
    result: FitResult,
    held_out: Images | None = None,
    checkup: Any = None,
    seed: int = 0,
) -> tuple[Path, dict[str, Any]]:
    """Write `folder/report.html` about a flow that `fit` trained on `images`; return its path and
    the headline figures.

    Held-out images are those of `held_out`, else the validation images of `result`; a
    class-conditional flow takes the labels. `checkup` is a `diffeo.checkup.Checkup` (or its dict).
    The figures: `nll`, `nll_se` (nats per image), `bits_per_dim`, `bits_per_dim_se`, `rows`,
    `split` ("held-out" or "training"), `bound`; and, when images of `bits` bits were held out, for
    `uniform` and `histogram` the same and `difference` (how much better the flow is, bits per
    dimension), `difference_se`, `note`. Raises `DataError` for images that the flow does not fit,
    `OSError` when it cannot write.
    """
    folder = Path(folder)
    training, held, train = collect(flow, images, result, held_out=held_out, seed=seed)
    scores = baselines(flow, images, train, held=held, seed=seed)
    head = headline(training, held, scores, exact=flow.exact, real=bits_of(flow) is None)
    page = _page(
        folder,
        flow,
        images,
        result=result,
        checkup=checkup,
        training=training,
        held=held,
        train=train,
        head=head,
        seed=seed,
    )
    return write_report(folder, page), head.figures


def _page(
    folder: Path,
    flow: Flow,
    images: Images,
    *,
    result: FitResult,
    checkup: Any,
    training: Scored,
    held: Scored | None,
    train: Numbers,
    head: Headline,
    seed: int,
) -> Page:
    rows = training if held is None else held
    bits = max(bits_of(flow) or 1, images.bits)
    made = choices(flow, images, result, held=0 if held is None else held.total)
    sections = [
        Section("How good it is", head.parts()),
        Section("Losses", [_loss(result, training.per_bit)]),
        Section(
            "Samples",
            samples(folder, flow, images, result=result, train=train, bits=bits, seed=seed),
        ),
        Section("Reconstructions", reconstructions(flow, rows, bits, seed=seed)),
        Section("Latents by scale", scales(flow, rows)),
        Section("Per-image bits", extremes(rows, training, bits)),
        *closing(made, checkup, usage(folder, flow, images)),
    ]
    return Page(
        title="Image model",
        source=images.source,
        tags=_tags(flow, images, result=result, held=held),
        sections=sections,
    )


def _loss(result: FitResult, per_bit: float) -> Pictured:
    best = result.best.get("step") if "nll" in result.best else None
    picture = plots.loss_curves(
        result.history, best, label="bits per dimension", scale=1 / per_bit, rows="images"
    )
    if picture is None:
        return Pictured(None, ["The run left no losses to draw."])
    words = (
        "Training losses are averages over batches, with dropout if there is any; validation losses"
        " are of the averaged weights."
    )
    return Pictured(picture, [words], alt="loss curves")


def _tags(flow: Flow, images: Images, *, result: FitResult, held: Scored | None) -> list[str]:
    channels, height, width = images.event_shape
    bits = bits_of(flow)
    given = [f"conditional on {len(images.classes):,} classes"] if by_class(flow) else []
    return [
        flow.card.model or "flow",
        (
            f"{height} × {width} {'grey' if channels == 1 else 'RGB'} images,"
            f" {'real-valued' if bits is None else f'{bits} bits'}"
        ),
        *given,
        f"{result.rows.get('train', 0):,} training images",
        f"{0 if held is None else held.total:,} held-out images",
    ]
