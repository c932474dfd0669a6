"""A run on images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..core.errors import DataError
from ..data import Images, read_images
from ..data.images.note import ImageNote
from ..domains import DOMAINS, Domain
from .images import height_width, tensors
from .jobs import build_model, run_line

if TYPE_CHECKING:
    from ..flow import Flow
    from ..training import FitResult
    from .config import RunConfig

__all__ = ["ImageJob"]


@dataclass(frozen=True)
class ImageJob:
    """A `Job`: training images, and held-out ones if they come from a place of their own."""

    images: Images
    held_out: Images | None
    config: RunConfig
    domain: ClassVar[Domain] = DOMAINS["image"]

    @classmethod
    def read(cls, data: Any, out: Path, config: RunConfig) -> ImageJob:
        size = height_width(config.resize)
        # a folder of files is decoded once, also for the runs that resume this one
        cache = out / "cache"
        images = read_images(
            data,
            labels=config.labels,
            bits=config.bits,
            resize=size,
            colour=config.colour,
            cache=cache,
            depth=config.depth,
        )
        if len(images) < 2:
            raise DataError(
                f"{data}: {len(images)} image is too few to train on: at least 2 are needed"
            )
        held_out = None
        if config.valid is not None:
            held_out = read_images(
                config.valid,
                labels=config.valid_labels,
                bits=images.bits,
                resize=size,
                colour="rgb" if images.event_shape[0] == 3 else "grey",
                cache=cache,
                depth=config.depth,
                classes=images.classes if config.context else None,
            )
        for place, found, option in (
            (data, images, "--labels"),
            (config.valid, held_out, "--valid-labels"),
        ):
            if config.context and found is not None and found.labels is None:
                raise DataError(
                    f"{place}: no labels for --context label: sort the files into sub-folders, or"
                    f" give {option} FILE"
                )
        return cls(images, held_out, config)

    @property
    def by_class(self) -> bool:
        return bool(self.config.context)

    def describe(self) -> list[str]:
        channels, height, width = self.images.event_shape
        kind = f"{height} x {width} {'grey' if channels == 1 else 'RGB'}, {self.images.bits} bits"
        classes = f", {len(self.images.classes)} classes" if self.images.classes else ""
        return [
            f"{self.images.source}: {len(self.images):,} images, {kind}{classes}",
            *self.images.notes,
        ]

    def flow(self) -> Flow:
        note = ImageNote(
            bits=self.images.bits,
            classes=self.images.classes,
            resize=self.config.resize,
            depth=self.config.depth,
        )
        flow = build_model(self.domain, self.images, self.config)
        flow.card = flow.card.having(data=note, source=self.images.source)
        return flow

    def training(self) -> dict[str, Any]:
        config = self.config
        return {
            "x": self.images,
            "valid": config.valid_share if self.held_out is None else self.held_out,
            "batch_size": config.batch_size,
            "lr": config.lr,
            "weight_decay": config.weight_decay,
            "flips": config.flips,
            "precision": config.precision,
        }

    def headline(self, summary: dict[str, Any]) -> list[str]:
        s = summary
        if s["nll"] is None:
            s |= {"bits_per_dim": None, "bits_per_dim_se": None}
            return [
                (
                    f"trained on {s['train_rows']:,} images for {s['steps']:,} steps; none were"
                    " held out"
                ),
                f"model    {s['out']}",
            ]
        per_bit = math.log(2) * math.prod(self.images.event_shape)
        s |= {"bits_per_dim": s["nll"] / per_bit, "bits_per_dim_se": s["nll_se"] / per_bit}
        return [
            run_line(s),
            (
                f"{s['bits_per_dim']:.4f} ± {s['bits_per_dim_se']:.4f} bits per dimension of"
                f" {s['rows']:,} held-out images (an upper bound: pixels are dequantised)"
            ),
        ]

    def report(
        self, out: Path, flow: Flow, result: FitResult, *, summary: dict[str, Any]
    ) -> list[str]:
        from ..checkup import check as measure
        from ..report import REPORTS
        from ..training import rows_per_pass

        some = self.held_out if self.held_out is not None else self.images
        checkup = measure(
            flow, *tensors(some.subset(slice(0, rows_per_pass(flow.event_shape))), self.by_class)
        )
        path, _ = REPORTS[self.domain.name](
            out, flow, self.images, result=result, held_out=self.held_out, checkup=checkup
        )
        summary |= {"report": str(path), "check": checkup.ok}
        return [checkup.verdict, f"report   {path}", f"samples  {out / 'samples'}"]
