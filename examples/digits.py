"""Handwritten digits, one class at a time: p(image | class), samples of each, and who wrote what by
Bayes' rule.
"""

from __future__ import annotations

import torch

import diffeo


def main(steps: int = 1500) -> None:
    images = diffeo.read_images("sklearn:digits")
    x, labels = images.tensors()
    assert labels is not None
    train, test = images.subset(slice(0, 1500)), slice(1500, None)
    flow = diffeo.models.glow(images.event_shape, size="tiny", bits=images.bits, classes=10)
    result = diffeo.fit(flow, train, steps=steps)
    print(f"{result.best['nll'] / 64 / 0.6931:.3f} bits per dimension of held-out images")

    # (8, 10, 1, 8, 8): a column a class
    grid = flow.sample((8,), torch.arange(10), temperature=0.8)
    diffeo.data.write_images("digits.png", grid.flatten(0, 1), columns=10, bits=images.bits)

    # p(class | image) ∝ p(image | class): a density is a classifier too.
    every = torch.arange(10).repeat(len(x[test]), 1)
    with torch.no_grad():
        log_p = flow.log_prob(x[test][:, None].expand(-1, 10, -1, -1, -1), every)
    right = (log_p.argmax(1) == labels[test]).double().mean()
    print(f"{right:.3f} of {len(x[test])} new digits are told right by the density that is largest")


if __name__ == "__main__":
    main()
