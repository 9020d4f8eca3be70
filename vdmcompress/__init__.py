"""Lossless image compression with a variational diffusion model and bits-back coding.

    data = vdmcompress.encode(pixels)            # an array, a Pillow image or a Picture
    pixels = vdmcompress.decode(data)            # the same pixels
    picture = vdmcompress.decode_picture(data)   # with mode, depth, palette and metadata
    header = vdmcompress.peek(data)              # what the file says of itself

All errors are children of VdmError; their tree stands in vdmcompress.errors.
"""

from typing import TYPE_CHECKING, Any

from vdmcompress.errors import (
    DamagedFileError,
    LimitError,
    MachineError,
    ModelMissingError,
    UnsupportedImageError,
    UsageError,
    VdmError,
)

if TYPE_CHECKING:
    from vdmcompress.api import decode, decode_picture, encode, peek
    from vdmcompress.container import Header
    from vdmcompress.picture import Picture

__all__ = [
    "DamagedFileError",
    "Header",
    "LimitError",
    "MachineError",
    "ModelMissingError",
    "Picture",
    "UnsupportedImageError",
    "UsageError",
    "VdmError",
    "decode",
    "decode_picture",
    "encode",
    "peek",
]

_LAZY = {
    "decode": "api",
    "decode_picture": "api",
    "encode": "api",
    "peek": "api",
    "Header": "container",
    "Picture": "picture",
}


def __getattr__(name: str) -> Any:
    """The functions of the public face, imported with what they need on first use."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
