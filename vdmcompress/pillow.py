"""Pillow plugin: `import vdmcompress.pillow`, and Pillow opens and saves compressed files.

    with Image.open("a.vdm") as image:       # size and mode; nothing is decoded
        image.load()                         # the pixels
    image.save("b.vdm", model="photo")

Opening reads the file and checks it against its own checksum, without torch or numba; loading decodes it, and
checks the pixels against theirs.  What cannot be opened raises PIL.UnidentifiedImageError, what is beyond the
limits PIL.Image.DecompressionBombError, what cannot be loaded or saved OSError, each with the one line of our
own error, which is chained to it.  Registering happens on import; doing it again changes nothing.
"""

from __future__ import annotations

import io
from typing import IO, Any, Final

from PIL import Image, ImageFile, ImagePalette, UnidentifiedImageError

from vdmcompress.chunks import find_chunk, palette_of
from vdmcompress.container import peek
from vdmcompress.errors import LimitError, VdmError
from vdmcompress.header import MAGIC
from vdmcompress.metadata import exif_of, icc_of, xmp_of
from vdmcompress.picture import Mode, mode_name
from vdmcompress.png import packed_rows

__all__ = ["EXTENSION", "FORMAT", "MIME_TYPE", "VdmImageFile", "register"]

FORMAT: Final = "VDM"
EXTENSION: Final = ".vdm"
MIME_TYPE: Final = "image/x-vdm"

MODES: Final = {
    (Mode.GREY, 1): "1",
    (Mode.GREY, 2): "L",
    (Mode.GREY, 4): "L",
    (Mode.GREY, 8): "L",
    (Mode.GREY, 16): "I;16",
    (Mode.GREY_ALPHA, 8): "LA",
    (Mode.RGB, 8): "RGB",
    (Mode.RGBA, 8): "RGBA",
} | {(Mode.PALETTE, depth): "P" for depth in (1, 2, 4, 8)}
"""Pillow's mode by mode and depth of a file; it has none for the others."""

OPTIONS: Final = ("model", "effort", "threads", "device", "verify")
"""What `Image.save` passes on to `vdmcompress.encode`; Pillow's other options have no meaning here."""

METADATA: Final = ("exif", "icc_profile", "xmp")
"""What `Image.save` keeps of the image's info, or puts in its place; None leaves it out."""


class VdmImageFile(ImageFile.ImageFile):
    """An opened file; the pixels come with `load`."""

    format = FORMAT
    format_description = "Lossless image by vdmcompress"

    def _open(self) -> None:
        if self.fp is None:
            raise OSError("the file is closed")
        self._data: bytes | None = self.fp.read()
        try:
            header = peek(self._data)
        except LimitError as error:
            raise Image.DecompressionBombError(str(error)) from error
        except VdmError as error:
            raise UnidentifiedImageError(str(error)) from error
        mode = MODES.get((header.mode, header.depth))
        if mode is None:
            name = mode_name(header.mode, header.depth)
            raise UnidentifiedImageError(f"{name}: Pillow has no mode for it; vdmcompress.decode reads it")
        self._size = (header.width, header.height)
        self._mode = mode
        for key, block in (
            ("icc_profile", icc_of(header.chunks)),
            ("exif", exif_of(header.chunks)),
            ("xmp", xmp_of(header.chunks)),
        ):
            if block:
                self.info[key] = block
        if mode == "P":
            self.palette = ImagePalette.raw("RGB", palette_of(header.chunks))
        clear = find_chunk(header.chunks, b"tRNS")
        if clear:
            self.info["transparency"] = _transparency(clear, mode)

    def load(self) -> Any:
        """Decode, once."""
        if self._data is not None:
            from vdmcompress.api import decode_picture

            try:
                picture = decode_picture(self._data)
            except VdmError as error:
                raise OSError(str(error)) from error
            self._data = None
            if self.fp is not None and self._exclusive_fp:
                self.fp.close()
            pixels = picture.pixels if self.mode in ("P", "I;16") else picture.array()
            if self.mode == "1":
                pixels = packed_rows(picture.pixels, 1)
            self.fp = io.BytesIO(pixels.astype("<u2" if self.mode == "I;16" else "u1").tobytes())
            self.tile = [ImageFile._Tile("raw", (0, 0, *self.size), 0, self.mode)]
        return super().load()

    def load_seek(self, pos: int) -> None:
        """Nothing: the pixels lie in memory."""


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(MAGIC)


def _transparency(data: bytes, mode: str) -> Any:
    """Pillow's value of tRNS: bytes of a palette, a level, or a colour."""
    if mode == "P":
        return data
    values = tuple(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
    return values if mode == "RGB" else values[0]


def _save(image: Image.Image, fp: IO[bytes], filename: str | bytes) -> None:
    """Encode with what the image's info holds of metadata, unless others are given by name."""
    from vdmcompress.api import encode

    given = getattr(image, "encoderinfo", {})
    kept = image.info
    image.info = kept | {name: given[name] for name in METADATA if name in given}
    exif = image.info.get("exif")
    if isinstance(exif, Image.Exif):
        image.info["exif"] = exif.tobytes()
    try:
        data = encode(image, **{name: given[name] for name in OPTIONS if name in given})
    except VdmError as error:
        raise OSError(f"cannot write mode {image.mode} as {FORMAT}: {error}") from error
    finally:
        image.info = kept
    fp.write(data)


def register() -> None:
    """Register opening, saving, suffix and MIME type."""
    Image.register_open(FORMAT, VdmImageFile, _accept)
    Image.register_save(FORMAT, _save)
    Image.register_extension(FORMAT, EXTENSION)
    Image.register_mime(FORMAT, MIME_TYPE)


register()
