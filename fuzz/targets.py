"""What is done with mutated bytes, and what must never come of it.

A target takes bytes and says what came of them, in a word.  `Broken` is a promise that was broken: an error
that is no VdmError or an unforeseen one, or a wrong picture.

What a wrong picture is: decode gave pixels although the file is not the one that an encoder wrote for them.
Checksums are no signatures: whoever makes up a picture and its checksum together makes another sound file,
and no mutation here does that.  A mutation keeps the checksum of the pixels of some seed, or makes one up.
So what is accepted must be, in size, mode, depth, palette, transparency and every pixel, the picture of a
seed with this checksum; all else is wrong.  Other metadata are covered by the checksum of the file alone,
which is repaired here: they may differ.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from vdmcompress.api import decode, decode_picture
from vdmcompress.cascade import decode_pixels
from vdmcompress.chunks import find_chunk
from vdmcompress.container import peek, unpack
from vdmcompress.errors import DefectError, MachineError, VdmError
from vdmcompress.header import Limits
from vdmcompress.image_io import read_picture
from vdmcompress.image_output import write_picture
from vdmcompress.model_file import parse_model
from vdmcompress.picture import Picture, difference

LIMITS = Limits(max_pixels=1 << 18)
"""Of the runs: an image of 512x512."""


class Broken(Exception):
    """A promise that was broken."""


@dataclass(frozen=True)
class FileTarget:
    """peek and decode of a compressed file.  pictures: those of the seeds, by the checksum of the pixels."""

    pictures: Mapping[int, Picture]

    def __call__(self, data: bytes, scale: int = 1) -> str:
        try:
            header = peek(data, LIMITS)
        except VdmError as error:
            return _named("peek", error)
        try:
            if scale > 1:
                decode(data, scale=scale, threads=1, limits=LIMITS)
                return "preview"
            found = decode_picture(data, threads=1, limits=LIMITS)
        except VdmError as error:
            return _named("decode", error)
        seed = self.pictures.get(header.pixel_crc)
        wrong = "no seed's" if seed is None else _picture_difference(found, seed)
        if seed is None or wrong is not None:
            shape = found.pixels.shape
            raise Broken(f"wrong picture: {wrong}, {found.name} {shape}, pixel CRC {header.pixel_crc:08x}")
        return "same picture" if found.chunks == seed.chunks else "same picture, other metadata"


def _picture_difference(found: Picture, seed: Picture) -> str | None:
    """What differs in all that belongs to the picture, in words; None for nothing."""
    for kind in (b"PLTE", b"tRNS") if seed.palette.size else (b"tRNS",):
        if find_chunk(found.chunks, kind) != find_chunk(seed.chunks, kind):
            return f"other {kind.decode()}"
    if not np.array_equal(found.array(), seed.array()):
        return "other colours"
    return difference(replace(found, chunks=()), replace(seed, chunks=()))


@dataclass(frozen=True)
class ModelTarget:
    """A model file; where it is accepted, a payload is decoded with it.  sound: a compressed file."""

    sound: bytes

    def __call__(self, data: bytes, scale: int = 1) -> str:
        try:
            model = parse_model(data, "mutated")
        except VdmError as error:
            return _named("model", error)
        header, views = unpack(self.sound)
        size = (header.height, header.width, header.channels)
        try:
            decode_pixels([bytes(view) for view in views], *size, header.plan, model, 1, scale)
        except MachineError:  # what the model says that its networks give, they do not give
            return "proved, other answers"
        except VdmError as error:
            return f"proved, {_named('decode', error)}"
        return "proved, decoded"


def image_target(data: bytes, scale: int = 1) -> str:
    """An image that is to be encoded; what was read of it can be written."""
    try:
        found = read_picture(io.BytesIO(data), LIMITS)
        write_picture(found, "png")
    except VdmError as error:
        return _named("image", error)
    return "read"


Target = Callable[[bytes, int], str]


def _named(stage: str, error: VdmError) -> str:
    if isinstance(error, DefectError | MachineError) or type(error) is VdmError:
        raise Broken(f"{stage}: {type(error).__name__}: {error}") from error
    return f"{stage}: {type(error).__name__}"
