"""The pictures of docs/images.md: the runs of benchmarks/images.py, fashion-long.toml and ood.py
first, then this.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
RUNS, PICTURES = ROOT / "runs" / "fashion", ROOT / "docs" / "images"
TEST = "/usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz"


def diffeo(*words: object) -> None:
    print("$ diffeo", *words, flush=True)
    subprocess.run(
        [sys.executable, "-m", "diffeo", *map(str, words)], check=True, stdout=subprocess.DEVNULL
    )


def joined(parts: Sequence[Path], out: Path, across: bool) -> None:
    """Pictures side by side, or one below the other."""
    arrays = [np.asarray(Image.open(part)) for part in parts]
    gap = np.full(
        (arrays[0].shape[0], 12, 3) if across else (12, arrays[0].shape[1], 3), 255, np.uint8
    )
    pieces = [piece for array in arrays for piece in (array, gap)][:-1]
    Image.fromarray(np.concatenate(pieces, 1 if across else 0)).save(out, optimize=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for model, name in (
            (RUNS / "long", "fashion-samples"),
            (RUNS / "digits", "digits-samples"),
        ):
            grids = [work / f"{name}-{t}.png" for t in (1.0, 0.7)]
            for t, grid in zip((1.0, 0.7), grids, strict=True):
                diffeo(
                    "sample",
                    model,
                    "-n",
                    48,
                    "--columns",
                    8,
                    "--temperature",
                    t,
                    "--seed",
                    1,
                    "-o",
                    grid,
                )
            joined(grids, PICTURES / f"{name}.png", across=True)
        strips = []
        # trousers to boot, sweater to trousers, coat to sandal
        for a, b in ((2, 0), (1, 5), (16, 23)):
            strips.append(work / f"{a}-{b}.png")
            diffeo(
                "interpolate",
                RUNS / "long",
                f"{TEST}:{a}",
                f"{TEST}:{b}",
                "--steps",
                12,
                "-o",
                strips[-1],
            )
        joined(strips, PICTURES / "fashion-interpolation.png", across=False)
        # from sneaker to ankle boot
        words = ["--toward", 9, "--from", 7, "-n", 4, "--strengths=-0.5,0,0.5,1,1.5"]
        diffeo("edit", RUNS / "long", TEST, *words, "-o", PICTURES / "fashion-edit.png")
        diffeo(
            "reconstruct", RUNS / "long", TEST, "-n", 10, "-o", PICTURES / "fashion-reconstruct.png"
        )


if __name__ == "__main__":
    main()
