"""Reports of a training run and of a posterior: one HTML file with figures, baselines and pictures
that works offline.
"""

from .baselines import baselines
from .build import build_report
from .images import build_image_report
from .posterior import build_posterior_report

__all__ = ["baselines", "build_image_report", "build_posterior_report", "build_report"]
