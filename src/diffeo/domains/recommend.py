"""What a user who passes nothing gets, with the reason beside each choice."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..models import SPECS

__all__ = ["ImageRecommendation", "Recommendation", "recommend", "recommend_images"]


@dataclass(frozen=True)
class Recommendation:
    """Model and training settings for a table of a given size; `reasons` says why, in words."""

    layers: int
    hidden: tuple[int, int]
    bins: int
    dropout: float
    batch_size: int
    lr: float
    weight_decay: float
    steps: int
    eval_every: int
    patience: int
    reasons: dict[str, str]

    def model_args(self, model: str) -> dict[str, Any]:
        """The part that goes to a model function: what the model takes of it, with what suits the
        model itself.
        """
        spec = SPECS[model]
        args: dict[str, Any] = {
            "layers": self.layers,
            "hidden": self.hidden,
            "dropout": self.dropout,
            "split": "random",
            "mixing": "lu",
            "bins": self.bins,
        }
        taken = spec.settings("table")
        return {name: value for name, value in args.items() if name in taken} | dict(
            spec.recommended.get("table", {})
        )

    def as_dict(self) -> dict[str, Any]:
        """For reports."""
        return asdict(self)


# Below so many rows, such a share of the units of a layer is left out.
DROPOUT = ((1_000, 0.4), (3_000, 0.3), (30_000, 0.1))


def recommend(rows: int, columns: int, context: int = 0) -> Recommendation:
    """Choose depth, width, batch size, learning rate and length from the size of a table.

    Found on real tables of 178 to 50,000 rows (benchmarks/nll.py): dropout matters most when rows
    are few, an LU map before each coupling gains 1 to 7 nats on tables of dependent columns, and
    deeper beats wider.
    """
    small = rows < 3_000
    wide = rows >= 300_000 or (rows >= 30_000 and columns + context > 50)
    if small:
        width = 64
        steps = 3_000
    else:
        width = 256 if wide else 128
        steps = 5_000 if rows < 30_000 else 10_000
    return Recommendation(
        layers=8 if columns > 1 else 4,
        hidden=(width, width),
        bins=8,
        dropout=next((share for most, share in DROPOUT if rows < most), 0.0),
        batch_size=min(rows, max(64, min(1024, 2 ** (rows // 40).bit_length()))),
        lr=1e-3,
        weight_decay=1e-2 if small else 1e-4,
        steps=steps,
        eval_every=max(10, steps // 100),
        patience=20,
        reasons={
            "layers": (
                "each half of the columns transformed four times"
                if columns > 1
                else "one column: nothing to couple"
            ),
            "hidden": (
                f"{rows:,} rows x {columns:,} columns:"
                f" {'few rows overfit' if small else 'wide enough for the rows'}"
            ),
            "dropout": "the fewer rows, the more dropout; none from 30,000 rows on",
            "batch_size": "about 1/40 of the rows, between 64 and 1,024",
            "steps": (
                "an upper limit: training stops when the held-out rows have not improved for 20"
                " evaluations"
            ),
            "patience": "evaluations without improvement before training stops",
        },
    )


@dataclass(frozen=True)
class ImageRecommendation:
    """Training settings for images; the size of the model is its own dial."""

    batch_size: int
    lr: float
    weight_decay: float
    steps: int
    eval_every: int
    patience: int
    valid_rows: int = 1_000
    """At most so many images are held out: validation is for choosing weights, not for the final
    figure.
    """


def recommend_images(rows: int, dims: int) -> ImageRecommendation:
    """Settings for so many images of `dims` values each: 20 passes, at least 2,000 steps and at
    most 50,000.

    Batches of 64, fewer of few images, and of large ones: networks keep hundreds of numbers for
    every value, so that one image of 3×256×256 takes 150 MB.
    """
    batch = max(1, min(64, rows // 8, 2**18 // dims))
    steps = max(2_000, min(50_000, 20 * rows // batch))
    return ImageRecommendation(
        batch_size=batch, lr=1e-3, weight_decay=0.0, steps=steps, eval_every=200, patience=20
    )
