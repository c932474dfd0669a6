"""Is this flow right on this data, and is this data fit for a density?"""

from .check import Checkup, check
from .density import Density, DensityWarning, density

__all__ = ["Checkup", "Density", "DensityWarning", "check", "density"]
