"""Reports of a training run and of a posterior: one HTML file with figures, baselines and pictures
that works offline.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .images.build import build_image_report
from .posterior.build import build_posterior_report
from .tables.baselines import baselines
from .tables.build import build_report

__all__ = [
    "REPORTS",
    "baselines",
    "build_image_report",
    "build_posterior_report",
    "build_report",
]

REPORTS: dict[str, Callable[..., tuple[Path, dict[str, Any]]]] = {  # by kind of data
    "table": build_report,
    "image": build_image_report,
}
