"""Smaller pictures of whole images, as the coarse scales of a diffusion payload give them."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from vdmcompress.picture import Samples
from vdmcompress.transform import pyramid_shapes

__all__ = ["SCALES", "preview"]

SCALES: Final = (1, 2, 4, 8)
"""Divisors of height and width; 1 is the image itself."""


def preview(pixels: Samples, scale: int) -> NDArray[np.uint8]:
    """LL of the scale, as a picture of 8 bits; alpha like a grey picture.

    pixels: uint8 or uint16, (H, W) or (H, W, 2..4), alpha last.  Gives ceil(H/scale) rows and ceil(W/scale)
    columns, or as few as the pyramid has.
    """
    from vdmcompress.colour import from_planes, to_planes  # numba takes longer to import than many a file
    from vdmcompress.pyramid import Planes, split

    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        opaque = pixels[:, :, 0] if pixels.shape[2] == 2 else pixels[:, :, :3]
        return np.dstack((preview(opaque, scale), preview(pixels[:, :, -1], scale)))
    planes, colour = to_planes(np.ascontiguousarray(pixels))
    for _ in range(min(SCALES.index(scale), len(pyramid_shapes(*planes.size)) - 1)):
        planes = Planes(split(planes, colour.subsampling).ll)
    return from_planes(planes, colour, clip=scale > 1)
