"""The data sheet: what is measured, of whom, at which size, and what diffeo aims at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["CONTENDERS", "ROWS", "Aim", "Row"]

Settings = dict[str, Any]

# name -> (the worker that builds it, settings of its own)
CONTENDERS: dict[str, tuple[str, Settings]] = {
    "diffeo": ("diffeo", {}),
    # activations recomputed from outputs in backward
    "diffeo-invert": ("diffeo", {"memory": "invert"}),
    **{name: (name, {}) for name in ("nflows", "zuko", "normflows", "freia", "flowjax", "bare")},
}
TORCH_PEERS = ("nflows", "zuko", "normflows", "freia")

NSF: Settings = {
    "model": "nsf",
    "shape": [16],
    "layers": 8,
    "hidden": [128, 128],
    "bins": 8,
    "batch": 1024,
}
REALNVP: Settings = {**NSF, "model": "realnvp"}
GLOW: Settings = {
    "model": "glow",
    "shape": [3, 32, 32],
    "scales": 3,
    "steps": 8,
    "width": 64,
    "batch": 32,
}

LIBRARIES = ("diffeo", "zuko", "nflows", "normflows", "flowjax", "bare")
SWEPT = ("diffeo", "zuko", "nflows", "flowjax", "bare")
ALL_JOBS = ("step", "log_prob", "sample")


@dataclass(frozen=True)
class Aim:
    """The job takes `peer` at least `times` as long as diffeo. `peer` may be "fastest" or "fastest
    torch" of the row.
    """

    job: str
    peer: str
    times: float


@dataclass(frozen=True)
class Row:
    """Settings, perhaps with one of them varied; jobs; contenders, diffeo first."""

    name: str
    title: str
    settings: Settings
    contenders: tuple[str, ...] = LIBRARIES
    jobs: tuple[str, ...] = ALL_JOBS
    rounds: int = 15
    aims: tuple[Aim, ...] = ()
    vary: str = ""
    values: tuple[int, ...] = ()
    label: str = ""

    def points(self, quick: bool = False) -> list[tuple[int | None, Settings]]:
        """The values of what is varied (None alone if nothing is) with their settings; `quick`
        leaves out every other.
        """
        if not self.vary:
            return [(None, self.settings)]
        values: Sequence[int] = self.values[::2] if quick else self.values
        return [
            (v, {**self.settings, self.vary: [v] if self.vary == "shape" else v}) for v in values
        ]


def each(peers: Sequence[str], job: str, times: float) -> tuple[Aim, ...]:
    return tuple(Aim(job, peer, times) for peer in peers)


def sweep(name: str, vary: str, values: tuple[int, ...], label: str) -> Row:
    title = f"NSF, training step against {label}, the rest as in the reference"
    return Row(name, title, NSF, SWEPT, ("step",), 5, vary=vary, values=values, label=label)


_ROWS = (
    Row(
        "nsf",
        "NSF, the reference: D = 16, 8 layers, 8 bins, MLP 128 x 2, batch 1,024",
        NSF,
        aims=(
            Aim("step", "bare", 0.8),
            Aim("step", "flowjax", 2.0),
            Aim("step", "zuko", 2.5),
            Aim("step", "nflows", 3.0),
            *each(("fastest",), "log_prob", 2.0),
            *each(("fastest",), "sample", 2.0),
        ),
    ),
    Row(
        "nsf-small",
        "NSF, small: D = 2, batch 64",
        {**NSF, "shape": [2], "batch": 64},
        aims=tuple(Aim(job, "fastest torch", 1.0) for job in ALL_JOBS),
    ),
    Row(
        "nsf-large",
        "NSF, large: D = 100, batch 8,192",
        {**NSF, "shape": [100], "batch": 8192},
        rounds=7,
    ),
    Row(
        "realnvp",
        "RealNVP: D = 16, 8 layers, MLP 128 x 2, batch 1,024",
        REALNVP,
        ("diffeo", "zuko", "nflows", "normflows", "freia", "flowjax", "bare"),
        aims=tuple(Aim(job, "fastest", 1.3) for job in ALL_JOBS),
    ),
    Row(
        "glow",
        "Glow: 3 x 32 x 32, 3 scales x 8 steps, networks 3x3, 1x1, 3x3 of width 64, batch 32",
        GLOW,
        ("diffeo", "normflows", "freia"),
        rounds=10,
        aims=tuple(Aim(job, "fastest", 1.3) for job in ALL_JOBS),
    ),
    sweep("depth", "layers", (2, 4, 8, 16, 32), "coupling layers"),
    sweep("dimension", "shape", (2, 8, 16, 32, 64, 100), "dimension"),
    sweep("batch", "batch", (64, 256, 1024, 4096, 8192), "batch size"),
    sweep("bins", "bins", (4, 8, 16, 32), "bins"),
    Row(
        "memory",
        "NSF, peak memory of the process while training against coupling layers, batch 4,096",
        {**NSF, "batch": 4096},
        ("diffeo", "diffeo-invert", "zuko", "nflows"),
        ("peak",),
        1,
        vary="layers",
        values=(8, 16, 32, 64),
        label="coupling layers",
    ),
)
ROWS = {row.name: row for row in _ROWS}
