"""Lossless image compression with a variational diffusion model and bits-back coding.

    data = vdmcompress.encode(pixels)            # an array, a Pillow image or a Picture
    pixels = vdmcompress.decode(data)            # the same pixels
    picture = vdmcompress.decode_picture(data)   # with mode, depth, palette and metadata
    header = vdmcompress.peek(data)              # what the file says of itself

    vdmcompress.encode_file("a.png", "a.vdm")
    vdmcompress.decode_file("a.vdm", "back.png")
    header = vdmcompress.peek_file("a.vdm")

    vdmcompress.create_archive("a.vdma", ["a.png", "b.png"])
    with vdmcompress.Archive("a.vdma") as archive:
        picture = archive.read("a.png")

Examples stand in docs/library.md; `import vdmcompress.pillow` teaches Pillow to open and save the files.
All errors are children of VdmError; their tree stands in vdmcompress.errors.
"""

from typing import TYPE_CHECKING, Any

from vdmcompress.errors import (
    DamagedFileError,
    DefectError,
    LimitError,
    MachineError,
    ModelMissingError,
    UnsupportedImageError,
    UsageError,
    VdmError,
)

if TYPE_CHECKING:
    from vdmcompress.api import decode, decode_picture, encode, peek
    from vdmcompress.api_files import decode_file, encode_file, peek_file
    from vdmcompress.archive.create import create as create_archive
    from vdmcompress.archive.reader import Archive
    from vdmcompress.header import Header, Limits
    from vdmcompress.picture import Picture

__all__ = [
    "Archive",
    "DamagedFileError",
    "DefectError",
    "Header",
    "LimitError",
    "Limits",
    "MachineError",
    "ModelMissingError",
    "Picture",
    "UnsupportedImageError",
    "UsageError",
    "VdmError",
    "create_archive",
    "decode",
    "decode_file",
    "decode_picture",
    "encode",
    "encode_file",
    "peek",
    "peek_file",
]

_LAZY = {
    "Archive": "archive.reader",
    "create_archive": "archive.create",
    "decode": "api",
    "decode_file": "api_files",
    "decode_picture": "api",
    "encode": "api",
    "encode_file": "api_files",
    "peek": "api",
    "peek_file": "api_files",
    "Header": "header",
    "Limits": "header",
    "Picture": "picture",
}
_NAMES = {"create_archive": "create"}
"""Names that are others where they are defined."""


def __getattr__(name: str) -> Any:
    """The functions of the public face, imported with what they need on first use."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), _NAMES.get(name, name))
