"""Smaller pictures of whole images, as the coarse scales of a diffusion payload give them."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from vdmcompress.picture import Samples
from vdmcompress.transform import forward_colour, haar_forward, inverse_colour, pyramid_shapes

__all__ = ["SCALES", "preview"]

SCALES: Final = (1, 2, 4, 8)
"""Divisors of height and width; 1 is the image itself."""


def preview(pixels: Samples, scale: int) -> NDArray[np.uint8]:
    """LL of the scale, as a picture of 8 bits; alpha like a grey picture.

    pixels: uint8 or uint16, (H, W) or (H, W, 2..4), alpha last.  Gives ceil(H/scale) rows and ceil(W/scale)
    columns, or as few as the pyramid has.
    """
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        colour = pixels[:, :, 0] if pixels.shape[2] == 2 else pixels[:, :, :3]
        return np.dstack((preview(colour, scale), preview(pixels[:, :, -1], scale)))
    planes = forward_colour(np.ascontiguousarray(pixels))
    for _ in range(min(SCALES.index(scale), len(pyramid_shapes(*pixels.shape[:2])) - 1)):
        planes = haar_forward(planes).ll
    return inverse_colour(planes, clip=True)
