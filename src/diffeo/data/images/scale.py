"""Images brought to another size."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["scale_and_crop"]


def scale_and_crop(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """An image scaled (antialiased, Lanczos) to cover `size` (h, w), and cropped to it about its
    centre.
    """
    from PIL import Image, ImageOps

    if (image.height, image.width) == size:
        return image
    return ImageOps.fit(image, (size[1], size[0]), Image.Resampling.LANCZOS)
