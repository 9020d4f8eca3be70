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

from PIL import Image, ImageFile, UnidentifiedImageError

from vdmcompress.container import MAGIC, peek
from vdmcompress.errors import LimitError, VdmError

__all__ = ["EXTENSION", "FORMAT", "MIME_TYPE", "VdmImageFile", "register"]

FORMAT: Final = "VDM"
EXTENSION: Final = ".vdm"
MIME_TYPE: Final = "image/x-vdm"

MODES: Final = {1: "L", 3: "RGB"}
"""Pillow's mode by the number of channels that a file has."""

OPTIONS: Final = ("model", "effort", "threads", "device", "verify")
"""What `Image.save` passes on to `vdmcompress.encode`; Pillow's other options have no meaning here."""

UNKEPT: Final = ("exif", "icc_profile")
"""What `Image.save` refuses when it is asked for by name: the format has no place for it."""


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
        if header.channels not in MODES:
            raise UnidentifiedImageError(f"{header.channels} channels: Pillow has no mode for this file")
        self._size = (header.width, header.height)
        self._mode = MODES[header.channels]

    def load(self) -> Any:
        """Decode, once."""
        if self._data is not None:
            from vdmcompress.api import decode

            try:
                pixels = decode(self._data)
            except VdmError as error:
                raise OSError(str(error)) from error
            self._data = None
            if self.fp is not None and self._exclusive_fp:
                self.fp.close()
            self.fp = io.BytesIO(pixels.tobytes())
            self.tile = [ImageFile._Tile("raw", (0, 0, *self.size), 0, self.mode)]
        return super().load()

    def load_seek(self, pos: int) -> None:
        """Nothing: the pixels lie in memory."""


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(MAGIC)


def _save(image: Image.Image, fp: IO[bytes], filename: str | bytes) -> None:
    """Encode.  Modes that `vdmcompress.encode` refuses are refused here; all but L and RGB are, today."""
    from vdmcompress.api import encode

    given = getattr(image, "encoderinfo", {})
    for name in UNKEPT:
        if given.get(name):
            raise OSError(f"{name}: {FORMAT} files hold no metadata; leave it out, or keep it elsewhere")
    try:
        data = encode(image, **{name: given[name] for name in OPTIONS if name in given})
    except VdmError as error:
        raise OSError(f"cannot write mode {image.mode} as {FORMAT}: {error}") from error
    fp.write(data)


def register() -> None:
    """Register opening, saving, suffix and MIME type."""
    Image.register_open(FORMAT, VdmImageFile, _accept)
    Image.register_save(FORMAT, _save)
    Image.register_extension(FORMAT, EXTENSION)
    Image.register_mime(FORMAT, MIME_TYPE)


register()
