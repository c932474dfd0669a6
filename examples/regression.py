"""A line through points of which some are far off: is the noise normal or Student's t, and what is
the slope?

Two log densities, a posterior and a log Z of each. The difference of the two log Z is the logarithm
of the Bayes factor.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Distribution, HalfNormal, Normal, StudentT

import diffeo

PARAMETERS = {"intercept": (), "slope": (), "sd": "positive"}
TRUE_SLOPE = 2.0


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.linspace(-1, 1, 30)
    y = 1 + TRUE_SLOPE * x + 0.3 * torch.randn(30, generator=generator)
    y[[4, 13, 22]] += torch.tensor([4.0, -3.0, 5.0])
    return x, y


def log_density(
    x: Tensor, y: Tensor, noise: Callable[[Tensor, Tensor], Distribution]
) -> Callable[[dict[str, Tensor]], Tensor]:
    def log_p(p: dict[str, Tensor]) -> Tensor:
        prior = (
            Normal(0, 5).log_prob(p["intercept"])
            + Normal(0, 5).log_prob(p["slope"])
            + HalfNormal(2.0).log_prob(p["sd"])
        )
        line = p["intercept"][:, None] + p["slope"][:, None] * x
        return prior + noise(line, p["sd"][:, None]).log_prob(y).sum(1)

    return log_p


def main(steps: int = 2_000) -> None:
    x, y = data()
    normal = diffeo.infer(log_density(x, y, Normal), PARAMETERS, steps=steps)
    student = diffeo.infer(
        log_density(x, y, lambda mean, sd: StudentT(3.0, mean, sd)), PARAMETERS, steps=steps
    )
    for name, posterior in (("normal", normal), ("Student's t", student)):
        said = "trusted" if posterior.trusted else "NOT trusted"
        print(f"{name}: log Z {posterior.log_z:.4f} ± {posterior.log_z_se:.4f}, {said}")
    rows = {row["name"]: row for row in student.summary()}
    slope = rows["slope"]
    print(f"slope: true {TRUE_SLOPE:.2f}, posterior {slope['mean']:.2f} ± {slope['sd']:.2f}")


if __name__ == "__main__":
    main()
