"""What the tests of the command line share: images, and a library that costs no network time."""

import io
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import Result
from numpy.typing import NDArray
from PIL import Image

from vdmcompress.container import Header, Kind, pack, unpack

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


def png_file(pixels: Pixels) -> bytes:
    """A sound compressed file whose payload is a PNG."""
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, "PNG")
    channels = 1 if pixels.ndim == 2 else 3
    crc = zlib.crc32(np.ascontiguousarray(pixels))
    return pack(Header(Kind.PNG, pixels.shape[1], pixels.shape[0], channels, crc), [stream.getvalue()])


@dataclass
class FakeLibrary:
    """Stands where the library's encode and decode stand; files are sound ones of kind PNG.

    error: raised instead of coding.  calls: keyword arguments of each call, by function.
    """

    error: BaseException | None = None
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def encode(self, image: Pixels, **how: Any) -> bytes:
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
