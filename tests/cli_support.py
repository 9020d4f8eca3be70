"""What the tests of the command line share: images, and a library that costs no network time."""

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import Result
from numpy.typing import NDArray
from PIL import Image

from vdmcompress.api import decode_picture
from vdmcompress.container import pack, unpack
from vdmcompress.header import Header, Kind
from vdmcompress.picture import Mode, Picture, array_picture, pixel_crc
from vdmcompress.png import png_of

__all__ = ["FakeLibrary", "Pixels", "Result", "colours", "load", "png_file", "save"]

Pixels = NDArray[np.uint8]


def colours(height: int, width: int) -> Pixels:
    """A smooth RGB image in which no two sizes share their pixels."""
    y, x = np.mgrid[:height, :width]
    return np.stack((x * 7 + y, y * 5 + width, x + y * 3 + height), axis=-1).astype(np.uint8)


def save(pixels: Pixels, path: Path) -> Path:
    """Write pixels as the suffix says."""
    Image.fromarray(np.ascontiguousarray(pixels)).save(path)
    return path


def load(path: Path) -> Pixels:
    """Pixels of an image file."""
    with Image.open(path) as image:
        return np.asarray(image)


def png_file(image: Pixels | Picture) -> bytes:
    """A sound compressed file whose payload is a PNG."""
    picture = image if isinstance(image, Picture) else array_picture(np.ascontiguousarray(image))
    header = Header(
        Kind.PNG,
        picture.width,
        picture.height,
        picture.mode.channels,
        pixel_crc(picture),
        depth=picture.depth,
        indexed=picture.mode is Mode.PALETTE,
        chunks=picture.chunks,
    )
    return pack(header, [png_of(picture.pixels, picture.mode, picture.depth)])


@dataclass
class FakeLibrary:
    """Stands where the library's encode, decode and decode_picture stand; files are sound ones of kind PNG.

    error: raised instead of coding.  calls: keyword arguments of each call, by function.
    """

    error: BaseException | None = None
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def encode(self, image: Pixels | Picture, **how: Any) -> bytes:
        self.calls.append(("encode", how))
        if self.error is not None:
            raise self.error
        return png_file(image)

    def decode(self, data: bytes, **how: Any) -> Pixels:
        self.calls.append(("decode", how))
        if self.error is not None:
            raise self.error
        _, lanes = unpack(data)
        scale = int(how.get("scale", 1))
        return np.asarray(Image.open(io.BytesIO(lanes[0])))[::scale, ::scale]

    def decode_picture(self, data: bytes, **how: Any) -> Picture:
        self.calls.append(("decode_picture", how))
        if self.error is not None:
            raise self.error
        return decode_picture(data)
